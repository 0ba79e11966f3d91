"""The vector unit in numpy: docs/machine.md, section 3."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.assembler import Instruction
from compiler.memories import CommandAccesses, Memories, grid
from compiler.sequencer import MachineFaultError
from golden.integer import IntArray
from golden.quantizer import quantize_key, quantize_vector
from golden.requantizer import RowScale
from golden.rms_norm import rms_norm
from golden.rope import rope
from golden.softmax import softmax
from golden.swiglu import swiglu
from hw.config import ChipletConfig
from hw.control.isa import Fault, Opcode
from hw.vector.schedule import segment_beats

Fields = dict[str, int]
_MAXIMA = (Opcode.NORM, Opcode.SOFTMAX)
_ROTATIONS = (Opcode.ROPE_QUERY, Opcode.ROPE_KEY)
#: Operations that keep a segment between two passes, which bounds its length.
_TWO_PASSES = (*_ROTATIONS, Opcode.SWIGLU)


class VectorUnit:
    """Executes NORM, RoPE, SOFTMAX and SWIGLU on the memories."""

    def __init__(self, config: ChipletConfig, memories: Memories, epsilon: int) -> None:
        self.c, self.mem, self.epsilon = config, memories, epsilon

    def used(self, i: Instruction, f: Fields) -> Iterator[str]:
        """Yield the descriptors that a command reads."""
        yield from ("rows", "segments", "beats", "src", "dst")
        rows = f["rows"] > 1
        for axis, several in (("row", rows), ("segment", f["segments"] > 1)):
            if several:
                yield from (f"src_{axis}_stride", f"dst_{axis}_stride")
        if i.opcode != Opcode.ROPE_KEY:
            yield "row_scale"
            if rows:
                yield "row_scale_stride"
        if i.opcode in _MAXIMA:
            yield "maximum"
        if i.opcode in _ROTATIONS:
            yield "table"
        if i.opcode in (Opcode.ROPE_KEY, Opcode.SOFTMAX):
            yield "position"
        if i.opcode == Opcode.ROPE_KEY:
            yield "key_scale"
            if f["segments"] > 1:
                yield "key_scale_stride"
        if i.opcode == Opcode.SWIGLU:
            yield "src_up"

    def execute(self, i: Instruction, f: Fields) -> CommandAccesses:
        """Execute a command; return what it touched."""
        if 0 in (f["rows"], f["segments"], f["beats"]):
            raise MachineFaultError(Fault.EMPTY_COMMAND, 0)
        accesses = CommandAccesses()
        if i.opcode in _TWO_PASSES and f["beats"] > segment_beats(self.c):
            raise MachineFaultError(Fault.RESULT_ADDRESS, 0, f"segment of {f['beats']} beats")
        scale: RowScale | None
        source = "residual" if i.opcode == Opcode.NORM else "results"
        src = self._beats(f, "src")
        x = self._load(source, src, accesses)
        match i.opcode:
            case Opcode.NORM:
                accesses.reads.append(("residual port", np.zeros(1, np.int64)))
                self._check_maximum(f, np.max(np.abs(x), axis=-1), accesses)
                norm = rms_norm(x, self.epsilon)
                q, scale = norm.q, norm.scale
            case Opcode.ROPE_QUERY:
                query = quantize_vector(self._rotate(f, x, accesses))
                q, scale = query.q, query.scale
            case Opcode.ROPE_KEY:
                key = quantize_key(self._rotate(f, x, accesses))
                q, scale = key.q, None
                self._store_multipliers(f, key.key_multiplier, accesses)
            case Opcode.SOFTMAX:
                places = f["position"] + np.arange(f["rows"])
                visible = np.arange(x.shape[-1]) <= places[:, None, None]
                shares = softmax(x, np.broadcast_to(visible, x.shape))
                self._check_maximum(f, shares.maximum, accesses)
                q, scale = shares.p, shares.scale
            case _:
                up = self._load(source, src + f["src_up"], accesses)
                hidden = quantize_vector(swiglu(x, up))
                q, scale = hidden.q, hidden.scale
        self._store(f, q, scale, accesses)
        return accesses

    def _beats(self, f: Fields, side: str) -> NDArray[np.int64]:
        return grid(f[side], (f["rows"], f[f"{side}_row_stride"] if f["rows"] > 1 else 0),
                    (f["segments"], f[f"{side}_segment_stride"] if f["segments"] > 1 else 0),
                    (f["beats"], 1))  # fmt: skip

    def _load(self, memory: str, beats: NDArray[np.int64], accesses: CommandAccesses) -> IntArray:
        """Read beats [rows, segments, beats]; return elements [rows, segments, n]."""
        self.mem.check(memory, beats)
        accesses.reads.append((memory, beats.reshape(-1)))
        return getattr(self.mem, memory)[beats].reshape(*beats.shape[:2], -1).astype(np.int64)

    def _check_maximum(self, f: Fields, expected: IntArray, accesses: CommandAccesses) -> None:
        """Read the row maxima; the program must have made them from this very data."""
        slots = self.mem.check("row_maxima", grid(f["maximum"], (f["rows"] * f["segments"], 1)))
        accesses.reads.append(("row_maxima", slots))
        found = self.mem.row_maxima[slots].reshape(expected.shape)
        if np.any(found != expected):
            raise ValueError(f"row maxima must be {expected.tolist()}, not {found.tolist()}")

    def _rotate(self, f: Fields, x: IntArray, accesses: CommandAccesses) -> IntArray:
        beats = grid(f["table"], (f["rows"], f["beats"]), (f["beats"], 1))
        self.mem.check("rope", beats)
        accesses.reads.append(("rope", beats.reshape(-1)))
        table = self.mem.rope[beats].reshape(f["rows"], 1, -1)
        return rope(x, table[..., 0::2], table[..., 1::2])

    def _store_multipliers(self, f: Fields, values: IntArray, accesses: CommandAccesses) -> None:
        """Write key multipliers [rows, segments] to the lanes of their positions."""
        places = f["position"] + np.arange(f["rows"])
        stride = f["key_scale_stride"] if f["segments"] > 1 else 0
        beats = f["key_scale"] + np.arange(f["segments"]) * stride + places[:, None] // self.c.lanes
        self.mem.check("multipliers", beats)
        self.mem.multipliers[beats, (places % self.c.lanes)[:, None]] = values
        accesses.writes.append(("multipliers", beats.reshape(-1)))

    def _store(
        self, f: Fields, q: IntArray, scale: RowScale | None, accesses: CommandAccesses
    ) -> None:
        dst = self._beats(f, "dst")
        self.mem.check("activations", dst)
        self.mem.activations[dst] = q.reshape(*dst.shape, self.c.lanes)
        accesses.writes.append(("activations", dst.reshape(-1)))
        if scale is None:
            return
        stride = f["row_scale_stride"] if f["rows"] > 1 else 0
        slots = grid(f["row_scale"], (f["rows"], stride), (f["segments"], 1))
        self.mem.check("row_scales", slots)
        if np.any(np.abs(scale.exponent + 0.5) > 128):  # signed 8 bits
            raise ValueError("row-scale exponents must fit 8 bits")
        self.mem.row_scales[slots] = scale.mantissa | (scale.exponent & 0xFF) << 8
        accesses.writes.append(("row_scales", slots.reshape(-1)))
