"""The float reference against an independent implementation, and against itself."""

import cmath
import math
from collections.abc import Sequence

import numpy as np
import pytest

from golden.float_reference import FloatLlama, Trace, log_softmax_nats, rms_norm, silu, softmax
from golden.model import LlamaShape, LlamaWeights, random_weights

SHAPES = {
    "grouped": LlamaShape(
        dim=12, hidden=20, layers=2, heads=4, kv_heads=2, head_dim=6, vocab=17, context=16
    ),
    "untied": LlamaShape(
        dim=8,
        hidden=10,
        layers=1,
        heads=2,
        kv_heads=2,
        head_dim=4,
        vocab=11,
        context=16,
        rope_theta=500.0,
        norm_eps=1e-2,
        tied=False,
    ),
    "one key head": LlamaShape(
        dim=10, hidden=7, layers=3, heads=3, kv_heads=1, head_dim=2, vocab=9, context=16
    ),
}
TOKENS = [3, 1, 4, 1, 5, 8, 2, 6, 5, 3]


@pytest.fixture(params=list(SHAPES.values()), ids=list(SHAPES))
def weights(request: pytest.FixtureRequest) -> LlamaWeights:
    """Weights of each shape in turn."""
    return random_weights(request.param, seed=7)


def turned(head: np.ndarray, position: int, theta: float, *, interleaved: bool) -> np.ndarray:
    """Turn one head's channel pairs as complex numbers."""
    size = len(head)
    result = np.empty(size)
    for pair in range(size // 2):
        a, b = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + size // 2)
        angle = position / theta ** (2 * pair / size)
        value = complex(head[a], head[b]) * cmath.exp(1j * angle)
        result[a], result[b] = value.real, value.imag
    return result


def loop_logits(
    weights: LlamaWeights, tokens: Sequence[int], *, interleaved: bool = False
) -> np.ndarray:
    """Run a Llama in float64, one position and one head at a time, as slowly as it reads."""
    shape = weights.shape

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        mean_square = sum(float(each) ** 2 for each in x) / len(x)
        normed: np.ndarray = x * gain / math.sqrt(mean_square + shape.norm_eps)
        return normed

    def head_of(x: np.ndarray, head: int) -> np.ndarray:
        return x[head * shape.head_dim : (head + 1) * shape.head_dim]

    rows = [weights.embedding[token].astype(np.float64) for token in tokens]
    for layer in weights.layers:
        normed = [norm(x, layer.attention_norm) for x in rows]
        keys, values = [layer.wk @ x for x in normed], [layer.wv @ x for x in normed]
        for t, x in enumerate(normed):
            query = layer.wq @ x
            mixed = []
            for head in range(shape.heads):
                group = head // (shape.heads // shape.kv_heads)
                q = turned(head_of(query, head), t, shape.rope_theta, interleaved=interleaved)
                exponentials = []
                for s in range(t + 1):
                    key = head_of(keys[s], group)
                    k = turned(key, s, shape.rope_theta, interleaved=interleaved)
                    exponentials.append(math.exp(float(q @ k) / math.sqrt(shape.head_dim)))
                mixed.append(
                    sum(e * head_of(values[s], group) for s, e in enumerate(exponentials))
                    / sum(exponentials)
                )
            rows[t] = rows[t] + layer.wo @ np.concatenate(mixed)
        for t, x in enumerate(rows):
            normed_x = norm(x, layer.ffn_norm)
            gate = layer.w_gate @ normed_x
            hidden = gate / (1 + np.exp(-gate)) * (layer.w_up @ normed_x)
            rows[t] = x + layer.w_down @ hidden
    return np.stack([weights.lm_head @ norm(x, weights.final_norm) for x in rows])


def test_against_loops(weights: LlamaWeights) -> None:
    """Logits equal those of the independent implementation to float32 precision."""
    logits = FloatLlama(weights).forward(TOKENS)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, loop_logits(weights, TOKENS), atol=2e-5, rtol=2e-5)


