"""Which chip of a torus runs which share of a model, and the rings that join them.

In all layouts here the next chip of a ring is a neighbour, except where a ring that cannot close so
goes back.
"""

import itertools
import re
from dataclasses import dataclass

from compiler.split import SplitError
from hw.control.isa import Ring
from hw.network.config import MAX_SIDE

Chip = tuple[int, int]


def parse_torus(text: str) -> tuple[int, int]:
    """Return columns and rows of a size such as 2x2."""
    match = re.fullmatch(r"([0-9]+)x([0-9]+)", text)
    if match is None or not all(1 <= int(side) <= MAX_SIDE for side in match.groups()):
        raise ValueError(f"--torus must be columns x rows, each 1 to {MAX_SIDE}, such as 2x2, not {text!r}")
    return int(match[1]), int(match[2])


def round_trip(columns: int, rows: int) -> list[Chip]:
    """Return all chips in an order in which each is the next one's neighbour.

    The last is the first one's, too, if columns or rows are even and both more than one.
    """
    if rows % 2 and columns % 2 == 0 and rows > 1:
        return [(x, y) for y, x in round_trip(rows, columns)]
    if rows % 2 or columns == 1 or rows == 1:
        return [(x if y % 2 == 0 else columns - 1 - x, y)
                for y in range(rows) for x in range(columns)]  # fmt: skip
    # There and back through all columns but the first, and home through that one.
    there = [(x + 1 if y % 2 == 0 else columns - 1 - x, y)
             for y in range(rows) for x in range(columns - 1)]  # fmt: skip
    home = [(0, y) for y in range(rows - 1, 0, -1)]
    return [(0, 0), *there, *home]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Chips of a model, stage by stage and in each by rank."""

    columns: int
    rows: int
    tensor: int
    pipeline: int

    def __post_init__(self) -> None:
        """Refuse numbers of chips that this torus does not have, or whose rings would be long."""
        size = f"a torus of {self.columns}x{self.rows}"
        if self.tensor * self.pipeline != self.columns * self.rows:
            raise SplitError(
                f"tensor-parallel times pipeline-parallel must be the {self.columns * self.rows} chips "
                f"of {size}, not {self.tensor} times {self.pipeline}"
            )
        possible = sorted({1, self.columns, self.rows, self.columns * self.rows})
        if self.tensor not in possible:
            raise SplitError(
                f"tensor-parallel must be one, a row, a column or all of {size}: one of "
                f"{', '.join(map(str, possible))}, not {self.tensor}"
            )

    @property
    def chips(self) -> list[Chip]:
        """The chips of each stage by rank, one stage after the other."""
        if self.tensor in (1, self.columns * self.rows):
            return round_trip(self.columns, self.rows)
        if self.tensor == self.columns:
            return [(x, y) for y in range(self.rows) for x in range(self.columns)]
        return [(x, y) for x in range(self.columns) for y in range(self.rows)]

    def rings(self) -> dict[Ring, dict[Chip, Chip]]:
        """Return the next chip of each chip in the rings that programs use."""
        chips, trip = self.chips, round_trip(self.columns, self.rows)
        stages = [chips[i:i + self.tensor] for i in range(0, len(chips), self.tensor)]

        def closed(order: list[Chip]) -> dict[Chip, Chip]:
            return dict(itertools.pairwise([*order, order[0]]))

        return {
            Ring.TORUS: closed(trip),
            Ring.ROW: {chip: after for stage in stages for chip, after in closed(stage).items()},
            # The chips that make tokens, and those that take them back.
            Ring.COLUMN: closed(stages[-1] + (stages[0] if len(stages) > 1 else [])),
            Ring.PIPE: {chip: after for rank in range(self.tensor)
                        for chip, after in closed([stage[rank] for stage in stages]).items()},
        }  # fmt: skip
