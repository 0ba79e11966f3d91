"""Rotary position embedding (docs/numerics.md, section 6)."""

import numpy as np
from numpy.typing import ArrayLike

from golden.integer import IntArray, int64, round_shift

FRACTION_BITS = 14  #: of the sine and cosine tables, int16


def rope(x: ArrayLike, cos: ArrayLike, sin: ArrayLike) -> IntArray:
    """Rotate the adjacent pairs of x [..., head_dim] (int16) by angles [..., head_dim / 2].

    The result has up to 17 bits and is not saturated.
    """
    x, cos, sin = int64(x), int64(cos), int64(sin)
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = np.empty(np.broadcast_shapes(x.shape, (*cos.shape[:-1], x.shape[-1])), np.int64)
    rotated[..., 0::2] = round_shift(even * cos - odd * sin, FRACTION_BITS)
    rotated[..., 1::2] = round_shift(odd * cos + even * sin, FRACTION_BITS)
    return rotated
