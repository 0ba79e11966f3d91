"""From the largest magnitude of a vector to the numbers that quantize it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.control.isa import row_scale_layout
from hw.vector.normalizer import shift_to_top
from hw.vector.tables import RECIPROCAL_DIGITS, look_up, reciprocal_code, reciprocal_layout

MAGNITUDE_BITS = 31
KEY_E_MIN = 5
#: 31 - e for the smallest e of a key.
_KEY_SHIFT_MAX = MAGNITUDE_BITS - KEY_E_MIN


class VectorScale(wiring.Component):
    """Turns A into e, m, RECIPROCAL[m - 9] and the scales (docs/numerics.md, section 3).

    Ports:
        ``magnitude``: A, 31 bits; taken when ``load`` is high. ``key``: e is at least 5.
        ``shift``: 31 - e, one cycle after ``load``, held until the cycle after the next.
        ``reciprocal``, ``m``: two cycles after ``load``, likewise held.
        ``row_scale``, ``key_multiplier``: valid two cycles after ``load`` and, if the next
        ``load`` comes right after this one, in that cycle only from ``shift`` of the next one:
        loads of vectors that use them are at least two cycles apart.
    """

    LATENCY = 2

    load: In(1)
    magnitude: In(MAGNITUDE_BITS)
    key: In(1)
    shift: Out(5)
    m: Out(5)
    reciprocal: Out(reciprocal_layout())
    row_scale: Out(row_scale_layout())
    key_multiplier: Out(16)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        aligned, zeros = shift_to_top(m, self.magnitude, "magnitude")
        # The 15 bits of An and the one that rounds them, or none if e is not A's own.
        top = Signal(16, reset_less=True)
        with m.If(self.load):
            m.d.sync += [self.shift.eq(zeros), top.eq(aligned[15:])]
            # From the magnitude, not from its zeros: they come late.
            with m.If(self.key & (self.magnitude[MAGNITUDE_BITS - 1 - _KEY_SHIFT_MAX:] == 0)):
                m.d.sync += [self.shift.eq(_KEY_SHIFT_MAX), top.eq(0)]

        # (An >> 11) - 8, where rounding An carries into bit 11 only if all bits below are ones;
        # saturating An to 32767 keeps it at 7. Without a leading one m is 9.
        index = Signal(3)
        carry = Signal()
        m.d.comb += [
            carry.eq(top[:12].all()),
            index.eq(Mux(top[15], Mux(top[12:15].all(), 7, top[12:15] + carry), 0)),
        ]
        m.d.sync += [
            self.m.eq(index + 9),
            self.reciprocal.eq(look_up(m, [reciprocal_code(digits) for digits in RECIPROCAL_DIGITS],
                                       index, "reciprocal_entry")),
        ]

        exponent = Signal(6)  # e
        m.d.comb += [
            exponent.eq(MAGNITUDE_BITS - self.shift),
            self.row_scale.mantissa.eq(
                Mux(self.m[4], 128, Cat(Const(0, 4), self.m[:4]))),
            self.row_scale.exponent.eq(Mux(self.m[4], exponent - 7, exponent - 8)),
            self.key_multiplier.eq(self.m << (exponent - KEY_E_MIN)[:4]),
        ]
        return m
