"""Processing element: one int8 x int8 multiplier between two registers."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

PRODUCT_BITS = 16


class ProcessingElement(wiring.Component):
    """Registers the weight that the bank read, and the product with the activation.

    Ports: ``weight`` (bank output), ``activation`` (aligned with the registered weight),
    ``product``; ``weight_out``: the registered weight (for the column reader).
    Latency: 2 cycles from ``weight``, 1 from ``activation``. Throughput: 1 per cycle.
    Numerics: exact; -128 * -128 fits the 16 bits.
    """

    weight: In(signed(8))
    activation: In(signed(8))
    product: Out(signed(PRODUCT_BITS))
    weight_out: Out(signed(8))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weight = Signal(signed(8), reset_less=True)
        product = Signal(signed(PRODUCT_BITS), reset_less=True)
        m.d.sync += [weight.eq(self.weight), product.eq(self.activation * weight)]
        m.d.comb += [self.product.eq(product), self.weight_out.eq(weight)]
        return m
