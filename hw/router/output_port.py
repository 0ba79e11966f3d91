"""Output port of the router: who gets its channels, whose flit goes, and the register before the link."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig
from hw.network.flit import CHANNEL_BITS, CHANNELS, VIRTUAL_CHANNELS, departure_members
from hw.router.arbiter import Arbiter
from hw.router.input_port import offer_layout
from hw.router.input_queue import choose, stored_layout
from hw.router.port import SOURCES, Port

#: Width of the counters.
COUNTER_BITS = 32


def output_channels(target: Port) -> tuple[int, ...]:
    """Return the channels that an output port has: the local one has no second virtual channel."""
    return tuple(range(0, CHANNELS, VIRTUAL_CHANNELS if target is Port.LOCAL else 1))


class OutputPort(wiring.Component):
    """Allocation of an output's channels and cycles, and its part of the crossbar.

    Ports, towards the link: as :func:`hw.network.flit.departure_members`; ``link_up``. Towards the
    input ports, each an element by input of ``SOURCES[target]``: ``waiting``, ``own``, ``won``, ``wants``, ``requests``, ``offers``,
    ``grants``, ``flits``, ``stalled`` as in :class:`hw.router.input_port.InputPort`; ``free`` and
    ``ready`` are the same for all. ``flits_out``, ``cycles_blocked``: counters of flits that went
    out, and of cycles in which a flit was on offer for this port and none was granted.

    A channel belongs to a packet from its head's grant to its tail's. Inputs whose heads wait for a
    channel get it in the order of their last packets on it; inputs whose flits compete for a cycle
    in the order of their last flits: both least recently served first.

    Latency: 2 cycles from a grant to ``out_valid``. Throughput: 1 flit per cycle; towards a link of
    several phits to a word, 1 in two cycles, so that nothing in the router but the register before the
    link waits for ``out_ready``. When ``link_up``
    is 0, nothing is granted, flits on their way vanish and all channels become free.
    """

    #: From ``grants`` to ``out_valid``.
    LATENCY = 2

    def __init__(self, config: NetworkConfig, target: Port) -> None:
        self.config, self.target = config, target
        self.inputs = len(SOURCES[target])
        self._slow = target is not Port.LOCAL and config.phits_per_word > 1

        def each(shape: object) -> data.ArrayLayout:
            return data.ArrayLayout(shape, self.inputs)

        super().__init__({
            **departure_members(config), "link_up": In(1),
            "waiting": In(each(CHANNELS)), "own": Out(each(CHANNELS)), "won": Out(each(CHANNELS)),
            "free": Out(CHANNELS), "ready": Out(1), "wants": In(self.inputs),
            "requests": In(self.inputs), "offers": In(each(offer_layout())),
            "grants": Out(self.inputs), "flits": In(each(stored_layout(config))),
            "stalled": Out(self.inputs),
            "flits_out": Out(COUNTER_BITS), "cycles_blocked": Out(COUNTER_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        advance, granted = Signal(), Signal()
        m.submodules.cycles = cycles = Arbiter(self.inputs)
        clears = ~self.out_valid
        if not self._slow:
            clears = clears | self.out_ready
        m.d.comb += [
            advance.eq(~self.link_up | clears), self.ready.eq(self.link_up & clears),
            cycles.requests.eq(self.requests), self.grants.eq(cycles.grants),
            cycles.served.eq(cycles.grants), granted.eq(self.requests.any()),
        ]
        self._allocate_channels(m, granted)
        self._pass(m, advance)
        # Counters see a cycle one later than it is.
        went, blocked = Signal(), Signal()
        m.d.sync += [went.eq(self.out_valid & self.out_ready & self.link_up),
                     blocked.eq(self.wants.any() & ~granted)]
        with m.If(went):
            m.d.sync += self.flits_out.eq(self.flits_out + 1)
        with m.If(blocked):
            m.d.sync += self.cycles_blocked.eq(self.cycles_blocked + 1)
        return m

    def _allocate_channels(self, m: Module, granted: Value) -> None:
        """Keep which channels are held, and give the free ones to heads in turn."""
        head, tail = (choose(self.grants, [offer[name] for offer in self.offers])
                      for name in ("head", "tail"))
        channel = choose(self.grants, [offer.channel for offer in self.offers])
        unheld = Signal(CHANNELS, init=-1 % (1 << CHANNELS))
        for c in output_channels(self.target):
            with m.If(~self.link_up):
                m.d.sync += unheld[c].eq(1)
            with m.Elif(granted & channel[c]):
                m.d.sync += unheld[c].eq(tail)
            waiting = Cat(waits[c] for waits in self.waiting)
            m.submodules[f"line_{c}"] = line = Arbiter(self.inputs)
            m.d.comb += [
                self.free[c].eq(unheld[c] & self.out_room[c]), line.requests.eq(waiting),
                line.served.eq(self.grants & (head & channel[c]).replicate(self.inputs)),
            ]
            for i in range(self.inputs):
                # One cycle old: a head that comes then has not waited longer.
                contended = Signal(name=f"contended_{i}_{c}")
                m.d.sync += contended.eq(
                    Cat(waiting[j] for j in range(self.inputs) if j != i).any())
                m.d.comb += [self.own[i][c].eq(self.free[c] & ~contended),
                             self.won[i][c].eq(self.free[c] & line.grants[i])]

    def _pass(self, m: Module, advance: Value) -> None:
        """Take the granted flit from its input in the next cycle, and offer it to the link."""
        source = Signal(self.inputs)  # input whose flit comes into the register
        channel = Signal(CHANNELS, reset_less=True)
        flit = Signal(stored_layout(self.config), reset_less=True)
        number = Signal(CHANNEL_BITS, reset_less=True)
        m.d.comb += self.stalled.eq(source & (~advance).replicate(self.inputs))
        with m.If(advance):
            m.d.sync += [
                source.eq(self.grants),
                channel.eq(choose(self.grants, [offer.channel for offer in self.offers])),
                self.out_valid.eq(self.link_up & source.any()),
            ]
            with m.If(source.any()):
                m.d.sync += [flit.eq(choose(source, self.flits)), number.eq(Cat(
                    Cat(channel[c] for c in range(CHANNELS) if c >> bit & 1).any()
                    for bit in range(CHANNEL_BITS)))]
        if self._slow:
            with m.If(~advance & self.out_ready):
                m.d.sync += self.out_valid.eq(0)
        m.d.comb += [self.out_flit.data.eq(flit.data), self.out_flit.head.eq(flit.head),
                     self.out_flit.tail.eq(flit.tail), self.out_flit.channel.eq(number)]
