"""Float32 Llama: what the quantized model approximates and is judged against.

It shares no arithmetic with the bit-exact path. The quantizer calibrates from its trace.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.model import FloatArray, LayerWeights, LlamaShape, LlamaWeights

#: Intermediate results by name, such as `layer0.gate`, one row per token.
Trace = dict[str, FloatArray]


@dataclass(frozen=True, eq=False)
class KvCache:
    """Rotated keys and values of every layer, [layers, context, kv_heads, head_dim]."""

    keys: FloatArray
    values: FloatArray

    @classmethod
    def empty(cls, shape: LlamaShape, positions: int) -> "KvCache":
        """Make a cache for `positions` tokens."""
        size = (shape.layers, positions, shape.kv_heads, shape.head_dim)
        return cls(np.zeros(size, np.float32), np.zeros(size, np.float32))


def rms_norm(x: FloatArray, gain: FloatArray, eps: float) -> FloatArray:
    """Scale each row to unit root mean square, then each channel by its gain."""
    mean_square = np.mean(np.square(x), axis=-1, keepdims=True)
    normalized: FloatArray = x / np.sqrt(mean_square + np.float32(eps)) * gain
    return normalized


def silu(x: FloatArray) -> FloatArray:
    """Return x * sigmoid(x)."""
    # By way of tanh, because exp(-x) overflows where the sigmoid is merely zero.
    half = np.float32(0.5)
    sigmoid: FloatArray = half + half * np.tanh(x * half)
    return x * sigmoid


def softmax(x: FloatArray) -> FloatArray:
    """Normalize exponentials along the last axis."""
    exponentials: FloatArray = np.exp(x - np.max(x, axis=-1, keepdims=True))
    total: FloatArray = np.sum(exponentials, axis=-1, keepdims=True)
    return exponentials / total


def rope_tables(shape: LlamaShape) -> tuple[FloatArray, FloatArray]:
    """Cosines and sines by position and channel pair, each [context, head_dim / 2]."""
    exponents = np.arange(0, shape.head_dim, 2) / shape.head_dim
    angles = np.arange(shape.context)[:, None] * shape.rope_theta**-exponents
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: FloatArray, cos: FloatArray, sin: FloatArray) -> FloatArray:
    """Turn channel i of every head with channel i + head_dim / 2; x is [T, heads, head_dim]."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=-1)


