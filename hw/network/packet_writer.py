"""Cuts the packets of a network interface into flits."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig
from hw.network.packet import HEADER_BYTES, packet_layout, part_layout


class PacketWriter(wiring.Component):
    """Holds a packet until its flits have gone.

    Ports: ``packet``: a stream of packets; ``flits``: a stream of their flits, without the data
    behind a packet's payload.
    Latency: 1 cycle from the packet to its first flit. Throughput: a packet in its flits and one
    cycle. Backpressure: all outputs are registers' or a gate behind them.
    """

    packet: stream.Interface
    flits: stream.Interface

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({"packet": In(stream.Signature(packet_layout())),
                          "flits": Out(stream.Signature(part_layout(config)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal(packet_layout(), reset_less=True)
        full = Signal()
        flits = self.flits
        m.d.comb += [self.packet.ready.eq(~full), flits.valid.eq(full)]
        with m.If(self.packet.valid & ~full):
            m.d.sync += [held.eq(self.packet.payload), full.eq(1)]
        if self.config.flit_bytes > HEADER_BYTES:
            m.d.comb += [flits.payload.data.eq(held), flits.payload.head.eq(1),
                         flits.payload.tail.eq(1)]
            with m.If(full & flits.ready):
                m.d.sync += full.eq(0)
            return m
        # The header alone, then the payload, if there is any.
        second = Signal()
        m.d.comb += [
            flits.payload.head.eq(~second),
            flits.payload.tail.eq(second | (held.header.words == 0)),
            flits.payload.data.eq(Mux(second, held.payload, held.header)),
        ]
        with m.If(full & flits.ready):
            m.d.sync += [second.eq(~flits.payload.tail), full.eq(~flits.payload.tail)]
        return m
