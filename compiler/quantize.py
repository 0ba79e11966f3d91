"""Float weights to the integer model: the only place where scales are chosen.

Every scale c below means `integer = round(c * real)`. The factors are derived where they are made;
docs/numerics.md says what the integers are used for.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compiler.calibrate import Float64Array, LayerRanges, calibrate
from golden.integer import INT8_MAX
from golden.model import LayerWeights, LlamaShape, LlamaWeights
from golden.quantized import (
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedLlama,
    QuantizedMatrix,
)
from golden.swiglu import GATE_FRACTION_BITS, group_bounds

SHIFT_LIMIT = 63
VOCAB_LIMIT = 1 << 16
LOGIT_FRACTION_BITS = 16
RESIDUAL_FRACTION_LIMIT = 20
#: More groups cost time where a group's heads are narrow.
ATTENTION_GROUP_LIMIT = 8
#: int16 values of q, k and up should reach at most this on calibration text: headroom of 4.
INT16_TARGET = 8191
#: Reached only by queries and keys that are (nearly) all zero.
SCORE_SHIFT_LIMIT = 48
#: Static int8 scales leave this much room above the largest calibrated value.
VALUE_MARGIN = 1.3
ATTENTION_MARGIN = 1.5
#: Beyond this ratio of gains, an embedding that shares the logits' weights loses precision.
GAIN_SPREAD_LIMIT = 64.0
#: Exponents below this only make zeros.
EXPONENT_FLOOR = -64


class QuantizeError(ValueError):
    """A model that does not fit the integer formats; the message says why."""


def quantize(
    weights: LlamaWeights,
    calibration_tokens: Sequence[int] | None = None,
    ffn_groups: int = 4,
) -> QuantizedLlama:
    """Quantize a Llama; without calibration tokens it is calibrated on text it writes itself."""
    shape = weights.shape
    _refuse(weights, ffn_groups)
    ranges = calibrate(weights, calibration_tokens)
    fraction_bits = _residual_fraction_bits(ranges.residual, shape)
    embedding, lm_head = _embedding_and_lm_head(weights, fraction_bits)
    layers = tuple(
        _layer(f"layer{i}", layer, shape, seen, fraction_bits)
        for i, (layer, seen) in enumerate(zip(weights.layers, ranges.layers, strict=True))
    )
    cos, sin = _rope_tables(shape)
    return QuantizedLlama(
        shape=shape,
        attention_groups=_attention_groups(shape.kv_heads),
        ffn_groups=_groups(shape.hidden, ffn_groups),
        residual_fraction_bits=fraction_bits,
        embedding=embedding,
        layers=layers,
        lm_head=lm_head,
        epsilon=_epsilon(shape, fraction_bits),
        rope_cos=cos,
        rope_sin=sin,
    )


def _refuse(weights: LlamaWeights, ffn_groups: int) -> None:
    """Raise QuantizeError for what no choice of scales can represent."""
    shape = weights.shape
    if ffn_groups < 1:
        raise QuantizeError(f"ffn_groups must be at least 1, not {ffn_groups!r}")
    if shape.vocab > VOCAB_LIMIT:
        raise QuantizeError(f"the vocabulary must be {VOCAB_LIMIT} at most, not {shape.vocab}")
    for name, terms in (
        ("dim", shape.dim),
        ("heads * head_dim", shape.q_dim),
        ("hidden", shape.hidden),
        ("context", shape.context),
    ):
        if terms * INT8_MAX**2 >= 2**31:
            raise QuantizeError(f"{name} = {terms} products could overflow a 32-bit accumulator")
    for name, array in weights.named_arrays():
        if not np.all(np.isfinite(array)):
            raise QuantizeError(f"{name} holds values that are not finite")


def _groups(hidden: int, groups: int) -> int:
    """Lower the number of groups until none is empty (9 channels in 4 groups of 3 need only 3)."""
    start_stop = group_bounds(hidden, min(groups, hidden))
    return sum(start < stop for start, stop in start_stop)


def _attention_groups(kv_heads: int) -> int:
    """Return the most groups of equal size, up to a limit: so many chips can share the heads."""
    return max(n for n in range(1, ATTENTION_GROUP_LIMIT + 1) if kv_heads % n == 0)


def _epsilon(shape: LlamaShape, fraction_bits: int) -> int:
    return round(shape.norm_eps * shape.dim * 4.0**fraction_bits)


def _residual_fraction_bits(largest: float, shape: LlamaShape) -> int:
    """Keep two bits above the largest residual seen in 24 bits; epsilon must fit 32 bits."""
    bits = min(math.floor(math.log2(2**21 / max(largest, 2.0**-30))), RESIDUAL_FRACTION_LIMIT)
    while bits > 0 and _epsilon(shape, bits) >= 2**32:
        bits -= 1
    if bits < 0 or _epsilon(shape, bits) >= 2**32:
        raise QuantizeError(
            f"a residual of {largest:g} with norm_eps {shape.norm_eps:g} does not fit 24 bits"
        )
    return bits


def _rope_tables(shape: LlamaShape) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Cosines and sines [context, head_dim / 2] with 14 fraction bits."""
    frequency = shape.rope_theta ** (-np.arange(0, shape.head_dim, 2) / shape.head_dim)
    angle = np.arange(shape.context)[:, None] * frequency
    cos = np.floor(np.cos(angle) * 2**14 + 0.5).astype(np.int16)
    sin = np.floor(np.sin(angle) * 2**14 + 0.5).astype(np.int16)
    return cos, sin


