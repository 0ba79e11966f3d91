"""A short queue of flits behind the router's local output, with the credits that it gives."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig
from hw.network.flit import ROOM_FLITS
from hw.network.packet import part_layout


class FlitQueue(wiring.Component):
    """Keeps flits in order.

    Ports: ``valid``, ``flit``: a flit comes, for which there is a place; ``room``: so many places
    are free that ROOM_FLITS flits may be granted; ``flits``: a stream of what came.
    Latency: 1 cycle. Throughput: a flit per cycle. ``room`` comes from registers.
    """

    flits: stream.Interface

    def __init__(self, config: NetworkConfig, depth: int = 4) -> None:
        if depth < ROOM_FLITS:
            raise ValueError(f"depth must be at least {ROOM_FLITS}, not {depth!r}")
        self.depth = depth
        layout = part_layout(config)
        super().__init__({"valid": In(1), "flit": In(layout), "room": Out(1),
                          "flits": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self.depth
        places = [Signal(self.flit.shape(), name=f"place_{i}", reset_less=True)
                  for i in range(depth)]
        count = Signal(range(depth + 1))
        leaves = Signal()
        m.d.comb += [
            self.room.eq(count <= depth - ROOM_FLITS), self.flits.valid.eq(count != 0),
            self.flits.payload.eq(places[0]), leaves.eq(self.flits.valid & self.flits.ready),
        ]
        m.d.sync += count.eq(count + self.valid - leaves)
        for i, place in enumerate(places):
            with m.If(self.valid & (count - leaves == i)):
                m.d.sync += place.eq(self.flit)
            if i + 1 < depth:
                with m.Elif(leaves):
                    m.d.sync += place.eq(places[i + 1])
        return m
