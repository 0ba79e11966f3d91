"""SwiGLU and the grouping of hidden channels (docs/numerics.md, section 7)."""

import numpy as np
from numpy.typing import ArrayLike

from golden.integer import IntArray, int64, round_shift
from golden.tables import SILU

GATE_FRACTION_BITS = 10


def silu(gate: ArrayLike) -> IntArray:
    """Compute silu of int16 values with 10 fraction bits: relu minus a table's bump."""
    gate = int64(gate)
    magnitude = np.minimum(np.abs(gate), 32767)
    index, fraction = magnitude >> 7, magnitude & 127
    inside = index < 128
    left, right = SILU[np.where(inside, index, 0)], SILU[np.where(inside, index + 1, 0)]
    bump = np.where(inside, left + (((right - left) * fraction + 64) >> 7), 0)
    return np.maximum(gate, 0) - round_shift(bump, 4)


def swiglu(gate: ArrayLike, up: ArrayLike) -> IntArray:
    """Multiply silu(gate) by up, both int16, exactly in 32 bits."""
    return silu(gate) * int64(up)


def group_bounds(hidden: int, groups: int) -> tuple[tuple[int, int], ...]:
    """Cut `hidden` channels into groups of ceil(hidden / groups); return (start, stop) of each."""
    size = -(-hidden // groups)
    return tuple((g * size, min((g + 1) * size, hidden)) for g in range(groups))