def _multipliers(name: str, factors: Float64Array) -> tuple[NDArray[np.uint16], int]:
    """Write factors as multiplier * 2^-shift, the largest multiplier in 2^15..2^16 - 1."""
    largest = float(np.max(factors))
    if largest == 0:
        factors, largest = np.ones_like(factors), 1.0
    shift = 15 - math.floor(math.log2(largest))
    if round(largest * 2.0**shift) > 65535:
        shift -= 1
    if shift < 0:
        raise QuantizeError(f"{name} has a scale of {largest:g}, too large for a 16-bit multiplier")
    shift = min(shift, SHIFT_LIMIT)  # factors this small make zeros anyway
    return np.floor(factors * 2.0**shift + 0.5).astype(np.uint16), shift


def _rows_to_int8(matrix: Float64Array, step: Float64Array) -> NDArray[np.int8]:
    """Round rows [N, K] to multiples of their step [N]; a step of 0 means a row of zeros."""
    safe = np.where(step > 0, step, 1.0)[:, None]
    return np.clip(np.floor(matrix / safe + 0.5), -INT8_MAX, INT8_MAX).astype(np.int8)


def _matrix(name: str, matrix: Float64Array, scale: Float64Array | float) -> QuantizedMatrix:
    """Quantize [N, K] with a step per row; `scale` [N] turns the real product into the drained y.

    scale is (scale of y) / (scale of the int8 input).
    """
    step = np.max(np.abs(matrix), axis=1) / INT8_MAX
    multiplier, shift = _multipliers(name, step * scale)
    return QuantizedMatrix(_rows_to_int8(matrix, step), multiplier, shift)


def _layer(
    name: str, layer: LayerWeights, shape: LlamaShape, seen: LayerRanges, fraction_bits: int
) -> QuantizedLayer:
    """Choose the scales of one layer and fold them in."""
    # A norm's output is q * rowscale * sqrt(dim) / 127.
    norm = math.sqrt(shape.dim) / INT8_MAX
    attention_in = layer.attention_norm.astype(np.float64)
    ffn_in = layer.ffn_norm.astype(np.float64)
    residual = 2.0**fraction_bits

    q_scale, k_scale, score_shift = _score_scales(name, shape, seen)
    pairs = np.arange(shape.head_dim).reshape(2, -1).T.ravel()  # 0, d/2, 1, d/2 + 1, ...

    def project(field: str, weight: np.ndarray, head_scale: Float64Array) -> QuantizedMatrix:
        return _matrix(
            f"{name}.{field}", weight * attention_in, norm * np.repeat(head_scale, shape.head_dim)
        )

    def adjacent(weight: np.ndarray) -> np.ndarray:
        heads = weight.reshape(-1, shape.head_dim, shape.dim)
        return heads[:, pairs].reshape(weight.shape)

    v_range = VALUE_MARGIN * _positive(seen.v)
    v_scale = INT8_MAX / v_range
    # An average of values cannot reach farther than the values.
    attention_range = np.minimum(ATTENTION_MARGIN * _positive(seen.attention), v_range)
    attention_scale = INT8_MAX / attention_range
    attention_multiplier, attention_shift = _multipliers(
        f"{name}.attention", attention_scale / v_scale
    )
    per_column = np.repeat(attention_scale, shape.heads_per_kv * shape.head_dim)

    up_scale = 2.0 ** math.floor(math.log2(INT16_TARGET / max(seen.up, 2.0**-30)))
    hidden_scale = up_scale * 2.0**GATE_FRACTION_BITS
    return QuantizedLayer(
        wq=project("wq", adjacent(layer.wq), q_scale),
        wk=project("wk", adjacent(layer.wk), k_scale),
        wv=project("wv", layer.wv, v_scale),
        wo=_matrix(f"{name}.wo", layer.wo / per_column, residual),
        w_gate=_matrix(f"{name}.w_gate", layer.w_gate * ffn_in, norm * 2.0**GATE_FRACTION_BITS),
        w_up=_matrix(f"{name}.w_up", layer.w_up * ffn_in, norm * up_scale),
        w_down=_matrix(
            f"{name}.w_down",
            layer.w_down.astype(np.float64),
            residual / (hidden_scale * INT8_MAX),
        ),
        score_shift=score_shift,
        attention_multiplier=attention_multiplier,
        attention_shift=attention_shift,
    )


