"""Event counts: how many completions of each unit lie between now and an event."""

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import EVENTS
from hw.control.queue import wait_bits, wait_layout

UNITS = ("matrix", "vector")


class Scoreboard(wiring.Component):
    """Knows for each event how many completions of each unit it takes until all its signals came.

    A unit completes its commands in order, so a command that signals an event is the n-th of its
    unit to complete from now: these n are counted down, and never wrap.

    Ports: ``matrix_issue``, ``vector_issue`` with ``signal``: a command enters a queue;
    ``matrix_done``, ``vector_done``: completions; ``event_a``, ``event_b`` -> ``wait``: what a
    command issued in this cycle waits for, completions of this cycle not yet counted, and
    ``busy``: a signal has not come. ``matrix_limit``, ``vector_limit``: the counts are exhausted,
    no command may be issued. Event 0 is never waited for.
    Latency: ``busy`` falls two cycles after the last completion, and is high in the cycle after
    an issue.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            **{f"{unit}_{name}": member for unit in UNITS
               for name, member in (("issue", In(1)), ("done", In(1)), ("limit", Out(1)))},
            "signal": In(4), "event_a": In(4), "event_b": In(4),
            "wait": Out(wait_layout(config)), "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = wait_bits(self.config)
        signals = Signal(EVENTS)
        m.d.comb += signals.eq(Const(1) << self.signal)
        busy = Array([Const(0, 1), *(Signal(name=f"busy_{i}") for i in range(1, EVENTS))])
        counts = {}
        for unit in UNITS:
            issue, done = getattr(self, f"{unit}_issue"), getattr(self, f"{unit}_done")
            outstanding = Signal(bits, name=f"{unit}_outstanding")
            last = Signal(bits, name=f"{unit}_last")  # completions up to a command issued now
            counts[unit] = Array([Const(0, bits), *(
                Signal(bits, name=f"{unit}_count_{i}") for i in range(1, EVENTS))])
            m.d.comb += [last.eq(outstanding + 1 - done),
                         getattr(self, f"{unit}_limit").eq(outstanding.all())]
            m.d.sync += outstanding.eq(Mux(issue, last, outstanding - done))
            for i in range(1, EVENTS):
                count = counts[unit][i]
                m.d.sync += count.eq(Mux(issue & signals[i], last, count - (done & (count != 0))))
            a, b = counts[unit][self.event_a], counts[unit][self.event_b]
            m.d.comb += self.wait[unit].eq(Mux(a > b, a, b))
        issued = self.matrix_issue | self.vector_issue
        for i in range(1, EVENTS):
            m.d.sync += busy[i].eq((issued & signals[i])
                                   | (counts["matrix"][i] != 0) | (counts["vector"][i] != 0))
        m.d.comb += self.busy.eq(busy[self.event_a] | busy[self.event_b])
        return m
