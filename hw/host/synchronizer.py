"""Two flip-flops between an input from outside and the clock: the chip's only such crossing."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: Verilog module; a clock-domain-crossing check and a flow's constraints find it by this name.
MODULE = "tessera_synchronizer"


class Synchronizer(wiring.Component):
    """Takes one bit that may change at any time into the clock domain.

    Ports: ``i``: asynchronous; ``o``: synchronous. Latency: 2 cycles, 3 if ``i`` changes at the
    edge. Reset: both flip-flops become 1, the idle level of a serial line.
    """

    LATENCY = 2

    i: In(1)
    o: Out(1, init=1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = Signal(init=1)
        m.d.sync += [first.eq(self.i), self.o.eq(first)]
        return m
