"""Dynamic quantization of a vector to int8 (docs/numerics.md, section 3)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from golden.integer import IntArray, bit_length, clamp, int64, round_shift, saturate_int8
from golden.requantizer import RowScale
from golden.tables import RECIPROCAL

AMAX_LIMIT = 2**31 - 1
KEY_E_MIN = 5  #: keeps the shift of a key's multiplier from going negative


@dataclass(frozen=True)
class QuantizedVector:
    """Vectors [..., n] in int8, worth q * m * 2^(e - 4) / 127, and what led to them."""

    q: IntArray  #: [..., n], -127..127
    m: IntArray  #: [...], 9..16
    e: IntArray  #: [...], bits of the largest magnitude
    xn: IntArray  #: [..., n], the input shifted to 16 bits, +-32767
    amax: IntArray  #: [...], largest magnitude of the input

    @property
    def scale(self) -> RowScale:
        """Row scale (16 m, e - 8), for m = 16 (128, e - 7); the 1/127 is the consumer's."""
        full = self.m == 16
        return RowScale(np.where(full, 128, 16 * self.m), np.where(full, self.e - 7, self.e - 8))

    @property
    def key_multiplier(self) -> IntArray:
        """Multiplier of a key [...], 16 bits: k = q * multiplier * 2 / 127 (needs e >= 5)."""
        return self.m << (self.e - 5)


def quantize_vector(x: ArrayLike, e_min: int = 0) -> QuantizedVector:
    """Quantize each vector of x [..., n] (int32) by its own largest magnitude."""
    x = int64(x)
    amax = np.minimum(np.max(np.abs(x), axis=-1), AMAX_LIMIT)
    e = np.maximum(bit_length(amax), e_min)
    wide, narrow = np.maximum(e - 15, 0)[..., None], np.maximum(15 - e, 0)[..., None]
    xn = clamp(round_shift(x << narrow, wide), -32767, 32767)
    an = clamp(round_shift(amax << narrow[..., 0], wide[..., 0]), 0, 32767)
    m = np.maximum((an >> 11) + 1, 9)
    q, _ = saturate_int8(round_shift(xn * RECIPROCAL[m - 9][..., None], 22))
    return QuantizedVector(q=q, m=m, e=e, xn=xn, amax=amax)


def quantize_key(x: ArrayLike) -> QuantizedVector:
    """Quantize keys [..., head_dim]; their scale is read as `key_multiplier`."""
    return quantize_vector(x, e_min=KEY_E_MIN)
