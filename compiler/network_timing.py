"""Predicted cycles of network commands: when each packet's beats pass the engines of a ring.

A chip issues a beat per cycle, and a beat that it sends can be issued by the next chip so many cycles
later as its way takes. Credits, and other traffic, are taken to be no hindrance.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from compiler.assembler import Instruction
from compiler.matrix_unit import Fields
from compiler.network_unit import Chunk, chunks_in_order
from hw.collective.engine import first_beat_cycles, last_cycles
from hw.config import ChipletConfig
from hw.control.isa import Opcode, Ring, Statistic

#: From a beat's issue in one engine to its earliest issue in the next: engine and sender, the local
#: port's router, and for each hop a link and a router; then the receiver.
WAY_CYCLES, HOP_CYCLES = 8, 7
#: From the last beat of a chunk to the first of the next one.
CHUNK_CYCLES = 2


@dataclass(frozen=True)
class Passage:
    """Cycles in which a packet's first and last beat are issued."""

    first: int
    last: int


@dataclass(frozen=True)
class Timed:
    """A packet that leaves for the next chip of a ring, or (without one) that must come."""

    ring: Ring
    packet: Passage | None = None


def _chunks(opcode: Opcode, f: Fields) -> Iterator[Chunk]:
    if opcode != Opcode.CHOOSE:
        yield from chunks_in_order(opcode, f)
        return
    for k in range(f["segments"]):
        yield Chunk(start=0, length=1, receives=k > 0, adds=False, writes=False,
                    sends=k < f["segments"] - 1)  # fmt: skip


def network_done(
    config: ChipletConfig, i: Instruction, f: Fields, pop: int
) -> Generator[Timed, Passage | None, int]:
    """Time a command that is taken at a time; return when it is done."""
    ring, free = Ring(i["ring"]), pop + first_beat_cycles()
    written = free
    for _ in range(f["rows"]):
        for chunk in _chunks(i.opcode, f):
            first, last = free, free + chunk.length - 1
            if chunk.receives:
                came = yield Timed(ring)
                assert came is not None
                first = max(first, came.first)
                last = max(first + chunk.length - 1, came.last)
            if chunk.sends:
                yield Timed(ring, Passage(first, last))
            written, free = last, last + CHUNK_CYCLES
    has_maximum = i.operands.get("statistic") == Statistic.MAGNITUDE.value
    return written + last_cycles(config, has_maximum=has_maximum)