def log_softmax_nats(logits: FloatArray, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the negative log likelihood of one target per row of logits, in nats."""
    wide = logits.astype(np.float64)
    peak = np.max(wide, axis=-1)
    totals = peak + np.log(np.sum(np.exp(wide - peak[:, None]), axis=-1))
    nats: NDArray[np.float64] = totals - wide[np.arange(len(targets)), targets]
    return nats


class FloatLlama:
    """A Llama that runs a whole sequence at once, or token by token from a cache.

    Both ways can fill a trace, a dict that receives these arrays, T rows each:

    - `layerN.residual`: the layer's input, [T, dim]
    - `layerN.attention_norm`: input of the q, k and v projections, [T, dim]
    - `layerN.q`, `layerN.k`: before rotation, [T, heads or kv_heads, head_dim]
    - `layerN.q_rotated`, `layerN.k_rotated`: after it
    - `layerN.v`: [T, kv_heads, head_dim]
    - `layerN.attention_out`: input of the output projection, [T, heads, head_dim]
    - `layerN.attention_delta`: what attention adds to the residual, [T, dim]
    - `layerN.ffn_residual`, `layerN.ffn_norm`: before and after the second norm, [T, dim]
    - `layerN.gate` (before SiLU), `layerN.up`, `layerN.hidden`: [T, hidden]
    - `layerN.ffn_delta`: what the feed-forward network adds to the residual, [T, dim]
    - `residual`, `final_norm`: before and after the last norm, [T, dim]
    - `logits`: [T, vocab]
    """

    def __init__(self, weights: LlamaWeights) -> None:
        self.weights = weights
        self.shape = weights.shape
        self._cos, self._sin = rope_tables(weights.shape)
        self._cache: KvCache | None = None
        self._position = 0

    @property
    def position(self) -> int:
        """Tokens that `step` has taken since the last reset."""
        return self._position

    def reset(self) -> None:
        """Forget what `step` has seen."""
        self._cache = None
        self._position = 0

    def forward(self, tokens: Sequence[int], trace: Trace | None = None) -> FloatArray:
        """Run a sequence from position 0; row t holds the logits for the token after t.

        The state of `step` stays as it is.
        """
        ids = self._checked(tokens)
        if len(ids) > self.shape.context:
            raise ValueError(
                f"tokens must be no more than the context ({self.shape.context}), not {len(ids)!r}"
            )
        return self._run(ids, 0, KvCache.empty(self.shape, len(ids)), trace)

    def step(self, token: int, trace: Trace | None = None) -> FloatArray:
        """Take one more token; return the logits for the token after it, [vocab]."""
        ids = self._checked([token])
        if self._position >= self.shape.context:
            raise ValueError(
                f"position must be within the context ({self.shape.context}), "
                f"not {self._position!r}: reset first"
            )
        if self._cache is None:
            self._cache = KvCache.empty(self.shape, self.shape.context)
        logits: FloatArray = self._run(ids, self._position, self._cache, trace)[0]
        self._position += 1
        return logits

    def mean_nats(self, tokens: Sequence[int], window: int | None = None) -> float:
        """Return the mean negative log likelihood of every token but the first, in nats.

        Each window of inputs starts without context; the default window is the whole context.
        """
        window = self.shape.context if window is None else window
        if not 1 <= window <= self.shape.context:
            raise ValueError(f"window must be within 1..{self.shape.context}, not {window!r}")
        ids = self._checked(tokens)
        if len(ids) < 2:
            raise ValueError(f"tokens must be at least two, not {len(ids)!r}")
        total = 0.0
        for begin in range(0, len(ids) - 1, window):
            targets = ids[begin + 1 : begin + window + 1]
            logits = self.forward(ids[begin : begin + len(targets)].tolist())
            total += float(np.sum(log_softmax_nats(logits, targets)))
        return total / (len(ids) - 1)

    def perplexity(self, tokens: Sequence[int], window: int | None = None) -> float:
        """Return the exponential of `mean_nats`."""
        return math.exp(self.mean_nats(tokens, window))

    def _checked(self, tokens: Sequence[int]) -> NDArray[np.int64]:
        """Return the tokens as an array once they are known to be in the vocabulary."""
        ids = np.asarray(tokens)
        if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
            raise ValueError(f"tokens must be a sequence of one or more integers, not {tokens!r}")
        outside = ids[(ids < 0) | (ids >= self.shape.vocab)]
        if len(outside):
            raise ValueError(
                f"tokens must be within 0..{self.shape.vocab - 1}, not {int(outside[0])!r}"
            )
        return ids.astype(np.int64)

    def _run(
        self, ids: NDArray[np.int64], position: int, cache: KvCache, trace: Trace | None
    ) -> FloatArray:
        """Run tokens that follow `position` cached ones; add them to the cache."""
        eps = self.shape.norm_eps
        residual = self.weights.embedding[ids]
        for index, layer in enumerate(self.weights.layers):
            x = rms_norm(residual, layer.attention_norm, eps)
            attention_delta = self._attention(index, layer, x, position, cache, trace)
            ffn_residual = residual + attention_delta
            ffn_norm = rms_norm(ffn_residual, layer.ffn_norm, eps)
            gate = ffn_norm @ layer.w_gate.T
            up = ffn_norm @ layer.w_up.T
            hidden = silu(gate) * up
            ffn_delta = hidden @ layer.w_down.T
            if trace is not None:
                name = f"layer{index}"
                trace[f"{name}.residual"] = residual
                trace[f"{name}.attention_norm"] = x
                trace[f"{name}.attention_delta"] = attention_delta
                trace[f"{name}.ffn_residual"] = ffn_residual
                trace[f"{name}.ffn_norm"] = ffn_norm
                trace[f"{name}.gate"] = gate
                trace[f"{name}.up"] = up
                trace[f"{name}.hidden"] = hidden
                trace[f"{name}.ffn_delta"] = ffn_delta
            residual = ffn_residual + ffn_delta
        final_norm = rms_norm(residual, self.weights.final_norm, eps)
        logits = final_norm @ self.weights.lm_head.T
        if trace is not None:
            trace["residual"] = residual
            trace["final_norm"] = final_norm
            trace["logits"] = logits
        return logits

    def _attention(
        self,
        index: int,
        layer: LayerWeights,
        x: FloatArray,
        position: int,
        cache: KvCache,
        trace: Trace | None,
    ) -> FloatArray:
        """Return what attention adds to the residual; write the new keys and values."""
        shape = self.shape
        count = len(x)
        end = position + count
        cos, sin = self._cos[position:end], self._sin[position:end]
        q = (x @ layer.wq.T).reshape(count, shape.heads, shape.head_dim)
        k = (x @ layer.wk.T).reshape(count, shape.kv_heads, shape.head_dim)
        v = (x @ layer.wv.T).reshape(count, shape.kv_heads, shape.head_dim)
        q_rotated = rotate(q, cos, sin)
        k_rotated = rotate(k, cos, sin)
        cache.keys[index, position:end] = k_rotated
        cache.values[index, position:end] = v
        scale = np.float32(1 / math.sqrt(shape.head_dim))
        # Query t may look at positions up to its own.
        hidden_keys = np.arange(end) > np.arange(position, end)[:, None]
        mixed = np.empty((count, shape.heads, shape.head_dim), np.float32)
        # One KV head at a time: all scores of a long sequence together would take gigabytes.
        for kv_head in range(shape.kv_heads):
            first = kv_head * shape.heads_per_kv
            heads = slice(first, first + shape.heads_per_kv)
            queries = q_rotated[:, heads].transpose(1, 0, 2)
            scores = queries @ cache.keys[index, :end, kv_head].T * scale
            scores[:, hidden_keys] = -np.inf
            weighted = softmax(scores) @ cache.values[index, :end, kv_head]
            mixed[:, heads] = weighted.transpose(1, 0, 2)
        if trace is not None:
            name = f"layer{index}"
            trace[f"{name}.q"] = q
            trace[f"{name}.k"] = k
            trace[f"{name}.v"] = v
            trace[f"{name}.q_rotated"] = q_rotated
            trace[f"{name}.k_rotated"] = k_rotated
            trace[f"{name}.attention_out"] = mixed
        return mixed.reshape(count, shape.q_dim) @ layer.wo.T
