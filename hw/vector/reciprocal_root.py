"""RMSNorm's row scale: 1 / sqrt(sum of squares), times the vector's m."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.booth_product import as_factor, booth_product
from hw.control.isa import row_scale_layout
from hw.vector.normalizer import shift_to_top
from hw.vector.reduction import SUM_LIMIT_BITS
from hw.vector.tables import RSQRT, RSQRT_SQUARED, look_up

#: Bits of U, of the slope and of Y.
_FACTOR_BITS = 17
#: The multiplier takes its multiplicand, of up to 16 bits, in halves.
_HALF_BITS = 8


class ReciprocalRoot(wiring.Component):
    """A table and one Newton step on one multiplier (docs/numerics.md, section 5).

    Ports:
        ``start``: take ``total`` (0 counts as 1; with ``over`` it is 2**48 - 1) and ``m`` (9..16).
        ``busy``: from the cycle after ``start`` up to that of ``done``.
        ``done``: high for one cycle with the ``row_scale``, LATENCY cycles after ``start``, to be
        registered by the reader.
    Throughput: a start every LATENCY cycles at most.
    """

    LATENCY = 7

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
        held_factor = Signal(_FACTOR_BITS, reset_less=True)
        zero_pairs = Signal(5, reset_less=True)
        scale = Signal(5, reset_less=True)
        empty = aligned[-2:] == 0
        step = Signal(self.LATENCY)
        m.d.sync += step.eq((step << 1) | self.start)

        # One multiplier, a half of the multiplicand at a time, the lower one first, in units of the
        # half. The half comes from a table a cycle before. The products: -t; Y above 16 bits; P.
        product = Signal(_FACTOR_BITS + _HALF_BITS, reset_less=True)
        half = Signal(signed(_HALF_BITS + 1), reset_less=True)
        # U has its leading one in one of its upper two bits, so the first entries are never read.
        squared = look_up(m, (0,) * 8 + tuple(-entry for entry in RSQRT_SQUARED),
                          held_factor[11:16], "rsqrt_squared_entry")
        root = look_up(m, (0,) * 8 + RSQRT, held_factor[11:16], "rsqrt_entry")
        with m.If(step[0]):
            m.d.sync += half.eq(squared[:_HALF_BITS])
        with m.Elif(step[1]):
            m.d.sync += half.eq(squared[_HALF_BITS:].as_signed())
        with m.Elif(step[2]):
            m.d.sync += half.eq(root[:_HALF_BITS])
        with m.Elif(step[3]):
            m.d.sync += half.eq(root[_HALF_BITS:])
        with m.Else():
            m.d.sync += half.eq(scale)

        # The slope is the upper bits of 3 * 2**29 - t, where adding 3 to the upper two bits of -t is
        # taking 1 from them.
        low = 14 - _HALF_BITS
        slope = Cat(product[low:low + 15], ~product[low + 15],
                    product[low + 16] ^ ~product[low + 15])
        with m.If(self.start):
            m.d.sync += [
                held_factor.eq(
                    Mux(self.over, (1 << 16) - 1, Mux(empty, 1 << 14, aligned[-16:]))),
                zero_pairs.eq(Mux(self.over, 0, Mux(empty, 23, zeros))),
                scale.eq(self.m),
            ]
        with m.Elif(step[3]):
            m.d.sync += held_factor.eq(slope)
        factor = Signal(_FACTOR_BITS)
        m.d.comb += factor.eq(Mux(step[3], slope, Mux(
            step[5], product[16 - _HALF_BITS:16 - _HALF_BITS + _FACTOR_BITS], held_factor)))
        lower_half = product[_HALF_BITS:] & (step[2] | step[4]).replicate(_FACTOR_BITS)
        digits = Cat(half, half[-1]).as_signed()  # an even number of bits
        high, low = booth_product(
            m, Cat(factor, Const(0, 1)), as_factor(m, digits, "root_digit", hard=False), len(product),
            "root_product", signed_factor=True, extra=[(lower_half, 0)])
        m.d.sync += product.eq(high + low)

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
