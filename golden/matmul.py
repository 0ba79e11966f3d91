"""Exact products of int8 matrices (docs/numerics.md, section 2), fast through float BLAS.

A float32 sum of integers is exact in any order while no partial sum can reach 2^24. Operands are
at most 127 in magnitude, so 1040 terms are safe; longer sums are cut into pieces of that many terms
that are added as integers.
"""

import numpy as np
from numpy.typing import NDArray

from golden.integer import INT8_MAX, IntArray

FloatArray = NDArray[np.float32]

#: Largest number of terms that float32 adds exactly.
EXACT_TERMS = (2**24 - 1) // INT8_MAX**2


def int8_matmul(a: FloatArray, b: FloatArray) -> IntArray:
    """Multiply stacks of matrices a [..., M, K] and b [..., K, N] that hold integers of +-127."""
    terms = a.shape[-1]
    acc = np.matmul(a[..., :EXACT_TERMS], b[..., :EXACT_TERMS, :]).astype(np.int64)
    for start in range(EXACT_TERMS, terms, EXACT_TERMS):
        piece = slice(start, start + EXACT_TERMS)
        acc += np.matmul(a[..., piece], b[..., piece, :]).astype(np.int64)
    return acc


class Int8Weights:
    """The int8 weights [N, K] of a matmul, ready for exact products with int8 vectors."""

    def __init__(self, weight: NDArray[np.int8]) -> None:
        if weight.dtype != np.int8 or np.any(weight == -128):
            raise ValueError("weight must be int8 within -127..127")
        self._columns = weight.astype(np.float32).T  # a view, so each row of weights is contiguous

    def __call__(self, x: IntArray) -> IntArray:
        """Return accumulators [T, N] of vectors x [T, K] within -127..127."""
        return int8_matmul(x.astype(np.float32), self._columns)
