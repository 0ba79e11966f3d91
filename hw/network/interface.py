"""Network interface: what stands between the router's local port and the chip."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.access import request_layout, response_layout
from hw.network.config import COORDINATE_BITS, NetworkConfig
from hw.network.flit import (
    VIRTUAL_CHANNELS,
    TrafficClass,
    arrival_members,
    departure_members,
    flit_layout,
)
from hw.network.flit_queue import FlitQueue
from hw.network.initiator import TIMEOUT_BITS, Initiator
from hw.network.packet_reader import PacketReader
from hw.network.packet_writer import PacketWriter
from hw.network.sender import Sender
from hw.network.target import Target

#: Errors that the interface counts, and what each means.
ERRORS = {
    "requests_refused": "requests that came broken, of no known kind, or of a wrong length",
    "requests_misdelivered": "requests to other chips that the network could not bring there",
    "replies_dropped": "replies that nobody waited for, broken, or for another chip",
    "reply_timeouts": "accesses that ended without a reply",
    "stray_flits": "flits that belonged to no packet",
}
ERROR_BITS = 16


class NetworkInterface(wiring.Component):
    """Lets this chip's host reach other chips, their hosts this chip, and the collective transport both.

    Ports, towards the router: ``out_*``, ``in_*``: of its local port (hw/network/flit.py), seen from
    here. ``node_x``, ``node_y``: this chip. Of its host: ``far_request``, ``far_response``,
    ``target_x``, ``target_y``, ``timeout``: as :class:`hw.network.initiator.Initiator`;
    ``near_request``, ``near_response``: what other hosts ask of this chip, in one address space of
    registers and memories. ``collective_send_valid``, ``_flit``, ``_ready``: flits to send,
    ``collective_receive_valid``, ``_flit``: flits that came, each of which is taken. ``count_*``:
    ERRORS, modulo 2**ERROR_BITS; ``error``: one of them was counted.
    Parameters: ``doorbell``: address of the register that DOORBELL writes.

    Replies and collective flits are taken in at once, always; requests as far as the queue for them
    has room. So a request waits for room to send replies, and nothing waits for requests.
    Latency: 2 cycles from a request to ``in_valid``; 4 from ``out_valid`` to the response, and to
    the near request. Throughput: one access under way in each direction. ``out_ready`` and most of
    ``out_room`` are constant; all other outputs towards the router come from registers.
    """

    def __init__(self, config: NetworkConfig, doorbell: int) -> None:
        self.config, self.doorbell = config, doorbell
        flit = flit_layout(config)
        super().__init__({
            **{name: member.flip() for name, member in
               (departure_members(config) | arrival_members(config)).items()},
            **{f"{of}_{axis}": In(COORDINATE_BITS) for of in ("target", "node") for axis in "xy"},
            "timeout": In(TIMEOUT_BITS),
            "far_request": In(stream.Signature(request_layout())),
            "far_response": Out(stream.Signature(response_layout())),
            "near_request": Out(stream.Signature(request_layout())),
            "near_response": In(stream.Signature(response_layout())),
            "collective_send_valid": In(1), "collective_send_flit": In(flit),
            "collective_send_ready": Out(1),
            "collective_receive_valid": Out(1), "collective_receive_flit": Out(flit),
            **{f"count_{name}": Out(ERROR_BITS) for name in ERRORS}, "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.sender = sender = Sender(config)
        m.submodules.initiator = initiator = Initiator(config)
        m.submodules.target = target = Target(config, self.doorbell)
        m.submodules.requests = requests = FlitQueue(config)
        m.submodules.request_reader = request_reader = PacketReader(config)
        m.submodules.reply_reader = reply_reader = PacketReader(config)
        m.submodules.request_writer = request_writer = PacketWriter(config)
        m.submodules.reply_writer = reply_writer = PacketWriter(config)

        wiring.connect(m, wiring.flipped(self.far_request), initiator.request)
        wiring.connect(m, initiator.response, wiring.flipped(self.far_response))
        wiring.connect(m, target.request, wiring.flipped(self.near_request))
        wiring.connect(m, wiring.flipped(self.near_response), target.response)
        wiring.connect(m, initiator.packet, request_writer.packet)
        wiring.connect(m, target.reply, reply_writer.packet)
        wiring.connect(m, requests.flits, request_reader.flits)
        wiring.connect(m, request_reader.packet, target.packet)
        wiring.connect(m, reply_reader.packet, initiator.reply)
        m.d.comb += [
            initiator.timeout.eq(self.timeout), initiator.target_x.eq(self.target_x),
            initiator.target_y.eq(self.target_y), initiator.reply_state.eq(reply_reader.state),
            target.state.eq(request_reader.state),
            *(getattr(part, name).eq(getattr(self, name))
              for part in (initiator, target) for name in ("node_x", "node_y")),
            self.in_valid.eq(sender.in_valid), self.in_flit.eq(sender.in_flit),
            sender.in_freed.eq(self.in_freed),
            sender.collective.valid.eq(self.collective_send_valid),
            self.collective_send_ready.eq(sender.collective.ready),
        ]
        own = self.collective_send_flit
        for source, content in ((own, sender.collective.payload),
                                (request_writer.flits.payload, sender.request.payload),
                                (reply_writer.flits.payload, sender.reply.payload)):
            m.d.comb += [content.head.eq(source.head), content.tail.eq(source.tail),
                         content.data.eq(source.data)]
        for writer, stream_in in ((request_writer, sender.request), (reply_writer, sender.reply)):
            m.d.comb += [stream_in.valid.eq(writer.flits.valid),
                         writer.flits.ready.eq(stream_in.ready)]
        self._receive(m, requests, reply_reader)
        self._count(m, {
            "requests_refused": target.refused, "requests_misdelivered": target.misdelivered,
            "replies_dropped": initiator.unexpected, "reply_timeouts": initiator.expired,
            "stray_flits": request_reader.stray | reply_reader.stray,
        })
        return m

    def _receive(self, m: Module, requests: FlitQueue, replies: PacketReader) -> None:
        """Give each flit that comes to those whose class it is."""
        came = {kind: Signal(name=f"{kind.name.lower()}_came") for kind in TrafficClass}
        flit = self.out_flit
        number = flit.channel // VIRTUAL_CHANNELS
        m.d.comb += [
            *(came[kind].eq(self.out_valid & (number == kind.value)) for kind in TrafficClass),
            self.out_ready.eq(1),
            *(self.out_room[VIRTUAL_CHANNELS * kind.value].eq(
                requests.room if kind is TrafficClass.REQUEST else 1) for kind in TrafficClass),
            requests.valid.eq(came[TrafficClass.REQUEST]),
            replies.flits.valid.eq(came[TrafficClass.REPLY]),
            self.collective_receive_valid.eq(came[TrafficClass.COLLECTIVE]),
            self.collective_receive_flit.eq(flit),
        ]
        for part in (requests.flit, replies.flits.payload):
            m.d.comb += [part.head.eq(flit.head), part.tail.eq(flit.tail), part.data.eq(flit.data)]

    def _count(self, m: Module, events: dict[str, Value]) -> None:
        assert list(events) == list(ERRORS)
        happened = {}
        for name, event in events.items():
            happened[name] = Signal(name=f"{name}_now")
            counter = getattr(self, f"count_{name}")
            m.d.sync += happened[name].eq(event)
            with m.If(happened[name]):
                m.d.sync += counter.eq(counter + 1)
        m.d.comb += self.error.eq(Cat(happened.values()).any())
