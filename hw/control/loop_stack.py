"""Loop stack: start and remaining count of each open LOOP."""

import operator

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import reduce_balanced
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
        starts = [Signal(PC_BITS + 1, name=f"start_{i}", reset_less=True)
                  for i in range(LOOP_DEPTH)]
        counts = [Signal(REGISTER_BITS, name=f"count_{i}", reset_less=True)
                  for i in range(LOOP_DEPTH)]
        depth = Signal(LOOP_DEPTH + 1, init=1)  # one-hot
        top_count = Signal(REGISTER_BITS)

        def top(entries: list[Signal]) -> Value:
            return reduce_balanced(
                [entry & depth[i + 1].replicate(len(entry)) for i, entry in enumerate(entries)],
                operator.or_)

        m.d.comb += [
            self.full.eq(depth[-1]), self.empty.eq(depth[0]), self.top_start.eq(top(starts)),
            top_count.eq(top(counts)), self.again.eq(top_count != 1),
        ]
        written = Signal(REGISTER_BITS)
        m.d.comb += written.eq(Mux(self.push, self.count, top_count - 1))
        for i in range(LOOP_DEPTH):
            with m.If(self.push & depth[i]):
                m.d.sync += starts[i].eq(self.start)
            with m.If((self.push & depth[i]) | (self.end & depth[i + 1])):
                m.d.sync += counts[i].eq(written)
        with m.If(self.push):
            m.d.sync += depth.eq(Cat(0, depth[:-1]))
        with m.Elif(self.end & ~self.again):
            m.d.sync += depth.eq(Cat(depth[1:], 0))
        with m.If(self.clear):
            m.d.sync += depth.eq(1)
        return m
