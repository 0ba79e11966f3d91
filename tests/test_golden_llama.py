"""The integer model against a plain-Python reading of the specification and the float reference."""

import dataclasses
import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from compiler.quantize import quantize
from golden.float_reference import FloatLlama
from golden.llama import PASS_TOKENS, GoldenLlama
from golden.matmul import EXACT_TERMS, Int8Weights, int8_matmul
from golden.model import LlamaShape, LlamaWeights, random_weights
from golden.quantized import (
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedLlama,
    QuantizedMatrix,
)
from golden.sampler import Sampler, temperature_register

TINY = LlamaShape(
    dim=8, hidden=11, layers=2, heads=2, kv_heads=1, head_dim=4, vocab=13, context=12, tied=True
)
ODD = LlamaShape(
    dim=96,
    hidden=172,
    layers=2,
    heads=6,
    kv_heads=2,
    head_dim=16,
    vocab=131,
    context=96,
    tied=False,
)


@cache
def model(shape: LlamaShape) -> tuple[LlamaWeights, QuantizedLlama]:
    """Make and quantize a random model, once."""
    weights = random_weights(shape, seed=1)
    return weights, quantize(weights)


def tokens_for(shape: LlamaShape, count: int) -> list[int]:
    """Make a sequence of random tokens."""
    return np.random.default_rng(2).integers(0, shape.vocab, count).tolist()


# --- the specification in plain Python integers, one token at a time ---


def shift_round(x: int, s: int) -> int:
    """Section 1."""
    return x if s == 0 else (x + (1 << (s - 1))) >> s


def limit(x: int, bits: int) -> int:
    """Section 1."""
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, x))


def wrapped(x: int) -> int:
    """Section 2: modulo 2^32."""
    return (x + 2**31) % 2**32 - 2**31


def nearest(x: float) -> int:
    """Round a table entry."""
    return math.floor(x + 0.5)


def drained(acc: int, multiplier: int, shift: int, row: tuple[int, int]) -> int:
    """Section 2, before saturation."""
    right = max(0, min(63, shift - row[1] - 8))
    return shift_round(acc * shift_round(int(multiplier) * row[0], 8), right)


def product(m: QuantizedMatrix, x: list[int], row: tuple[int, int], start: int = 0) -> list[int]:
    """Section 2: a whole matrix, or the columns from `start` on."""
    return [
        drained(
            sum(int(w) * v for w, v in zip(line[start : start + len(x)], x, strict=True)),
            multiplier,
            m.shift,
            row,
        )
        for line, multiplier in zip(m.weight.tolist(), m.multiplier.tolist(), strict=True)
    ]


def dynamic(x: list[int], e_min: int = 0) -> tuple[list[int], int, int, list[int]]:
    """Section 3: q, m, e, xn."""
    e = max(max(abs(v) for v in x).bit_length(), e_min)
    xn = [v << (15 - e) if e <= 15 else shift_round(v, e - 15) for v in x]
    xn = [max(-32767, min(32767, v)) for v in xn]
    m = max((max(abs(v) for v in xn) >> 11) + 1, 9)
    return [shift_round(v * nearest(127 * 2048 / m), 22) for v in xn], m, e, xn


def row_scale(m: int, e: int) -> tuple[int, int]:
    """Section 3."""
    return (128, e - 7) if m == 16 else (16 * m, e - 8)


def norm(x: list[int], eps: int) -> tuple[list[int], tuple[int, int]]:
    """Section 5."""
    q, m, e, xn = dynamic(x)
    moved = eps << (2 * (15 - e)) if e <= 15 else eps >> (2 * (e - 15))
    ss = max(1, min(sum(v * v for v in xn) + moved, 2**48 - 1))
    j = 0
    while (ss >> (2 * j) if j >= 0 else ss << (-2 * j)) >= 2**16:
        j += 1
    while (ss >> (2 * j) if j >= 0 else ss << (-2 * j)) < 2**14:
        j -= 1
    u = ss >> (2 * j) if j >= 0 else ss << (-2 * j)
    y0 = nearest(2**22 / math.sqrt(((u >> 11) + 0.5) * 2**11))
    t = u * ((y0 * y0) >> 15)
    p = m * ((y0 * ((3 * 2**29 - t) >> 14)) >> 16)
    b = p.bit_length()
    mantissa, exponent = shift_round(p, b - 8), b - 19 - j
    return q, ((128, exponent + 1) if mantissa == 256 else (mantissa, exponent))


