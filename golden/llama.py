"""The integer Llama, bit for bit what the chip computes (docs/numerics.md).

Each step of the specification is a function of its own module; this one only joins them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.integer import IntArray, int64
from golden.matmul import FloatArray, Int8Weights, int8_matmul
from golden.quantized import QuantizedLayer, QuantizedLlama, QuantizedMatrix
from golden.quantizer import quantize_key, quantize_vector
from golden.requantizer import ONE, Destination, RowScale, add_to_residual, drain
from golden.rms_norm import NormalizedVector, rms_norm
from golden.rope import rope
from golden.sampler import Sampler, temperature_register
from golden.softmax import softmax
from golden.swiglu import swiglu
from golden.trace import Recorder, Trace

#: Longest block that runs at once when nobody looks at the intermediates: bounds the memory.
PASS_TOKENS = 64


def embed(quantized: QuantizedLlama, tokens: ArrayLike) -> tuple[IntArray, int]:
    """Look up tokens [T]; return the residual [T, dim] and the number clipped (section 4)."""
    table, tokens = quantized.embedding, int64(tokens)
    scale = RowScale(int64(table.mantissa[tokens]), int64(table.exponent[tokens]))
    return drain(
        table.weight[tokens], table.multiplier, table.shift, scale, Destination.RESIDUAL
    )


class _Matrix:
    """A matmul with its drain."""

    def __init__(self, matrix: QuantizedMatrix) -> None:
        self.terms = matrix.weight.shape[1]
        self._product = Int8Weights(matrix.weight)
        self._multiplier = int64(matrix.multiplier)
        self._shift = matrix.shift

    def __call__(
        self, x: IntArray, scale: RowScale, destination: Destination
    ) -> tuple[IntArray, int]:
        return drain(self._product(x), self._multiplier, self._shift, scale, destination)


def _parts(matrix: QuantizedMatrix, bounds: Iterable[tuple[int, int]]) -> list[_Matrix]:
    """Cut a matrix' inputs; each part's product is drained and added by itself."""
    return [
        _Matrix(QuantizedMatrix(matrix.weight[:, start:stop], matrix.multiplier, matrix.shift))
        for start, stop in bounds
    ]


class _Layer:
    """Matmuls of one layer, and its part of the KV cache."""

    def __init__(self, layer: QuantizedLayer, model: QuantizedLlama) -> None:
        s = model.shape
        self.wq, self.wk, self.wv = _Matrix(layer.wq), _Matrix(layer.wk), _Matrix(layer.wv)
        self.w_gate, self.w_up = _Matrix(layer.w_gate), _Matrix(layer.w_up)
        step = s.q_dim // model.attention_groups
        self.wo = _parts(layer.wo, [(at, at + step) for at in range(0, s.q_dim, step)])
        self.w_down = _parts(layer.w_down, model.group_bounds())
        self.score_shift = layer.score_shift
        self.attention_shift = layer.attention_shift
        #: [heads, 1]
        self.attention_multiplier = np.repeat(
            int64(layer.attention_multiplier)[:, None], s.heads_per_kv, axis=0
        )
        # The cache holds int8 values in float32, ready for exact products.
        cache = (s.kv_heads, s.context, s.head_dim)
        self.keys: FloatArray = np.zeros(cache, np.float32)
        self.values: FloatArray = np.zeros(cache, np.float32)
        self.key_multiplier: IntArray = np.zeros((s.kv_heads, s.context), np.int64)


class GoldenLlama:
    """The integer model with its KV cache.

    The bits do not depend on how a sequence is cut into blocks. `saturations` counts the values
    that a destination's width clipped, `saturations_by_step` says where.
    """

    def __init__(self, quantized: QuantizedLlama) -> None:
        self.quantized = quantized
        self.shape = quantized.shape
        self._layers = [_Layer(layer, quantized) for layer in quantized.layers]
        self._lm_head = _Matrix(quantized.lm_head)
        self._position = 0
        self.saturations_by_step: Counter[str] = Counter()

    @property
    def position(self) -> int:
        """Tokens in the cache."""
        return self._position

    @property
    def saturations(self) -> int:
        """Values clipped since the model was made."""
        return self.saturations_by_step.total()

    def reset(self) -> None:
        """Start a new sequence."""
        self._position = 0

    def step_block(self, tokens: Sequence[int], trace: Trace | None = None) -> NDArray[np.int32]:
        """Append T tokens to the sequence; return logits [T, vocab], 16 fraction bits.

        A trace receives every intermediate: `embedding`, for each layer N those that `_attention`
        and `_feed_forward` note under `layerN.`, and `final_norm.*`, `logits`.
        """
        ids = self._checked(tokens)
        size = PASS_TOKENS if trace is None else len(ids)
        logits = [self._run(ids[start : start + size], trace) for start in range(0, len(ids), size)]
        return logits[0] if len(logits) == 1 else np.concatenate(logits)

    def generate(
        self,
        prompt: Sequence[int],
        count: int,
        end_token: int | None = None,
        temperature: float = 0.0,
        seed: int = 1,
    ) -> tuple[list[int], NDArray[np.int32]]:
        """Append a prompt and continue it; return new tokens and the logits [n, vocab] of each.

        Stops after `count` tokens, after `end_token` (which is returned as well), or when the
        context is full. Temperature 0 is greedy. Continues from the current position.
        """
        sampler = Sampler(temperature_register(temperature), seed)
        tokens: list[int] = []
        steps: list[NDArray[np.int32]] = []
        block = list(prompt)
        while len(tokens) < count and self._position + len(block) <= self.shape.context:
            steps.append(self.step_block(block)[-1])
            tokens.append(sampler.choose(steps[-1]))
            if tokens[-1] == end_token:
                break
            block = tokens[-1:]
        if not tokens and count > 0:
            self._checked(prompt)  # says what is wrong with a prompt that does not fit
        return tokens, np.array(steps, np.int32).reshape(-1, self.shape.vocab)

    def _checked(self, tokens: Sequence[int]) -> IntArray:
        """Return the tokens as an array once they are known to fit."""
        ids = np.asarray(tokens)
        if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
            raise ValueError(f"tokens must be a sequence of one or more integers, not {tokens!r}")
        outside = ids[(ids < 0) | (ids >= self.shape.vocab)]
        if len(outside):
            raise ValueError(
                f"tokens must be within 0..{self.shape.vocab - 1}, not {int(outside[0])!r}"
            )
        free = self.shape.context - self._position
        if len(ids) > free:
            raise ValueError(f"tokens must fit the {free} free positions, not {len(ids)!r}")
        return int64(ids)

    def _run(self, ids: IntArray, trace: Trace | None) -> NDArray[np.int32]:
        """Run one block through all layers."""
        note = Recorder(trace, self.saturations_by_step)
        residual = note.clipped("embedding", embed(self.quantized, ids))
        for index, layer in enumerate(self._layers):
            note.prefix = f"layer{index}."
            residual = self._attention(layer, residual, note)
            residual = self._feed_forward(layer, residual, note)
        note.prefix = ""
        norm = self._norm("final_norm", residual, note)
        logits = note.clipped("logits", self._lm_head(norm.q, norm.scale, Destination.LOGIT))
        self._position += len(ids)
        return logits.astype(np.int32)

    def _norm(self, name: str, residual: IntArray, note: Recorder) -> NormalizedVector:
        """Normalize [T, dim]; notes `q`, `mantissa`, `exponent`, `sum_squares` under `name.`."""
        norm = rms_norm(residual, self.quantized.epsilon)
        note.value(f"{name}.q", norm.q)
        note.scale(f"{name}.", norm.scale)
        note.value(f"{name}.sum_squares", norm.sum_squares)
        return norm

    def _attention(self, layer: _Layer, residual: IntArray, note: Recorder) -> IntArray:
        """Add attention to the residual [T, dim] (section 6).

        Notes `attention_norm.*`; `q`, `k` and after rotation `q_rope`, `k_rope` and as int8
        `q_int8`, `k_int8` [T, heads or kv_heads, head_dim]; `q_mantissa`, `q_exponent` [T, heads];
        `k_multiplier` [T, kv_heads]; `v` [T, kv_heads, head_dim]; `scores`, `probabilities`
        [T, heads, positions] (masked scores read -32768); `probability_sum`,
        `attention_mantissa`, `attention_exponent` [T, heads]; `attention` [T, heads, head_dim];
        `residual_mid` [T, dim].
        """
        s, count = self.shape, len(residual)
        here = slice(self._position, self._position + count)
        end = here.stop
        norm = self._norm("attention_norm", residual, note)

        def project(name: str, matrix: _Matrix, destination: Destination) -> IntArray:
            y, clipped = matrix(norm.q, norm.scale, destination)
            return note.clipped(name, (y.reshape(count, -1, s.head_dim), clipped))

        q = project("q", layer.wq, Destination.INT16)
        k = project("k", layer.wk, Destination.INT16)
        v = project("v", layer.wv, Destination.INT8)
        cos = self.quantized.rope_cos[here][:, None]
        sin = self.quantized.rope_sin[here][:, None]
        query = quantize_vector(note.value("q_rope", rope(q, cos, sin)))
        key = quantize_key(note.value("k_rope", rope(k, cos, sin)))
        note.value("q_int8", query.q)
        note.scale("q_", query.scale)
        note.value("k_int8", key.q)
        note.value("k_multiplier", key.key_multiplier)
        layer.keys[:, here] = key.q.transpose(1, 0, 2)
        layer.key_multiplier[:, here] = key.key_multiplier.T
        layer.values[:, here] = v.transpose(1, 0, 2)

        # Query heads that share a KV head are rows of one product: [kv_heads, T * group, ...].
        def by_kv_head(x: IntArray) -> FloatArray:
            stacked = x.reshape(count, s.kv_heads, s.heads_per_kv, -1).transpose(1, 0, 2, 3)
            return stacked.reshape(s.kv_heads, count * s.heads_per_kv, -1).astype(np.float32)

        def by_token(acc: IntArray) -> IntArray:
            stacked = acc.reshape(s.kv_heads, count, s.heads_per_kv, -1).transpose(1, 0, 2, 3)
            return stacked.reshape(count, s.heads, -1)

        dot = by_token(int8_matmul(by_kv_head(query.q), layer.keys[:, :end].transpose(0, 2, 1)))
        visible = np.arange(end) <= np.arange(here.start, end)[:, None, None]
        # What is masked must not count as clipped.
        acc = np.where(visible, dot, 0)
        multiplier = np.repeat(layer.key_multiplier[:, :end], s.heads_per_kv, axis=0)
        drained = drain(acc, multiplier, layer.score_shift, query.scale, Destination.INT16)
        scores = np.where(visible, note.count("scores", drained), -(2**15))
        shares = softmax(note.value("scores", scores), np.broadcast_to(visible, scores.shape))
        note.value("probabilities", shares.p)
        note.value("probability_sum", shares.total)
        note.scale("attention_", shares.scale)
        mixed = by_token(int8_matmul(by_kv_head(shares.p), layer.values[:, :end]))
        attention = note.clipped(
            "attention",
            drain(
                mixed,
                layer.attention_multiplier,
                layer.attention_shift,
                shares.scale,
                Destination.INT8,
            ),
        )
        groups = attention.reshape(count, len(layer.wo), -1)
        for i, matrix in enumerate(layer.wo):
            y = note.count("wo", matrix(groups[:, i], ONE, Destination.RESIDUAL))
            residual = add_to_residual(residual, y)
        return note.value("residual_mid", residual)

    def _feed_forward(self, layer: _Layer, residual: IntArray, note: Recorder) -> IntArray:
        """Add the feed-forward network to the residual [T, dim] (section 7).

        Notes `ffn_norm.*`; `gate`, `up`, `hidden`, `hidden_int8` [T, hidden]; `hidden_mantissa`,
        `hidden_exponent` [T, groups]; `residual` [T, dim].
        """
        s = self.shape
        norm = self._norm("ffn_norm", residual, note)
        gate = note.clipped("gate", layer.w_gate(norm.q, norm.scale, Destination.INT16))
        up = note.clipped("up", layer.w_up(norm.q, norm.scale, Destination.INT16))
        hidden = note.value("hidden", swiglu(gate, up))
        # Zeros fill the last group up; they change nothing.
        groups, size = len(layer.w_down), -(-s.hidden // len(layer.w_down))
        padded = np.pad(hidden, ((0, 0), (0, groups * size - s.hidden)))
        vectors = quantize_vector(padded.reshape(-1, groups, size))
        scale = vectors.scale
        note.value("hidden_int8", vectors.q.reshape(-1, groups * size)[:, : s.hidden])
        note.scale("hidden_", scale)
        for i, matrix in enumerate(layer.w_down):
            group_scale = RowScale(scale.mantissa[:, i], scale.exponent[:, i])
            x = vectors.q[:, i, : matrix.terms]
            y = note.count("w_down", matrix(x, group_scale, Destination.RESIDUAL))
            residual = add_to_residual(residual, y)
        return note.value("residual", residual)
