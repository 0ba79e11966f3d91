"""Puts the packets of a network interface together from their flits, and finds broken ones."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig
from hw.network.packet import HEADER_BYTES, header_layout, later_flits, packet_layout, part_layout


class PacketState(enum.Enum, shape=2):
    """How a packet came."""

    #: as long as its header says
    WHOLE = 0
    #: its tail came too early or too late
    LENGTH = 1
    #: a head came inside of it: the rest was lost on its way
    ABORTED = 2


class PacketReader(wiring.Component):
    """Collects a packet's header and payload, and drops what follows behind the payload.

    Ports: ``flits``: a stream of flits of one channel; ``packet``: a stream of packets, ``state``
    with the packet its PacketState; ``stray``: a flit came that belongs to no packet.
    Latency: 1 cycle from a packet's tail. Throughput: a flit per cycle while ``packet.ready`` is 1;
    no flit is refused then. Of a broken packet the header is right, the payload is not.
    """

    flits: stream.Interface
    packet: stream.Interface

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({"flits": In(stream.Signature(part_layout(config))),
                          "packet": Out(stream.Signature(packet_layout())),
                          "state": Out(PacketState), "stray": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flit, packet = self.flits.payload, self.packet
        taken, opened, first = Signal(), Signal(), Signal()
        header = data.View(header_layout(), flit.data[:8 * HEADER_BYTES])
        left = Signal(8, reset_less=True)
        now_left = Mux(first, later_flits(self.config, header.words), left)
        aborted, overlong = Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += [
            self.flits.ready.eq(~packet.valid | packet.ready),
            taken.eq(self.flits.valid & self.flits.ready),
            first.eq(flit.head & ~opened),
            self.stray.eq(taken & ~flit.head & ~opened),
        ]
        with m.If(packet.ready):
            m.d.sync += packet.valid.eq(0)
        with m.If(taken & (first | opened)):
            wrong = Signal()
            m.d.comb += wrong.eq(flit.tail != (now_left == 0))
            m.d.sync += [
                opened.eq(~flit.tail), packet.valid.eq(flit.tail), left.eq(now_left - 1),
                aborted.eq(~first & (aborted | flit.head)),
                overlong.eq((~first & overlong) | wrong),
                self.state.eq(Mux(~first & (aborted | flit.head), PacketState.ABORTED,
                                  Mux((~first & overlong) | wrong, PacketState.LENGTH,
                                      PacketState.WHOLE))),
            ]
            with m.If(first):
                m.d.sync += packet.payload.header.eq(header)
            if self.config.flit_bytes > HEADER_BYTES:
                with m.If(first):
                    m.d.sync += packet.payload.payload.eq(flit.data[8 * HEADER_BYTES:])
            else:
                second = Signal()
                m.d.sync += second.eq(first)
                with m.If(second):
                    m.d.sync += packet.payload.payload.eq(flit.data)
        return m