def turned(x: list[int], cos: list[int], sin: list[int]) -> list[int]:
    """Section 6: RoPE."""
    out = []
    for i, (c, s) in enumerate(zip(cos, sin, strict=True)):
        a, b = x[2 * i], x[2 * i + 1]
        out += [shift_round(a * c - b * s, 14), shift_round(b * c + a * s, 14)]
    return out


def silu(g: int) -> int:
    """Section 7."""
    a = min(abs(g), 32767)
    i, f = a >> 7, a & 127

    def entry(n: int) -> int:
        return 0 if n == 128 else nearest(2**14 * (n / 8) / (1 + math.exp(n / 8)))

    d = entry(i) + (((entry(i + 1) - entry(i)) * f + 64) >> 7) if i < 128 else 0
    return max(g, 0) - shift_round(d, 4)


def plain_logits(model: QuantizedLlama, tokens: list[int]) -> list[list[int]]:
    """Run the model as the specification reads; slow, and nothing shared with golden/."""
    s = model.shape
    group = s.heads // s.kv_heads
    cached: list[list[tuple]] = [[] for _ in model.layers]
    logits = []
    for position, token in enumerate(tokens):
        e = model.embedding
        own = (int(e.mantissa[token]), int(e.exponent[token]))
        x = [
            limit(drained(int(w), int(m), e.shift, own), 24)
            for w, m in zip(e.weight[token], e.multiplier, strict=True)
        ]
        cos, sin = model.rope_cos[position].tolist(), model.rope_sin[position].tolist()
        for layer, cache_ in zip(model.layers, cached, strict=True):
            n, row = norm(x, model.epsilon)
            q = [limit(v, 16) for v in product(layer.wq, n, row)]
            k = [limit(v, 16) for v in product(layer.wk, n, row)]
            v = [max(-127, min(127, a)) for a in product(layer.wv, n, row)]
            for h in range(s.kv_heads):
                part = slice(h * s.head_dim, (h + 1) * s.head_dim)
                kq, m, ke, _ = dynamic(turned(k[part], cos, sin), 5)
                cache_.append((h, kq, m << (ke - 5), v[part]))
            mixed = []
            for h in range(s.heads):
                part = slice(h * s.head_dim, (h + 1) * s.head_dim)
                qq, m, qe, _ = dynamic(turned(q[part], cos, sin))
                mine = [c for c in cache_ if c[0] == h // group]
                scores = [
                    limit(
                        drained(
                            sum(a * b for a, b in zip(qq, kq, strict=True)),
                            multiplier,
                            layer.score_shift,
                            row_scale(m, qe),
                        ),
                        16,
                    )
                    for _, kq, multiplier, _ in mine
                ]
                p = []
                for score in scores:
                    d = max(scores) - score
                    table = nearest(127 * 256 * 2 ** (-(d & 63) / 64))
                    p.append(shift_round(table, 8 + (d >> 6)) if d >> 6 < 8 else 0)
                b = sum(p).bit_length()
                idx = sum(p) >> (b - 9) if b >= 9 else sum(p) << (9 - b)
                one_over = (min(255, nearest(65536 / (idx + 0.5))), -7 - b)
                for i in range(s.head_dim):
                    acc = sum(a * c[3][i] for a, c in zip(p, mine, strict=True))
                    y = drained(
                        acc,
                        int(layer.attention_multiplier[h // group]),
                        layer.attention_shift,
                        one_over,
                    )
                    mixed.append(max(-127, min(127, y)))
            size = len(mixed) // model.attention_groups
            for start in range(0, len(mixed), size):
                delta = product(layer.wo, mixed[start : start + size], (128, -7), start)
                x = [wrapped(a + limit(b, 24)) for a, b in zip(x, delta, strict=True)]
            n, row = norm(x, model.epsilon)
            gate = [limit(a, 16) for a in product(layer.w_gate, n, row)]
            up = [limit(a, 16) for a in product(layer.w_up, n, row)]
            hidden = [silu(g) * u for g, u in zip(gate, up, strict=True)]
            size = -(-s.hidden // model.ffn_groups)
            for start in range(0, s.hidden, size):
                hq, m, he, _ = dynamic(hidden[start : start + size])
                delta = product(layer.w_down, hq, row_scale(m, he), start)
                x = [wrapped(a + limit(b, 24)) for a, b in zip(x, delta, strict=True)]
        n, row = norm(x, model.epsilon)
        logits.append([limit(a, 32) for a in product(model.lm_head, n, row)])
    return logits


@pytest.mark.parametrize("shape", [TINY, ODD], ids=["tiny", "odd"])
def test_equals_the_specification_in_plain_python(shape: LlamaShape) -> None:
    _, quantized = model(shape)
    tokens = tokens_for(shape, 12 if shape is TINY else 4)
    golden = GoldenLlama(quantized).step_block(tokens)
    assert golden.dtype == np.int32
    assert golden.tolist() == plain_logits(quantized, tokens)


def test_equals_the_specification_where_everything_saturates() -> None:
    _, quantized = model(TINY)

    def louder(m: QuantizedMatrix, bits: int) -> QuantizedMatrix:
        return dataclasses.replace(m, shift=m.shift - bits)

    def louder_layer(layer: QuantizedLayer) -> QuantizedLayer:
        matrices: dict[str, Any] = {name: louder(m, 5) for name, m in layer.matrices()}
        return dataclasses.replace(layer, **matrices, score_shift=12)

    layers = tuple(louder_layer(layer) for layer in quantized.layers)
    loud = dataclasses.replace(quantized, layers=layers)
    tokens = tokens_for(TINY, 12)
    golden = GoldenLlama(loud)
    assert golden.step_block(tokens).tolist() == plain_logits(loud, tokens)
    clipped = {name.split(".")[-1] for name in golden.saturations_by_step}
    assert {"q", "k", "v", "gate", "up", "scores", "wo", "w_down"} <= clipped
    assert golden.saturations == sum(golden.saturations_by_step.values()) > 100


@pytest.mark.parametrize("cuts", [[], [1], [64], [7, 8, 20], list(range(1, 70))])
def test_bits_do_not_depend_on_blocks(cuts: list[int]) -> None:
    _, quantized = model(ODD)
    tokens = tokens_for(ODD, 70)
    assert len(tokens) > PASS_TOKENS
    golden = GoldenLlama(quantized)
    trace: dict[str, np.ndarray] = {}
    whole = golden.step_block(tokens, trace)
    assert len(trace) > 50  # with a trace the block runs in one piece
    golden.reset()
    edges = [0, *cuts, len(tokens)]
    pieces = [golden.step_block(tokens[a:b]) for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert golden.position == 70


@pytest.mark.parametrize("shape", [TINY, ODD], ids=["tiny", "odd"])
def test_agrees_with_the_float_reference(shape: LlamaShape) -> None:
    weights, quantized = model(shape)
    tokens = tokens_for(shape, min(60, shape.context))
    expected = FloatLlama(weights).forward(tokens)
    logits = GoldenLlama(quantized).step_block(tokens) / 2**16
    # int8 weights and activations: a few percent of the logits' deviation.
    assert np.std(logits - expected) < 0.06 * np.std(expected)
    agreed = np.argmax(logits, axis=1) == np.argmax(expected, axis=1)
    assert np.mean(agreed) > 0.85


def test_float_agreement_of_each_intermediate() -> None:
    weights, quantized = model(ODD)
    tokens = tokens_for(ODD, 40)
    expected: dict[str, np.ndarray] = {}
    FloatLlama(weights).forward(tokens, expected)
    trace: dict[str, np.ndarray] = {}
    GoldenLlama(quantized).step_block(tokens, trace)
    unit = 2.0**-quantized.residual_fraction_bits
    pairs = {
        "embedding": (trace["embedding"] * unit, expected["layer0.residual"]),
        "gate": (trace["layer0.gate"] / 1024, expected["layer0.gate"]),
        "residual_mid": (trace["layer0.residual_mid"] * unit, expected["layer0.ffn_residual"]),
        "residual": (trace["layer1.residual"] * unit, expected["residual"]),
    }
    for name, (got, wanted) in pairs.items():
        assert np.std(got - wanted) < 0.06 * np.std(wanted), name
    # Scores: log2 units with 6 fraction bits.
    q, k = expected["layer0.q_rotated"], expected["layer0.k_rotated"]
    wanted = np.einsum("thd,phd->thp", q, np.repeat(k, 3, axis=1)) * math.log2(math.e) / 4 * 64
    seen = np.tril(np.ones((40, 40), bool))[:, None].repeat(6, axis=1)
    assert np.std((trace["layer0.scores"] - wanted)[seen]) < 0.04 * np.std(wanted[seen])


def test_trace_names_and_shapes() -> None:
    _, quantized = model(ODD)
    golden = GoldenLlama(quantized)
    golden.step_block([1, 2, 3])
    trace: dict[str, np.ndarray] = {}
    golden.step_block([4, 5], trace)
    layer = {
        **{f"attention_norm.{n}": s for n, s in (("q", (2, 96)), ("mantissa", (2,)))},
        **{f"ffn_norm.{n}": s for n, s in (("q", (2, 96)), ("exponent", (2,)))},
        "q": (2, 6, 16),
        "k": (2, 2, 16),
        "v": (2, 2, 16),
        "q_rope": (2, 6, 16),
        "k_rope": (2, 2, 16),
        "q_int8": (2, 6, 16),
        "q_mantissa": (2, 6),
        "q_exponent": (2, 6),
        "k_int8": (2, 2, 16),
        "k_multiplier": (2, 2),
        "scores": (2, 6, 5),
        "probabilities": (2, 6, 5),
        "probability_sum": (2, 6),
        "attention_mantissa": (2, 6),
        "attention_exponent": (2, 6),
        "attention": (2, 6, 16),
        "residual_mid": (2, 96),
        "gate": (2, 172),
        "up": (2, 172),
        "hidden": (2, 172),
        "hidden_int8": (2, 172),
        "hidden_mantissa": (2, 4),
        "hidden_exponent": (2, 4),
        "residual": (2, 96),
    }
    for name, shape in layer.items():
        assert trace[f"layer1.{name}"].shape == shape, name
    assert trace["embedding"].shape == (2, 96)
    assert trace["final_norm.q"].shape == (2, 96)
    assert trace["logits"].shape == (2, 131)
    assert all(array.dtype.kind == "i" for array in trace.values())
    assert np.all(trace["layer0.scores"][0, :, 4] == -32768)  # masked
    assert np.all(trace["layer0.probabilities"][0, :, 4] == 0)


def pad_matrix(m: QuantizedMatrix, rows: int, columns: int) -> QuantizedMatrix:
    """Add outputs and inputs of zeros."""
    return QuantizedMatrix(
        np.pad(m.weight, ((0, rows), (0, columns))), np.pad(m.multiplier, (0, rows)), m.shift
    )


def pad_hidden(array: np.ndarray, axis: int, groups: int, extra: int) -> np.ndarray:
    """Add `extra` channels of zeros to each group of hidden channels."""
    pieces = np.split(array, groups, axis)
    widths = [(0, extra if a == axis else 0) for a in range(array.ndim)]
    return np.concatenate([np.pad(piece, widths) for piece in pieces], axis)


def test_padding_with_zeros_changes_no_bit() -> None:
    _, quantized = model(ODD)  # 172 = 4 groups of 43
    s, dim, vocab, kv, extra = quantized.shape, 16, 13, 1, 5
    heads = kv * s.heads_per_kv
    shape = dataclasses.replace(
        s,
        dim=s.dim + dim,
        vocab=s.vocab + vocab,
        heads=s.heads + heads,
        kv_heads=s.kv_heads + kv,
        hidden=s.hidden + 4 * extra,
    )

    def pad_layer(layer: QuantizedLayer) -> QuantizedLayer:
        def up(m: QuantizedMatrix) -> QuantizedMatrix:
            wide = pad_matrix(m, 0, dim)
            weight = pad_hidden(wide.weight, 0, 4, extra)
            return QuantizedMatrix(weight, pad_hidden(wide.multiplier, 0, 4, extra), m.shift)

        down = pad_matrix(layer.w_down, dim, 0)
        return dataclasses.replace(
            layer,
            wq=pad_matrix(layer.wq, heads * s.head_dim, dim),
            wk=pad_matrix(layer.wk, kv * s.head_dim, dim),
            wv=pad_matrix(layer.wv, kv * s.head_dim, dim),
            wo=pad_matrix(layer.wo, dim, heads * s.head_dim),
            w_gate=up(layer.w_gate),
            w_up=up(layer.w_up),
            w_down=QuantizedMatrix(
                pad_hidden(down.weight, 1, 4, extra), down.multiplier, down.shift
            ),
            attention_multiplier=np.pad(layer.attention_multiplier, (0, kv)),
        )

    e = quantized.embedding
    padded = dataclasses.replace(
        quantized,
        shape=shape,
        attention_groups=quantized.attention_groups + kv,  # one head each
        layers=tuple(pad_layer(layer) for layer in quantized.layers),
        embedding=QuantizedEmbedding(
            np.pad(e.weight, ((0, vocab), (0, dim))),
            np.pad(e.multiplier, (0, dim)),
            np.pad(e.mantissa, (0, vocab), constant_values=128),
            np.pad(e.exponent, (0, vocab)),
            e.shift,
        ),
        lm_head=pad_matrix(quantized.lm_head, vocab, dim),
    )
    tokens = tokens_for(ODD, 20)
    plain = GoldenLlama(quantized).step_block(tokens)
    wide = GoldenLlama(padded).step_block(tokens)
    assert np.array_equal(wide[:, : s.vocab], plain)
    assert not wide[:, s.vocab :].any()


def test_generate_is_steps_and_choices() -> None:
    _, quantized = model(ODD)
    golden = GoldenLlama(quantized)
    prompt = tokens_for(ODD, 5)
    tokens, logits = golden.generate(prompt, 4)
    assert logits.shape == (4, 131)
    assert golden.position == 5 + 3  # the last token is not fed back
    golden.reset()
    step = golden.step_block(prompt)[-1]
    for token, row in zip(tokens, logits, strict=True):
        assert np.array_equal(step, row)
        assert token == int(np.argmax(row))
        step = golden.step_block([token])[0]


def test_sampling_draws_once_per_generated_token() -> None:
    _, quantized = model(ODD)
    tokens, logits = GoldenLlama(quantized).generate([1, 2, 3], 6, temperature=0.8, seed=9)
    sampler = Sampler(temperature_register(0.8), seed=9)
    assert [sampler.choose(row) for row in logits] == tokens
    again, _ = GoldenLlama(quantized).generate([1, 2, 3], 6, temperature=0.8, seed=9)
    assert again == tokens


def test_generate_stops_at_the_end_token_and_at_the_context() -> None:
    _, quantized = model(TINY)
    golden = GoldenLlama(quantized)
    free, _ = golden.generate([1, 2], 100)
    assert len(free) == 11  # positions 2..11 are fed back, the token after the last is chosen
    assert golden.position == 12
    end = free[3]
    golden.reset()
    stopped, logits = golden.generate([1, 2], 100, end_token=end)
    assert stopped == free[: free.index(end) + 1]
    assert len(logits) == len(stopped)
    assert golden.generate([], 0)[0] == []


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "tokens must be a sequence of one or more integers"),
        ([0.5], "tokens must be a sequence of one or more integers"),
        ([13], "tokens must be within 0..12, not 13"),
        ([-1], "tokens must be within 0..12, not -1"),
        ([0] * 13, "tokens must fit the 12 free positions, not 13"),
    ],
)
def test_bad_tokens_are_refused(tokens: list[int], message: str) -> None:
    golden = GoldenLlama(model(TINY)[1])
    with pytest.raises(ValueError, match=message):
        golden.step_block(tokens)
    with pytest.raises(ValueError, match=message):
        golden.generate(tokens, 1)


def test_products_are_exact_beyond_what_float32_adds() -> None:
    terms = 3 * EXACT_TERMS + 17
    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (5, terms)).astype(np.int8)
    weight[0] = 127
    x = random.integers(-127, 128, (3, terms))
    x[0], x[1] = 127, -127
    acc = Int8Weights(weight)(x)
    assert acc[0, 0] == 127 * 127 * terms
    assert np.array_equal(acc, x @ weight.T.astype(np.int64))
    stacked = int8_matmul(x.astype(np.float32)[None], weight.T.astype(np.float32)[None])
    assert np.array_equal(stacked[0], acc)


def test_quantized_model_refuses_parts_that_do_not_fit() -> None:
    _, quantized = model(TINY)
    with pytest.raises(ValueError, match="layers must hold 2 entries, not 1"):
        dataclasses.replace(quantized, layers=quantized.layers[:1])
    with pytest.raises(ValueError, match="ffn_groups must leave no group"):
        dataclasses.replace(quantized, ffn_groups=7)  # 11 channels: 2 each, the last none
    with pytest.raises(ValueError, match=r"epsilon must be in 0..2\^32 - 1"):
        dataclasses.replace(quantized, epsilon=2**32)
    with pytest.raises(ValueError, match=r"weight must be in -127..127, not -128"):
        dataclasses.replace(quantized.lm_head, weight=np.full((13, 8), -128, np.int8))
    with pytest.raises(ValueError, match=r"shift must be in 0..63, not 64"):
        dataclasses.replace(quantized.lm_head, shift=64)
    with pytest.raises(ValueError, match=r"multiplier must be uint16 of shape \(13,\)"):
        dataclasses.replace(quantized.lm_head, multiplier=np.zeros(12, np.uint16))
