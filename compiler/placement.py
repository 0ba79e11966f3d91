"""Where everything lies: bank words, multiplier beats, and the buffers of a block of tokens.

`Geometry` pads a model's sizes to an array's, `Buffers` lays out the memories that one block of
tokens passes through, and `place` chooses the largest block that fits. Rules of addresses:
docs/machine.md, sections 1 to 3.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from golden.model import LlamaShape
from golden.quantized import QuantizedLlama
from hw.config import CONFIGS, ChipletConfig


class CapacityError(ValueError):
    """The model does not fit the configuration; the message says what would help."""


def padded(size: int, unit: int) -> int:
    """Round a size up to a multiple of a unit."""
    return -(-size // unit) * unit


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of a model, padded for an array of `rows` x `columns` and beats of `lanes`."""

    shape: LlamaShape
    rows: int
    columns: int
    lanes: int
    groups: int  #: groups of hidden channels
    context: int  #: positions of the KV cache
    tied: bool  #: embedding and logits share their weights

    @property
    def side(self) -> int:
        """Unit of padding, P."""
        return max(self.rows, self.columns)

    @property
    def dim(self) -> int:
        """Padded model dimension."""
        return padded(self.shape.dim, self.side)

    @property
    def head(self) -> int:
        """Padded channels of a head."""
        return padded(self.shape.head_dim, self.side)

    @property
    def queries(self) -> int:
        """Padded channels of all query heads."""
        return self.shape.heads * self.head

    @property
    def keys(self) -> int:
        """Padded channels of all KV heads."""
        return self.shape.kv_heads * self.head

    @property
    def group(self) -> int:
        """Padded channels of a group."""
        return padded(-(-self.shape.hidden // self.groups), self.side)

    @property
    def vocab(self) -> int:
        """Padded vocabulary."""
        return padded(self.shape.vocab, self.columns)

    @property
    def positions(self) -> int:
        """Padded positions of the KV cache."""
        return padded(self.context, self.side)

    def words(self, channels: int) -> int:
        """Return the int8 words (`rows` elements) of so many channels."""
        return channels // self.rows

    def beats(self, channels: int) -> int:
        """Return the beats of so many channels."""
        return channels // self.lanes

    def tiles(self, outputs: int, inputs: int) -> int:
        """Return the tiles of a matrix."""
        return (outputs // self.columns) * (inputs // self.rows)


def geometry(model: QuantizedLlama, config: ChipletConfig, context: int | None = None) -> Geometry:
    """Return the padded sizes of a model on a configuration; check the context."""
    limit = min(model.shape.context, config.context)
    context = limit if context is None else context
    if not 1 <= context <= limit:
        raise ValueError(
            f"context must be in 1..{limit} (the model has {model.shape.context} positions, "
            f"configuration {config.name} {config.context}), not {context!r}"
        )
    return Geometry(
        shape=model.shape, rows=config.rows, columns=config.columns, lanes=config.lanes,
        groups=model.ffn_groups, context=context, tied=model.shares_embedding,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Buffers:
    """Layout of the memories that a block of at most `rows` tokens passes through.

    The normed vectors, their row scales, the residual's maxima and the slot `one` are where
    `shared_rows` tokens need them, so that programs for different block sizes share them.
    """

    g: Geometry
    rows: int
    shared_rows: int
    score_buffers: int  #: KV heads whose scores are kept at once
    probability_buffers: int  #: KV heads whose probabilities are kept at once
    ffn_buffers: int  #: groups whose gate and up are kept at once
    one: int = field(default=0, init=False)  #: row-scale slot that holds the constant ONE
    norm_scale: int = field(default=1, init=False)
    norm: int = field(default=0, init=False)  #: activation word of the normed vectors
    residual_maximum: int = field(default=0, init=False)

    @property
    def score_stride(self) -> int:
        """Result beats of one KV head's scores."""
        return self.rows * self.g.shape.heads_per_kv * self.g.beats(self.g.positions)

    @property
    def probability_stride(self) -> int:
        """Activation words of one KV head's probabilities."""
        return self.rows * self.g.shape.heads_per_kv * self.g.words(self.g.positions)

    @property
    def ffn_stride(self) -> int:
        """Result beats of one group's gate and up."""
        return self.rows * 2 * self.g.beats(self.g.group)

    @property
    def q(self) -> int:
        """Activation word of the queries."""
        return self.norm + self.shared_rows * self.g.words(self.g.dim)

    @property
    def k(self) -> int:
        """Activation word of the keys."""
        return self.q + self.rows * self.g.words(self.g.queries)

    @property
    def probabilities(self) -> int:
        """Activation word of the probabilities."""
        return self.k + self.rows * self.g.words(self.g.keys)

    @property
    def hidden(self) -> int:
        """Activation word of the hidden channels: attention is over when they come."""
        return self.q

    @property
    def q_result(self) -> int:
        """Result beat of the queries."""
        return 0

    @property
    def k_result(self) -> int:
        """Result beat of the keys."""
        return self.rows * self.g.beats(self.g.queries)

    @property
    def scores(self) -> int:
        """Result beat of the scores; queries may still be read when the first scores come."""
        return self.k_result + self.rows * self.g.beats(self.g.keys)

    @property
    def ffn(self) -> int:
        """Result beat of gate and up."""
        return 0

    @property
    def v(self) -> int:
        """Output word of the values."""
        return 0

    @property
    def attention(self) -> int:
        """Output word of the attention's result."""
        return self.rows * self.g.words(self.g.keys)

    @property
    def q_scale(self) -> int:
        """Row-scale slot of the queries."""
        return self.norm_scale + self.shared_rows

    @property
    def probability_scale(self) -> int:
        """Row-scale slot of the probabilities."""
        return self.q_scale + self.rows * self.g.shape.heads

    @property
    def hidden_scale(self) -> int:
        """Row-scale slot of the hidden groups."""
        return self.q_scale

    @property
    def score_maximum(self) -> int:
        """Row-maximum slot of the scores."""
        return self.residual_maximum + self.shared_rows

    def needs(self) -> dict[str, int]:
        """Return the size of each memory that this layout takes, by configuration field."""
        g, slots = self.g, self.rows * self.g.shape.heads
        after_scores = self.scores + self.score_buffers * self.score_stride
        after_p = self.probabilities + self.probability_buffers * self.probability_stride
        after_hidden = self.hidden + self.rows * g.groups * g.words(g.group)
        return {
            "activation_words": max(after_p, after_hidden),
            "output_words": self.attention + self.rows * g.words(g.queries),
            "result_beats": max(after_scores, self.ffn + self.ffn_buffers * self.ffn_stride),
            "row_slots": max(
                self.probability_scale + slots,
                self.hidden_scale + self.rows * g.groups,
                self.score_maximum + slots,
            ),
            "residual_beats": max(self.shared_rows * g.beats(g.dim), g.beats(g.vocab)),
        }

    def fits(self, config: ChipletConfig) -> bool:
        """Whether every memory is large enough."""
        return all(size <= getattr(config, name) for name, size in self.needs().items())


class Allocator:
    """Gives out consecutive addresses by name."""

    def __init__(self, start: int = 0) -> None:
        self.at = start
        self.start: dict[str, int] = {}

    def take(self, items: Iterable[tuple[str, int]]) -> "Allocator":
        """Allocate named sizes."""
        for name, size in items:
            self.start[name] = self.at
            self.at += size
        return self


@dataclass(frozen=True, kw_only=True)
class Placement:
    """All addresses of a model on a configuration.

    `banks` and `multipliers` hold the start of what the model has once and, as `layer`, of layer
    0; `layer_banks` and `layer_multipliers` hold offsets within a layer, whose stride is
    `bank_stride` and `multiplier_stride`.
    """

    g: Geometry
    config: ChipletConfig
    block: Buffers  #: for blocks of the prompt
    single: Buffers  #: for one token
    banks: dict[str, int]
    layer_banks: dict[str, int]
    bank_stride: int
    multipliers: dict[str, int]
    layer_multipliers: dict[str, int]
    multiplier_stride: int
    logits: int  #: residual beat of the logits; the residual stream is at 0

    def bank_base(self, layer: int) -> int:
        """Return the bank word at which a layer starts."""
        return self.banks["layer"] + layer * self.bank_stride

    def multiplier_base(self, layer: int) -> int:
        """Return the multiplier beat at which a layer starts."""
        return self.multipliers["layer"] + layer * self.multiplier_stride


def _static(g: Geometry) -> tuple[dict[str, int], Allocator, Allocator, Allocator, Allocator]:
    """Allocate banks and multipliers; return needs, then once and per layer of both."""
    kv, tiles, beats = g.shape.kv_heads, g.tiles, g.beats
    layer_banks = Allocator().take([
        ("wq", tiles(g.queries, g.dim)), ("wk", tiles(g.keys, g.dim)),
        ("wv", tiles(g.keys, g.dim)), ("wo", tiles(g.dim, g.queries)),
        ("gate_up", g.groups * 2 * tiles(g.group, g.dim)),
        ("down", g.groups * tiles(g.dim, g.group)),
        ("keys", g.words(g.keys) * (g.positions // g.columns)),
        ("values", (g.keys // g.columns) * (g.positions // g.rows)),
    ])  # fmt: skip
    layer_multipliers = Allocator().take([
        ("wq", beats(g.queries)), ("wk", beats(g.keys)), ("wv", beats(g.keys)),
        ("attention", beats(g.keys)), ("wo", beats(g.dim)),
        ("gate_up", g.groups * 2 * beats(g.group)), ("down", beats(g.dim)),
        ("keys", kv * beats(g.positions)),
    ])  # fmt: skip
    banks = Allocator().take([
        ("embedding", tiles(g.vocab, g.dim)),
        ("lm_head", 0 if g.tied else tiles(g.vocab, g.dim)),
        ("layer", g.shape.layers * layer_banks.at),
    ])  # fmt: skip
    if g.tied:
        banks.start["lm_head"] = banks.start["embedding"]
    multipliers = Allocator().take([
        ("embedding", beats(g.dim)), ("token_scale", beats(g.vocab)),
        ("lm_head", beats(g.vocab)), ("layer", g.shape.layers * layer_multipliers.at),
    ])  # fmt: skip
    needs = {
        "bank_words": banks.at,
        "multiplier_beats": multipliers.at,
        "rope_beats": g.context * beats(g.head),
    }
    return needs, banks, layer_banks, multipliers, layer_multipliers


def _grow(buffers: Buffers, config: ChipletConfig) -> Buffers:
    """Add buffers, up to one for each KV head or group, while the memories hold them."""
    limits = {
        "score_buffers": buffers.g.shape.kv_heads,
        "probability_buffers": buffers.g.shape.kv_heads,
        "ffn_buffers": buffers.g.groups,
    }
    for name, limit in limits.items():
        while getattr(buffers, name) < limit:
            more = replace(buffers, **{name: getattr(buffers, name) + 1})
            if not more.fits(config):
                break
            buffers = more
    return buffers


def _buffers(g: Geometry, rows: int, shared_rows: int, count: int) -> Buffers:
    heads, groups = min(count, g.shape.kv_heads), min(count, g.groups)
    return Buffers(
        g=g, rows=rows, shared_rows=shared_rows, score_buffers=heads,
        probability_buffers=heads, ffn_buffers=groups,
    )  # fmt: skip


def _pair(g: Geometry, rows: int, count: int) -> tuple[Buffers, Buffers]:
    return _buffers(g, rows, rows, count), _buffers(g, 1, rows, count)


def place(
    model: QuantizedLlama,
    config: ChipletConfig,
    *,
    context: int | None = None,
    max_block: int | None = None,
) -> Placement:
    """Place a model with the largest block of tokens that fits, at most `max_block`."""
    g = geometry(model, config, context)
    lacking = _lacking(g, config)
    if lacking:
        raise CapacityError(_advice(model, config, lacking, context))
    _, banks, layer_banks, multipliers, layer_multipliers = _static(g)
    largest = min(config.max_rows, g.context)
    if max_block is not None:
        if not 1 <= max_block <= config.max_rows:
            raise ValueError(f"max_block must be in 1..{config.max_rows}, not {max_block!r}")
        largest = min(largest, max_block)
    # Two buffers keep both units busy; a single one still works.
    pairs = [_pair(g, rows, count) for count in (2, 1) for rows in range(largest, 0, -1)]
    block, single = next(pair for pair in pairs if all(each.fits(config) for each in pair))
    residual = block.rows * g.beats(g.dim)
    behind = residual + g.beats(g.vocab) <= config.residual_beats
    return Placement(
        g=g, config=config, block=_grow(block, config), single=_grow(single, config),
        banks=banks.start, layer_banks=layer_banks.start, bank_stride=layer_banks.at,
        multipliers=multipliers.start, layer_multipliers=layer_multipliers.start,
        multiplier_stride=layer_multipliers.at, logits=residual if behind else 0,
    )  # fmt: skip


def _lacking(g: Geometry, config: ChipletConfig) -> dict[str, int]:
    """Return the fields that are too small even for one token at a time, and what they need."""
    needs = _static(g)[0] | _pair(g, 1, 1)[0].needs()
    return {name: size for name, size in needs.items() if size > getattr(config, name)}


def _advice(
    model: QuantizedLlama, config: ChipletConfig, lacking: dict[str, int], context: int | None
) -> str:
    """Say in one sentence what is too small, and what would hold the model."""
    short = " and ".join(
        f"{size - getattr(config, name)} more {name} than the {getattr(config, name)}"
        for name, size in lacking.items()
    )
    fitting = []
    for name, other in CONFIGS.items():
        positions = context or min(model.shape.context, config.context)
        if positions <= other.context and not _lacking(geometry(model, other, positions), other):
            fitting.append(name)
    raising = ", ".join(f"{name} to {size}" for name, size in lacking.items())
    choice = f"use configuration {' or '.join(fitting)}, or raise" if fitting else "raise"
    return f"the model needs {short} of configuration {config.name}: {choice} {raising}"
