"""SiLU of one gate by interpolation in a table."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vector.tables import SILU, SILU_BITS, SILU_STEP, SILU_STEP_BITS, look_up

_REMAINDER_BITS = 7


class SiluLane(wiring.Component):
    """silu(g) = max(g, 0) - d(|g|), 10 fraction bits (docs/numerics.md, section 7).

    Ports: ``gate``: int16; ``silu``: int16, LATENCY cycles later.
    Throughput: 1 per cycle. Numerics: rounds half up twice; needs no saturation.
    """

    LATENCY = 3

    gate: In(signed(16))
    silu: Out(signed(16))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        negative = self.gate[-1]
        # |g|; of -32768 the result's table index is out of the table either way.
        magnitude = Signal(16)
        m.d.comb += magnitude.eq(Mux(negative, -self.gate, self.gate))
        inside = magnitude[14:] == 0
        index = magnitude[_REMAINDER_BITS:14]

        # Stage 1: table. Outside of it entry and step are 0.
        entry = Signal(SILU_BITS, reset_less=True)
        step = Signal(signed(SILU_STEP_BITS), reset_less=True)
        remainder = Signal(_REMAINDER_BITS, reset_less=True)
        relu = Signal(15, reset_less=True)
        m.d.sync += [
            entry.eq(Mux(inside, look_up(m, SILU, index, "silu_entry"), 0)),
            step.eq(Mux(inside, look_up(m, SILU_STEP, index, "silu_step_entry"), 0)),
            remainder.eq(magnitude[:_REMAINDER_BITS]),
            relu.eq(Mux(negative, 0, self.gate[:15])),
        ]

        # Stage 2: entry + (step * remainder + 64 >> 7), with the entry and the 64 side by side.
        between = Signal(signed(SILU_BITS + _REMAINDER_BITS + 2))
        m.d.comb += between.eq(
            step * remainder + Cat(Const(64, _REMAINDER_BITS), entry, Const(0, 1)).as_signed())
        bump = Signal(SILU_BITS, reset_less=True)
        relu_2 = Signal(15, reset_less=True)
        m.d.sync += [bump.eq(between >> _REMAINDER_BITS), relu_2.eq(relu)]

        # Stage 3: relu - (bump + 8 >> 4) is (16 relu + 7 - bump) >> 4.
        difference = Signal(signed(20))
        m.d.comb += difference.eq(Cat(Const(7, 4), relu_2, Const(0, 1)).as_signed() - bump)
        silu = Signal(signed(16), reset_less=True)
        m.d.sync += silu.eq(difference >> 4)
        m.d.comb += self.silu.eq(silu)
        return m
