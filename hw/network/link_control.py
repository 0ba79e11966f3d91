"""When a link is trained anew: not before the router's port is empty."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.training import LinkCause, LinkState

DOWNS_BITS = 8
#: Cycles for which a port must be empty: more than anything is between the link and its queues.
IDLE_CYCLES = 16


class LinkControl(wiring.Component):
    """Holds a link in training until its port is empty, on demand or whenever it went down.

    Ports: ``state``, ``cause``: of the link; ``in_idle``: of the router's port; ``demand``: train it
    anew (1 for a cycle); ``automatic``: do so when it is down. ``retrain``: to the link; ``up``: to
    the router; ``last_cause``, ``downs``: why it went down last, and how often it did; ``fell``: it
    did now. All outputs but ``up`` are registers.

    An end that is held tells the other that it has not seen its training words, so that neither
    comes up before the ports on both sides are empty.
    """

    def __init__(self) -> None:
        super().__init__({
            "state": In(LinkState), "cause": In(LinkCause), "in_idle": In(1), "demand": In(1),
            "automatic": In(1), "retrain": Out(1), "up": Out(1), "last_cause": Out(LinkCause),
            "downs": Out(DOWNS_BITS), "fell": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        down, was_down = Signal(), Signal()
        idle_cycles = Signal(range(IDLE_CYCLES))
        m.d.comb += [self.up.eq(self.state == LinkState.UP), down.eq(self.state == LinkState.DOWN)]
        m.d.sync += [was_down.eq(down), self.fell.eq(down & ~was_down)]
        with m.If(down & ~was_down):
            m.d.sync += [self.last_cause.eq(self.cause), self.downs.eq(self.downs + 1)]
        with m.If(self.retrain & self.in_idle & ~self.up):
            m.d.sync += idle_cycles.eq(idle_cycles + 1)
        with m.Else():
            m.d.sync += idle_cycles.eq(0)
        with m.If(self.demand | (self.automatic & down)):
            m.d.sync += self.retrain.eq(1)
        with m.Elif(idle_cycles == IDLE_CYCLES - 1):
            m.d.sync += self.retrain.eq(0)
        return m
