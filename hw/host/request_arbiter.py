"""Two requesters before one request port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.access import request_layout, response_layout


class RequestArbiter(wiring.Component):
    """Lets two requesters share a port, access by access.

    Ports: ``request_0``, ``response_0``, ``request_1``, ``response_1``: from the requesters;
    ``request``, ``response``: the port. If both wait, the one goes that did not go last. An access
    ends with its response, before the next begins. Combinational, but for two registers.
    """

    def __init__(self) -> None:
        request, response = stream.Signature(request_layout()), stream.Signature(response_layout())
        super().__init__({
            "request": Out(request), "response": In(response),
            **{f"request_{i}": In(request) for i in range(2)},
            **{f"response_{i}": Out(response) for i in range(2)},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, response = self.request, self.response
        ports = [(self.request_0, self.response_0), (self.request_1, self.response_1)]
        busy, last, chosen = Signal(), Signal(init=1), Signal()
        m.d.comb += [
            chosen.eq(Mux(last, ~self.request_0.valid, self.request_1.valid)),
            request.valid.eq(~busy & (self.request_0.valid | self.request_1.valid)),
            request.payload.eq(Mux(chosen, self.request_1.payload.as_value(),
                                   self.request_0.payload.as_value())),
            response.ready.eq(Mux(last, self.response_1.ready, self.response_0.ready)),
        ]
        for i, (taken, back) in enumerate(ports):
            m.d.comb += [
                taken.ready.eq(request.ready & ~busy & (chosen == i)),
                back.payload.eq(response.payload), back.valid.eq(response.valid & (last == i)),
            ]
        with m.If(request.valid & request.ready):
            m.d.sync += [busy.eq(1), last.eq(chosen)]
        with m.If(response.valid & response.ready):
            m.d.sync += busy.eq(0)
        return m
