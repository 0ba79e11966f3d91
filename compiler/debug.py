"""Where a program leaves the intermediates that the golden model's trace names."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

#: Formats: plain numbers, and the two halves of a row scale.
FORMATS = {
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "uint16": np.uint16,
    "mantissa": np.uint16, "exponent": np.uint16,
}  # fmt: skip

#: Count of an axis that covers the positions so far.
POSITIONS = -1


@dataclass(frozen=True, kw_only=True)
class DebugPoint:
    """One intermediate (or a part of it) in a memory.

    It is complete once the instruction at `pc` was issued and both units are idle, as they are when
    the chip pauses at a breakpoint on `pc + 1`, which is always executed next. With
    `per_layer`, that instruction runs once per layer of a block, the n-th time for layer n, and the
    trace's name is `layerN.<name>`. Addresses count elements: lane l of beat b is `b * lanes + l`,
    element r of word w is `w * rows + r`. Element [t, i, j] of the part (t: row of the block) is at
    `base + layer * layer_stride + position * position_stride + t * row_stride + i * axes[0][1] +
    j * axes[1][1]`. The part is `trace[name][:, part[0]:part[1]]`.
    """

    name: str
    pc: int
    memory: str
    format: str
    base: int
    row_stride: int
    axes: tuple[tuple[int, int], ...]  #: (count, stride) of each axis after the rows
    per_layer: bool = True
    layer_stride: int = 0
    position_stride: int = 0
    part: tuple[int, int] | None = None
    last_row: bool = False  #: only the block's last row, as the trace's row -1

    def trace_name(self, layer: int) -> str:
        """Return the golden trace's name."""
        return f"layer{layer}.{self.name}" if self.per_layer else self.name

    def addresses(self, rows: int, position: int, layer: int = 0) -> NDArray[np.int64]:
        """Return element addresses [rows, ...] for a block of rows whose first is at position."""
        rows_here = 1 if self.last_row else rows
        start = self.base + layer * self.layer_stride + position * self.position_stride
        result = start + np.arange(rows_here, dtype=np.int64) * self.row_stride
        for count, stride in self.axes:
            length = position + rows if count == POSITIONS else count
            result = result[..., None] + np.arange(length, dtype=np.int64) * stride
        return result

    def read(
        self, memories: Mapping[str, NDArray], rows: int, position: int, layer: int = 0
    ) -> NDArray[np.int64]:
        """Read the intermediate from flat arrays of elements in each memory's own format."""
        values = memories[self.memory].reshape(-1)[self.addresses(rows, position, layer)]
        values = values.astype(np.int64)
        if self.format == "mantissa":
            return values & 0xFF
        if self.format == "exponent":
            return ((values >> 8) ^ 0x80) - 0x80
        return values

    def expected(self, trace: Mapping[str, NDArray], layer: int = 0) -> NDArray[np.int64]:
        """Return the same part of a golden trace."""
        values = np.asarray(trace[self.trace_name(layer)])
        if self.last_row:
            values = values[-1:]
        if self.part is not None:
            values = values[:, self.part[0] : self.part[1]]
        return values.astype(np.int64)

    def as_dict(self) -> dict[str, object]:
        """Return JSON-ready fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> "DebugPoint":
        """Make a point from `as_dict` after a trip through JSON."""
        values = dict(fields)
        values["axes"] = tuple(tuple(axis) for axis in values["axes"])  # type: ignore[attr-defined]
        if values["part"] is not None:
            values["part"] = tuple(values["part"])  # type: ignore[arg-type]
        return cls(**values)  # type: ignore[arg-type]
