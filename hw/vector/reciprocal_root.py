"""RMSNorm's row scale: 1 / sqrt(sum of squares), times the vector's m."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.control.isa import row_scale_layout
from hw.vector.normalizer import shift_to_top
from hw.vector.reduction import SUM_LIMIT_BITS
from hw.vector.tables import RSQRT, RSQRT_SQUARED, look_up

_THREE_HALVES = 3 << 29


class ReciprocalRoot(wiring.Component):
    """A table and one Newton step on one multiplier (docs/numerics.md, section 5).

    Ports:
        ``start``: take ``total`` (0 counts as 1) and ``m`` (9..16).
        ``busy``: from the cycle after ``start`` up to that of ``done``.
        ``done``: high for one cycle with the ``row_scale``, LATENCY cycles after ``start``, to be
        registered by the reader.
    Throughput: a start every LATENCY cycles at most.
    """

    LATENCY = 5

    start: In(1)
    total: In(SUM_LIMIT_BITS)
    m: In(5)
    busy: Out(1)
    done: Out(1)
    row_scale: Out(row_scale_layout())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # U / 2**16 is total * 4**zeros / 2**48, so j = 16 - zeros; a total of 1 has 23.
        aligned, zeros = shift_to_top(m, self.total, "total", step_bits=1)
        u = Signal(16, reset_less=True)
        zero_pairs = Signal(5, reset_less=True)
        scale = Signal(5, reset_less=True)
        empty = aligned[-2:] == 0
        with m.If(self.start):
            m.d.sync += [
                u.eq(Mux(empty, 1 << 14, aligned[-16:])),
                zero_pairs.eq(Mux(empty, 23, zeros)),
                scale.eq(self.m),
            ]

        # One multiplier, step by step.
        step = Signal(self.LATENCY)
        m.d.sync += step.eq((step << 1) | self.start)
        index = u[11:] - 8
        y0 = look_up(m, RSQRT, index[:5], "rsqrt_entry")
        y0_squared = look_up(m, RSQRT_SQUARED, index[:5], "rsqrt_squared_entry")
        a, b = Signal(17), Signal(16)
        product = Signal(33, reset_less=True)
        slope = Signal(17, reset_less=True)
        with m.If(step[0]):  # t
            m.d.comb += [a.eq(u), b.eq(y0_squared)]
        with m.Elif(step[2]):  # Y, 16 bits above the product's lowest 16
            m.d.comb += [a.eq(slope), b.eq(y0)]
        with m.Else():  # P
            m.d.comb += [a.eq(scale), b.eq(product[16:])]
        m.d.sync += [
            product.eq(a * b),
            slope.eq((_THREE_HALVES - product[:32]) >> 14),
        ]

        # P has 18 to 20 bits; its upper 8 are the mantissa.
        mantissa = Signal(9)
        bits = Signal(5)
        with m.If(product[19]):
            m.d.comb += [mantissa.eq((product[11:20] + 1) >> 1), bits.eq(20)]
        with m.Elif(product[18]):
            m.d.comb += [mantissa.eq((product[10:19] + 1) >> 1), bits.eq(19)]
        with m.Else():
            m.d.comb += [mantissa.eq((product[9:18] + 1) >> 1), bits.eq(18)]
        # bits - 19 - j = bits - 35 + zeros; one more if the mantissa was rounded up to 256.
        m.d.comb += [
            self.row_scale.mantissa.eq(Mux(mantissa[8], 128, mantissa)),
            self.row_scale.exponent.eq(bits + zero_pairs + mantissa[8] - 35),
            self.done.eq(step[-1]),
            self.busy.eq(step.any()),
        ]
        return m
