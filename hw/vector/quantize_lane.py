"""One lane of the quantizer: int32 to 16 bits to int8."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.carry_save import add_rows
from hw.vector.normalizer import normalize
from hw.vector.tables import DIGITS, RECIPROCAL_BITS, RECIPROCAL_DIGITS, reciprocal_layout

_PRODUCT_FRACTION_BITS = 22
_PRODUCT_BITS = 16 + RECIPROCAL_BITS
INT8_MAX = 127


class QuantizeLane(wiring.Component):
    """Quantizes one element with the scale of its vector (docs/numerics.md, section 3).

    Ports:
        ``x``: the element. ``shift``: 31 - e, in the same cycle as ``x``.
        ``reciprocal``: the digits of RECIPROCAL[m - 9], one cycle after ``x``.
        ``normalizing``: xn, in the same cycle as ``x``.
        ``q``: within +-127, LATENCY cycles after ``x``, to be registered by the reader;
        ``clipped``: it was saturated, which a true magnitude never causes.
    Throughput: 1 per cycle. Numerics: rounds half up twice, saturates twice.
    """

    LATENCY = 2

    x: In(signed(32))
    shift: In(5)
    reciprocal: In(reciprocal_layout())
    normalizing: Out(signed(16))
    q: Out(signed(8))
    clipped: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        normalized = Signal(signed(16), reset_less=True)
        m.d.comb += self.normalizing.eq(normalize(m, self.x, self.shift, "xn"))
        m.d.sync += normalized.eq(self.normalizing)

        product = add_rows(m, _rows(m, normalized, self.reciprocal),
                           1 << (_PRODUCT_FRACTION_BITS - 1), _PRODUCT_BITS, "product")
        rounded = Signal(signed(_PRODUCT_BITS - _PRODUCT_FRACTION_BITS), reset_less=True)
        m.d.sync += rounded.eq(product >> _PRODUCT_FRACTION_BITS)
        m.d.comb += [
            self.clipped.eq((rounded > INT8_MAX) | (rounded < -INT8_MAX)),
            self.q.eq(Mux(self.clipped, Mux(rounded[-1], -INT8_MAX, INT8_MAX), rounded)),
        ]
        return m


def _rows(m: Module, x: Value, reciprocal: data.View) -> list[tuple[Value, int]]:
    """Return rows for ``add_rows``: ``x`` times each digit. Only what the table needs is there."""
    once, twice = Cat(x, x[-1]), Cat(Const(0, 1), x)
    rows: list[tuple[Value, int]] = []
    below: Value = Const(0, 0)
    for i in range(DIGITS):
        found = {digits[i] for digits in RECIPROCAL_DIGITS}
        one, two = (bits[i].replicate(len(once)) for bits in (reciprocal.one, reciprocal.two))
        row = Signal(len(once), name=f"row_{i}")
        m.d.comb += row.eq(once & one | twice & two if 0 in found
                           else Mux(reciprocal.two[i], twice, once))
        # Minus a number is its complement plus 1; that 1 has its place in the row above.
        negative = reciprocal.negative[i] if min(found) < 0 else Const(0, 1)
        rows.append((Cat(below, row ^ negative.replicate(len(row))).as_signed(),
                     2 * i - len(below)))
        below = Cat(negative, Const(0, 1))
    assert min(found) > 0, "the highest digit has no row above"
    return rows