def test_rotate_half_equals_interleaved() -> None:
    """Reordering the rows of wq and wk turns one rotary convention into the other."""
    half_order = random_weights(SHAPES["grouped"], seed=8)
    size = half_order.shape.head_dim
    # Row 2 i of an interleaved head is row i of a rotate-half one, row 2 i + 1 is i + size / 2.
    within = [row // 2 + (row % 2) * (size // 2) for row in range(size)]

    def interleave(weight: np.ndarray) -> np.ndarray:
        return np.concatenate([head[within] for head in weight.reshape(-1, size, weight.shape[1])])

    layers = [
        {"wq": interleave(layer.wq), "wk": interleave(layer.wk)} for layer in half_order.layers
    ]
    pairs = random_weights(SHAPES["grouped"], seed=8)
    for layer, change in zip(pairs.layers, layers, strict=True):
        layer.wq[...] = change["wq"]
        layer.wk[...] = change["wk"]
    expected = loop_logits(pairs, TOKENS, interleaved=True)
    np.testing.assert_allclose(
        FloatLlama(half_order).forward(TOKENS), expected, atol=2e-5, rtol=2e-5
    )
    # The order matters: without it the logits are others.
    assert np.max(np.abs(loop_logits(pairs, TOKENS) - expected)) > 1e-2


def test_steps_equal_the_whole(weights: LlamaWeights) -> None:
    """Token by token from the cache gives the logits of the whole sequence, after a reset too."""
    model = FloatLlama(weights)
    whole = model.forward(TOKENS)
    for _ in range(2):
        stepped = []
        for position, token in enumerate(TOKENS):
            assert model.position == position
            stepped.append(model.step(token))
            # A whole sequence in between must not disturb the cache.
            model.forward(TOKENS[:2])
        np.testing.assert_allclose(np.stack(stepped), whole, atol=2e-5, rtol=2e-5)
        model.reset()


def test_causality(weights: LlamaWeights) -> None:
    """A token changes the logits from its own position on, and none before."""
    model = FloatLlama(weights)
    changed = [*TOKENS]
    changed[6] = 0
    before, after = model.forward(TOKENS), model.forward(changed)
    np.testing.assert_allclose(before[:6], after[:6], atol=1e-6)
    assert np.all(np.max(np.abs(before[6:] - after[6:]), axis=1) > 1e-4)


def test_trace(weights: LlamaWeights) -> None:
    """The trace holds every named intermediate, with one row per token, and they fit together."""
    shape = weights.shape
    trace: Trace = {}
    model = FloatLlama(weights)
    logits = model.forward(TOKENS, trace)
    count = len(TOKENS)
    last = f"layer{shape.layers - 1}"
    sizes = {
        "residual": (shape.dim,),
        "attention_norm": (shape.dim,),
        "q": (shape.heads, shape.head_dim),
        "k": (shape.kv_heads, shape.head_dim),
        "q_rotated": (shape.heads, shape.head_dim),
        "k_rotated": (shape.kv_heads, shape.head_dim),
        "v": (shape.kv_heads, shape.head_dim),
        "attention_out": (shape.heads, shape.head_dim),
        "attention_delta": (shape.dim,),
        "ffn_residual": (shape.dim,),
        "ffn_norm": (shape.dim,),
        "gate": (shape.hidden,),
        "up": (shape.hidden,),
        "hidden": (shape.hidden,),
        "ffn_delta": (shape.dim,),
    }
    assert set(trace) == {
        f"layer{index}.{name}" for index in range(shape.layers) for name in sizes
    } | {"residual", "final_norm", "logits"}
    for name, size in sizes.items():
        assert trace[f"{last}.{name}"].shape == (count, *size), name
    for name, array in trace.items():
        assert array.dtype == np.float32, name
    assert np.array_equal(trace["logits"], logits)
    assert np.array_equal(trace["layer0.residual"], weights.embedding[TOKENS])
    assert np.array_equal(
        trace["residual"], trace[f"{last}.ffn_residual"] + trace[f"{last}.ffn_delta"]
    )
    # Position 0 is not turned, and a first token attends to itself alone.
    assert np.array_equal(trace[f"{last}.q"][0], trace[f"{last}.q_rotated"][0])
    np.testing.assert_allclose(
        trace[f"{last}.attention_out"][0],
        np.repeat(trace[f"{last}.v"][0], shape.heads_per_kv, axis=0),
        rtol=1e-6,
    )
    step_trace: Trace = {}
    model.step(TOKENS[0], step_trace)
    for name, array in trace.items():
        np.testing.assert_allclose(step_trace[name], array[:1], atol=2e-5, err_msg=name)


def test_perplexity_cuts_windows(weights: LlamaWeights) -> None:
    """Every token but the first is predicted once, each window without what came before."""
    model = FloatLlama(weights)
    means = {}
    for window in (4, 16):
        nats = []
        for begin in range(0, len(TOKENS) - 1, window):
            logits = loop_logits(weights, TOKENS[begin : begin + window])
            for row, target in zip(logits, TOKENS[begin + 1 : begin + window + 1], strict=False):
                nats.append(math.log(sum(math.exp(each) for each in row)) - row[target])
        assert len(nats) == len(TOKENS) - 1
        means[window] = sum(nats) / len(nats)
        assert model.mean_nats(TOKENS, window) == pytest.approx(means[window], rel=1e-5)
        assert model.perplexity(TOKENS, window) == pytest.approx(math.exp(means[window]), rel=1e-5)
    assert means[4] != pytest.approx(means[16], rel=1e-3)
    assert model.mean_nats(TOKENS) == model.mean_nats(TOKENS, window=16)


def test_extreme_values_stay_finite() -> None:
    """Large inputs neither overflow nor turn into NaN."""
    x = np.array([-1e30, -1e4, -100, 0, 100, 1e4, 1e30], np.float32)
    np.testing.assert_allclose(silu(x), np.maximum(x, 0), atol=1e-30)
    assert np.sum(softmax(x)) == 1
    assert np.all(rms_norm(np.zeros((1, 4), np.float32), np.ones(4, np.float32), 1e-5) == 0)
    nats = log_softmax_nats(np.array([[1e4, -1e4]], np.float32), np.array([1]))
    assert nats[0] == pytest.approx(2e4)


def test_refusals() -> None:
    """Tokens outside the vocabulary or the context are refused."""
    model = FloatLlama(random_weights(SHAPES["grouped"], seed=9))
    with pytest.raises(ValueError, match=r"tokens must be within 0..16, not 17"):
        model.forward([1, 17])
    with pytest.raises(ValueError, match=r"tokens must be within 0..16, not -1"):
        model.step(-1)
    with pytest.raises(ValueError, match="tokens must be a sequence of one or more integers"):
        model.forward([])
    with pytest.raises(ValueError, match="tokens must be a sequence of one or more integers"):
        model.forward([1.5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"no more than the context \(16\), not 17"):
        model.forward([1] * 17)
    for _ in range(16):
        model.step(1)
    with pytest.raises(ValueError, match=r"within the context \(16\), not 16: reset first"):
        model.step(1)
    with pytest.raises(ValueError, match=r"window must be within 1..16, not 17"):
        model.perplexity(TOKENS, window=17)
    with pytest.raises(ValueError, match="tokens must be at least two, not 1"):
        model.perplexity([1])
