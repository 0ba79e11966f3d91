"""AXI4-Lite subordinate in front of a request port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.access import (
    DATA_BITS,
    DATA_BYTES,
    axi_lite_members,
    axi_response,
    request_layout,
    response_layout,
)
from hw.host.registers import ADDRESS_BITS

PREFIX = "s_axil"


class AxiLite(wiring.Component):
    """Turns AXI4-Lite reads and writes into requests, one at a time.

    Ports: ``s_axil_*`` (hw/host/access.py); ``request``, ``response``.
    Latency: 4 cycles and that of the port, from the last of AW and W, or from AR. AW and W come in
    any order. Reads and writes take turns when both wait; neither waits for B or R of the other.
    Backpressure: every output is a register's; no path from an input to an output.
    """

    request: stream.Interface
    response: stream.Interface

    def __init__(self) -> None:
        super().__init__({
            **axi_lite_members(PREFIX, ADDRESS_BITS),
            "request": Out(stream.Signature(request_layout())),
            "response": In(stream.Signature(response_layout())),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = {}
        for channel, fields in (("aw", {"addr": ADDRESS_BITS}), ("ar", {"addr": ADDRESS_BITS}),
                                ("w", {"data": DATA_BITS, "strb": DATA_BYTES})):
            valid, ready = (getattr(self, f"{PREFIX}_{channel}{n}") for n in ("valid", "ready"))
            held[channel] = Signal(name=f"{channel}_held")
            m.d.comb += ready.eq(~held[channel])
            for name, bits in fields.items():
                value = Signal(bits, name=f"{channel}{name}_held", reset_less=True)
                held[f"{channel}{name}"] = value
                with m.If(valid & ready):
                    m.d.sync += value.eq(getattr(self, f"{PREFIX}_{channel}{name}"))
            with m.If(valid & ready):
                m.d.sync += held[channel].eq(1)

        bvalid, rvalid = getattr(self, f"{PREFIX}_bvalid"), getattr(self, f"{PREFIX}_rvalid")
        with m.If(bvalid & getattr(self, f"{PREFIX}_bready")):
            m.d.sync += bvalid.eq(0)
        with m.If(rvalid & getattr(self, f"{PREFIX}_rready")):
            m.d.sync += rvalid.eq(0)

        write, write_waits, read_waits = Signal(), Signal(), Signal()
        request = self.request.payload
        m.d.comb += [
            write_waits.eq(held["aw"] & held["w"] & ~bvalid),
            read_waits.eq(held["ar"] & ~rvalid),
            request.write.eq(write),
            request.address.eq(Mux(write, held["awaddr"], held["araddr"])),
            request.data.eq(held["wdata"]),
            request.strobe.eq(held["wstrb"]),
        ]
        with m.FSM():
            with m.State("Choose"):
                with m.If(write_waits | read_waits):
                    # The other one than last time, if both wait.
                    m.d.sync += write.eq(Mux(write, ~read_waits, write_waits))
                    m.next = "Request"
            with m.State("Request"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "Response"
            with m.State("Response"):
                m.d.comb += self.response.ready.eq(1)
                with m.If(self.response.valid):
                    code = axi_response(self.response.payload.error.as_value())
                    with m.If(write):
                        m.d.sync += [bvalid.eq(1), getattr(self, f"{PREFIX}_bresp").eq(code),
                                     held["aw"].eq(0), held["w"].eq(0)]
                    with m.Else():
                        m.d.sync += [rvalid.eq(1), getattr(self, f"{PREFIX}_rresp").eq(code),
                                     getattr(self, f"{PREFIX}_rdata").eq(
                                         self.response.payload.data),
                                     held["ar"].eq(0)]
                    m.next = "Choose"
        return m
