"""What collective operations make of the chips' numbers: the same in any order (docs/collective.md)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from golden.integer import IntArray, int64

#: A chip's offer to `choose`: noisy logit and token, or nothing.
Candidate = tuple[int, int] | None


def all_reduce(parts: Sequence[ArrayLike], *, maximum: bool = False) -> IntArray:
    """Return what every chip has afterwards: sums modulo 2^32, or the largest of signed numbers."""
    numbers = np.stack([int64(part) for part in parts])
    if maximum:
        return int64(numbers.max(0))
    return int64(numbers.sum(0).astype(np.int32))


def all_gather(parts: Sequence[ArrayLike], bounds: Sequence[int]) -> IntArray:
    """Return rows [..., beat, lane] made of the chips' own chunks: part i from bounds[i] on."""
    return np.concatenate(
        [int64(part)[..., bounds[i] : bounds[i + 1], :] for i, part in enumerate(parts)], axis=-2
    )


def choose(candidates: Sequence[Candidate]) -> int | None:
    """Return the token of the largest noisy logit, of equal ones the lowest; None if there is none."""
    offered = [candidate for candidate in candidates if candidate is not None]
    return min(offered, key=lambda each: (-each[0], each[1]))[1] if offered else None
