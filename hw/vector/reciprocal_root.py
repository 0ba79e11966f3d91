"""RMSNorm's row scale: 1 / sqrt(sum of squares), times the vector's m."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.control.isa import row_scale_layout
from hw.vector.normalizer import shift_to_top
from hw.vector.reduction import SUM_LIMIT_BITS
from hw.vector.tables import RSQRT, RSQRT_BITS, RSQRT_SQUARED, look_up

_MULTIPLICAND_BITS = max(RSQRT_BITS, max(RSQRT_SQUARED).bit_length()) + 1
_PRODUCT_BITS = 33


class ReciprocalRoot(wiring.Component):
    """A table and one Newton step on one multiplier (docs/numerics.md, section 5).

    Ports:
        ``start``: take ``total`` (0 counts as 1; with ``over`` it is 2**48 - 1) and ``m`` (9..16).
        ``busy``: from the cycle after ``start`` up to that of ``done``.
        ``done``: high for one cycle with the ``row_scale``, LATENCY cycles after ``start``, to be
        registered by the reader.
    Throughput: a start every LATENCY cycles at most.
    """

    LATENCY = 5

    start: In(1)
    total: In(SUM_LIMIT_BITS)
    over: In(1)
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
                u.eq(Mux(self.over, (1 << 16) - 1, Mux(empty, 1 << 14, aligned[-16:]))),
                zero_pairs.eq(Mux(self.over, 0, Mux(empty, 23, zeros))),
                scale.eq(self.m),
            ]

        # One multiplier, step by step; what it multiplies with is looked up a cycle before.
        step = Signal(self.LATENCY)
        m.d.sync += step.eq((step << 1) | self.start)
        # U has its leading one in one of its upper two bits, so the first entries are never read.
        multiplicand = Signal(signed(_MULTIPLICAND_BITS), reset_less=True)
        with m.If(step[0]):
            m.d.sync += multiplicand.eq(look_up(
                m, (0,) * 8 + tuple(-entry for entry in RSQRT_SQUARED), u[11:],
                "rsqrt_squared_entry"))
        with m.Elif(step[1]):
            m.d.sync += multiplicand.eq(look_up(m, (0,) * 8 + RSQRT, u[11:], "rsqrt_entry"))
        with m.Else():
            m.d.sync += multiplicand.eq(scale)
        # -t; Y above 16 bits; P. The slope is the upper bits of 3 * 2**29 - t, where adding 3 to the
        # upper two bits of -t is taking 1 from them.
        product = Signal(_PRODUCT_BITS, reset_less=True)
        slope = Cat(product[14:29], ~product[29], product[30] ^ ~product[29])
        factor = Signal(17)
        m.d.comb += factor.eq(Mux(step[1], u, Mux(step[2], slope, product[16:])))
        m.d.sync += product.eq(factor * multiplicand)

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
