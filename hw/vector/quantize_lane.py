"""One lane of the quantizer: int32 to 16 bits to int8."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vector.normalizer import normalize
from hw.vector.tables import RECIPROCAL_BITS

_PRODUCT_FRACTION_BITS = 22
INT8_MAX = 127


class QuantizeLane(wiring.Component):
    """Quantizes one element with the scale of its vector (docs/numerics.md, section 3).

    Ports:
        ``x``: the element. ``shift``: 31 - e, in the same cycle as ``x``.
        ``reciprocal``: RECIPROCAL[m - 9], one cycle after ``x``.
        ``normalized``: xn, NORMALIZED_LATENCY cycles after ``x``.
        ``q``: within +-127, LATENCY cycles after ``x``, to be registered by the reader;
        ``clipped``: it was saturated, which a true magnitude never causes.
    Throughput: 1 per cycle. Numerics: rounds half up twice, saturates twice.
    """

    NORMALIZED_LATENCY = 1
    LATENCY = 2

    x: In(signed(32))
    shift: In(5)
    reciprocal: In(RECIPROCAL_BITS)
    normalized: Out(signed(16))
    q: Out(signed(8))
    clipped: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        normalized = Signal(signed(16), reset_less=True)
        m.d.sync += normalized.eq(normalize(m, self.x, self.shift, "xn"))
        m.d.comb += self.normalized.eq(normalized)

        product = Signal(signed(16 + RECIPROCAL_BITS))
        m.d.comb += product.eq(normalized * self.reciprocal)
        # (product + 2**21) >> 22 is ((product >> 21) + 1) >> 1: the bits below need no register.
        doubled = Signal(signed(len(product) - _PRODUCT_FRACTION_BITS + 1), reset_less=True)
        m.d.sync += doubled.eq(product >> (_PRODUCT_FRACTION_BITS - 1))

        rounded = Signal(signed(len(doubled)))
        m.d.comb += [
            rounded.eq((doubled + 1) >> 1),
            self.clipped.eq((rounded > INT8_MAX) | (rounded < -INT8_MAX)),
            self.q.eq(Mux(self.clipped, Mux(rounded[-1], -INT8_MAX, INT8_MAX), rounded)),
        ]
        return m