def _positive(values: Float64Array) -> Float64Array:
    """Replace ranges too small to scale by, such as those of dead heads."""
    return np.maximum(values, max(float(np.max(values)) * 2.0**-12, 2.0**-30))


def _score_scales(
    name: str, shape: LlamaShape, seen: LayerRanges
) -> tuple[Float64Array, Float64Array, int]:
    """Choose scales of q [heads] and k [kv_heads] and the shift that makes scores of their product.

    The drain computes (c_q q) (c_k k) * 127^2 / 2 * 2^-score_shift and must give
    64 * log2(e) / sqrt(head_dim) * q k. So c_q * c_k is the same for all heads of a layer; each KV
    head divides it so that its q and k reach equally far, and the head that reaches farthest sets
    the shift.
    """
    unit = 64 * math.log2(math.e) / math.sqrt(shape.head_dim) * 2 / INT8_MAX**2
    q = _positive(np.max(seen.q.reshape(shape.kv_heads, -1), axis=1))
    k = _positive(seen.k)
    shift = math.floor(math.log2(INT16_TARGET**2 / (unit * float(np.max(q * k)))))
    shift = min(shift, SCORE_SHIFT_LIMIT)
    if shift < 0:
        raise QuantizeError(f"{name}: queries of {q.max():g} and keys of {k.max():g} do not fit")
    product = unit * 2.0**shift
    q_scale, k_scale = np.sqrt(product * k / q), np.sqrt(product * q / k)
    return np.repeat(q_scale, shape.heads_per_kv), k_scale, shift


def _embedding_and_lm_head(
    weights: LlamaWeights, fraction_bits: int
) -> tuple[QuantizedEmbedding, QuantizedMatrix]:
    """Quantize both; tied ones share int8 weights if the final norm's gains allow it."""
    gain = weights.final_norm.astype(np.float64)
    logits = weights.lm_head * gain
    to_logit = math.sqrt(weights.shape.dim) / INT8_MAX * 2.0**LOGIT_FRACTION_BITS
    gains_fit = np.min(gain) > 0 and np.max(gain) <= GAIN_SPREAD_LIMIT * np.min(gain)
    if not (weights.shape.tied and gains_fit):
        ones = np.ones_like(gain)
        embedding, _ = _embedding(weights.embedding.astype(np.float64), ones, fraction_bits)
        return embedding, _matrix("lm_head", logits, to_logit)
    embedding, step = _embedding(logits, 1 / gain, fraction_bits)
    multiplier, shift = _multipliers("lm_head", step * to_logit)
    return embedding, QuantizedMatrix(embedding.weight, multiplier, shift)


def _embedding(
    rows: Float64Array, factor: Float64Array, fraction_bits: int
) -> tuple[QuantizedEmbedding, Float64Array]:
    """Quantize rows [vocab, dim] whose channels are worth `factor` [dim]; return also the steps.

    A row's step is a row scale: mantissa * 2^exponent, rounded up so that nothing is clipped.
    """
    wanted = np.max(np.abs(rows), axis=1) / INT8_MAX
    mantissa, exponent = np.frexp(wanted)  # mantissa 0.5..1, 0 for a row of zeros
    mantissa, exponent = np.ceil(mantissa * 256), exponent.astype(np.int64) - 8
    carry = mantissa == 256
    mantissa, exponent = np.where(carry, 128, mantissa), exponent + carry
    step = mantissa * 2.0**exponent
    used = mantissa > 0
    # Only exponent - shift counts: let the largest row have exponent 0.
    offset = int(np.max(exponent[used], initial=-128)) if np.any(used) else 0
    multiplier, shift = _multipliers("embedding", factor * 2.0 ** (fraction_bits + offset))
    exponent = np.where(used, np.maximum(exponent - offset, EXPONENT_FLOOR), 0)
    return QuantizedEmbedding(
        weight=_rows_to_int8(rows, step),
        multiplier=multiplier,
        mantissa=np.where(used, mantissa, 128).astype(np.uint8),
        exponent=exponent.astype(np.int8),
        shift=shift,
    ), step
