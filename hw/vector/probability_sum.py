"""Softmax's row scale: 1 / sum of the probabilities."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import balanced_sum
from hw.config import ChipletConfig
from hw.control.isa import row_scale_layout
from hw.vector.normalizer import shift_to_top
from hw.vector.tables import RECIP, look_up

#: A row has at most 2**14 + 126 visible positions of 127 each.
_SUM_BITS = 21
_INDEX_BITS = 8


class ProbabilitySum(wiring.Component):
    """Adds beats of probabilities and inverts the sum (docs/numerics.md, section 6).

    Ports:
        ``probabilities``: 7 bits per lane; ``enable``, ``first``: a beat of a row comes, its first.
        ``row_scale``: 1 / sum, LATENCY cycles after the last beat, for one cycle.
    Throughput: 1 beat per cycle.
    """

    LATENCY = 3

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "probabilities": In(7 * config.lanes), "enable": In(1), "first": In(1),
            "row_scale": Out(row_scale_layout()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = [self.probabilities.word_select(i, 7) for i in range(self.config.lanes)]
        total = balanced_sum(lanes)
        beat = Signal(total.shape(), reset_less=True)
        enable, first = Signal(), Signal(reset_less=True)
        m.d.sync += [beat.eq(total), enable.eq(self.enable), first.eq(self.first)]
        accumulator = Signal(_SUM_BITS, reset_less=True)
        with m.If(enable):
            m.d.sync += accumulator.eq(Mux(first, 0, accumulator) + beat)

        aligned, zeros = shift_to_top(m, accumulator, "sum")
        index = Signal(_INDEX_BITS, reset_less=True)
        zeros_2 = Signal(5, reset_less=True)
        m.d.sync += [index.eq(aligned[-1 - _INDEX_BITS:-1]), zeros_2.eq(zeros)]
        m.d.comb += [
            self.row_scale.mantissa.eq(look_up(m, RECIP, index, "recip_entry")),
            # -7 - b with b = _SUM_BITS - zeros
            self.row_scale.exponent.eq(zeros_2 - (7 + _SUM_BITS)),
        ]
        return m
