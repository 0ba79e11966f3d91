"""SiLU of one gate by interpolation in a table."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.carry_save import add_rows
from hw.vector.tables import SILU, SILU_BITS, SILU_STEP, SILU_STEP_BITS, look_up

_REMAINDER_BITS = 7
#: A gate's distance from its table entry, within +-2**_REMAINDER_BITS, as a signed number.
DISTANCE_BITS = _REMAINDER_BITS + 2
#: Bits of what the product of step and distance is subtracted from.
PRODUCT_BITS = 20 + _REMAINDER_BITS


class SiluLane(wiring.Component):
    """silu(g) = max(g, 0) - d(|g|), 10 fraction bits (docs/numerics.md, section 7).

    Ports:
        ``gate``: int16; ``silu``: int16, LATENCY cycles later. ``enable``: held meanwhile; a cycle
        after it is low, ``step``, ``distance`` and ``silu`` are 0.
        ``step``, ``distance``: one cycle after the gate; ``product_0`` + ``product_1``: their product
        modulo 2**PRODUCT_BITS, one cycle later, from a multiplier that the reader lends.
    Throughput: 1 per cycle. Numerics: rounds half up twice; needs no saturation.
    """

    LATENCY = 3

    enable: In(1)
    gate: In(signed(16))
    step: Out(signed(SILU_STEP_BITS))
    distance: Out(signed(DISTANCE_BITS))
    product_0: In(PRODUCT_BITS)
    product_1: In(PRODUCT_BITS)
    silu: Out(signed(16))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        negative = self.gate[-1]
        # |g| of a negative gate is ~g + 1; the 1 goes into the distance from the entry of ~g, where
        # interpolation reaches the next entry exactly.
        magnitude = Signal(16)
        m.d.comb += magnitude.eq(self.gate.as_unsigned() ^ negative.replicate(16))
        inside = (magnitude[14:] == 0) & self.enable
        index = magnitude[_REMAINDER_BITS:14]

        # Stage 1: table, only of odd entries: the step below one leads from it down as well as from
        # the even entry up. Outside of it entry and step are 0.
        odd = index[0]
        above = Signal(_REMAINDER_BITS + 1)
        entry = Signal(SILU_BITS, reset_less=True)
        step = Signal(signed(SILU_STEP_BITS), reset_less=True)
        distance = Signal(signed(DISTANCE_BITS), reset_less=True)
        relu = Signal(15, reset_less=True)
        m.d.comb += above.eq(magnitude[:_REMAINDER_BITS] + negative)
        m.d.sync += [
            entry.eq(Mux(inside, look_up(m, SILU[1::2], index[1:], "silu_entry"), 0)),
            step.eq(Mux(inside, look_up(m, SILU_STEP, index, "silu_step_entry"), 0)),
            # Of an even entry, 2**_REMAINDER_BITS less.
            distance.eq(Cat(above[:-1], above[-1] ^ ~odd, ~above[-1] & ~odd)
                        & self.enable.replicate(DISTANCE_BITS)),
            relu.eq(Mux(negative, 0, self.gate[:15])),
        ]
        m.d.comb += [self.step.eq(step), self.distance.eq(distance)]

        # Stages 2 and 3: d = entry + (product + 64 >> 7) and silu = relu - (d + 8 >> 4), which is
        # (16 relu + 7 - d) >> 4. In units of 2**-7 of d, rounding d up instead of its negative
        # down, that is ((16 relu + 7 - entry << 7) + 63 - product) >> 11. Minus each of its two
        # numbers is the complement plus 1.
        difference = Signal(signed(20), reset_less=True)
        m.d.sync += difference.eq(
            Cat(Const(7, 4), relu, Const(0, 1)).as_signed() - entry)
        rounding = Const((1 << (_REMAINDER_BITS - 1)) + 1, _REMAINDER_BITS)
        exact = add_rows(
            m, [(Cat(rounding, difference), 0), (~self.product_0, 0), (~self.product_1, 0)], 0,
            PRODUCT_BITS, "exact").as_signed()
        silu = Signal(signed(16), reset_less=True)
        m.d.sync += silu.eq(Mux(self.enable, exact >> (_REMAINDER_BITS + 4), 0))
        m.d.comb += self.silu.eq(silu)
        return m
