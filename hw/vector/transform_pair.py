"""The multipliers of two neighbouring lanes: RoPE, SwiGLU, squares."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vector.silu_lane import SiluLane

ROPE_FRACTION_BITS = 14


def _either(operand: Value, keep: Value, other: Value) -> Value:
    """Return a 16-bit operand while ``keep`` is high, when ``other`` is 0; else ``other``."""
    return (operand & keep.replicate(16) | other)[:16].as_signed()


class TransformPair(wiring.Component):
    """Two multipliers and an adder, shared by the operations of lanes 2i and 2i + 1.

    Ports:
        ``x``, ``y``, ``table_0``, ``table_1``: operands. The result is ``x * table_0`` plus or, with
        ``subtract``, minus ``y * table_1``; with ``rope`` it is rounded to an integer.
        ``swiglu``: the result is ``silu(x)`` times ``table_0``, which comes SiluLane.LATENCY cycles
        after ``x``. The second multiplier interpolates meanwhile.
        ``result``: signed, LATENCY cycles after ``table_0`` (RoPE: below 2**17, SwiGLU: below
        2**30, squares: below 2**31). ``rope`` and ``swiglu`` are held from two cycles before the
        first operands on, while operands are on their way; ``subtract`` only with ``rope``.
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
        # The flags drive many gates: copies of their own, and for each multiplier one.
        rope, swiglu = Signal(reset_less=True), Signal(reset_less=True)
        no_swiglu = Signal(reset_less=True)
        left = Signal(signed(32), reset_less=True)
        right = Signal(signed(32), reset_less=True)
        subtract = Signal(reset_less=True)
        m.d.comb += [silu.gate.eq(self.x), silu.enable.eq(swiglu), silu.product.eq(right)]
        m.d.sync += [
            rope.eq(self.rope), swiglu.eq(self.swiglu), no_swiglu.eq(~self.swiglu),
            subtract.eq(self.subtract),
            left.eq(_either(self.x, no_swiglu, silu.silu) * self.table_0),
            right.eq(_either(self.y, no_swiglu, silu.distance)
                     * _either(self.table_1, no_swiglu, silu.step)),
        ]

        # left - right is left + ~right + 1, with the 1 as a bit below both. RoPE's rounding adds a
        # half of the result's unit: a row of its own there, made room for by adding the upper bits
        # without their carries first.
        half = ROPE_FRACTION_BITS - 1
        addend = Mux(swiglu, 0, right.as_unsigned() ^ subtract.replicate(32))
        upper, upper_addend = (Cat(value, value[-1])[half:] for value in (left, addend))
        total = Signal(signed(33))
        m.d.comb += total.eq((
            Cat(subtract, left[:half], upper ^ upper_addend).as_signed()
            + Cat(subtract, addend[:half], rope, (upper & upper_addend)[:-1]).as_signed()) >> 1)
        result = Signal(signed(32), reset_less=True)
        m.d.comb += self.result.eq(result)
        m.d.sync += result.eq(Mux(rope, total >> ROPE_FRACTION_BITS, total))
        return m
