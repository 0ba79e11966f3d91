"""Watchdog: tells when nothing has happened for too long."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Watchdog(wiring.Component):
    """Counts ``cycles`` down from the last ``progress``; 0 counts as 2**32.

    ``late`` is a register: high in the cycle ``cycles`` + 1 after the last ``progress``.
    """

    cycles: In(32)
    progress: In(1)
    late: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(32, reset_less=True)
        m.d.sync += [left.eq(Mux(self.progress, self.cycles, left - 1)),
                     self.late.eq(~self.progress & (left == 1))]
        return m
