"""Worst paths of a routed design, from the delays that nextpnr writes as SDF.

nextpnr itself reports one path: the worst of all. This finds the longest one to each register, so
that the report can show the worst of each block. All clocks count as one, whose skew is not counted:
those of the links have the core's frequency, and what passes between clocks has more time than this.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flows.fpga.blocks import block_of

#: A delay: least, typical and largest.
_DELAY = r"\([\d.e+-]+:[\d.e+-]+:([\d.e+-]+)\)"
_INTERCONNECT = re.compile(rf"\(INTERCONNECT (\S+) (\S+) {_DELAY} {_DELAY}\)")
_INSTANCE = re.compile(r"\(INSTANCE (\S+)\)")
_IOPATH = re.compile(rf"\(IOPATH (\S+) (\S+) {_DELAY} {_DELAY}\)")
#: The first delay is the setup time, the second the hold time.
_SETUP = re.compile(rf"\(SETUPHOLD \(posedge (\S+)\) \(\w+ \S+\) {_DELAY}")
_ESCAPE = re.compile(r"\\(.)")
#: Clock pins of flip-flops, and of the two ports of a block RAM.
_CLOCKS = ("CLK", "CLKA", "CLKB", "WCK")
#: What Yosys appends to the name of a net for the cell that drives it, or that it drives.
_CELL_SUFFIX = re.compile(
    r"(?:\$\w+)?_(?:(?:TRELLIS_FF|DP16KD|MULT18X18D|LUT4|CCU2C|PFUMX|L6MUX21)_|D[IO][AB]\d).*$"
)
_NUMBER = re.compile(r"\d+")

_PS_PER_NS = 1000.0


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A step of a path: through a cell, or along a wire to the next cell."""

    cell: str
    ns: float
    is_wire: bool

    @property
    def block(self) -> str:
        """Block of the cell, or of the cell that the wire leads to."""
        return block_of(self.cell)


@dataclass(frozen=True, kw_only=True)
class TimingPath:
    """The longest path to a register or memory."""

    segments: tuple[Segment, ...]

    @property
    def ns(self) -> float:
        """Clock-to-output delay, cells, wires and setup time."""
        return sum(segment.ns for segment in self.segments)

    @property
    def start(self) -> str:
        """Register or memory that the path leaves."""
        return register_name(self.segments[0].cell)

    @property
    def end(self) -> str:
        """Register or memory that the path reaches."""
        return register_name(self.segments[-1].cell)

    @property
    def block(self) -> str:
        """Block of the end."""
        return self.segments[-1].block

    @property
    def group(self) -> tuple[str, str]:
        """Start and end without numbers: the same for all bits and lanes."""
        return _NUMBER.sub("*", self.start), _NUMBER.sub("*", self.end)

    def ns_by_block(self) -> dict[str, float]:
        """Return how much of the delay lies in each block."""
        shares: dict[str, float] = defaultdict(float)
        for segment in self.segments:
            shares[segment.block] += segment.ns
        return dict(shares)


def register_name(cell: str) -> str:
    """Return the signal that a cell is named after, as the chiplet's own hierarchy has it."""
    return _CELL_SUFFIX.sub("", cell).removeprefix("chiplet.chiplet.")


@dataclass(frozen=True, kw_only=True)
class _Edge:
    """Pin to pin, through a cell or along a wire."""

    target: str
    ns: float
    is_wire: bool


