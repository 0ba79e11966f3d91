"""The multipliers of two neighbouring lanes: RoPE, SwiGLU, squares."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vector.silu_lane import SiluLane

ROPE_FRACTION_BITS = 14


class TransformPair(wiring.Component):
    """Two multipliers and an adder, shared by the operations of lanes 2i and 2i + 1.

    Ports:
        ``x``, ``y``, ``table_0``, ``table_1``: operands. The result is ``x * table_0`` plus or, with
        ``subtract``, minus ``y * table_1``; with ``rope`` it is rounded to an integer.
        ``swiglu``: the result is ``silu(x)`` times ``table_0``, which comes SiluLane.LATENCY cycles
        after ``x``. The second multiplier interpolates meanwhile.
        ``result``: signed, LATENCY cycles after ``table_0`` (RoPE: below 2**17, SwiGLU: below
        2**30, squares: below 2**31). ``rope`` and ``swiglu`` are held while operands are on their
        way; ``subtract`` only with ``rope``.
    Throughput: 1 per cycle, so that a pair takes two cycles of RoPE or SwiGLU.
    Numerics: docs/numerics.md, sections 5 to 7.
    """

    LATENCY = 2

    rope: In(1)
    swiglu: In(1)
    subtract: In(1)
    x: In(signed(16))
    y: In(signed(16))
    table_0: In(signed(16))
    table_1: In(signed(16))
    result: Out(signed(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.silu = silu = SiluLane()
        left = Signal(signed(32), reset_less=True)
        right = Signal(signed(32), reset_less=True)
        subtract = Signal(reset_less=True)
        m.d.comb += [silu.gate.eq(self.x), silu.product.eq(right)]
        m.d.sync += [
            left.eq(Mux(self.swiglu, silu.silu, self.x) * self.table_0),
            right.eq(Mux(self.swiglu, silu.remainder, self.y)
                     * Mux(self.swiglu, silu.step, self.table_1)),
            subtract.eq(self.subtract),
        ]

        addend = Mux(self.swiglu, 0, right.as_unsigned() ^ subtract.replicate(32))
        total = Signal(signed(34))
        result = Signal(signed(32), reset_less=True)
        # left - right is left + ~right + 1, with the 1 as a bit below both.
        m.d.comb += [
            total.eq((Cat(subtract, left).as_signed()
                      + Cat(subtract, addend).as_signed()) >> 1),
            self.result.eq(result),
        ]
        # round_shift(total, 14) is ((total >> 13) + 1) >> 1.
        m.d.sync += result.eq(
            Mux(self.rope, ((total >> (ROPE_FRACTION_BITS - 1)) + 1) >> 1, total))
        return m
