"""Accesses of this chip's host to other chips: requests go out as packets, replies come back."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.access import AccessError, request_layout, response_layout
from hw.network.config import COORDINATE_BITS, NetworkConfig
from hw.network.packet import PAYLOADS, PacketKind, packet_layout
from hw.network.packet_reader import PacketState

TIMEOUT_BITS = 24
#: Bits of a register's address in a chip's address space; memories lie above.
REGISTER_BITS = 11
#: Bit of a request's address that tells a register of the other chip from its doorbell.
REGISTER_FLAG = 1 << REGISTER_BITS
#: Lowest bit of the addresses of memories.
MEMORY_BITS = 24


class Initiator(wiring.Component):
    """Turns an access into a packet, waits for the reply, and answers; one at a time.

    Ports: ``request``, ``response`` (hw/host/access.py). An address of 2**MEMORY_BITS or above is
    one of the other chip's memory window; below, REGISTER_FLAG + offset is a register, and a write
    without REGISTER_FLAG rings the doorbell. ``target_x``, ``target_y``: the other chip, looked at
    when the request is taken; ``node_x``, ``node_y``: this one; ``timeout``: cycles. ``packet``: a
    stream of packets to send; ``reply``: one of packets that came, always taken, with
    ``reply_state``. ``unexpected``: a reply was dropped, ``expired``: one did not come in time.

    Latency: 1 cycle from the request to the packet, 2 from the reply to the response.
    Errors: that of an ERROR_REPLY; REFUSED after ``timeout`` cycles without a reply, and if a
    packet could not be sent for so long. A reply must be whole, for this chip, of a kind that
    answers the request, and bear its tag, which is another one each time; others are dropped.
    """

    request: stream.Interface
    response: stream.Interface
    packet: stream.Interface
    reply: stream.Interface

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({
            "request": In(stream.Signature(request_layout())),
            "response": Out(stream.Signature(response_layout())),
            **{f"{of}_{axis}": In(COORDINATE_BITS) for of in ("target", "node") for axis in "xy"},
            "timeout": In(TIMEOUT_BITS), "packet": Out(stream.Signature(packet_layout())),
            "reply": In(stream.Signature(packet_layout())), "reply_state": In(PacketState),
            "unexpected": Out(1), "expired": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, response = self.request, self.response.payload
        write = Signal(reset_less=True)
        tag, timer, late = Signal(8), Signal(TIMEOUT_BITS), Signal()
        waits, matches = Signal(), Signal()
        m.d.sync += timer.eq(timer - 1)
        m.d.comb += late.eq(timer == 0)
        self._compose(m, tag)

        reply = self.reply.payload
        answers = self._reply_kind(m, write)
        matches_now = (
            (self.reply_state == PacketState.WHOLE) & (reply.header.tag == tag)
            & (reply.header.destination_x == self.node_x)
            & (reply.header.destination_y == self.node_y) & answers)
        # A reply is looked at in one cycle, and acted upon in the next.
        came, failed = Signal(), Signal(reset_less=True)
        value = Signal(32, reset_less=True)
        m.d.comb += [self.reply.ready.eq(1), matches.eq(came & waits)]
        m.d.sync += [
            came.eq(self.reply.valid & matches_now), value.eq(reply.payload[0]),
            failed.eq(reply.header.kind == PacketKind.ERROR_REPLY.value),
            self.unexpected.eq((self.reply.valid & ~matches_now) | (came & ~waits)),
        ]
        with m.FSM():
            with m.State("Request"):
                m.d.comb += [self.packet.valid.eq(request.valid),
                             request.ready.eq(self.packet.ready | late)]
                m.d.sync += [write.eq(request.payload.write), response.data.eq(0),
                             response.error.eq(AccessError.REFUSED)]
                with m.If(~request.valid):
                    m.d.sync += timer.eq(self.timeout)
                with m.Elif(self.packet.ready):
                    m.d.sync += timer.eq(self.timeout)
                    m.next = "Wait"
                with m.Elif(late):
                    m.d.comb += self.expired.eq(1)
                    m.next = "Answer"
            with m.State("Wait"):
                m.d.comb += waits.eq(1)
                with m.If(matches):
                    with m.If(failed):
                        m.d.sync += response.error.eq(Mux(
                            value[:2] == AccessError.NO_ADDRESS.value, AccessError.NO_ADDRESS,
                            AccessError.REFUSED))
                    with m.Else():
                        m.d.sync += [response.error.eq(AccessError.NONE),
                                     response.data.eq(Mux(write, 0, value))]
                    m.next = "Answer"
                with m.Elif(late):
                    m.d.comb += self.expired.eq(1)
                    m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += self.response.valid.eq(1)
                m.d.sync += timer.eq(self.timeout)
                with m.If(self.response.ready):
                    # Whatever still comes with the old tag is late.
                    m.d.sync += tag.eq(tag + 1)
                    m.next = "Request"
        return m

    def _compose(self, m: Module, tag: Signal) -> None:
        """Make the packet of the request that is there."""
        request, packet = self.request.payload, self.packet.payload
        header = packet.header
        in_memory = request.address[MEMORY_BITS:].any()
        rings = ~in_memory & ~request.address[REGISTER_BITS]
        kind, words = Signal(4), Signal(8)
        for chosen, when in ((PacketKind.READ, ~request.write),
                             (PacketKind.WRITE, request.write & ~rings),
                             (PacketKind.DOORBELL, request.write & rings)):
            with m.If(when):
                m.d.comb += [kind.eq(chosen.value), words.eq(PAYLOADS[chosen])]
        m.d.comb += [
            header.destination_x.eq(self.target_x), header.destination_y.eq(self.target_y),
            header.source_x.eq(self.node_x), header.source_y.eq(self.node_y),
            header.kind.eq(kind), header.tag.eq(tag), header.words.eq(words),
            header.address.eq(Cat(request.address[:REGISTER_BITS],
                                  Mux(in_memory, request.address[REGISTER_BITS:], 0))),
            packet.payload[0].eq(request.data),
            packet.payload[1].eq(Cat(request.strobe, Const(0, 28))),
        ]

    def _reply_kind(self, m: Module, write: Signal) -> Signal:
        """Return whether the reply is of a kind that answers the request."""
        header, answers = self.reply.payload.header, Signal()
        for kind, fits in ((PacketKind.READ_REPLY, ~write), (PacketKind.WRITE_REPLY, write),
                           (PacketKind.ERROR_REPLY, Const(1))):
            with m.If((header.kind == kind.value) & (header.words == PAYLOADS[kind])):
                m.d.comb += answers.eq(fits)
        return answers