class Timing:
    """Delays of a routed design, pin by pin; a pin is ``cell/port``."""

    def __init__(self) -> None:
        self.edges: dict[str, list[_Edge]] = defaultdict(list)
        self.launches: dict[str, float] = {}  #: outputs of registers, with their clock-to-output
        self.setups: dict[str, float] = {}  #: inputs of registers, with their setup time

    @classmethod
    def parse(cls, lines: Iterable[str]) -> "Timing":
        """Read the lines of an SDF file."""
        timing, cell = cls(), ""
        for line in lines:
            if match := _INTERCONNECT.search(line):
                timing._add(_plain(match[1]), _plain(match[2]), _ns(*match.group(3, 4)), True)
            elif match := _INSTANCE.search(line):
                cell = _plain(match[1])
            elif match := _IOPATH.search(line):
                source, target, ns = _plain(match[1]), f"{cell}/{match[2]}", _ns(*match.group(3, 4))
                if source in _CLOCKS:
                    timing.launches[target] = max(ns, timing.launches.get(target, 0.0))
                else:
                    timing._add(f"{cell}/{source}", target, ns, False)
            elif match := _SETUP.search(line):
                timing.setups[f"{cell}/{match[1]}"] = _ns(match[2])
        return timing

    def _add(self, source: str, target: str, ns: float, is_wire: bool) -> None:
        self.edges[source].append(_Edge(target=target, ns=ns, is_wire=is_wire))

    def longest_paths(self) -> Iterator[TimingPath]:
        """Yield the longest path to each register input, the longest first."""
        arrival, before = self._arrivals()
        ends = sorted(
            (pin for pin in self.setups if pin in arrival),
            key=lambda pin: (-arrival[pin] - self.setups[pin], pin),
        )
        for pin in ends:
            yield self._path(pin, before)

    def _arrivals(self) -> tuple[dict[str, float], dict[str, tuple[str, _Edge]]]:
        """Return the latest time at each pin that a register reaches, and the edge it comes by."""
        reached, stack = set(self.launches), list(self.launches)
        waiting: dict[str, int] = defaultdict(int)
        while stack:
            for edge in self.edges.get(stack.pop(), ()):
                waiting[edge.target] += 1
                if edge.target not in reached:
                    reached.add(edge.target)
                    stack.append(edge.target)
        arrival, before = dict(self.launches), {}
        ready = [pin for pin in self.launches if not waiting[pin]]
        while ready:
            pin = ready.pop()
            for edge in self.edges.get(pin, ()):
                time = arrival[pin] + edge.ns
                if time >= arrival.get(edge.target, -1.0):
                    arrival[edge.target], before[edge.target] = time, (pin, edge)
                waiting[edge.target] -= 1
                if not waiting[edge.target]:
                    ready.append(edge.target)
        return arrival, before

    def _path(self, end: str, before: dict[str, tuple[str, _Edge]]) -> TimingPath:
        segments = [Segment(cell=_cell(end), ns=self.setups[end], is_wire=False)]
        pin = end
        while pin in before:
            source, edge = before[pin]
            segments.append(Segment(cell=_cell(edge.target), ns=edge.ns, is_wire=edge.is_wire))
            pin = source
        segments.append(Segment(cell=_cell(pin), ns=self.launches[pin], is_wire=False))
        return TimingPath(segments=tuple(reversed(segments)))


@dataclass(frozen=True, kw_only=True)
class WorstPaths:
    """What the report shows of all paths."""

    by_block: list[TimingPath]  #: the longest into each block
    groups: list[TimingPath]  #: the longest of each of the worst groups of alike paths


def worst_paths(paths: Iterable[TimingPath], group_count: int) -> WorstPaths:
    """Pick the worst paths out of all, which come with the longest first."""
    by_block: dict[str, TimingPath] = {}
    groups: dict[tuple[str, str], TimingPath] = {}
    for path in paths:
        by_block.setdefault(path.block, path)
        if len(groups) < group_count:
            groups.setdefault(path.group, path)
    return WorstPaths(by_block=list(by_block.values()), groups=list(groups.values()))


def _cell(pin: str) -> str:
    return pin.rpartition("/")[0]


def _plain(name: str) -> str:
    return _ESCAPE.sub(r"\1", name)


def _ns(*picoseconds: str) -> float:
    return max(map(float, picoseconds)) / _PS_PER_NS
