"""Arbiter: of several requests, the one that was served longest ago."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Arbiter(wiring.Component):
    """Matrix arbiter: grants the requester that was served least recently.

    Ports: ``requests``, ``grants``: a bit for each requester, at most one grant, combinational
    from the requests and a register for each pair; ``served``: the requester that becomes the last
    of all (none or one bit).

    A requester that keeps its request is granted before any other is served twice.
    """

    def __init__(self, requesters: int) -> None:
        if requesters < 1:
            raise ValueError(f"requesters must be at least 1, not {requesters!r}")
        self.requesters = requesters
        super().__init__({"requests": In(requesters), "grants": Out(requesters),
                          "served": In(requesters)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before: dict[tuple[int, int], Value] = {}
        for i in range(self.requesters):
            for j in range(i + 1, self.requesters):
                first = Signal(init=1, name=f"before_{i}_{j}")  # i was served before j was
                before[i, j], before[j, i] = first, ~first
                with m.If(self.served[i] | self.served[j]):
                    m.d.sync += first.eq(self.served[j])
        for i in range(self.requesters):
            beaten = [self.requests[j] & before[j, i] for j in range(self.requesters) if j != i]
            m.d.comb += self.grants[i].eq(self.requests[i] & ~Cat(*beaten).any())
        return m
