"""What the memories hold before the program runs: tiles, multipliers, RoPE table, ONE.

A tile is one word of every bank: `tile[r][c]` belongs to input `k * rows + r` and output
`n * columns + c` of its matrix.
"""

import numpy as np
from numpy.typing import NDArray

from compiler.geometry import Geometry
from compiler.placement import Placement
from golden.quantized import QuantizedLayer, QuantizedLlama
from golden.requantizer import ONE

Int8Array = NDArray[np.int8]
Uint16Array = NDArray[np.uint16]


def row_scale_word(mantissa: int, exponent: int) -> int:
    """Encode a row scale: mantissa in bits 7..0, signed exponent in bits 15..8."""
    return int(mantissa) | (int(exponent) & 0xFF) << 8


def _pad(array: NDArray, axis: int, parts: list[tuple[int, int]], size: int) -> NDArray:
    """Cut an axis into (start, stop) parts and pad each with zeros to `size`."""
    pieces = []
    for start, stop in parts:
        piece = np.take(array, range(start, stop), axis)
        widths = [(0, 0)] * array.ndim
        widths[axis] = (0, size - (stop - start))
        pieces.append(np.pad(piece, widths))
    return np.concatenate(pieces, axis)


class _Packer:
    """Pads arrays of one model and cuts matrices into tiles."""

    def __init__(self, model: QuantizedLlama, g: Geometry) -> None:
        s = model.shape
        self.g = g
        self._parts = {
            "dim": ([(0, s.dim)], g.dim),
            "heads": ([(i * s.head_dim, (i + 1) * s.head_dim) for i in range(s.heads)], g.head),
            "kv": ([(i * s.head_dim, (i + 1) * s.head_dim) for i in range(s.kv_heads)], g.head),
            "hidden": (list(model.group_bounds()), g.group),
            "vocab": ([(0, s.vocab)], g.vocab),
        }

    def pad(self, array: NDArray, kinds: str) -> NDArray:
        """Pad each axis as its kind says (`heads dim`: outputs per head, inputs dim)."""
        for axis, kind in enumerate(kinds.split()):
            parts, size = self._parts[kind]
            array = _pad(array, axis, parts, size)
        return array

    def tiles(self, matrix: Int8Array) -> Int8Array:
        """Cut a padded matrix [outputs, inputs] into tiles [n, k, rows, columns]."""
        g = self.g
        cut = matrix.reshape(-1, g.columns, matrix.shape[1] // g.rows, g.rows)
        return cut.transpose(0, 2, 3, 1)

    def grouped(self, gate: NDArray, up: NDArray) -> NDArray:
        """Interleave gate and up by group along the first axis."""
        shape = (self.g.groups, self.g.group, *gate.shape[1:])
        both = np.stack([gate.reshape(shape), up.reshape(shape)], 1)
        return both.reshape(-1, *gate.shape[1:])


def bank_tiles(model: QuantizedLlama, placement: Placement) -> Int8Array:
    """Return the weight store [bank_words, rows, columns]."""
    g, p = placement.g, _Packer(model, placement.g)
    banks = np.zeros((placement.config.bank_words, g.rows, g.columns), np.int8)

    def put(address: int, tiles: NDArray) -> None:
        flat = tiles.reshape(-1, g.rows, g.columns)
        banks[address : address + len(flat)] = flat

    for name, matrix in (("embedding", model.embedding.weight), ("lm_head", model.lm_head.weight)):
        # Tiles of one k follow each other, so that a token's word is token / columns further.
        put(placement.banks[name], p.tiles(p.pad(matrix, "vocab dim")).transpose(1, 0, 2, 3))
    for index, layer in enumerate(model.layers):
        at = {k: placement.bank_base(index) + v for k, v in placement.layer_banks.items()}
        put(at["wq"], p.tiles(p.pad(layer.wq.weight, "heads dim")))
        put(at["wk"], p.tiles(p.pad(layer.wk.weight, "kv dim")))
        put(at["wv"], p.tiles(p.pad(layer.wv.weight, "kv dim")))
        put(at["wo"], p.tiles(p.pad(layer.wo.weight, "dim heads")))
        gate = p.pad(layer.w_gate.weight, "hidden dim")
        put(at["gate_up"], p.tiles(p.grouped(gate, p.pad(layer.w_up.weight, "hidden dim"))))
        down = p.pad(layer.w_down.weight, "dim hidden").reshape(g.dim, g.groups, g.group)
        put(at["down"], np.stack([p.tiles(down[:, i]) for i in range(g.groups)]))
    return banks


def _layer_multipliers(layer: QuantizedLayer, p: _Packer) -> dict[str, Uint16Array]:
    gate = p.pad(layer.w_gate.multiplier, "hidden")
    return {
        "wq": p.pad(layer.wq.multiplier, "heads"),
        "wk": p.pad(layer.wk.multiplier, "kv"),
        "wv": p.pad(layer.wv.multiplier, "kv"),
        "attention": np.repeat(layer.attention_multiplier, p.g.head),
        "wo": p.pad(layer.wo.multiplier, "dim"),
        "gate_up": p.grouped(gate, p.pad(layer.w_up.multiplier, "hidden")),
        "w_down": p.pad(layer.w_down.multiplier, "dim"),
    }


def multiplier_beats(model: QuantizedLlama, placement: Placement) -> Uint16Array:
    """Return the multiplier memory [beats, lanes]; key multipliers start as zeros."""
    g, p, embedding = placement.g, _Packer(model, placement.g), model.embedding
    flat = np.zeros(placement.config.multiplier_beats * g.lanes, np.uint16)

    def put(beat: int, values: NDArray) -> None:
        flat[beat * g.lanes : beat * g.lanes + len(values)] = values

    exponents = (embedding.exponent.astype(np.int64) & 0xFF) << 8
    put(placement.multipliers["embedding"], p.pad(embedding.multiplier, "dim"))
    put(placement.multipliers["token_scale"], embedding.mantissa | exponents)
    put(placement.multipliers["lm_head"], p.pad(model.lm_head.multiplier, "vocab"))
    for index, layer in enumerate(model.layers):
        for name, values in _layer_multipliers(layer, p).items():
            put(placement.multiplier_base(index) + placement.layer_multipliers[name], values)
    return flat.reshape(-1, g.lanes)


def rope_beats(model: QuantizedLlama, placement: Placement) -> NDArray[np.int16]:
    """Return the RoPE table [beats, lanes]: cosine in even lanes, sine in odd ones."""
    g = placement.g
    table = np.zeros((g.context, g.head), np.int16)
    table[:, 0 : g.shape.head_dim : 2] = model.rope_cos[: g.context]
    table[:, 1 : g.shape.head_dim : 2] = model.rope_sin[: g.context]
    beats = np.zeros((placement.config.rope_beats, g.lanes), np.int16)
    flat = table.reshape(-1, g.lanes)
    beats[: len(flat)] = flat
    return beats


def row_scale_slots(placement: Placement) -> Uint16Array:
    """Return the row-scale memory: only the slot that holds ONE matters."""
    slots = np.zeros(placement.config.row_slots, np.uint16)
    slots[placement.block.one] = row_scale_word(int(ONE.mantissa), int(ONE.exponent))
    return slots
