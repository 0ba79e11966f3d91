"""Placement: nothing overlaps, tiles are where the matrix unit looks, refusals help."""

import functools
import itertools

import numpy as np
import pytest

from compiler import contents
from compiler.geometry import Buffers
from compiler.placement import CapacityError, Placement, place
from compiler.quantize import quantize
from golden.model import LlamaShape, random_weights
from golden.quantized import QuantizedLlama
from hw.config import CONFIGS, ChipletConfig

ODD = LlamaShape(
    dim=96, hidden=172, layers=2, heads=6, kv_heads=2, head_dim=16, vocab=131, context=128,
    tied=False,
)  # fmt: skip
WIDE = ChipletConfig(name="wide", rows=8, columns=16, lanes=8, rows_per_step=2, context=128)
TALL = ChipletConfig(
    name="tall", rows=32, columns=16, lanes=4, context=128, rope_beats=1024, result_beats=8192,
    multiplier_beats=4096, residual_beats=4096,
)  # fmt: skip
#: The model does not fit the others.
MACHINES = {
    config.name: config
    for config in (*(CONFIGS[name] for name in ("tiny", "base", "large", "fpga")), WIDE, TALL)
}


@functools.cache
def model(shape: LlamaShape = ODD) -> QuantizedLlama:
    """Return a quantized random model."""
    return quantize(random_weights(shape, seed=5), list(range(24)))


@pytest.fixture(params=MACHINES.values(), ids=MACHINES.keys())
def placement(request: pytest.FixtureRequest) -> Placement:
    """Place the odd model on each configuration in turn."""
    return place(model(), request.param)


def test_padding(placement: Placement) -> None:
    """Everything is a multiple of the tile's side, the vocabulary of its columns."""
    g = placement.g
    for size in (g.dim, g.head, g.group, g.positions):
        assert size % g.side == 0
    assert g.vocab % g.columns == 0
    assert g.vocab - g.columns < 131 <= g.vocab
    assert g.group >= 43
    assert g.queries == 6 * g.head


def test_areas_follow_each_other(placement: Placement) -> None:
    """Layers have equal strides, and areas neither overlap nor leave the memory."""
    c = placement.config
    last = placement.bank_base(1) + placement.bank_stride
    assert placement.bank_base(1) - placement.bank_base(0) == placement.bank_stride
    assert last == placement.needs()["bank_words"] <= c.bank_words
    offsets = list(placement.layer_banks.values())
    assert offsets == sorted(offsets)
    assert placement.banks["lm_head"] - placement.banks["embedding"] == placement.g.tiles(
        placement.g.vocab, placement.g.dim
    )
    for name, size in placement.needs().items():
        assert size <= getattr(c, name), name


def test_buffers_do_not_overlap(placement: Placement) -> None:
    """Areas that are alive together are apart."""
    for b in (placement.block, placement.single):
        g = b.g
        areas = [
            (b.norm, b.shared_rows * g.words(g.dim)),
            (b.q, b.rows * g.words(g.queries)),
            (b.k, b.rows * g.words(g.keys)),
            (b.probabilities, b.probability_buffers * b.probability_stride),
        ]
        for (start, size), (following, _) in itertools.pairwise(areas):
            assert start + size == following
        assert b.hidden >= b.norm + areas[0][1]
        assert b.one < b.norm_scale
        assert b.norm_scale + b.shared_rows <= b.q_scale
        assert b.q_scale + b.rows * g.shape.heads <= b.probability_scale
        assert b.residual_maximum + b.shared_rows <= b.score_maximum
        assert b.attention >= b.v + b.rows * g.words(g.keys)
    assert (placement.block.norm, placement.block.norm_scale, placement.block.one) == (
        placement.single.norm, placement.single.norm_scale, placement.single.one,
    )  # fmt: skip


