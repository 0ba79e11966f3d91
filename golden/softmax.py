"""Softmax of fixed-point scores, not normalized before P.V (docs/numerics.md, section 6)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from golden.integer import IntArray, bit_length, int64, round_shift, shift_left_or_right
from golden.requantizer import RowScale
from golden.tables import EXP2, RECIP


@dataclass(frozen=True)
class SoftmaxResult:
    """Unnormalized probabilities and the row scale worth 1 / their sum."""

    p: IntArray  #: [..., positions], 0..127; the largest score has 127
    total: IntArray  #: [...], sum of p
    scale: RowScale
    maximum: IntArray  #: [...], largest score


def reciprocal_scale(total: ArrayLike) -> RowScale:
    """Return the row scale worth 1 / total, total >= 1."""
    total = int64(total)
    bits = bit_length(total)
    index = shift_left_or_right(total, 9 - bits)
    return RowScale(RECIP[index - 256], -7 - bits)


def softmax(scores: ArrayLike, visible: ArrayLike | None = None) -> SoftmaxResult:
    """Exponentiate scores [..., positions] (int16, log2 units, 6 fraction bits).

    `visible` is False where a position is masked; each row needs at least one visible position.
    """
    scores = int64(scores)
    shown = np.ones(scores.shape, bool) if visible is None else np.asarray(visible, bool)
    maximum = np.max(np.where(shown, scores, -(2**15)), axis=-1)
    distance = maximum[..., None] - scores
    whole = distance >> 6
    counts = shown & (whole < 8)
    p = np.where(counts, round_shift(EXP2[distance & 63], 8 + np.where(counts, whole, 0)), 0)
    total = np.sum(p, axis=-1)
    return SoftmaxResult(p=p, total=total, scale=reciprocal_scale(total), maximum=maximum)
