"""The multipliers of two neighbouring lanes: RoPE, SwiGLU's product, squares."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ROPE_FRACTION_BITS = 14


class TransformPair(wiring.Component):
    """Two multipliers and an adder, shared by the operations of lanes 2i and 2i + 1.

    Ports:
        ``rope``: the result is element ``odd`` of the rotated pair (``x``, ``y``) with cosine
        ``table_0`` and sine ``table_1``, rounded to an integer.
        ``square``: the result is the sum of the squares of ``normalized_0`` and ``normalized_1``.
        Neither: the result is ``silu`` times ``table_1`` if ``odd``, else times ``table_0``.
        ``result``: signed, LATENCY cycles later (RoPE: below 2**17, SwiGLU: below 2**30, squares:
        below 2**31). ``rope`` and ``square`` are held while operands are on their way.
    Throughput: 1 per cycle, so that a pair takes two cycles of RoPE or SwiGLU.
    Numerics: docs/numerics.md, sections 5 to 7.
    """

    LATENCY = 2

    rope: In(1)
    square: In(1)
    odd: In(1)
    x: In(signed(16))
    y: In(signed(16))
    table_0: In(signed(16))
    table_1: In(signed(16))
    silu: In(signed(16))
    normalized_0: In(signed(16))
    normalized_1: In(signed(16))
    result: Out(signed(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, c, d = (Signal(signed(16), name=name) for name in ("a", "b", "c", "d"))
        with m.If(self.square):
            m.d.comb += [a.eq(self.normalized_0), b.eq(self.normalized_0),
                         c.eq(self.normalized_1), d.eq(self.normalized_1)]
        with m.Elif(self.rope):
            m.d.comb += [a.eq(Mux(self.odd, self.y, self.x)), b.eq(self.table_0),
                         c.eq(Mux(self.odd, self.x, self.y)), d.eq(self.table_1)]
        with m.Else():
            m.d.comb += [a.eq(self.silu), b.eq(Mux(self.odd, self.table_1, self.table_0)),
                         c.eq(0), d.eq(self.table_1)]

        left = Signal(signed(32), reset_less=True)
        right = Signal(signed(32), reset_less=True)
        subtract = Signal()
        m.d.sync += [left.eq(a * b), right.eq(c * d), subtract.eq(self.rope & ~self.odd)]

        addend = right.as_unsigned() ^ subtract.replicate(32)
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
