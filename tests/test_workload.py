"""Useful work, counted from the shapes of the arrays that the float reference multiplies."""

from collections.abc import Iterator

import numpy as np
import pytest

from compiler.workload import attention_macs, generation_macs, linear_macs, useful_macs
from golden.model import LlamaShape, LlamaWeights, random_weights

GROUPED = LlamaShape(
    dim=12, hidden=20, layers=3, heads=4, kv_heads=2, head_dim=6, vocab=37, context=16
)
MULTI_HEAD = LlamaShape(
    dim=10, hidden=7, layers=1, heads=5, kv_heads=5, head_dim=2, vocab=9, context=8, tied=False
)


def matrices(weights: LlamaWeights) -> Iterator[np.ndarray]:
    """Yield each matrix that every token passes."""
    for name, array in weights.named_arrays():
        if array.ndim == 2 and name not in ("embedding", "lm_head"):
            yield array


@pytest.mark.parametrize("shape", [GROUPED, MULTI_HEAD])
def test_linear_layers_are_their_weights(shape: LlamaShape) -> None:
    assert linear_macs(shape) == sum(array.size for array in matrices(random_weights(shape, 1)))


@pytest.mark.parametrize("shape", [GROUPED, MULTI_HEAD])
def test_attention_reads_each_position_of_each_head_twice(shape: LlamaShape) -> None:
    for position in range(4):
        queries = np.ones((shape.layers, shape.heads, shape.head_dim), int)
        keys = np.ones((position + 1, shape.head_dim), int)
        scores = np.einsum("lhd,pd->lhp", queries, keys)
        values = np.einsum("lhp,pd->lhd", np.ones_like(scores), keys)
        # Of ones, a dot product is its number of terms.
        assert attention_macs(shape, position) == scores.sum() + values.sum()


@pytest.mark.parametrize("shape", [GROUPED, MULTI_HEAD])
def test_a_block_is_the_sum_of_its_tokens(shape: LlamaShape) -> None:
    one_by_one = sum(useful_macs(shape, position, 1, False) for position in range(2, 7))
    assert useful_macs(shape, 2, 5, False) == one_by_one
    assert useful_macs(shape, 2, 5, True) == one_by_one + shape.vocab * shape.dim


def test_generation() -> None:
    """The prompt counts with the first token; the last token is drawn but never run."""
    macs = generation_macs(GROUPED, 3, 4)
    assert macs[0] == useful_macs(GROUPED, 0, 3, True)
    assert macs[1:] == [useful_macs(GROUPED, position, 1, True) for position in (3, 4, 5)]
    assert generation_macs(GROUPED, 3, 0) == []


def test_known_answer() -> None:
    """A layer by hand: q 1x2, k and v 1x2, o 2x1, FFN 3 x 1x3; one position; 5 logits."""
    shape = LlamaShape(
        dim=1, hidden=3, layers=1, heads=1, kv_heads=1, head_dim=2, vocab=5, context=4
    )
    assert useful_macs(shape, 0, 1, True) == 2 + 2 + 2 + 2 + 9 + 4 + 5


def test_refusals() -> None:
    with pytest.raises(ValueError, match="first_position must be at least 0, not -1"):
        useful_macs(GROUPED, -1, 1, True)
    with pytest.raises(ValueError, match="rows must be at least 1, not 0"):
        useful_macs(GROUPED, 0, 0, True)
