"""Integer primitives of the specification (docs/numerics.md, section 1).

Every function works on int64 arrays of any shape; widths are those of the specification, so no
intermediate leaves 64 bits. Nothing here, or anywhere on the bit-exact path, uses a float.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]

INT8_MAX = 127  #: matmul operands are symmetric: -128 never occurs
RESIDUAL_BITS = 24
LOGIT_BITS = 32


#: 2^0 .. 2^62: a number's bit length is how many of them do not exceed it.
_POWERS = np.left_shift(np.int64(1), np.arange(63))

#: Half of 2^s, by s = 0..63: what rounding half up adds before a shift.
_HALF = np.append(np.int64(0), _POWERS)


def int64(x: ArrayLike) -> IntArray:
    """Return x as an int64 array; refuse anything that is not made of integers."""
    array = np.asarray(x)
    if array.dtype == np.int64:
        return array
    if array.dtype.kind not in "iub":
        raise TypeError(f"x must hold integers, not {array.dtype}")
    return array.astype(np.int64)


def clamp(x: ArrayLike, low: int, high: int) -> IntArray:
    """Limit x to [low, high] without counting."""
    return np.minimum(np.maximum(int64(x), low), high)


def round_shift(x: ArrayLike, shift: ArrayLike) -> IntArray:
    """Divide x by 2^shift, rounding half up: (x + 2^(shift-1)) >> shift; shift is 0..63."""
    shift = int64(shift)
    return (int64(x) + _HALF[shift]) >> shift


def shift_left_or_right(x: ArrayLike, left: ArrayLike) -> IntArray:
    """Shift x left by `left` bits, or right (rounding down) where `left` is negative."""
    x, left = int64(x), int64(left)
    return (x << np.maximum(left, 0)) >> np.maximum(-left, 0)


def clip_counted(x: ArrayLike, low: int, high: int) -> tuple[IntArray, int]:
    """Limit x to [low, high]; return the result and the number of values that changed."""
    x = int64(x)
    clipped = clamp(x, low, high)
    return clipped, int(np.count_nonzero(clipped != x))


def saturate(x: ArrayLike, bits: int) -> tuple[IntArray, int]:
    """Limit x to a signed word of `bits` bits; return the result and the number clipped."""
    return clip_counted(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def saturate_int8(x: ArrayLike) -> tuple[IntArray, int]:
    """Limit x to a matmul operand, -127..127; return the result and the number clipped."""
    return clip_counted(x, -INT8_MAX, INT8_MAX)


def bit_length(x: ArrayLike) -> IntArray:
    """Count the bits of x, 0 <= x < 2^63; 0 has none."""
    return np.searchsorted(_POWERS, int64(x), side="right")
