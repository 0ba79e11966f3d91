"""Traffic for a link in hardware: a generator of flits, queues that are emptied, and a checker."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig
from hw.network.flit import (
    CHANNEL_BITS,
    CHANNELS,
    ROOM_FLITS,
    arrival_members,
    departure_members,
    flit_layout,
)

#: Bits of a flit's data that hold the cycle of its departure; the others are a hash.
TIME_BITS = 24
_COUNTS = ("departed", "arrived", "lost", "duplicated", "wrong", "overflow", "latency_sum")


class Random(wiring.Component):
    """A new random word in each cycle: xorshift64. Ports: ``o``."""

    o: Out(64)

    def __init__(self, seed: int) -> None:
        self.seed = seed * 0x9E37_79B9_7F4A_7C15 % (1 << 64) or 1
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state = Signal(64, init=self.seed)
        a, b, c = (Signal(64, name=name) for name in "abc")
        m.d.comb += [a.eq(state ^ (state << 13)), b.eq(a ^ (a >> 7)), c.eq(b ^ (b << 17)),
                     self.o.eq(state)]
        m.d.sync += state.eq(c)
        return m


class LinkTraffic(wiring.Component):
    """The router's place at a link.

    Ports: those of a router towards a link. ``channels``: of these, flits are generated, in cycles
    in which a random byte is at most ``rate``; ``drained``: of these, queues are emptied, with
    ``drain_rate``; ``now``: the cycle. Counts: flits ``departed``, ``arrived``, found ``lost``,
    ``duplicated`` or ``wrong``, arrived at a full queue (``overflow``); ``latency_sum`` and
    ``latency_most`` of the flits in cycles.
    """

    def __init__(self, config: NetworkConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        super().__init__({
            **departure_members(config), **arrival_members(config),
            "channels": In(CHANNELS), "rate": In(8), "drained": In(CHANNELS), "drain_rate": In(8),
            "now": In(TIME_BITS), "latency_most": Out(TIME_BITS),
            **{name: Out(32) for name in _COUNTS},
        })

    def _payload(self, channel: Value, number: Value) -> Value:
        """Return head, tail and data (without the time) of a channel's flit: number, then hash."""
        mixed = ((number * 0x9E37_79B1) + (channel * 0x85EB_CA6B))[:32]
        mixed = (mixed ^ (mixed >> 15))[:32]
        lanes = [mixed ^ Const(0x2545_F491 * i % (1 << 32), 32)
                 for i in range(1, self.config.flit_bits // 32)]
        return Cat(mixed[5], mixed[9], number, *lanes)[:2 + self.config.flit_bits - TIME_BITS]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.random = random = Random(self.seed)
        self._generate(m, random.o)
        self._empty_queues(m, random.o)
        self._check(m)
        return m

    def _generate(self, m: Module, random: Value) -> None:
        channel = Signal(CHANNEL_BITS)
        #: Flits of the channel that were granted when it had room, as a router does.
        granted = Signal(range(ROOM_FLITS + 1))
        numbers = Array(Signal(32, name=f"departed_{i}") for i in range(CHANNELS))
        room = self.out_room
        transfer = Signal()
        flit = self.out_flit
        payload = Signal(flit_layout(self.config).size - CHANNEL_BITS)
        m.d.comb += [
            self.out_valid.eq(granted != 0),
            transfer.eq(self.out_valid & self.out_ready), flit.channel.eq(channel),
            payload.eq(Cat(self._payload(channel, numbers[channel]), self.now)),
            Cat(flit.head, flit.tail, flit.data).eq(payload),
        ]
        m.d.sync += granted.eq(granted - transfer)
        # Another channel's turn when the last granted flit goes.
        with m.If(granted == transfer):
            following = Signal(CHANNEL_BITS)
            m.d.comb += following.eq((random[8:16] * CHANNELS) >> 8)
            one = Signal(CHANNEL_BITS)
            for i in range(CHANNELS):
                with m.If(self.channels == 1 << i):
                    m.d.comb += one.eq(i)
            alone = (self.channels & (self.channels - 1)) == 0
            chosen, grants = Signal(CHANNEL_BITS), Signal()
            m.d.comb += [
                chosen.eq(Mux(alone, one, following)),
                grants.eq((random[:8] <= self.rate) & self.channels.bit_select(chosen, 1)
                          & room.bit_select(chosen, 1)),
            ]
            # A flit that goes in this cycle still has its credit in ``out_room``.
            m.d.sync += [channel.eq(chosen), granted.eq(Mux(grants, ROOM_FLITS - transfer, 0))]
        with m.If(transfer):
            m.d.sync += [self.departed.eq(self.departed + 1),
                         numbers[channel].eq(numbers[channel] + 1)]

    def _empty_queues(self, m: Module, random: Value) -> None:
        places = self.config.queue_flits
        for i in range(CHANNELS):
            held = Signal(range(places + 2), name=f"held_{i}")
            comes = Signal(name=f"comes_{i}")
            m.d.comb += [
                comes.eq(self.in_valid & (self.in_flit.channel == i)),
                self.in_freed[i].eq((held != 0) & self.drained[i]
                                    & (random[16 + 8 * i:24 + 8 * i] <= self.drain_rate)),
            ]
            with m.If(comes & (held == places)):
                m.d.sync += self.overflow.eq(self.overflow + 1)
            with m.Else():
                m.d.sync += held.eq(held + comes - self.in_freed[i])

    def _check(self, m: Module) -> None:
        numbers = Array(Signal(32, name=f"arrived_{i}") for i in range(CHANNELS))
        flit, expected = self.in_flit, Signal(32)
        m.d.comb += expected.eq(numbers[flit.channel])
        got = Cat(flit.head, flit.tail, flit.data[:self.config.flit_bits - TIME_BITS])
        latency = Signal(TIME_BITS)
        m.d.comb += latency.eq(self.now - flit.data[-TIME_BITS:])
        with m.If(self.in_valid):
            m.d.sync += [self.arrived.eq(self.arrived + 1),
                         self.latency_sum.eq(self.latency_sum + latency),
                         numbers[flit.channel].eq(expected + 1)]
            with m.If(latency > self.latency_most):
                m.d.sync += self.latency_most.eq(latency)
            difference = (got[2:34] - expected)[:32]
            with m.If(got == self._payload(flit.channel, expected)):
                pass
            with m.Elif(difference == 0):
                m.d.sync += self.wrong.eq(self.wrong + 1)
            with m.Elif(difference[-1]):
                m.d.sync += [self.duplicated.eq(self.duplicated + 1),
                             numbers[flit.channel].eq(expected)]
            with m.Else():
                m.d.sync += [self.lost.eq(self.lost + difference),
                             numbers[flit.channel].eq(got[2:34] + 1)]
