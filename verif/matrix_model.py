"""Reference of the matrix unit, from docs/machine.md section 2, with golden's arithmetic."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from golden.requantizer import Destination as GoldenDestination
from golden.requantizer import RowScale, add_to_residual, drain
from hw.config import ChipletConfig
from hw.control.isa import Destination, Opcode, Source, Statistic

IntArray = NDArray[np.int64]

_GOLDEN = {
    Destination.RESULT: GoldenDestination.INT16, Destination.OUTPUT: GoldenDestination.INT8,
    Destination.RESIDUAL_SET: GoldenDestination.RESIDUAL,
    Destination.RESIDUAL_ADD: GoldenDestination.RESIDUAL,
    Destination.LOGITS: GoldenDestination.LOGIT,
}


@dataclass
class MatrixModel:
    """Memories as integer arrays; ``run`` executes one command at once."""

    config: ChipletConfig
    seed: int
    banks: IntArray = field(init=False)  #: [word, row, column]
    activations: IntArray = field(init=False)  #: [element]
    outputs: IntArray = field(init=False)
    results: IntArray = field(init=False)
    residual: IntArray = field(init=False)
    multipliers: IntArray = field(init=False)
    row_scales: IntArray = field(init=False)  #: [slot, (mantissa, exponent)]
    row_maxima: IntArray = field(init=False)
    tokens: IntArray = field(init=False)

    def __post_init__(self) -> None:
        """Fill every memory with random numbers."""
        c, random = self.config, np.random.default_rng(self.seed)

        def signed(bits: int, *shape: int) -> IntArray:
            return random.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)

        self.banks = signed(8, c.bank_words, c.rows, c.columns)
        self.activations = signed(8, c.activation_words * c.rows)
        self.outputs = signed(8, c.output_words * c.rows)
        self.results = signed(16, c.result_beats * c.lanes)
        self.residual = signed(32, c.residual_beats * c.lanes)
        self.multipliers = random.integers(0, 1 << 16, c.multiplier_beats * c.lanes)
        self.row_scales = np.stack([random.integers(128, 256, c.row_slots),
                                    random.integers(-20, 8, c.row_slots)], axis=1)
        self.row_maxima = signed(32, c.row_slots)
        self.tokens = random.integers(0, c.bank_words * c.columns // 4, c.context)

    def run(self, opcode: Opcode, source: Source = Source.ACTIVATIONS,
            destination: Destination = Destination.RESULT, statistic: Statistic = Statistic.NONE,
            masked: int = 0, **d: int) -> int:
        """Execute one command with descriptors ``d``; return the number of clipped values."""
        c = self.config
        x = (self.outputs if source == Source.OUTPUTS else self.activations).reshape(-1, c.rows)
        clipped = 0
        if opcode == Opcode.MATMUL:
            for t in range(d["rows"]):
                for g in range(d["subrows"]):
                    y = np.concatenate([
                        sum(self.banks[d["weight"] + n * d["weight_n_stride"]
                                       + k * d["weight_k_stride"]].T
                            @ x[d["x"] + t * d["x_row_stride"] + g * d["x_sub_stride"] + k]
                            for k in range(d["k_tiles"])) for n in range(d["n_tiles"])])
                    scale = self.row_scales[
                        d["row_scale"] + t * d["row_scale_stride"] + g]
                    limit = d["limit"] + t if masked else len(y)
                    clipped += self._drain(
                        y, RowScale(scale[:1], scale[1:]), d, destination, statistic,
                        d["dst"] + t * d["dst_row_stride"] + g * d["dst_sub_stride"],
                        d["maximum"] + t * d["subrows"] + g, limit)
        elif opcode == Opcode.EMBED:
            for t in range(d["rows"]):
                token = int(self.tokens[d["position"] + t])
                word = d["weight"] + token // c.columns
                y = np.concatenate([
                    self.banks[word + k * d["weight_k_stride"], :, token % c.columns]
                    for k in range(d["k_tiles"])])
                packed = int(self.multipliers[d["token_scale"] * c.lanes + token])
                exponent = (packed >> 8 ^ 128) - 128
                scale = RowScale(np.array([packed & 255]), np.array([exponent]))
                clipped += self._drain(y, scale, d, destination, statistic,
                                       d["dst"] + t * d["dst_row_stride"], d["maximum"] + t, len(y))
        elif opcode == Opcode.STORE_KEYS:
            for t in range(d["rows"]):
                p = d["position"] + t
                for j in range(d["k_tiles"]):
                    self.banks[d["weight"] + j * d["weight_k_stride"] + p // c.columns, :,
                               p % c.columns] = x[d["x"] + t * d["x_row_stride"] + j]
        else:
            for t in range(d["rows"]):
                p = d["position"] + t
                for e in range(d["k_tiles"] * c.rows):
                    word = d["weight"] + e // c.columns * d["weight_n_stride"] + p // c.rows
                    self.banks[word, p % c.rows, e % c.columns] = x[
                        d["x"] + t * d["x_row_stride"] + e // c.rows, e % c.rows]
        return clipped

    def _drain(self, acc: IntArray, scale: RowScale, d: dict[str, int], destination: Destination,
               statistic: Statistic, beat: int, slot: int, limit: int) -> int:
        lanes, n = self.config.lanes, len(acc)
        multiplier = self.multipliers[d["scale"] * lanes:d["scale"] * lanes + n]
        y = drain(acc[None], multiplier, d["shift"], scale, _GOLDEN[destination])[0][0]
        visible = np.arange(n) < limit
        clipped = drain(acc[None, visible], multiplier[visible], d["shift"], scale,
                        _GOLDEN[destination])[1]
        at = slice(beat * lanes, beat * lanes + n)
        if destination == Destination.RESULT:
            y = np.where(visible, y, -(1 << 15))
            self.results[at] = y
        elif destination == Destination.OUTPUT:
            self.outputs[at] = y
        else:
            if destination == Destination.RESIDUAL_ADD:
                y = add_to_residual(self.residual[at], y)
            self.residual[at] = y
        if statistic == Statistic.MAXIMUM:
            self.row_maxima[slot] = y[visible].max() if visible.any() else -(1 << 31)
        elif statistic == Statistic.MAGNITUDE:
            self.row_maxima[slot] = min(int(np.abs(y).max()), (1 << 31) - 1)
        return clipped
