"""Chip image: everything that a chip needs to run a model, in one file.

Memory contents, program, host registers, and for tools the debug points and phases.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.debug import DebugPoint
from compiler.disassembler import disassemble
from compiler.machine import Machine
from compiler.memories import Memories
from compiler.share import Share
from hw.config import ChipletConfig

FORMAT = "tessera image 2"
#: Memories that the host writes; the others start with anything.
CONTENTS = ("banks", "multipliers", "rope", "row_scales", "program")


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipImage:
    """A compiled model.

    `contents` are arrays in the memories' own formats: `banks` int8 [bank_words, rows, columns],
    `multipliers` uint16 and `rope` int16 [beats, lanes], `row_scales` uint16 [slots], `program`
    uint64 [program_words].
    """

    config: ChipletConfig
    contents: Mapping[str, NDArray]
    registers: Mapping[str, int]  #: host registers that belong to the model: epsilon
    program_length: int  #: instructions; the rest of the program memory is zero
    context: int  #: positions of a sequence
    vocab: int
    max_block: int  #: tokens of the prompt in a block
    logits: int  #: residual beat of the logits
    share: Share = field(default_factory=Share)  #: what of the model is on this chip
    sequences: int = 1  #: that run side by side
    points: tuple[DebugPoint, ...] = ()
    phases: tuple[tuple[int, str], ...] = ()
    notes: Mapping[int, str] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)  #: model shape and sizes, to read

    def machine(self, **options: Any) -> Machine:
        """Return a simulated chip with this image loaded."""
        return Machine(
            self.config, Memories(self.config, dict(self.contents)), dict(self.registers), **options
        )

    def listing(self) -> str:
        """Return the program's text."""
        return disassemble(self.contents["program"][: self.program_length], self.notes)

    def phase_of(self, pc: int) -> str:
        """Return the phase that an instruction belongs to."""
        return next((name for start, name in reversed(self.phases) if start <= pc), "")

    def save(self, path: Path | str) -> None:
        """Write one .npz file."""
        meta = {
            "format": FORMAT, "config": self.config.as_dict(), "registers": dict(self.registers),
            "program_length": self.program_length, "context": self.context, "vocab": self.vocab,
            "max_block": self.max_block, "logits": self.logits, "share": asdict(self.share),
            "sequences": self.sequences,
            "points": [point.as_dict() for point in self.points], "phases": self.phases,
            "notes": list(self.notes.items()), "info": dict(self.info),
        }  # fmt: skip
        text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        with Path(path).open("wb") as file:
            arrays: dict[str, Any] = {name: self.contents[name] for name in CONTENTS}
            np.savez(file, meta=text, **arrays)

    @classmethod
    def load(cls, path: Path | str) -> "ChipImage":
        """Read what `save` wrote."""
        try:
            with np.load(path) as arrays:
                meta = json.loads(arrays["meta"].tobytes())
                contents = {name: arrays[name] for name in CONTENTS}
        except (ValueError, KeyError) as error:
            raise ValueError(f"{Path(path).name} must be a chip image: {error}") from None
        if meta.pop("format", None) != FORMAT:
            raise ValueError(f"{Path(path).name} must be of format {FORMAT!r}: compile it again")
        meta["config"] = ChipletConfig(**meta["config"])
        meta["share"] = Share(**meta["share"])
        meta["points"] = tuple(DebugPoint.from_dict(point) for point in meta["points"])
        meta["phases"] = tuple((start, name) for start, name in meta["phases"])
        meta["notes"] = dict(meta["notes"])
        return cls(contents=contents, **meta)

    def write_hex(self, directory: Path | str, paths: Mapping[str, str]) -> None:
        """Write files for $readmemh: one word a line, highest byte first.

        `paths` names the file of each memory: `multipliers`, `rope`, `row_scales`, `program`, and
        `bank0`, `bank1`, ... for the rows' banks. Lane 0 is in the lowest bits.
        """
        for name, path in paths.items():
            words = self._words(name)
            if words.dtype.itemsize > 1:
                words = words.astype(words.dtype.newbyteorder("<"))
            raw = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)[:, ::-1]
            target = Path(directory) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            text = np.ascontiguousarray(raw).tobytes().hex()
            digits = 2 * raw.shape[1]
            lines = [text[i : i + digits] for i in range(0, len(text), digits)]
            target.write_text("\n".join(lines) + "\n")

    def _words(self, name: str) -> NDArray:
        """Return a memory as an array whose rows are words."""
        if name.startswith("bank") and name[4:].isdecimal() and int(name[4:]) < self.config.rows:
            return self.contents["banks"][:, int(name[4:])]
        if name not in self.contents or name == "banks":
            known = ", ".join((*CONTENTS[1:], f"bank0..bank{self.config.rows - 1}"))
            raise ValueError(f"paths must name memories among {known}, not {name!r}")
        array = self.contents[name]
        return array.reshape(len(array), -1)
