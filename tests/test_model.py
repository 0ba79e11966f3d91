"""Shapes and weight containers: what they refuse, derive and draw."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from golden.model import LlamaShape, LlamaWeights, layer_shapes, random_weights

SIZES: dict[str, Any] = {
    "dim": 12,
    "hidden": 20,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 6,
    "vocab": 17,
    "context": 16,
}


def test_derived_sizes() -> None:
    """Sizes follow from the fields; head_dim need not be dim / heads."""
    shape = LlamaShape(**SIZES)
    assert (shape.q_dim, shape.kv_dim, shape.heads_per_kv) == (24, 12, 2)
    assert shape.tied
    assert shape.rope_theta == 10000.0


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_count_every_array(tied: bool) -> None:
    """The count is what the arrays hold; a tied classifier counts once."""
    weights = random_weights(LlamaShape(**SIZES, tied=tied), seed=1)
    held = {id(array): array.size for _, array in weights.named_arrays()}
    assert weights.shape.parameters == sum(held.values())


@pytest.mark.parametrize(
    "field", ["dim", "hidden", "layers", "heads", "kv_heads", "head_dim", "vocab", "context"]
)
@pytest.mark.parametrize("value", [0, -4, 2.0, True, "8"])
def test_sizes_must_be_positive_integers(field: str, value: object) -> None:
    """No size may be zero, negative or anything but an integer."""
    with pytest.raises(ValueError, match=f"{field} must be a positive integer, not {value!r}"):
        LlamaShape(**{**SIZES, field: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, r"heads must be a multiple of kv_heads \(2\), not 3"),
        ({"head_dim": 5}, "head_dim must be even for rotary embedding, not 5"),
        ({"rope_theta": 1.0}, "rope_theta must be a finite number above 1, not 1.0"),
        ({"rope_theta": float("inf")}, "rope_theta must be a finite number above 1, not inf"),
        ({"norm_eps": 0.0}, "norm_eps must be a finite positive number, not 0.0"),
        ({"norm_eps": float("nan")}, "norm_eps must be a finite positive number, not nan"),
        ({"tied": 1}, "tied must be True or False, not 1"),
    ],
)
def test_refused_shapes(change: dict[str, Any], message: str) -> None:
    """Fields that do not fit each other are refused."""
    with pytest.raises(ValueError, match=message):
        LlamaShape(**{**SIZES, **change})


def test_random_weights_repeat_and_differ() -> None:
    """One seed gives one model, another seed another."""
    shape = LlamaShape(**SIZES, tied=False)
    first, again, other = (random_weights(shape, seed) for seed in (3, 3, 4))
    for (name, a), (_, b), (_, c) in zip(
        first.named_arrays(), again.named_arrays(), other.named_arrays(), strict=True
    ):
        assert np.array_equal(a, b), name
        assert not np.array_equal(a, c), name


def test_random_weights_keep_their_scale() -> None:
    """Matrices have deviation 1 / sqrt(inputs), gains lie around one."""
    shape = LlamaShape(**{**SIZES, "dim": 256, "hidden": 512, "vocab": 300})
    weights = random_weights(shape, seed=5)
    layer = weights.layers[0]
    for field, size in layer_shapes(shape).items():
        array = getattr(layer, field)
        if len(size) == 2:
            assert np.std(array) * np.sqrt(size[1]) == pytest.approx(1, abs=0.05), field
        else:
            assert np.mean(array) == pytest.approx(1, abs=0.05), field
            assert np.std(array) > 0.05, field
    assert np.std(weights.embedding) == pytest.approx(0.5, abs=0.02)
    assert weights.lm_head is weights.embedding


def replaced(weights: LlamaWeights, **changes: Any) -> LlamaWeights:
    """Build the weights anew with some fields changed."""
    return dataclasses.replace(weights, **changes)


def test_refused_weights() -> None:
    """Arrays must agree with the shape, in number, size, type and identity."""
    weights = random_weights(LlamaShape(**SIZES), seed=6)
    with pytest.raises(ValueError, match="layers must hold 2 entries, not 1"):
        replaced(weights, layers=weights.layers[:1])
    with pytest.raises(ValueError, match=r"final_norm must be of shape \(12,\), not \(11,\)"):
        replaced(weights, final_norm=weights.final_norm[:-1])
    transposed = dataclasses.replace(weights.layers[1], w_up=weights.layers[1].w_up.T)
    with pytest.raises(ValueError, match=r"layer1.w_up must be of shape \(20, 12\), not \(12"):
        replaced(weights, layers=(weights.layers[0], transposed))
    with pytest.raises(ValueError, match="embedding must be float32, not 'float64'"):
        replaced(weights, embedding=weights.embedding.astype(np.float64))
    with pytest.raises(ValueError, match="lm_head must be the embedding array when tied"):
        replaced(weights, lm_head=weights.embedding.copy())
