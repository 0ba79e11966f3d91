"""Loop stack: start and remaining count of each open LOOP."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.control.isa import LOOP_DEPTH, REGISTER_BITS
from hw.control.queue import PC_BITS


class LoopStack(wiring.Component):
    """Open loops, innermost on top.

    Ports: ``push`` with ``start`` (first instruction of the body) and ``count`` (>= 1);
    ``end``: one pass is over; ``again``: the body at ``top_start`` runs once more (else the loop is
    closed); ``full``, ``empty``: a push or an end would be a fault; ``clear``.
    """

    push: In(1)
    start: In(PC_BITS + 1)
    count: In(REGISTER_BITS)
    end: In(1)
    again: Out(1)
    top_start: Out(PC_BITS + 1)
    full: Out(1)
    empty: Out(1)
    clear: In(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        starts = Array(Signal(PC_BITS + 1, name=f"start_{i}") for i in range(LOOP_DEPTH))
        counts = Array(Signal(REGISTER_BITS, name=f"count_{i}") for i in range(LOOP_DEPTH))
        depth = Signal(range(LOOP_DEPTH + 1))
        top = Signal(range(LOOP_DEPTH))
        m.d.comb += [
            top.eq(depth - 1), self.full.eq(depth == LOOP_DEPTH), self.empty.eq(depth == 0),
            self.top_start.eq(starts[top]), self.again.eq(counts[top] != 1),
        ]
        with m.If(self.push):
            m.d.sync += [starts[depth].eq(self.start), counts[depth].eq(self.count),
                         depth.eq(depth + 1)]
        with m.Elif(self.end):
            m.d.sync += counts[top].eq(counts[top] - 1)
            with m.If(~self.again):
                m.d.sync += depth.eq(depth - 1)
        with m.If(self.clear):
            m.d.sync += depth.eq(0)
        return m
