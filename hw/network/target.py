"""Accesses of other chips' hosts to this one: requests come as packets, replies go out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.access import AccessError, request_layout, response_layout
from hw.network.config import COORDINATE_BITS, NetworkConfig
from hw.network.packet import PAYLOADS, REQUESTS, PacketKind, packet_layout
from hw.network.packet_reader import PacketState


class Target(wiring.Component):
    """Carries out requests, one after the other, and answers each.

    Ports: ``packet``: a stream of packets that came, with their ``state``; ``node_x``, ``node_y``:
    this chip; ``request``, ``response``: of its registers and memories, in one address space (hw/host/access.py);
    ``reply``: a stream of packets to send; ``refused``, ``misdelivered``: such a request came.
    Parameters: ``doorbell``: address of the register that DOORBELL writes.

    Latency: 2 cycles from a packet to the request, 1 from the response to the reply. Throughput:
    a request in 5 cycles and the access's own. Backpressure: the next packet is taken when the
    reply has been.
    Errors, answered with ERROR_REPLY: the access's own; NO_ADDRESS for a packet to another chip,
    which the network could not bring there; REFUSED for one that did not come whole, is of no kind
    of request, or whose length does not fit its kind. Nothing is accessed for the last two.
    """

    packet: stream.Interface
    request: stream.Interface
    response: stream.Interface
    reply: stream.Interface

    def __init__(self, config: NetworkConfig, doorbell: int) -> None:
        self.config, self.doorbell = config, doorbell
        super().__init__({
            "packet": In(stream.Signature(packet_layout())), "state": In(PacketState),
            "node_x": In(COORDINATE_BITS), "node_y": In(COORDINATE_BITS),
            "request": Out(stream.Signature(request_layout())),
            "response": In(stream.Signature(response_layout())),
            "reply": Out(stream.Signature(packet_layout())),
            "refused": Out(1), "misdelivered": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        packet, request = self.packet.payload, self.request.payload
        header, reply = packet.header, self.reply.payload
        here, fits = Signal(), Signal()
        error = Signal(AccessError, reset_less=True)
        read_data = Signal(32, reset_less=True)
        rings = header.kind == PacketKind.DOORBELL.value
        is_read = header.kind == PacketKind.READ.value
        m.d.comb += [
            here.eq((header.destination_x == self.node_x)
                    & (header.destination_y == self.node_y)),
            fits.eq((self.state == PacketState.WHOLE) & Cat(
                (header.kind == kind.value) & (header.words == PAYLOADS[kind])
                for kind in REQUESTS).any()),
            request.write.eq(~is_read),
            request.address.eq(Mux(rings, self.doorbell, header.address)),
            request.data.eq(packet.payload[0]),
            request.strobe.eq(Mux(rings, 15, packet.payload[1][:4])),
        ]
        kind = Mux(error != AccessError.NONE, PacketKind.ERROR_REPLY.value,
                   Mux(is_read, PacketKind.READ_REPLY.value, PacketKind.WRITE_REPLY.value))
        m.d.comb += [
            reply.header.destination_x.eq(header.source_x),
            reply.header.destination_y.eq(header.source_y),
            reply.header.source_x.eq(self.node_x), reply.header.source_y.eq(self.node_y),
            reply.header.kind.eq(kind), reply.header.tag.eq(header.tag),
            reply.header.words.eq((error != AccessError.NONE) | is_read),
            reply.header.address.eq(header.address),
            reply.payload[0].eq(Mux(error != AccessError.NONE, error, read_data)),
        ]
        with m.FSM():
            with m.State("Packet"):
                with m.If(self.packet.valid):
                    m.d.sync += error.eq(Mux(here, Mux(fits, AccessError.NONE, AccessError.REFUSED),
                                             AccessError.NO_ADDRESS))
                    m.d.comb += [self.refused.eq(here & ~fits), self.misdelivered.eq(~here)]
                    with m.If(here & fits):
                        m.next = "Request"
                    with m.Else():
                        m.next = "Reply"
            with m.State("Request"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "Response"
            with m.State("Response"):
                m.d.comb += self.response.ready.eq(1)
                m.d.sync += [error.eq(self.response.payload.error),
                             read_data.eq(self.response.payload.data)]
                with m.If(self.response.valid):
                    m.next = "Reply"
            with m.State("Reply"):
                m.d.comb += self.reply.valid.eq(1)
                with m.If(self.reply.ready):
                    m.d.comb += self.packet.ready.eq(1)
                    m.next = "Packet"
        return m
