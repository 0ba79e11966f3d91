"""The evaluation: windows, progress, and figures that follow from the logits."""

import numpy as np
import pytest

from compiler.evaluate import evaluate
from compiler.quantize import quantize
from golden.float_reference import FloatLlama
from golden.llama import GoldenLlama
from golden.model import LlamaShape, LlamaWeights, random_weights
from golden.quantized import QuantizedLlama

SHAPE = LlamaShape(
    dim=32, hidden=48, layers=1, heads=4, kv_heads=2, head_dim=8, vocab=40, context=16, tied=False
)
TOKENS = np.random.default_rng(0).integers(0, 40, 41).tolist()


@pytest.fixture(scope="module")
def models() -> tuple[LlamaWeights, QuantizedLlama]:
    """Make a small model in both forms."""
    weights = random_weights(SHAPE, seed=1)
    return weights, quantize(weights, TOKENS)


def cross_entropy(logits: np.ndarray, targets: list[int]) -> float:
    """Sum of -log softmax, by the definition."""
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return float(-np.log(shares[np.arange(len(targets)), targets]).sum())


def test_figures_by_their_definition(models: tuple[LlamaWeights, QuantizedLlama]) -> None:
    weights, quantized = models
    result = evaluate(weights, quantized, TOKENS, window=16)
    sums, agreed = [0.0, 0.0], 0
    golden = GoldenLlama(quantized)
    for piece in (TOKENS[:16], TOKENS[16:32], TOKENS[32:]):
        golden.reset()
        both: tuple[np.ndarray, ...] = (
            FloatLlama(weights).forward(piece[:-1]),
            golden.step_block(piece[:-1]) / 2**16,
        )
        for i, logits in enumerate(both):
            sums[i] += cross_entropy(logits.astype(float), piece[1:])
        agreed += int(np.sum(both[0].argmax(axis=1) == both[1].argmax(axis=1)))
    assert result.positions == 15 + 15 + 8
    assert result.float_ppl == pytest.approx(np.exp(sums[0] / 38), rel=1e-5)
    assert result.golden_ppl == pytest.approx(np.exp(sums[1] / 38), rel=1e-9)
    assert result.top1_agreement == agreed / 38
    assert abs(result.ppl_change) < 0.02
    assert result.top1_agreement > 0.9
    assert result.saturations == 0


def test_a_last_token_alone_is_left_out(models: tuple[LlamaWeights, QuantizedLlama]) -> None:
    calls: list[tuple[int, int]] = []
    result = evaluate(*models, TOKENS[:21], window=10, progress=lambda *at: calls.append(at))
    assert result.positions == 18
    assert calls == [(10, 21), (20, 21)]


def test_the_default_window_is_the_context(models: tuple[LlamaWeights, QuantizedLlama]) -> None:
    assert evaluate(*models, TOKENS) == evaluate(*models, TOKENS, window=16)


def test_bad_windows_and_too_few_tokens_are_refused(
    models: tuple[LlamaWeights, QuantizedLlama],
) -> None:
    for window in (1, 17):
        with pytest.raises(ValueError, match=f"window must be in 2..16, not {window}"):
            evaluate(*models, TOKENS, window=window)
    with pytest.raises(ValueError, match="tokens must be at least two, not 1"):
        evaluate(*models, [3])
