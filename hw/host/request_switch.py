"""One requester before two request ports."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.access import request_layout, response_layout


class RequestSwitch(wiring.Component):
    """Hands each request to one of two ports, and its response back.

    Ports: ``request``, ``response``: from the requester, which has one outstanding; ``select``:
    0 or 1, of the request that is there; ``request_0``, ``response_0``, ``request_1``,
    ``response_1``: the two ports. Combinational, but for a register that keeps the choice.
    """

    def __init__(self) -> None:
        request, response = stream.Signature(request_layout()), stream.Signature(response_layout())
        super().__init__({
            "request": In(request), "response": Out(response), "select": In(1),
            **{f"request_{i}": Out(request) for i in range(2)},
            **{f"response_{i}": In(response) for i in range(2)},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, response = self.request, self.response
        ports = [(self.request_0, self.response_0), (self.request_1, self.response_1)]
        chosen = Signal()
        for i, (out, back) in enumerate(ports):
            m.d.comb += [
                out.payload.eq(request.payload), out.valid.eq(request.valid & (self.select == i)),
                back.ready.eq(response.ready & (chosen == i)),
            ]
        m.d.comb += [
            request.ready.eq(Mux(self.select, self.request_1.ready, self.request_0.ready)),
            response.valid.eq(Mux(chosen, self.response_1.valid, self.response_0.valid)),
            response.payload.eq(Mux(chosen, self.response_1.payload.as_value(),
                                    self.response_0.payload.as_value())),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += chosen.eq(self.select)
        return m
