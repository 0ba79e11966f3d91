"""RMSNorm without its gains (docs/numerics.md, section 5).

The int8 vector does not depend on the sum of squares: only the row scale does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from golden.integer import IntArray, bit_length, int64, round_shift, shift_left_or_right
from golden.quantizer import QuantizedVector, quantize_vector
from golden.requantizer import RowScale
from golden.tables import RSQRT

SUM_LIMIT = 2**48 - 1


@dataclass(frozen=True)
class ReciprocalRoot:
    """1 / sqrt(sum) = y * 2^(-22 - j), one value per vector."""

    u: IntArray  #: sum / 4^j, 2^14..2^16 - 1
    j: IntArray
    y0: IntArray  #: table entry
    y: IntArray  #: after one Newton step


@dataclass(frozen=True)
class NormalizedVector:
    """Vectors [..., dim]: x / rms(x) = q * scale * sqrt(dim) / 127, and what led to them."""

    q: IntArray  #: [..., dim], -127..127
    scale: RowScale
    quantized: QuantizedVector  #: the vector before normalization
    sum_squares: IntArray  #: [...], of the 16-bit vector, with epsilon, 48 bits
    root: ReciprocalRoot


def reciprocal_root(total: ArrayLike) -> ReciprocalRoot:
    """Compute 1/sqrt of sums of 48 bits; 0 counts as 1."""
    total = np.maximum(int64(total), 1)
    j = (bit_length(total) - 15) >> 1
    u = shift_left_or_right(total, -2 * j)
    y0 = RSQRT[u >> 11]
    t = u * ((y0 * y0) >> 15)
    y = (y0 * ((3 * 2**29 - t) >> 14)) >> 16
    return ReciprocalRoot(u=u, j=j, y0=y0, y=y)


def rms_norm(x: ArrayLike, epsilon: int) -> NormalizedVector:
    """Normalize residual vectors x [..., dim] (int32).

    `epsilon` is norm_eps * dim in squared residual units, 32 bits.
    """
    quantized = quantize_vector(x)
    # The sum is of the normalized 16-bit vector, so epsilon moves to its units.
    moved = shift_left_or_right(np.int64(epsilon), 2 * (15 - quantized.e))
    sum_squares = np.minimum(np.sum(quantized.xn**2, axis=-1) + moved, SUM_LIMIT)
    root = reciprocal_root(sum_squares)
    product = quantized.m * root.y
    bits = bit_length(product)
    mantissa, exponent = round_shift(product, bits - 8), bits - 19 - root.j
    carry = mantissa == 256
    scale = RowScale(np.where(carry, 128, mantissa), exponent + carry)
    return NormalizedVector(
        q=quantized.q, scale=scale, quantized=quantized, sum_squares=sum_squares, root=root
    )
