"""The quantizer: what the integers stand for, headroom, sharing of tied weights, refusals."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from compiler.calibrate import calibrate, sample_tokens
from compiler.quantize import QuantizeError, quantize
from golden.float_reference import FloatLlama, rope_tables
from golden.llama import GoldenLlama, embed
from golden.model import LlamaShape, LlamaWeights, random_weights
from golden.quantized import QuantizedLlama, QuantizedMatrix

SHAPE = LlamaShape(
    dim=48, hidden=90, layers=2, heads=6, kv_heads=3, head_dim=8, vocab=70, context=64, tied=True
)
TEXT = np.random.default_rng(7).integers(0, 70, 100).tolist()


@pytest.fixture(scope="module")
def weights() -> LlamaWeights:
    """Make a small tied model."""
    return random_weights(SHAPE, seed=3)


@pytest.fixture(scope="module")
def quantized(weights: LlamaWeights) -> QuantizedLlama:
    """Quantize it with given text."""
    return quantize(weights, TEXT)


def change(weights: LlamaWeights, **arrays: Any) -> LlamaWeights:
    """Replace top-level arrays; lm_head follows a tied embedding."""
    if "embedding" in arrays and weights.shape.tied:
        arrays["lm_head"] = arrays["embedding"]
    return dataclasses.replace(weights, **arrays)


def change_layer(weights: LlamaWeights, **arrays: np.ndarray) -> LlamaWeights:
    """Replace arrays of the first layer."""
    first = dataclasses.replace(weights.layers[0], **arrays)
    return dataclasses.replace(weights, layers=(first, *weights.layers[1:]))


def minimal(**sizes: int) -> LlamaWeights:
    """Make a model of two channels with one dimension changed."""
    base: dict[str, Any] = {"dim": 2, "hidden": 2, "heads": 1, "vocab": 3, "context": 4} | sizes
    return random_weights(LlamaShape(layers=1, kv_heads=1, head_dim=2, **base), seed=0)


def real(matrix: QuantizedMatrix) -> np.ndarray:
    """Return the real matrix that integers and drain compute."""
    return matrix.weight * (matrix.multiplier * 2.0**-matrix.shift)[:, None]


def test_same_input_same_integers(weights: LlamaWeights) -> None:
    first, second = quantize(weights), quantize(weights)
    assert first.layers[1].score_shift == second.layers[1].score_shift
    for (_, a), (_, b) in zip(first.layers[1].matrices(), second.layers[1].matrices(), strict=True):
        assert np.array_equal(a.weight, b.weight)
        assert np.array_equal(a.multiplier, b.multiplier)
    assert sample_tokens(weights) == sample_tokens(weights)
    assert [sequence[0] for sequence in sample_tokens(weights)] == [0, 1, 0, 1]


def test_multipliers_are_normalized_and_rows_use_the_range(quantized: QuantizedLlama) -> None:
    for layer in quantized.layers:
        for name, matrix in layer.matrices():
            assert 2**15 <= matrix.multiplier.max() <= 2**16 - 1, name
            assert np.all(np.max(np.abs(matrix.weight), axis=1) == 127), name
            assert 8 <= matrix.shift <= 48, name
        assert 2**15 <= layer.attention_multiplier.max() <= 2**16 - 1


def test_folded_weights_by_their_definition(
    weights: LlamaWeights, quantized: QuantizedLlama
) -> None:
    layer, floats = quantized.layers[0], weights.layers[0]
    into_norm = math.sqrt(48) / 127
    # gate: 10 fraction bits from q * rowscale * sqrt(dim) / 127
    expected = floats.w_gate * floats.ffn_norm * into_norm * 1024
    step = np.max(np.abs(expected), axis=1, keepdims=True) / 127
    assert np.max(np.abs(real(layer.w_gate) - expected) / step) < 0.51
    # logits: 16 fraction bits; the row's step is rounded up to 8 bits
    expected = weights.embedding * weights.final_norm * into_norm * 65536
    step = np.max(np.abs(expected), axis=1, keepdims=True) / 127
    assert np.max(np.abs(real(quantized.lm_head) - expected) / step) < 0.52


def test_rows_of_queries_and_keys_are_in_adjacent_pairs(
    weights: LlamaWeights, quantized: QuantizedLlama
) -> None:
    folded = weights.layers[0].wk * weights.layers[0].attention_norm
    for new, old in enumerate([0, 4, 1, 5, 2, 6, 3, 7]):  # a head of 8: halves interleaved
        for head in range(3):
            row = real(quantized.layers[0].wk)[8 * head + new]
            assert np.corrcoef(row, folded[8 * head + old])[0, 1] > 0.999


def test_score_scale(weights: LlamaWeights, quantized: QuantizedLlama) -> None:
    # (c_q q)(c_k k) * 127^2 / 2 * 2^-shift = 64 log2(e) / sqrt(head_dim) * q k, for every head
    layer, floats = quantized.layers[1], weights.layers[1]
    norm = math.sqrt(48) / 127
    pairs = [0, 4, 1, 5, 2, 6, 3, 7]

    def scales(matrix: QuantizedMatrix, weight: np.ndarray) -> np.ndarray:
        folded = (weight * floats.attention_norm).reshape(-1, 8, 48)[:, pairs] * norm
        whole = real(matrix).reshape(folded.shape)
        return np.sum(whole * folded, axis=(1, 2)) / np.sum(folded**2, axis=(1, 2))

    c_q, c_k = scales(layer.wq, floats.wq), scales(layer.wk, floats.wk)
    got = c_q * np.repeat(c_k, 2) * 127**2 / 2 * 2.0**-layer.score_shift
    assert got == pytest.approx(64 * math.log2(math.e) / math.sqrt(8), rel=3e-3)


def test_calibrated_values_keep_their_headroom(
    weights: LlamaWeights, quantized: QuantizedLlama
) -> None:
    golden = GoldenLlama(quantized)
    for tokens in (TEXT[:64], TEXT[64:]):
        golden.reset()
        trace: dict[str, np.ndarray] = {}
        golden.step_block(tokens, trace)
        for layer in range(2):
            for name in ("q", "k", "up"):
                assert np.max(np.abs(trace[f"layer{layer}.{name}"])) < 9000
            assert np.max(np.abs(trace[f"layer{layer}.v"])) < 110
        assert np.max(np.abs(trace["layer1.residual"])) < 2**21 * 1.05
    assert golden.saturations == 0
    largest = max(np.max(np.abs(trace[f"layer1.{name}"])) for name in ("q", "k"))
    assert largest > 2000
    assert calibrate(weights, TEXT).residual * 2**quantized.residual_fraction_bits > 2**19


def test_shifts_are_not_clamped(quantized: QuantizedLlama) -> None:
    trace: dict[str, np.ndarray] = {}
    GoldenLlama(quantized).step_block(TEXT[:64], trace)
    for index, layer in enumerate(quantized.layers):
        for shift, exponent in (
            (layer.wq.shift, "attention_norm.exponent"),
            (layer.w_gate.shift, "ffn_norm.exponent"),
            (layer.score_shift, "q_exponent"),
            (layer.attention_shift, "attention_exponent"),
            (layer.w_down.shift, "hidden_exponent"),
        ):
            right = shift - trace[f"layer{index}.{exponent}"]
            assert right.min() >= 2, exponent
            assert right.max() <= 63, exponent


def test_tied_embedding_shares_its_weights(
    weights: LlamaWeights, quantized: QuantizedLlama
) -> None:
    assert quantized.shares_embedding
    assert quantized.embedding.weight is quantized.lm_head.weight
    check_embedding(weights, quantized)


def check_embedding(weights: LlamaWeights, quantized: QuantizedLlama) -> None:
    """Compare the integer embedding with the float one."""
    values, clipped = embed(quantized, np.arange(weights.shape.vocab))
    rows = weights.embedding
    error = values * 2.0**-quantized.residual_fraction_bits - rows
    assert clipped == 0
    assert np.std(error) < 0.01 * np.std(rows)


@pytest.mark.parametrize(
    "gain",
    [
        np.linspace(-0.1, 1, 48),
        np.linspace(0, 1, 48),
        np.geomspace(0.01, 1, 48),  # beyond a ratio of 64
    ],
)
def test_gains_that_cannot_be_undone_untie(weights: LlamaWeights, gain: np.ndarray) -> None:
    changed = change(weights, final_norm=gain.astype(np.float32))
    result = quantize(changed, TEXT)
    assert not result.shares_embedding
    check_embedding(changed, result)
    expected = FloatLlama(changed).forward(TEXT[:40])
    logits = GoldenLlama(result).step_block(TEXT[:40]) / 2**16
    assert np.std(logits - expected) < 0.06 * np.std(expected)


def test_untied_model_has_two_matrices() -> None:
    weights = random_weights(dataclasses.replace(SHAPE, tied=False), seed=3)
    result = quantize(weights, TEXT)
    assert not result.shares_embedding
    assert len(set(result.embedding.multiplier.tolist())) == 1
    check_embedding(weights, result)


def test_rope_tables(quantized: QuantizedLlama) -> None:
    cos, sin = rope_tables(SHAPE)
    assert quantized.rope_cos[0].tolist() == [16384] * 4
    assert quantized.rope_sin[0].tolist() == [0] * 4
    assert np.max(np.abs(quantized.rope_cos / 2**14 - cos)) < 2**-14
    assert np.max(np.abs(quantized.rope_sin / 2**14 - sin)) < 2**-14


def test_epsilon(quantized: QuantizedLlama) -> None:
    assert quantized.epsilon == round(1e-5 * 48 * 4**quantized.residual_fraction_bits)
    assert 0 < quantized.epsilon < 2**32


def test_large_epsilon_lowers_the_fraction_bits(weights: LlamaWeights) -> None:
    shape = dataclasses.replace(SHAPE, norm_eps=1.0)
    result = quantize(dataclasses.replace(weights, shape=shape), TEXT)
    assert result.residual_fraction_bits == 13  # 48 * 4^13 < 2^32 <= 48 * 4^14
    assert result.epsilon == 48 * 4**13


@pytest.mark.parametrize(
    ("hidden", "asked", "got"), [(90, 4, 4), (3, 4, 3), (9, 4, 3), (5, 4, 3), (90, 1, 1)]
)
def test_no_group_is_empty(hidden: int, asked: int, got: int) -> None:
    assert quantize(minimal(hidden=hidden), [0, 1, 2], ffn_groups=asked).ffn_groups == got


def test_zeros_are_representable(weights: LlamaWeights) -> None:
    embedding = weights.embedding.copy()
    embedding[5] = 0
    zero = {
        name: np.zeros_like(getattr(weights.layers[0], name))
        for name in ("wq", "wk", "wv", "wo", "w_gate", "w_up", "w_down")
    }
    dead = change_layer(change(weights, embedding=embedding), **zero)
    logits = GoldenLlama(quantize(dead, TEXT)).step_block([5, 1, 2]) / 2**16
    expected = FloatLlama(dead).forward([5, 1, 2])
    assert np.std(logits - expected) < 0.06 * np.std(expected)


def test_a_dead_head_does_not_cost_the_others(weights: LlamaWeights) -> None:
    wk = weights.layers[0].wk.copy()
    wk[:8] = 0
    changed = change_layer(weights, wk=wk)
    expected = FloatLlama(changed).forward(TEXT[:40])
    logits = GoldenLlama(quantize(changed, TEXT)).step_block(TEXT[:40]) / 2**16
    assert np.std(logits - expected) < 0.06 * np.std(expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(weights: LlamaWeights, value: float) -> None:
    w_up = weights.layers[0].w_up.copy()
    w_up[1, 2] = value
    with pytest.raises(QuantizeError, match=r"layer0\.w_up holds values that are not finite"):
        quantize(change_layer(weights, w_up=w_up))


def test_accumulators_that_could_overflow_are_refused() -> None:
    with pytest.raises(QuantizeError, match=r"hidden = 133145 products could overflow a 32-bit"):
        quantize(minimal(hidden=133145))
    assert 133144 * 127 * 127 < 2**31 <= 133145 * 127 * 127


def test_large_vocabularies_are_refused() -> None:
    with pytest.raises(QuantizeError, match="the vocabulary must be 65536 at most, not 65537"):
        quantize(minimal(vocab=65537))


def test_residuals_beyond_24_bits_are_refused(weights: LlamaWeights) -> None:
    loud = change(weights, embedding=weights.embedding * np.float32(1e8))
    with pytest.raises(QuantizeError, match=r"a residual of .* does not fit 24 bits"):
        quantize(loud, TEXT)


def test_scales_beyond_a_multiplier_are_refused(weights: LlamaWeights) -> None:
    w_gate = weights.layers[0].w_gate * np.float32(1e9)
    with pytest.raises(QuantizeError, match=r"layer0\.w_gate has a scale of .* too large"):
        quantize(change_layer(weights, w_gate=w_gate, w_up=weights.layers[0].w_up * 0), TEXT)


def test_calibration_needs_a_token_and_groups_a_number(weights: LlamaWeights) -> None:
    with pytest.raises(ValueError, match="calibration_tokens must hold at least one token"):
        quantize(weights, [])
    with pytest.raises(QuantizeError, match="ffn_groups must be at least 1, not 0"):
        quantize(weights, ffn_groups=0)
