"""Arithmetic of the scalar instructions: one adder, one comparator, one shifter."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.control.decoder import decoded_layout, instruction_fields
from hw.control.isa import INSTRUCTION_BITS, REGISTER_BITS, Condition


class ScalarUnit(wiring.Component):
    """Combinational: operands ``a`` (rs) and ``b`` (rt) to ``result``, and ``holds``.

    Ports: ``instruction`` with ``decoded``; ``specials``: what GET reads; ``is_end``: the
    sampled token is the end token; ``first``: the first of the two cycles of an instruction with
    ``first_a`` or ``first_b``: ``result`` is then the new operand.
    """

    def __init__(self) -> None:
        super().__init__({
            "instruction": In(INSTRUCTION_BITS), "decoded": In(decoded_layout()), "first": In(1),
            "a": In(REGISTER_BITS), "b": In(REGISTER_BITS), "is_end": In(1),
            **{f"special_{i}": In(REGISTER_BITS) for i in range(4)},
            "result": Out(REGISTER_BITS), "holds": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields, decoded, a, b = (instruction_fields(self.instruction), self.decoded, self.a, self.b)
        width = REGISTER_BITS

        # rs + rt + imm and rs - rt + imm: carry-save, then one adder.
        x, y, z = (Signal(width, name=f"term_{i}") for i in range(3))
        saved, carries, total = (Signal(width, name=name) for name in ("saved", "carries", "total"))
        m.d.comb += [
            x.eq(a & (~decoded.first_b).replicate(width)),
            y.eq(b ^ decoded.sub.replicate(width)), z.eq(fields["imm"]),
            saved.eq(x ^ y ^ z),
            carries.eq(Cat(decoded.sub, (x & y) | (x & z) | (y & z))),
            total.eq(saved + carries),
        ]
        less, equal = Signal(), Signal()
        special = Array(getattr(self, f"special_{i}") for i in range(4))
        m.d.comb += [less.eq(a < b), equal.eq(a == b), self.result.eq(total)]
        with m.If(decoded.get):
            m.d.comb += self.result.eq(special[fields["imm"][:2]])
        with m.Elif(decoded.shr & ~self.first):
            m.d.comb += self.result.eq(a >> fields["amount"])
        with m.Elif(decoded.min & ~self.first):
            m.d.comb += self.result.eq(Mux(less, a, b))

        with m.Switch(fields["condition"]):
            with m.Case(Condition.ALWAYS.value):
                m.d.comb += self.holds.eq(1)
            with m.Case(Condition.EQUAL.value):
                m.d.comb += self.holds.eq(equal)
            with m.Case(Condition.NOT_EQUAL.value):
                m.d.comb += self.holds.eq(~equal)
            with m.Case(Condition.LESS.value):
                m.d.comb += self.holds.eq(less)
            with m.Case(Condition.NOT_LESS.value):
                m.d.comb += self.holds.eq(~less)
            with m.Case(Condition.END_TOKEN.value):
                m.d.comb += self.holds.eq(self.is_end)
        return m
