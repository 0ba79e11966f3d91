"""Bench top: a counter, and another in a shared module below it."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.emit import instantiate


class FreeCounter(wiring.Component):
    """Counts clock edges."""

    count: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.count.eq(self.count + 1)
        return m


class ResetBench(wiring.Component):
    """``outer`` and ``inner`` count clock edges from reset."""

    outer: Out(8)
    inner: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inner = FreeCounter()
        instantiate(m, "inner", "free_counter", inner, platform)
        m.d.sync += self.outer.eq(self.outer + 1)
        m.d.comb += self.inner.eq(inner.count)
        return m
