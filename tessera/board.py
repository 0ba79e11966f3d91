"""A chip on a board: what it is, loading a model, and a generation, all over a serial line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.image import ChipImage
from compiler.isa_doc import meanings
from golden.sampler import temperature_register
from hw.config import CONFIGS, ChipletConfig
from hw.control.isa import Fault
from hw.host.memory_map import memory_map
from hw.host.register import Access
from hw.host.registers import COUNTERS, IDENTITY, REGISTERS, VERSION_MAJOR
from hw.host.serial_protocol import MAX_WORDS, WORD_BYTES
from tessera.engines import Request
from tessera.serial_link import LinkError, SerialLink

#: Registers that say what was built, in the order of their addresses.
FACTS = [register for register in REGISTERS.values() if register.access is Access.CONSTANT]


class FaultError(LinkError):
    """The chip stopped with a fault."""


@dataclass(kw_only=True)
class Progress:
    """How far a generation is."""

    tokens: list[int] = field(default_factory=list)
    #: CYCLES at the n-th token, as far as it was seen in time.
    cycles_at: dict[int, int] = field(default_factory=dict)


class Board:
    """A chip behind a serial line."""

    def __init__(self, link: SerialLink, config: ChipletConfig) -> None:
        self.link, self.config = link, config
        self.regions = memory_map(config).regions

    def read(self, *names: str) -> list[int]:
        """Return registers that follow each other."""
        first = REGISTERS[names[0]].offset
        assert [REGISTERS[name].offset for name in names] == [
            first + WORD_BYTES * i for i in range(len(names))
        ]
        return self.link.read(first, len(names), window=False)

    def write(self, **registers: int) -> None:
        """Write registers that follow each other."""
        first, *others = registers
        assert [REGISTERS[name].offset for name in others] == [
            REGISTERS[first].offset + WORD_BYTES * (i + 1) for i in range(len(others))
        ]
        self.link.write(REGISTERS[first].offset, list(registers.values()), window=False)

    def identify(self) -> None:
        """Refuse a chip that is none, or not of the configuration."""
        where, config = f"the chip on serial:{self.link.port}", self.config
        found = dict(zip(FACTS, self.read(*(register.name for register in FACTS)), strict=True))
        identity, version = (found[REGISTERS[name]] for name in ("ID", "VERSION"))
        if identity != IDENTITY:
            raise ValueError(f"{where} is no Tessera chip: its ID is 0x{identity:08X}")
        major = REGISTERS["VERSION"].unpack(version)["MAJOR"]
        if major != VERSION_MAJOR:
            raise ValueError(
                f"{where} has interface version {major}, and this program knows {VERSION_MAJOR}"
            )
        differences = _differences(found, config)
        if not differences:
            return
        same = [name for name, each in CONFIGS.items() if not _differences(found, each)]
        if same:
            raise ValueError(f"{where} is configuration {same[0]}: use --config {same[0]}")
        raise ValueError(f"{where} is not configuration {config.name}: {', '.join(differences)}")

    def load(self, image: ChipImage, report: Callable[[int, int], None]) -> None:
        """Stop the chip and write a model into its memories; reports bytes done and in all."""
        self.write(CONTROL=REGISTERS["CONTROL"].pack(RESET_SEQUENCER=1, CLEAR_HOST_ERRORS=1))
        parts = list(_requests(image, self.regions))
        total = sum(len(words) for _, words in parts) * WORD_BYTES
        done = 0
        report(done, total)
        for address, words in parts:
            self.link.write(address, words, window=True)
            done += len(words) * WORD_BYTES
            report(done, total)

    def start(self, image: ChipImage, request: Request) -> None:
        """Write the prompt and what to do, and start."""
        tokens = self.regions["tokens"]
        for i in range(0, len(request.prompt), MAX_WORDS):
            self.link.write(tokens.address(i), request.prompt[i : i + MAX_WORDS], window=True)
        end = {"NONE": 1} if request.end_token is None else {"TOKEN": request.end_token, "NONE": 0}
        registers = REGISTERS
        self.write(
            PROMPT_LENGTH=len(request.prompt), TOKEN_LIMIT=request.count, START_POSITION=0,
            END_TOKEN=registers["END_TOKEN"].pack(**end),
            TEMPERATURE=temperature_register(request.temperature),
            SEED=request.seed & 0xFFFFFFFF, EPSILON=image.registers["epsilon"],
            WATCHDOG_CYCLES=registers["WATCHDOG_CYCLES"].reset,
            BREAKPOINT=registers["BREAKPOINT"].reset, OPTIONS=registers["OPTIONS"].reset,
        )  # fmt: skip
        self.write(IRQ_ENABLE=0, IRQ_STATUS=registers["IRQ_STATUS"].pack(
            DONE=1, FAULT=1, TOKEN=1, PAUSED=1))  # fmt: skip
        self.write(CONTROL=registers["CONTROL"].pack(START=1))

    def follow(self, image: ChipImage, prompt_tokens: int) -> Iterator[Progress]:
        """Yield whenever tokens came, until the program ends; a fault is a FaultError."""
        progress = Progress()
        while True:
            # In this order: what was emitted before the program ended is in the count.
            status_word, cause, pc = self.read("STATUS", "FAULT_CAUSE", "FAULT_PC")
            (count,) = self.read("TOKEN_COUNT")
            if count > len(progress.tokens):
                cycles = self._counter("TOKEN_CYCLES")
                if self.read("TOKEN_COUNT") == [count]:
                    progress.cycles_at[count] = cycles
                first = prompt_tokens + len(progress.tokens)
                progress.tokens += self.link.read(
                    self.regions["tokens"].address(first), count - len(progress.tokens),
                    window=True,
                )  # fmt: skip
                yield progress
            status = REGISTERS["STATUS"].unpack(status_word)
            if status["FAULTED"]:
                fault = Fault(cause)
                phase = image.phase_of(pc)
                raise FaultError(
                    f"the chip stopped with fault {fault.name} ({meanings(Fault)[fault.name]}) at "
                    f"instruction {pc}" + (f", in {phase}" if phase else "")
                )
            if status["DONE"] and status["IDLE"]:
                return

    def counters(self) -> dict[str, int]:
        """Return every counter."""
        names = [f"{name.upper()}_{half}" for name in COUNTERS for half in ("LO", "HI")]
        words = self.read(*names)
        return {name: words[2 * i] | words[2 * i + 1] << 32 for i, name in enumerate(COUNTERS)}

    def logits(self, image: ChipImage) -> NDArray[np.int32]:
        """Return the logits of the last token."""
        address = self.regions["residual"].address(image.logits)
        return np.array(self.link.read(address, image.vocab, window=True), "<u4").view("<i4")

    def _counter(self, name: str) -> int:
        low, high = self.read(f"{name}_LO", f"{name}_HI")
        return low | high << 32


def _differences(found: Mapping[Any, int], config: ChipletConfig) -> list[str]:
    """Return what a chip's registers say that is not so in a configuration."""
    result = []
    for register, word in found.items():
        if register.name in ("ID", "VERSION"):
            continue
        for each in register.fields:
            want, got = each.value(config), (word & each.mask) >> each.low
            if want != got:
                name = each.name if each.name != "VALUE" else register.name
                result.append(f"{name.lower()} is {got}, not {want}")
    return result


def _requests(image: ChipImage, regions: Mapping[str, Any]) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield the window's address and the words of each request that loads an image."""
    contents, needs = image.contents, image.info["needs"]
    loads = {
        "banks": contents["banks"][: needs["bank_words"]],
        "multipliers": contents["multipliers"][: needs["multiplier_beats"]].astype("<u2"),
        "rope": contents["rope"][: needs["rope_beats"]].astype("<i2"),
        "row_scales": contents["row_scales"].astype("<u4"),
        "program": contents["program"][: image.program_length].astype("<u8"),
    }
    for name, array in loads.items():
        region = regions[name]
        raw = np.ascontiguousarray(array).tobytes()
        assert len(raw) == len(array) * region.stride, name
        words = np.frombuffer(raw, "<u4").tolist()
        for i in range(0, len(words), MAX_WORDS):
            yield region.base + WORD_BYTES * i, words[i : i + MAX_WORDS]

