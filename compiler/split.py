"""A model cut into parts that run on chips of their own, with the same bits in sum.

*Tensor parallel*: each of T chips has some of the attention groups (KV heads with their query heads),
of the FFN groups and of the vocabulary's rows, in every layer. All have the whole residual. What a
chip adds to it is a partial sum; the parts' sum over the chips is what one chip would add, because
residual sums are exact integers in any order (docs/numerics.md, section 9).

*Pipeline parallel*: each of P stages has consecutive layers; the first embeds, the last makes logits.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from golden.quantized import (
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedLlama,
    QuantizedMatrix,
)
from hw.control.isa import SHARE_UNIT


class SplitError(ValueError):
    """A model that cannot be cut so; the message says which numbers of chips work."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What one chip runs of a model."""

    model: QuantizedLlama
    rank: int  #: among the chips that share the stage's tensors
    tensor: int  #: chips that share them
    stage: int
    pipeline: int  #: number of stages
    first_token: int  #: token whose embedding is the part's first row

    @property
    def embeds(self) -> bool:
        """Whether the part has the embedding."""
        return self.stage == 0

    @property
    def samples(self) -> bool:
        """Whether the part makes logits."""
        return self.stage == self.pipeline - 1


def shares(items: int, chips: int) -> list[tuple[int, int]]:
    """Deal consecutive items to chips, the first ones getting one more; return (start, stop)."""
    bounds = [0]
    for chip in range(chips):
        bounds.append(bounds[-1] + items // chips + (chip < items % chips))
    return list(itertools.pairwise(bounds))


def check_split(model: QuantizedLlama, tensor: int, pipeline: int) -> None:
    """Refuse numbers of chips that would leave one without work or break the bits."""
    attention, ffn, layers = model.attention_groups, model.ffn_groups, model.shape.layers
    fitting = [t for t in range(1, ffn + 1) if ffn % t == 0 and t <= attention]
    if tensor not in fitting:
        raise SplitError(
            f"tensor-parallel must divide the model's {ffn} FFN groups and be at most its "
            f"{attention} attention groups: one of {_either(fitting)}, not {tensor}"
        )
    units = -(-model.shape.vocab // SHARE_UNIT)
    if tensor > units:
        raise SplitError(
            f"tensor-parallel must be at most the {units} units of {SHARE_UNIT} tokens in the "
            f"vocabulary, not {tensor}"
        )
    dividing = [p for p in range(1, layers + 1) if layers % p == 0]
    if pipeline not in dividing:
        raise SplitError(
            f"pipeline-parallel must divide the model's {layers} layers: "
            f"one of {_either(dividing)}, not {pipeline}"
        )


def split(model: QuantizedLlama, tensor: int = 1, pipeline: int = 1) -> list[list[Part]]:
    """Cut a model; return the parts of each stage by rank."""
    check_split(model, tensor, pipeline)
    stages = shares(model.shape.layers, pipeline)
    return [
        [_part(model, (rank, tensor), (stage, pipeline), stages[stage]) for rank in range(tensor)]
        for stage in range(pipeline)
    ]


def _either(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _part(
    model: QuantizedLlama, place: tuple[int, int], stage: tuple[int, int], layers: tuple[int, int]
) -> Part:
    (rank, tensor), s = place, model.shape
    first, last = shares(model.attention_groups, tensor)[rank]
    per_group = s.kv_heads // model.attention_groups
    heads = slice(first * per_group, last * per_group)
    groups = shares(model.ffn_groups, tensor)[rank]
    size = -(-s.hidden // model.ffn_groups)
    # In units, so that a share's first token fits a descriptor; the last share may end early.
    units = shares(-(-s.vocab // SHARE_UNIT), tensor)[rank]
    tokens = slice(units[0] * SHARE_UNIT, min(units[1] * SHARE_UNIT, s.vocab))
    embedding = _embedding_rows(model.embedding, tokens)
    # Tied weights are the very same array.
    lm_head = (
        QuantizedMatrix(embedding.weight, model.lm_head.multiplier[tokens], model.lm_head.shift)
        if model.shares_embedding
        else _rows(model.lm_head, tokens)
    )
    count = heads.stop - heads.start
    shape = replace(
        s, heads=count * s.heads_per_kv, kv_heads=count, layers=layers[1] - layers[0],
        hidden=(groups[1] - groups[0]) * size, vocab=tokens.stop - tokens.start,
    )  # fmt: skip
    part = replace(
        model, shape=shape, ffn_groups=groups[1] - groups[0], attention_groups=last - first,
        embedding=embedding, lm_head=lm_head,
        layers=tuple(
            _layer(layer, model, heads, slice(groups[0] * size, groups[1] * size))
            for layer in model.layers[slice(*layers)]
        ),
    )  # fmt: skip
    return Part(
        model=part, rank=rank, tensor=tensor, stage=stage[0], pipeline=stage[1],
        first_token=tokens.start,
    )  # fmt: skip


def _embedding_rows(embedding: QuantizedEmbedding, tokens: slice) -> QuantizedEmbedding:
    return replace(
        embedding, weight=embedding.weight[tokens], mantissa=embedding.mantissa[tokens],
        exponent=embedding.exponent[tokens],
    )  # fmt: skip


def _layer(
    layer: QuantizedLayer, model: QuantizedLlama, heads: slice, hidden: slice
) -> QuantizedLayer:
    """Return a layer with some KV heads and some hidden channels (the last ones may be missing)."""
    s = model.shape
    keys = slice(heads.start * s.head_dim, heads.stop * s.head_dim)
    queries = slice(keys.start * s.heads_per_kv, keys.stop * s.heads_per_kv)
    down = replace(layer.w_down, weight=_taken(layer.w_down.weight, hidden, 1))
    return replace(
        layer,
        wq=_rows(layer.wq, queries),
        wk=_rows(layer.wk, keys),
        wv=_rows(layer.wv, keys),
        wo=replace(layer.wo, weight=_taken(layer.wo.weight, queries, 1)),
        w_gate=_rows(layer.w_gate, hidden),
        w_up=_rows(layer.w_up, hidden),
        w_down=down,
        attention_multiplier=layer.attention_multiplier[heads],
    )


def _rows(matrix: QuantizedMatrix, rows: slice) -> QuantizedMatrix:
    """Return some output channels; the drain's shift stays that of the whole matrix."""
    return QuantizedMatrix(
        _taken(matrix.weight, rows, 0), _taken(matrix.multiplier, rows, 0), matrix.shift
    )


def _taken(array: NDArray, part: slice, axis: int) -> NDArray:
    """Cut a range out of an axis; what lies behind the axis' end is zeros, which add nothing."""
    missing = max(0, part.stop - array.shape[axis])
    widths = [(0, missing if i == axis else 0) for i in range(array.ndim)]
    taken = np.take(array, range(part.start, min(part.stop, array.shape[axis])), axis)
    return np.pad(taken, widths)
