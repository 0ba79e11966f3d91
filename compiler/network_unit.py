"""The collective engine in numpy: docs/collective.md.

A chip alone cannot execute a network command: `execute` stops at each packet that it sends or needs
(`Exchange`), and cluster.py carries packets between chips.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.assembler import Instruction
from compiler.matrix_unit import Fields, MatrixUnit
from compiler.memories import CommandAccesses, Memories
from compiler.sequencer import MachineFaultError
from golden.requantizer import add_to_residual
from hw.collective.limits import MAX_CHUNK
from hw.config import ChipletConfig
from hw.control.isa import Fault, Opcode, Reduction, Ring, Statistic

Beats = NDArray[np.int64]
_RINGS = (Opcode.ALL_REDUCE, Opcode.ALL_GATHER)
#: What a chip offers CHOOSE that sampled nothing.
_NOTHING = (0, 0, 0)


@dataclass(frozen=True, eq=False)
class Exchange:
    """A packet that leaves for the next chip of a ring, or (without one) that must come."""

    ring: Ring
    packet: Beats | None = None


@dataclass(frozen=True)
class Chunk:
    """A chunk of a row, and what becomes of it."""

    start: int  #: its first beat within the row
    length: int
    receives: bool
    adds: bool  #: joins this chip's numbers with what came
    writes: bool
    sends: bool


def chunks_in_order(opcode: Opcode, f: Fields) -> Iterator[Chunk]:
    """Yield the chunks of a row in their order: around the ring, or from the row's begin."""
    chips, last = f["segments"], f["dst_segment_stride"]
    on_ring = opcode in _RINGS
    reduces = opcode == Opcode.ALL_REDUCE
    steps = 2 * chips - 1 if reduces else chips
    start = f["src_up"] if on_ring else 0
    for k in range(steps):
        yield Chunk(
            start=start,
            length=f["beats"] - last if start == last else f["src_segment_stride"],
            receives=k > 0 if on_ring else opcode != Opcode.SEND,
            adds=reduces and 0 < k < chips,
            writes=k >= chips - 1 if reduces else opcode != Opcode.SEND,
            sends=k < steps - 1 if on_ring else opcode != Opcode.RECEIVE,
        )
        if not on_ring:
            start += f["src_segment_stride"]
        else:
            start = last if start == 0 else start - f["src_segment_stride"]


class NetworkUnit:
    """Executes ALL_REDUCE, ALL_GATHER, SEND, RELAY, RECEIVE and CHOOSE on the memories."""

    def __init__(self, config: ChipletConfig, memories: Memories, matrix: MatrixUnit) -> None:
        self.c, self.mem, self.matrix = config, memories, matrix

    def used(self, i: Instruction, f: Fields) -> Iterator[str]:
        """Yield the descriptors that a command reads."""
        yield from ("rows", "segments", "beats")
        if i.opcode == Opcode.CHOOSE:
            return
        yield from ("src", "src_segment_stride", "dst_segment_stride")
        if f["rows"] > 1:
            yield "src_row_stride"
        if i.opcode in _RINGS:
            yield "src_up"
        if i.operands.get("statistic"):
            yield "maximum"

    def execute(
        self, i: Instruction, f: Fields
    ) -> Generator[Exchange, Beats | None, CommandAccesses]:
        """Execute a command; return what it touched."""
        if 0 in (f["rows"], f["segments"], f["beats"]):
            raise MachineFaultError(Fault.EMPTY_COMMAND, 0)
        ring = Ring(i["ring"])
        if i.opcode == Opcode.CHOOSE:
            return (yield from self._choose(ring, f))
        last = f["dst_segment_stride"]
        lengths = (f["src_segment_stride"] if f["segments"] > 1 else 1, f["beats"] - last)
        if not all(1 <= length <= MAX_CHUNK for length in lengths):
            raise MachineFaultError(Fault.CHUNK_LENGTH, 0)
        accesses = CommandAccesses()
        statistic = Statistic(i.operands.get("statistic", 0))
        if statistic != Statistic.NONE:
            self.mem.check("row_maxima", f["maximum"] + np.arange(f["rows"]))
        for t in range(f["rows"]):
            base = f["src"] + t * (f["src_row_stride"] if f["rows"] > 1 else 0)
            largest = 0
            for chunk in chunks_in_order(i.opcode, f):
                beats = base + chunk.start + np.arange(chunk.length)
                self.mem.check("residual", beats)
                values = yield from self._chunk(i, ring, chunk, beats, accesses)
                if chunk.writes:
                    largest = max(largest, int(np.max(np.abs(values))))
            if statistic != Statistic.NONE:
                slot = self.mem.check("row_maxima", np.array([f["maximum"] + t]))
                self.mem.row_maxima[slot] = min(largest, 2**31 - 1)
                accesses.writes.append(("row_maxima", slot))
        port = np.zeros(1, np.int64)
        accesses.reads.append(("residual port", port))
        accesses.writes.append(("residual write port", port))
        return accesses

    def _chunk(
        self, i: Instruction, ring: Ring, chunk: Chunk, beats: Beats, accesses: CommandAccesses
    ) -> Generator[Exchange, Beats | None, Beats]:
        """Take one chunk through the chip; return its values."""
        values = self.mem.residual[beats].astype(np.int64)
        if chunk.adds or not chunk.receives:
            accesses.reads.append(("residual", beats))
        if chunk.receives:
            came = yield Exchange(ring)
            assert came is not None
            if came.shape != values.shape:
                raise ValueError(f"a packet must have {len(values)} beats, not {len(came)}")
            if not chunk.adds:
                values = came
            elif i["reduction"] == Reduction.SUM.value:
                values = add_to_residual(values, came)
            else:
                values = np.maximum(values, came)
        if chunk.writes:
            self.mem.residual[beats] = values
            accesses.writes.append(("residual", beats))
        if chunk.sends:
            yield Exchange(ring, values)
        return values

    def _choose(
        self, ring: Ring, f: Fields
    ) -> Generator[Exchange, Beats | None, CommandAccesses]:
        """Pass every chip's candidate round; the best is everybody's token."""
        own = self.matrix.candidate
        sent = np.array(_NOTHING if own is None else (1, *own), np.int64)
        candidates = [sent]
        for _ in range(f["segments"] - 1):
            yield Exchange(ring, sent)
            came = yield Exchange(ring)
            assert came is not None
            sent = came
            candidates.append(sent)
        offered = [(int(value), -int(token)) for live, value, token in candidates if live]
        if offered:
            self.matrix.token = -max(offered)[1]
        self.matrix.candidate = None
        port = np.zeros(1, np.int64)
        return CommandAccesses(reads=[("sampler", port)], writes=[("sampler", port)])
