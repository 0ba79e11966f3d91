"""The drain of a matrix product (docs/numerics.md, section 2)."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from golden.integer import (
    LOGIT_BITS,
    RESIDUAL_BITS,
    IntArray,
    clamp,
    int64,
    round_shift,
    saturate,
    saturate_int8,
)

SHIFT_MAX = 63
#: Bits of multiplier times mantissa that are rounded away.
SCALE_SHIFT = 8


class Destination(Enum):
    """What a drained value becomes."""

    INT8 = "int8"  #: operand of the next matmul, -127..127
    INT16 = "int16"  #: q, k, gate, up, scores
    RESIDUAL = "residual"  #: 24 bits, summed in the residual stream by `add_to_residual`
    LOGIT = "logit"  #: 32 bits


@dataclass(frozen=True)
class RowScale:
    """Scale of each vector of a batch, worth mantissa * 2^exponent.

    Both are arrays of the batch's shape: mantissa 128..255, exponent signed 8 bits.
    """

    mantissa: IntArray
    exponent: IntArray


#: The row scale worth 1.
ONE = RowScale(np.int64(128) + np.zeros((), np.int64), np.int64(-7) + np.zeros((), np.int64))


def requantize(acc: ArrayLike, multiplier: ArrayLike, shift: int, scale: RowScale) -> IntArray:
    """Scale accumulators [..., N] by multiplier [N] (or [..., N]) and a row scale [...].

    Not saturated. The product has 32 + 16 bits at most.
    """
    channel = round_shift(int64(multiplier) * int64(scale.mantissa)[..., None], SCALE_SHIFT)
    right = clamp(shift - int64(scale.exponent) - SCALE_SHIFT, 0, SHIFT_MAX)
    return round_shift(int64(acc) * channel, right[..., None])


def drain(
    acc: ArrayLike, multiplier: ArrayLike, shift: int, scale: RowScale, destination: Destination
) -> tuple[IntArray, int]:
    """Requantize and saturate to the destination; return values [..., N] and the number clipped."""
    y = requantize(acc, multiplier, shift, scale)
    match destination:
        case Destination.INT8:
            return saturate_int8(y)
        case Destination.INT16:
            return saturate(y, 16)
        case Destination.RESIDUAL:
            return saturate(y, RESIDUAL_BITS)
        case Destination.LOGIT:
            return saturate(y, LOGIT_BITS)


def add_to_residual(residual: ArrayLike, y: ArrayLike) -> IntArray:
    """Add drained values (24 bits) to the residual, modulo 2^32: exact in any order."""
    return int64((int64(residual) + int64(y)).astype(np.int32))
