"""Ranges of a float Llama's intermediates: what static scales and binary points are chosen from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.float_reference import FloatLlama, Trace
from golden.model import LlamaWeights

Float64Array = NDArray[np.float64]

#: Sequences that the model writes itself when no text is given, and tokens of each.
SEQUENCES = 4
SEQUENCE_TOKENS = 128
#: A model with more weights than this writes a quarter as much, to take seconds at most.
LARGE_PARAMETERS = 5_000_000


@dataclass(frozen=True, eq=False)
class LayerRanges:
    """Largest magnitudes seen in one layer."""

    q: Float64Array  #: [heads], before rotation
    k: Float64Array  #: [kv_heads], before rotation
    v: Float64Array  #: [kv_heads]
    attention: Float64Array  #: [kv_heads], output of the query heads that share a KV head
    up: float


@dataclass(frozen=True, eq=False)
class Ranges:
    """Largest magnitudes seen in a model."""

    residual: float  #: at any point of the residual stream, the embedding included
    layers: tuple[LayerRanges, ...]


def sample_tokens(weights: LlamaWeights, seed: int = 1) -> list[list[int]]:
    """Let the float model write sequences at temperature 1; one seed always gives the same.

    They start with token 0 or 1 in turn, because begin-of-text is usually one of these.
    """
    random = np.random.default_rng(seed)
    model = FloatLlama(weights)
    length = SEQUENCE_TOKENS // (4 if weights.shape.parameters > LARGE_PARAMETERS else 1)
    sequences = []
    for index in range(SEQUENCES):
        model.reset()
        tokens = [index % min(2, weights.shape.vocab)]
        while len(tokens) < min(length, weights.shape.context):
            logits = model.step(tokens[-1]).astype(np.float64)
            # The largest logit plus Gumbel noise is a sample of their softmax.
            tokens.append(int(np.argmax(logits + random.gumbel(size=logits.size))))
        sequences.append(tokens)
    return sequences


def calibrate(weights: LlamaWeights, tokens: Sequence[int] | None = None) -> Ranges:
    """Run the float model over tokens (cut at the context), or over text of its own."""
    shape = weights.shape
    if tokens is None:
        sequences = sample_tokens(weights)
    else:
        window = shape.context
        sequences = [list(tokens[i : i + window]) for i in range(0, len(tokens), window)]
    if not sequences:
        raise ValueError("calibration_tokens must hold at least one token, not none")
    model = FloatLlama(weights)
    seen: Ranges | None = None
    for sequence in sequences:
        trace: Trace = {}
        model.forward(sequence, trace)
        ranges = _ranges(trace, shape.layers, shape.kv_heads)
        seen = ranges if seen is None else _wider(seen, ranges)
    assert seen is not None
    return seen


def _ranges(trace: Trace, layers: int, kv_heads: int) -> Ranges:
    """Read the ranges off one run."""

    def per_head(name: str) -> Float64Array:
        return np.max(np.abs(trace[name]), axis=(0, 2)).astype(np.float64)

    def residuals() -> Iterator[float]:
        for name, values in trace.items():
            if name.split(".")[-1] in ("residual", "ffn_residual"):
                yield float(np.max(np.abs(values)))

    return Ranges(
        residual=max(residuals()),
        layers=tuple(
            LayerRanges(
                q=per_head(f"layer{i}.q"),
                k=per_head(f"layer{i}.k"),
                v=per_head(f"layer{i}.v"),
                attention=per_head(f"layer{i}.attention_out").reshape(kv_heads, -1).max(axis=1),
                up=float(np.max(np.abs(trace[f"layer{i}.up"]))),
            )
            for i in range(layers)
        ),
    )


def _wider(a: Ranges, b: Ranges) -> Ranges:
    """Cover both."""
    return Ranges(
        residual=max(a.residual, b.residual),
        layers=tuple(
            LayerRanges(
                q=np.maximum(x.q, y.q),
                k=np.maximum(x.k, y.k),
                v=np.maximum(x.v, y.v),
                attention=np.maximum(x.attention, y.attention),
                up=max(x.up, y.up),
            )
            for x, y in zip(a.layers, b.layers, strict=True)
        ),
    )
