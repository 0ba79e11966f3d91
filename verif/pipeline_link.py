"""A link without a wire: registers in a row, and credits that come back through as many."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import delay
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS, ROOM_FLITS, flit_layout


class PipelineLink(wiring.Component):
    """Takes flits as the transmitter of a link does, and delivers them ``latency`` cycles later.

    Ports: ``valid``, ``flit``, ``ready``, ``room``: a router's output; ``hold``: not ready;
    ``arrival_valid``, ``arrival``, ``freed``: a router's input. ``overrun``: a flit came without
    a credit, or more credits than there are came back.
    """

    def __init__(self, config: NetworkConfig, latency: int) -> None:
        self.config, self.latency = config, latency
        flit = flit_layout(config)
        super().__init__({
            "valid": In(1), "flit": In(flit), "ready": Out(1), "room": Out(CHANNELS), "hold": In(1),
            "arrival_valid": Out(1), "arrival": Out(flit), "freed": In(CHANNELS), "overrun": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.ready.eq(~self.hold)
        goes = self.valid & self.ready
        m.d.comb += [
            self.arrival_valid.eq(delay(m, goes, self.latency, "valid")),
            self.arrival.eq(delay(m, self.flit, self.latency, "flit", reset_less=True)),
        ]
        freed = delay(m, self.freed, self.latency, "freed")
        flits, wrong = self.config.queue_flits, []
        for c in range(CHANNELS):
            credits = Signal(range(flits + 1), init=flits, name=f"credits_{c}")
            takes = goes & (self.flit.channel == c)
            m.d.sync += credits.eq(credits + freed[c] - takes)
            m.d.comb += self.room[c].eq(credits >= ROOM_FLITS)
            wrong += [takes & (credits == 0), freed[c] & ~takes & (credits == flits)]
        with m.If(Cat(*wrong).any()):
            m.d.sync += self.overrun.eq(1)
        return m
