"""The integer model: the contract between compiler, golden model and chip.

Everything a chip image is made from. compiler/quantize.py makes it; docs/numerics.md says what each
number means.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.model import LlamaShape
from golden.swiglu import group_bounds

Int8Array = NDArray[np.int8]
Int16Array = NDArray[np.int16]
Uint8Array = NDArray[np.uint8]
Uint16Array = NDArray[np.uint16]

SHIFT_LIMIT = 63


def _check(name: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} must be {np.dtype(dtype)} of shape {shape}, not {array.dtype} {array.shape}"
        )


def _check_shift(name: str, shift: int) -> None:
    if not 0 <= shift <= SHIFT_LIMIT:
        raise ValueError(f"{name} must be in 0..{SHIFT_LIMIT}, not {shift!r}")


@dataclass(frozen=True, eq=False)
class QuantizedMatrix:
    """A weight matrix and its drain (section 2): K inputs, N output channels."""

    weight: Int8Array  #: [N, K], -127..127
    multiplier: Uint16Array  #: [N], the largest in 2^15..2^16 - 1
    shift: int

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other."""
        _check("weight", self.weight, np.int8, self.weight.shape[:1] + self.weight.shape[1:2])
        _check("multiplier", self.multiplier, np.uint16, self.weight.shape[:1])
        _check_shift("shift", self.shift)
        if np.any(self.weight == -128):
            raise ValueError("weight must be in -127..127, not -128")


@dataclass(frozen=True, eq=False)
class QuantizedEmbedding:
    """Token embedding (section 4): weight * multiplier * mantissa * 2^(exponent - shift)."""

    weight: Int8Array  #: [vocab, dim]; the very array of the logits' matrix when they share it
    multiplier: Uint16Array  #: [dim]
    mantissa: Uint8Array  #: [vocab], 128..255
    exponent: Int8Array  #: [vocab]
    shift: int

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other."""
        vocab, dim = self.weight.shape
        _check("weight", self.weight, np.int8, (vocab, dim))
        _check("multiplier", self.multiplier, np.uint16, (dim,))
        _check("mantissa", self.mantissa, np.uint8, (vocab,))
        _check("exponent", self.exponent, np.int8, (vocab,))
        _check_shift("shift", self.shift)


@dataclass(frozen=True, eq=False)
class QuantizedLayer:
    """One layer. Norm gains are folded in; rows of wq, wk are in adjacent RoPE pairs."""

    wq: QuantizedMatrix  #: [heads * head_dim, dim] to int16
    wk: QuantizedMatrix  #: [kv_heads * head_dim, dim] to int16
    wv: QuantizedMatrix  #: [kv_heads * head_dim, dim] to int8
    wo: QuantizedMatrix  #: [dim, heads * head_dim] to the residual; groups as w_down's
    w_gate: QuantizedMatrix  #: [hidden, dim] to int16, 10 fraction bits
    w_up: QuantizedMatrix  #: [hidden, dim] to int16
    w_down: QuantizedMatrix  #: [dim, hidden] to the residual; groups share multiplier and shift
    score_shift: int  #: shift of q.k to scores
    attention_multiplier: Uint16Array  #: [kv_heads], P.V to int8
    attention_shift: int

    def matrices(self) -> Iterator[tuple[str, QuantizedMatrix]]:
        """Yield the layer's matrices by name, in the order they run."""
        for name in ("wq", "wk", "wv", "wo", "w_gate", "w_up", "w_down"):
            yield name, getattr(self, name)


@dataclass(frozen=True, eq=False)
class QuantizedLlama:
    """A Llama in integers."""

    shape: LlamaShape
    attention_groups: int  #: groups of KV heads, whose outputs are added one by one (section 6)
    ffn_groups: int  #: groups of hidden channels, each with a scale of its own (section 7)
    residual_fraction_bits: int
    embedding: QuantizedEmbedding
    layers: tuple[QuantizedLayer, ...]
    lm_head: QuantizedMatrix  #: [vocab, dim] to int32 with 16 fraction bits
    epsilon: int  #: of every norm, in squared residual units times dim, 32 bits
    rope_cos: Int16Array  #: [context, head_dim / 2], 14 fraction bits
    rope_sin: Int16Array  #: [context, head_dim / 2]

    def __post_init__(self) -> None:
        """Refuse parts that do not fit the shape."""
        s = self.shape
        if len(self.layers) != s.layers:
            raise ValueError(f"layers must hold {s.layers} entries, not {len(self.layers)!r}")
        if self.attention_groups < 1 or s.kv_heads % self.attention_groups:
            raise ValueError(
                f"attention_groups must divide the {s.kv_heads} KV heads, "
                f"not {self.attention_groups!r}"
            )
        if any(start >= stop for start, stop in self.group_bounds()):
            raise ValueError(
                f"ffn_groups must leave no group of the {s.hidden} hidden channels empty, "
                f"not {self.ffn_groups!r}"
            )
        if not 0 <= self.epsilon < 2**32:
            raise ValueError(f"epsilon must be in 0..2^32 - 1, not {self.epsilon!r}")
        sizes = {
            "wq": (s.q_dim, s.dim),
            "wk": (s.kv_dim, s.dim),
            "wv": (s.kv_dim, s.dim),
            "wo": (s.dim, s.q_dim),
            "w_gate": (s.hidden, s.dim),
            "w_up": (s.hidden, s.dim),
            "w_down": (s.dim, s.hidden),
        }
        for index, layer in enumerate(self.layers):
            for name, matrix in layer.matrices():
                _check(f"layer{index}.{name}", matrix.weight, np.int8, sizes[name])
            scale = layer.attention_multiplier
            _check(f"layer{index}.attention_multiplier", scale, np.uint16, (s.kv_heads,))
            _check_shift(f"layer{index}.score_shift", layer.score_shift)
            _check_shift(f"layer{index}.attention_shift", layer.attention_shift)
        _check("embedding", self.embedding.weight, np.int8, (s.vocab, s.dim))
        _check("lm_head", self.lm_head.weight, np.int8, (s.vocab, s.dim))
        _check("rope_cos", self.rope_cos, np.int16, (s.context, s.head_dim // 2))
        _check("rope_sin", self.rope_sin, np.int16, (s.context, s.head_dim // 2))

    @property
    def shares_embedding(self) -> bool:
        """Whether embedding and logits use the same int8 weights."""
        return self.lm_head.weight is self.embedding.weight

    def group_bounds(self) -> tuple[tuple[int, int], ...]:
        """Return (start, stop) of each group of hidden channels."""
        return group_bounds(self.shape.hidden, self.ffn_groups)
