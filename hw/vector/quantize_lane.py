"""One lane of the quantizer: int32 to 16 bits to int8."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.carry_save import add_rows, booth_rows
from hw.vector.normalizer import normalize
from hw.vector.tables import RECIPROCAL_BITS

_PRODUCT_FRACTION_BITS = 22
_PRODUCT_BITS = 16 + RECIPROCAL_BITS
#: The elements are taken three bits at a time, from one, two, three or four times the reciprocal.
_DIGIT_BITS = 3
INT8_MAX = 127


class QuantizeLane(wiring.Component):
    """Quantizes one element with the scale of its vector (docs/numerics.md, section 3).

    Ports:
        ``x``: the element. ``shift``: 31 - e, in the same cycle as ``x``.
        ``reciprocal``: RECIPROCAL[m - 9], one cycle after ``x``, and three times it.
        ``normalizing``: xn, in the same cycle as ``x``.
        ``q``: within +-127, LATENCY cycles after ``x``, to be registered by the reader;
        ``clipped``: it was saturated, which a true magnitude never causes.
    Throughput: 1 per cycle. Numerics: rounds half up twice, saturates twice.
    """

    LATENCY = 2

    x: In(signed(32))
    shift: In(5)
    reciprocal: In(RECIPROCAL_BITS)
    reciprocal_3: In(RECIPROCAL_BITS + 2)
    normalizing: Out(signed(16))
    q: Out(signed(8))
    clipped: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        normalized = Signal(signed(16), reset_less=True)
        m.d.comb += self.normalizing.eq(normalize(m, self.x, self.shift, "xn"))
        m.d.sync += normalized.eq(self.normalizing)

        once = self.reciprocal
        rows = booth_rows(m, [once, once << 1, self.reciprocal_3, once << 2], normalized,
                          _DIGIT_BITS, "reciprocal")
        product = add_rows(
            m, rows, 1 << (_PRODUCT_FRACTION_BITS - 1), _PRODUCT_BITS, "product")
        rounded = Signal(signed(_PRODUCT_BITS - _PRODUCT_FRACTION_BITS), reset_less=True)
        m.d.sync += rounded.eq(product >> _PRODUCT_FRACTION_BITS)
        m.d.comb += [
            self.clipped.eq((rounded > INT8_MAX) | (rounded < -INT8_MAX)),
            self.q.eq(Mux(self.clipped, Mux(rounded[-1], -INT8_MAX, INT8_MAX), rounded)),
        ]
        return m
