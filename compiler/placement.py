"""Where everything lies: bank words, multiplier beats, and the buffers of a block of tokens.

`place` chooses the largest block of tokens that fits. Rules of addresses: docs/machine.md,
sections 1 to 3.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from compiler.geometry import Buffers, Geometry
from golden.quantized import QuantizedLlama
from hw.config import CONFIGS, ChipletConfig
from hw.vector.schedule import segment_beats


class CapacityError(ValueError):
    """The model does not fit the configuration; the message says what would help."""


def geometry(
    model: QuantizedLlama, config: ChipletConfig, context: int | None = None, sequences: int = 1
) -> Geometry:
    """Return the padded sizes of a model on a configuration; check the context."""
    if not 1 <= sequences <= config.context:
        raise ValueError(f"sequences must be in 1..{config.context}, not {sequences!r}")
    limit = min(model.shape.context, config.context // sequences)
    context = limit if context is None else context
    if not 1 <= context <= limit:
        raise ValueError(
            f"context must be in 1..{limit} (the model has {model.shape.context} positions, "
            f"configuration {config.name} {config.context}), not {context!r}"
        )
    return Geometry(
        shape=model.shape, rows=config.rows, columns=config.columns, lanes=config.lanes,
        groups=model.ffn_groups, context=context, tied=model.shares_embedding,
        sequences=sequences,
    )  # fmt: skip


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

    def needs(self) -> dict[str, int]:
        """Return how much of each memory is used, by configuration field."""
        sizes = _static(self.g)[0]
        for name, size in self.block.needs().items():
            sizes[name] = max(size, self.single.needs()[name])
        sizes["residual_beats"] = max(
            sizes["residual_beats"], self.logits + self.g.beats(self.g.vocab)
        )
        return sizes

    def multiplier_base(self, layer: int) -> int:
        """Return the multiplier beat at which a layer starts."""
        return self.multipliers["layer"] + layer * self.multiplier_stride


def _static(g: Geometry) -> tuple[dict[str, int], Allocator, Allocator, Allocator, Allocator]:
    """Allocate banks and multipliers; return needs, then once and per layer of both."""
    tiles, beats, more = g.tiles, g.beats, g.sequences - 1
    layer_banks = Allocator().take([
        ("wq", tiles(g.queries, g.dim)), ("wk", tiles(g.keys, g.dim)),
        ("wv", tiles(g.keys, g.dim)), ("wo", tiles(g.dim, g.queries)),
        ("gate_up", g.groups * 2 * tiles(g.group, g.dim)),
        ("down", g.groups * tiles(g.dim, g.group)),
        ("keys", g.words(g.keys) * (g.positions // g.columns)),
        ("values", (g.keys // g.columns) * (g.positions // g.rows)),
        ("other sequences", more * g.cache_words),
    ])  # fmt: skip
    layer_multipliers = Allocator().take([
        ("wq", beats(g.queries)), ("wk", beats(g.keys)), ("wv", beats(g.keys)),
        ("attention", beats(g.keys)), ("wo", beats(g.dim)),
        ("gate_up", g.groups * 2 * beats(g.group)), ("w_down", beats(g.dim)),
        ("keys", g.cache_beats), ("other sequences", more * g.cache_beats),
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
    sequences: int = 1,
) -> Placement:
    """Place a model with the largest block of tokens that fits, at most `max_block`."""
    g = geometry(model, config, context, sequences)
    lacking = _lacking(g, config)
    if lacking:
        raise CapacityError(_advice(model, config, lacking, context, sequences))
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
    needs["longest_dot"] = max(g.dim, g.queries, g.group, g.positions)
    # The vector unit keeps a head or a group between two passes, in a part of this size.
    longest, beats = max(g.beats(g.group), g.beats(g.head)), config.result_beats
    while segment_beats(config.replace(result_beats=beats)) < longest and beats < 1 << 16:
        beats *= 2
    if beats > config.result_beats:
        needs["result_beats"] = max(needs["result_beats"], beats)
    return {name: size for name, size in needs.items() if size > getattr(config, name)}


def _advice(
    model: QuantizedLlama, config: ChipletConfig, lacking: dict[str, int], context: int | None,
    sequences: int,
) -> str:  # fmt: skip
    """Say in one sentence what is too small, and what would hold the model."""
    short = " and ".join(
        f"{size - getattr(config, name)} more {name} than the {getattr(config, name)}"
        for name, size in lacking.items()
    )
    fitting = []
    for name, other in CONFIGS.items():
        positions = context or min(model.shape.context, config.context // sequences)
        if positions <= other.context // sequences and not _lacking(
            geometry(model, other, positions, sequences), other
        ):
            fitting.append(name)
    raising = ", ".join(f"{name} to {size}" for name, size in lacking.items())
    choice = f"use configuration {' or '.join(fitting)}, or raise" if fitting else "raise"
    return f"the model needs {short} of configuration {config.name}: {choice} {raising}"
