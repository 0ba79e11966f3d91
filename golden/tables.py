"""Every lookup table of the specification (docs/numerics.md), each made by one expression.

Floats appear here only, to make the constants; the steps read int64 entries.
"""

import numpy as np

from golden.integer import IntArray


def _rounded(values: np.ndarray) -> IntArray:
    """Round to the nearest integer, half up (no table entry is near a tie)."""
    return np.floor(values + 0.5).astype(np.int64)


#: Section 3, index m - 9 for m = 9..16: 127 / m with 11 fraction bits.
RECIPROCAL = _rounded(127 * 2048 / np.arange(9, 17))

#: Section 5, index U >> 11 (only 8..31 occur; 0..7 are filled with 0): 2^22 / sqrt(U) at the
#: middle of the interval.
RSQRT = np.concatenate(
    [np.zeros(8, np.int64), _rounded(2**22 / np.sqrt((np.arange(8, 32) + 0.5) * 2**11))]
)

#: Section 6, index is the fraction of the distance to the largest score in 1/64: 127 * 2^-f with
#: 8 fraction bits.
EXP2 = _rounded(127 * 256 * 2.0 ** (-np.arange(64) / 64))

#: Section 6, index is the sum of probabilities without its leading one, 8 bits: mantissa of 1/S.
RECIP = np.minimum(255, _rounded(65536 / (np.arange(256) + 256.5)))

#: Section 7, index |g| in eighths: relu(x) - silu(x) = x / (1 + e^x) with 14 fraction bits. The
#: last entry is 0 so that the interpolation ends where the table does.
SILU = np.append(_rounded(2**14 * (x := np.arange(128) / 8) / (1 + np.exp(x))), 0)

#: Section 8, `T` there: log2(1 + i/32) with 16 fraction bits, i = 0..32.
LOG2 = _rounded(65536 * np.log2(1 + np.arange(33) / 32))
