"""The multipliers of two neighbouring lanes: RoPE, SwiGLU, squares."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.booth_product import as_factor, booth_product
from hw.carry_save import add_rows
from hw.vector.silu_lane import SiluLane

#: Bits of a result while it is being added up.
_BITS = 33
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

    def __init__(self, *, hard: bool = False) -> None:
        self._hard = hard
        super().__init__()

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
        subtract = Signal(reset_less=True)
        m.d.comb += [silu.gate.eq(self.x), silu.enable.eq(swiglu)]
        m.d.sync += [
            rope.eq(self.rope), swiglu.eq(self.swiglu), no_swiglu.eq(~self.swiglu),
            subtract.eq(self.subtract),
        ]
        # Products stay two numbers each, so that all are added up at once. Minus a number is its
        # complement plus 1; these two and the half that RoPE rounds with go along with the left one.
        left = self._product(
            m, "left", _either(self.x, no_swiglu, silu.silu), self.table_0,
            extra=[(self.subtract, 1), (rope, ROPE_FRACTION_BITS - 1)])
        right = self._product(m, "right", _either(self.y, no_swiglu, silu.distance),
                              _either(self.table_1, no_swiglu, silu.step))
        m.d.comb += [silu.product_0.eq(right[0]), silu.product_1.eq(right[1])]

        addends = [Mux(swiglu, 0, part ^ subtract.replicate(_BITS)) for part in right]
        total = add_rows(m, [(part, 0) for part in (*left, *addends)], 0, _BITS, "total").as_signed()
        result = Signal(signed(32), reset_less=True)
        m.d.comb += self.result.eq(result)
        m.d.sync += result.eq(Mux(rope, total >> ROPE_FRACTION_BITS, total))
        return m

    def _product(
        self, m: Module, name: str, a: Value, b: Value, extra: Sequence[tuple[Value, int]] = (),
    ) -> list[Signal]:
        """Multiply two 16-bit numbers; return registers that add up to the product."""
        factor = as_factor(m, b, f"{name}_digit", hard=self._hard)
        parts = booth_product(m, a, factor, _BITS, f"{name}_product", signed_factor=True,
                              extra=extra, hard=self._hard)
        registers = [Signal(_BITS, name=f"{name}_{i}", reset_less=True) for i in range(2)]
        m.d.sync += [register.eq(part) for register, part in zip(registers, parts, strict=True)]
        return registers
