"""What a processing element needs at least: the yardstick for the array's area."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.matmul.array_step import partial_sum_bits
from hw.matmul.processing_element import PRODUCT_BITS

#: Name of its Verilog module.
BARE_PE = "tessera_bare_pe"


class BareProcessingElement(wiring.Component):
    """An int8 multiplier, an adder, and a register for each of weight, product and partial sum.

    Ports: ``weight``, ``activation``: signed bytes; ``partial``: sum from the element above;
    ``partial_out``: with this product added, as wide as the array's partial sums.
    Latency: 3 cycles from ``weight``, 2 from ``activation``, 1 from ``partial``. Throughput: 1 per
    cycle. No activation register: a wave of the array passes many elements in a cycle.
    """

    weight: Signal
    activation: Signal
    partial: Signal
    partial_out: Signal

    def __init__(self, config: ChipletConfig) -> None:
        self.bits = partial_sum_bits(config)
        super().__init__({
            "weight": In(signed(8)), "activation": In(signed(8)),
            "partial": In(signed(self.bits)), "partial_out": Out(signed(self.bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weight = Signal(signed(8), reset_less=True)
        product = Signal(signed(PRODUCT_BITS), reset_less=True)
        total = Signal(signed(self.bits), reset_less=True)
        m.d.sync += [
            weight.eq(self.weight), product.eq(weight * self.activation),
            total.eq(self.partial + product),
        ]
        m.d.comb += self.partial_out.eq(total)
        return m
