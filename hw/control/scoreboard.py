"""Event counts: which signals have been issued, which have come, and who may start."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.control.isa import EVENT_COUNT_BITS, EVENTS
from hw.control.queue import wait_layout


class Scoreboard(wiring.Component):
    """Counts signals per event, modulo 2**EVENT_COUNT_BITS.

    Ports: ``issue`` with ``issue_event``: a command that signals is entering a queue; ``event_a``,
    ``event_b`` -> ``wait_a``, ``wait_b``: what a command issued now must wait for, and ``now``:
    both have come already; ``matrix_done``, ``vector_done`` with their events: completions;
    ``matrix_waits``, ``vector_waits`` (two each) -> ``matrix_clear``, ``vector_clear``.
    Event 0 is never waited for. A count is final in the cycle after its pulse.
    """

    issue: In(1)
    issue_event: In(4)
    event_a: In(4)
    event_b: In(4)
    wait_a: Out(wait_layout())
    wait_b: Out(wait_layout())
    now: Out(1)
    matrix_done: In(1)
    matrix_event: In(4)
    vector_done: In(1)
    vector_event: In(4)
    matrix_wait_a: In(wait_layout())
    matrix_wait_b: In(wait_layout())
    matrix_clear: Out(1)
    vector_wait_a: In(wait_layout())
    vector_wait_b: In(wait_layout())
    vector_clear: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        issued = Array(Signal(EVENT_COUNT_BITS, name=f"issued_{i}") for i in range(EVENTS))
        completed = Array(Signal(EVENT_COUNT_BITS, name=f"completed_{i}") for i in range(EVENTS))
        for i in range(1, EVENTS):
            with m.If(self.issue & (self.issue_event == i)):
                m.d.sync += issued[i].eq(issued[i] + 1)
            m.d.sync += completed[i].eq(
                completed[i] + (self.matrix_done & (self.matrix_event == i))
                + (self.vector_done & (self.vector_event == i)))

        def clear(wait: Signal) -> Signal:
            # The sign of the modular difference: completed has not yet reached the count.
            behind = (completed[wait.event] - wait.count)[EVENT_COUNT_BITS - 1]
            return (wait.event == 0) | ~behind

        for wait, event in ((self.wait_a, self.event_a), (self.wait_b, self.event_b)):
            m.d.comb += [wait.event.eq(event), wait.count.eq(issued[event])]
        m.d.comb += [
            self.now.eq(clear(self.wait_a) & clear(self.wait_b)),
            self.matrix_clear.eq(clear(self.matrix_wait_a) & clear(self.matrix_wait_b)),
            self.vector_clear.eq(clear(self.vector_wait_a) & clear(self.vector_wait_b)),
        ]
        return m
