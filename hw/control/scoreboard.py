"""Event counts: which signals have been issued, which have come, and who may start."""

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.control.isa import EVENT_COUNT_BITS, EVENTS
from hw.control.queue import waits_layout


class Scoreboard(wiring.Component):
    """Counts signals per event, modulo 2**EVENT_COUNT_BITS.

    Ports: ``issue`` with ``issue_event``: a command that signals is entering a queue; ``event_a``,
    ``event_b`` -> ``waits``: what a command issued now must wait for, and ``now``: both have come
    already; ``matrix_done``, ``vector_done`` with their events: completions; of each queue:
    ``<unit>_waits`` of its head, ``<unit>_valid``: there is one, ``<unit>_pop``: it is taken in
    this cycle, -> ``<unit>_ready``: it may be taken.
    Latency: ``LATENCY`` cycles from a head to ``ready``; ``now`` sees a completion in the cycle
    after its pulse, ``ready`` one later. Event 0 is never waited for.
    """

    LATENCY = 1

    issue: In(1)
    issue_event: In(4)
    event_a: In(4)
    event_b: In(4)
    waits: Out(waits_layout())
    now: Out(1)
    matrix_done: In(1)
    matrix_event: In(4)
    vector_done: In(1)
    vector_event: In(4)
    matrix_waits: In(waits_layout())
    matrix_valid: In(1)
    matrix_pop: In(1)
    matrix_ready: Out(1)
    vector_waits: In(waits_layout())
    vector_valid: In(1)
    vector_pop: In(1)
    vector_ready: Out(1)

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

        def clear(waits: data.View) -> Value:
            # The sign of the modular difference: completed has not yet reached the count.
            return ~Cat((wait.event != 0)
                        & (completed[wait.event] - wait.count)[EVENT_COUNT_BITS - 1]
                        for wait in (waits.a, waits.b)).any()

        m.d.comb += [
            self.waits.a.event.eq(self.event_a), self.waits.a.count.eq(issued[self.event_a]),
            self.waits.b.event.eq(self.event_b), self.waits.b.count.eq(issued[self.event_b]),
            self.now.eq(clear(self.waits)),
        ]
        m.d.sync += [
            self.matrix_ready.eq(self.matrix_valid & ~self.matrix_pop & clear(self.matrix_waits)),
            self.vector_ready.eq(self.vector_valid & ~self.vector_pop & clear(self.vector_waits)),
        ]
        return m