def test_tiles(placement: Placement) -> None:
    """Every matrix can be read back from its tiles by the rule of the matrix unit."""
    g, quantized = placement.g, model()
    banks = contents.bank_tiles(quantized, placement)

    def entry(base: int, n_stride: int, k_stride: int, output: int, element: int) -> int:
        word = base + output // g.columns * n_stride + element // g.rows * k_stride
        return int(banks[word, element % g.rows, output % g.columns])

    random = np.random.default_rng(1)
    dim, head_of = g.words(g.dim), lambda i: i // 16 * g.head + i % 16
    for _ in range(40):
        layer = int(random.integers(2))
        weights = quantized.layers[layer]
        at = {k: v + placement.bank_base(layer) for k, v in placement.layer_banks.items()}
        token, channel = int(random.integers(131)), int(random.integers(96))
        query, hidden = int(random.integers(96)), int(random.integers(172))
        vocabulary = g.vocab // g.columns
        for name, matrix in (
            ("embedding", quantized.embedding.weight),
            ("lm_head", quantized.lm_head.weight),
        ):
            found = entry(placement.banks[name], 1, vocabulary, token, channel)
            assert found == matrix[token, channel]
        assert entry(at["wq"], dim, 1, head_of(query), channel) == weights.wq.weight[query, channel]
        found = entry(at["wo"], g.words(g.queries), 1, channel, head_of(query))
        assert found == weights.wo.weight[channel, query]
        group, place_in = divmod(hidden, 43)
        tiles = g.tiles(g.group, g.dim)
        gate = at["gate_up"] + 2 * group * tiles
        assert entry(gate, dim, 1, place_in, channel) == weights.w_gate.weight[hidden, channel]
        found = entry(gate + tiles, dim, 1, place_in, channel)
        assert found == weights.w_up.weight[hidden, channel]
        down = at["down"] + group * g.tiles(g.dim, g.group)
        found = entry(down, g.words(g.group), 1, channel, place_in)
        assert found == weights.w_down.weight[channel, hidden]


def test_constants(placement: Placement) -> None:
    """Token scales, padding of multipliers, the RoPE table and ONE."""
    g, quantized = placement.g, model()
    flat = contents.multiplier_beats(quantized, placement).reshape(-1)
    for token in (0, 77, 130):
        word = int(flat[placement.multipliers["token_scale"] * g.lanes + token])
        assert word & 0xFF == quantized.embedding.mantissa[token]
        assert (word >> 8 ^ 0x80) - 0x80 == quantized.embedding.exponent[token]
    lm_head = flat[placement.multipliers["lm_head"] * g.lanes :][: g.vocab]
    np.testing.assert_array_equal(lm_head[:131], quantized.lm_head.multiplier)
    assert not lm_head[131:].any()
    table = contents.rope_beats(quantized, placement).reshape(-1)[: 128 * g.head].reshape(128, -1)
    np.testing.assert_array_equal(table[:, 0:16:2], quantized.rope_cos)
    np.testing.assert_array_equal(table[:, 1:16:2], quantized.rope_sin)
    assert contents.row_scale_slots(placement)[placement.block.one] == 128 | (-7 & 0xFF) << 8


def test_block_size() -> None:
    """The block shrinks until everything fits, at last to one token; options bound it."""
    base = CONFIGS["base"]
    assert place(model(), base).block.rows == 16
    small = place(model(), base.replace(activation_words=300, result_beats=300))
    assert 1 < small.block.rows < 16
    assert place(model(), base.replace(output_words=16)).block.rows == 2
    assert place(model(), base, max_block=3).block.rows == 3
    assert place(model(), base, context=2).block.rows == 2
    assert isinstance(small.single, Buffers)
    assert small.single.rows == 1


def test_logits_may_overlay_the_residual() -> None:
    """Logits lie behind the residual if there is room, over it if there is not."""
    base = CONFIGS["base"]
    assert place(model(), base).logits == 16 * 12
    assert place(model(), base.replace(residual_beats=192)).logits == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bank_words": 64}, r"^the model needs \d+ more bank_words than the 64 of configuration "
         r"base: use configuration tiny or base or large or fpga, or raise bank_words to \d+$"),
        ({"result_beats": 16, "rope_beats": 16}, "more rope_beats than the 16 and .* result_beats"),
        ({"multiplier_beats": 100}, "raise multiplier_beats to"),
    ],
)  # fmt: skip
def test_capacity(change: dict[str, int], message: str) -> None:
    """The error names what is short and what would hold the model."""
    config = CONFIGS["base"].replace(**change)
    with pytest.raises(CapacityError, match=message) as raised:
        place(model(), config)
    # Following the advice helps.
    fields = str(raised.value).split("raise ")[-1].split(", ")
    larger = {name: int(size) for name, _, size in (each.split() for each in fields)}
    assert place(model(), config.replace(**larger)).block.rows >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 129}, r"context must be in 1..128 .*, not 129"),
        ({"context": 0}, "not 0"),
        ({"max_block": 17}, r"max_block must be in 1..16, not 17"),
    ],
)
def test_options(options: dict[str, int], message: str) -> None:
    """Options out of range are refused."""
    with pytest.raises(ValueError, match=message):
        place(model(), CONFIGS["base"], **options)
