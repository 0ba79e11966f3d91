"""Shape and float weights of a Llama: what the float reference and the quantizer start from."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LlamaShape:
    """Sizes and constants of a Llama; nothing here depends on how it is run."""

    #: Channels of the residual stream.
    dim: int
    #: Channels of the feed-forward network.
    hidden: int
    #: Transformer layers.
    layers: int
    #: Query heads.
    heads: int
    #: Key and value heads; each serves `heads / kv_heads` query heads.
    kv_heads: int
    #: Channels of one head.
    head_dim: int
    #: Tokens in the vocabulary.
    vocab: int
    #: Positions the model was trained for.
    context: int
    #: Base of the rotary position embedding's frequencies.
    rope_theta: float = 10000.0
    #: Added to the mean square in every norm.
    norm_eps: float = 1e-5
    #: Whether the classifier is the embedding.
    tied: bool = True

    def __post_init__(self) -> None:
        """Refuse sizes that do not make a Llama."""
        for field in (
            "dim",
            "hidden",
            "layers",
            "heads",
            "kv_heads",
            "head_dim",
            "vocab",
            "context",
        ):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{field} must be a positive integer, not {value!r}")
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads must be a multiple of kv_heads ({self.kv_heads}), not {self.heads!r}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary embedding, not {self.head_dim!r}")
        if not (math.isfinite(self.rope_theta) and self.rope_theta > 1):
            raise ValueError(f"rope_theta must be a finite number above 1, not {self.rope_theta!r}")
        if not (math.isfinite(self.norm_eps) and self.norm_eps > 0):
            raise ValueError(f"norm_eps must be a finite positive number, not {self.norm_eps!r}")
        if not isinstance(self.tied, bool):
            raise ValueError(f"tied must be True or False, not {self.tied!r}")

    @property
    def q_dim(self) -> int:
        """Channels of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Channels of all key heads, or of all value heads, together."""
        return self.kv_heads * self.head_dim

    @property
    def heads_per_kv(self) -> int:
        """Query heads that share one key and value head."""
        return self.heads // self.kv_heads

    @property
    def parameters(self) -> int:
        """Weights of the model, norms included; a tied embedding counts once."""
        attention = 2 * self.dim * (self.q_dim + self.kv_dim)
        layer = attention + 3 * self.dim * self.hidden + 2 * self.dim
        embeddings = self.vocab * self.dim * (1 if self.tied else 2)
        return self.layers * layer + embeddings + self.dim


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWeights:
    """Weights of one layer; a matrix has one row per output channel.

    `wq` and `wk` are in rotate-half order: within a head, channel i turns with channel
    i + head_dim / 2.
    """

    #: Gain of the norm before attention, [dim].
    attention_norm: FloatArray
    #: Query projection, [heads * head_dim, dim].
    wq: FloatArray
    #: Key projection, [kv_heads * head_dim, dim].
    wk: FloatArray
    #: Value projection, [kv_heads * head_dim, dim].
    wv: FloatArray
    #: Attention output projection, [dim, heads * head_dim].
    wo: FloatArray
    #: Gain of the norm before the feed-forward network, [dim].
    ffn_norm: FloatArray
    #: Gate projection (through SiLU), [hidden, dim].
    w_gate: FloatArray
    #: Up projection, [hidden, dim].
    w_up: FloatArray
    #: Down projection, [dim, hidden].
    w_down: FloatArray


def layer_shapes(shape: LlamaShape) -> dict[str, tuple[int, ...]]:
    """Array shapes of `LayerWeights` by field name."""
    return {
        "attention_norm": (shape.dim,),
        "wq": (shape.q_dim, shape.dim),
        "wk": (shape.kv_dim, shape.dim),
        "wv": (shape.kv_dim, shape.dim),
        "wo": (shape.dim, shape.q_dim),
        "ffn_norm": (shape.dim,),
        "w_gate": (shape.hidden, shape.dim),
        "w_up": (shape.hidden, shape.dim),
        "w_down": (shape.dim, shape.hidden),
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class LlamaWeights:
    """All weights of a Llama, as float32."""

    #: Sizes that every array below agrees with.
    shape: LlamaShape
    #: Token embedding, [vocab, dim].
    embedding: FloatArray
    #: Layers in the order they are applied.
    layers: tuple[LayerWeights, ...]
    #: Gain of the norm before the classifier, [dim].
    final_norm: FloatArray
    #: Classifier, [vocab, dim]; the embedding array itself when the shape is tied.
    lm_head: FloatArray

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit the shape."""
        shape = self.shape
        if len(self.layers) != shape.layers:
            raise ValueError(f"layers must hold {shape.layers} entries, not {len(self.layers)!r}")
        expected: dict[str, tuple[int, ...]] = {
            "embedding": (shape.vocab, shape.dim),
            "final_norm": (shape.dim,),
            "lm_head": (shape.vocab, shape.dim),
        }
        for index in range(shape.layers):
            for field, size in layer_shapes(shape).items():
                expected[f"layer{index}.{field}"] = size
        for name, array in self.named_arrays():
            if array.dtype != np.float32:
                raise ValueError(f"{name} must be float32, not {str(array.dtype)!r}")
            if array.shape != expected[name]:
                raise ValueError(f"{name} must be of shape {expected[name]}, not {array.shape!r}")
        if shape.tied and self.lm_head is not self.embedding:
            raise ValueError("lm_head must be the embedding array when tied, not 'another array'")

    def named_arrays(self) -> Iterator[tuple[str, FloatArray]]:
        """Yield every array with a name such as `layer0.wq`."""
        yield "embedding", self.embedding
        for index, layer in enumerate(self.layers):
            for field in layer_shapes(self.shape):
                yield f"layer{index}.{field}", getattr(layer, field)
        yield "final_norm", self.final_norm
        yield "lm_head", self.lm_head


def random_weights(shape: LlamaShape, seed: int) -> LlamaWeights:
    """Make weights for tests and benchmarks; one seed always gives the same ones.

    Every projection keeps its input's variance, so activations stay within the range of a
    trained model, and the norms' gains differ, so that leaving one out shows.
    """
    random = np.random.default_rng(seed)

    def normal(size: tuple[int, ...], deviation: float) -> FloatArray:
        values = random.standard_normal(size, dtype=np.float32)
        return values * np.float32(deviation)

    def array(size: tuple[int, ...]) -> FloatArray:
        if len(size) == 1:
            return np.float32(1.0) + normal(size, 0.1)
        return normal(size, 1 / math.sqrt(size[1]))

    embedding = normal((shape.vocab, shape.dim), 0.5)
    layers = tuple(
        LayerWeights(**{field: array(size) for field, size in layer_shapes(shape).items()})
        for _ in range(shape.layers)
    )
    final_norm = array((shape.dim,))
    return LlamaWeights(
        shape=shape,
        embedding=embedding,
        layers=layers,
        final_norm=final_norm,
        lm_head=embedding if shape.tied else array((shape.vocab, shape.dim)),
    )
