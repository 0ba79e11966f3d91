"""Input port of the router: routes what arrives, queues it, and offers one flit at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import COORDINATE_BITS, NetworkConfig
from hw.network.flit import CHANNELS, VIRTUAL_CHANNELS, arrival_members
from hw.network.packet import header_layout
from hw.router.arbiter import Arbiter
from hw.router.input_queue import InputQueue, choose, entry_layout, stored_layout
from hw.router.port import LINKS, PORTS, TARGETS, Port
from hw.router.route import Route, strap_members

#: Flits of the local input's queue of a class at most: there is no link whose round trip they cover.
LOCAL_FLITS = 8


def input_channels(source: Port) -> tuple[int, ...]:
    """Return the channels that an input port has: the local one has no second virtual channel."""
    return tuple(range(0, CHANNELS, VIRTUAL_CHANNELS if source is Port.LOCAL else 1))


def input_flits(config: NetworkConfig, source: Port) -> int:
    """Return the depth of an input port's queues: the credits that its sender starts with."""
    return min(config.queue_flits, LOCAL_FLITS) if source is Port.LOCAL else config.queue_flits


def offer_layout() -> data.StructLayout:
    """Return what an output port has to know of the flit that an input port offers."""
    return data.StructLayout({"head": 1, "tail": 1, "channel": CHANNELS})


def by_port() -> data.ArrayLayout:
    """Return a bit for each output port and channel."""
    return data.ArrayLayout(CHANNELS, len(PORTS))


class InputPort(wiring.Component):
    """Queues of one input, and the choice of the flit that is offered to the output ports.

    Ports, towards the link: as :func:`hw.network.flit.arrival_members`; ``idle``: the queues are
    empty and no packet is cut off. Straps, and ``link_up``: a bit for each link port.
    Towards the output ports, each with a bit by port and channel: ``waiting``: a head waits for it;
    ``room``; ``free``: it has room and no packet holds it; ``own``: also no other input waits for
    it; ``won``: it is free, and this input is the next to get it. ``ready``: ports that take a
    flit; ``wants``, ``request``: the port of the flit on offer, and that it can go there now,
    ``offer``: about the flit; ``grant``: it goes. Its ``flit`` follows in the next cycle, and stays
    while ``stalled``. ``diverted``: a packet came that goes to LOCAL though it is for another node,
    ``diverted_x``, ``diverted_y``; ``discarded``: a flit was thrown away.

    Latency: 1 cycle from ``in_valid`` to ``request`` if all queues are empty, else 2 or more; 1
    from ``grant`` to ``flit``. Throughput: 1 flit per cycle.

    The flit on offer stays when only another input's flit beats it. When it can not go, another
    channel's that can is offered, the least recently served of them; flits of several channels
    take turns. So no channel waits for ever while its output channel has room.
    """

    #: From ``in_valid`` to ``request``, and from ``grant`` to ``flit``.
    OFFER_LATENCY, READ_LATENCY = 1, 1

    def __init__(self, config: NetworkConfig, source: Port) -> None:
        self.config, self.source = config, source
        self.channels = input_channels(source)
        super().__init__({
            **arrival_members(config), **strap_members(), "link_up": In(len(LINKS)), "idle": Out(1),
            "waiting": Out(by_port()), "room": In(by_port()), "free": In(by_port()),
            "own": In(by_port()), "won": In(by_port()), "ready": In(len(PORTS)),
            "wants": Out(len(PORTS)), "request": Out(len(PORTS)), "offer": Out(offer_layout()),
            "grant": In(len(PORTS)), "flit": Out(stored_layout(config)), "stalled": In(1),
            "diverted": Out(1), "diverted_x": Out(COORDINATE_BITS), "diverted_y": Out(COORDINATE_BITS),
            "discarded": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = InputQueue(
            self.config, self.channels, input_flits(self.config, self.source))
        self._arrive(m, queue)
        self._offer(m, queue)
        m.d.comb += [self.in_freed.eq(queue.freed), self.flit.eq(queue.read_data)]
        return m

    # Arrival

    def _arrive(self, m: Module, queue: InputQueue) -> None:
        """Route heads, let body flits follow, and end packets that the link cut off."""
        queues, flit = len(self.channels), self.in_flit
        up = Const(1) if self.source is Port.LOCAL else self.link_up[LINKS.index(self.source)]
        valid, head, tail = (Signal(name=f"arrival_{name}") for name in ("valid", "head", "tail"))
        channel = Signal(queues, name="arrival_channel")
        #: Of each channel, whether the last packet's tail is still to come.
        opened = Signal(queues)
        cut = Signal(queues)
        m.d.comb += [valid.eq(self.in_valid), head.eq(flit.head), tail.eq(flit.tail)]
        if self.source is Port.LOCAL:
            m.d.comb += channel.eq(Cat(flit.channel >> 1 == number >> 1 for number in self.channels))
        else:
            m.d.comb += channel.eq(Cat(flit.channel == number for number in self.channels))
            ends = opened & ~queue.occupied
            m.d.comb += cut.eq(ends & ~Cat(Const(0, 1), *(ends[:c].any() for c in range(1, queues))))
            with m.If(~up):
                m.d.comb += [valid.eq(cut.any()), channel.eq(cut), head.eq(1), tail.eq(1)]
        starts = Signal()
        m.d.comb += starts.eq(head & ~(opened & channel).any())
        with m.If(valid):
            m.d.sync += opened.eq((opened & ~channel) | (channel & (~tail).replicate(queues)))
        m.d.comb += self.idle.eq(queue.empty & ~opened.any())

        way = self._way(m, flit, valid & starts)
        ways = [Signal(len(way), name=f"way_{c}", reset_less=True) for c in range(queues)]
        for c in range(queues):
            with m.If(valid & starts & channel[c]):
                m.d.sync += ways[c].eq(way)
        m.d.comb += [
            queue.write.eq(valid), queue.write_channel.eq(channel),
            queue.write_flit.data.eq(flit.data), queue.write_flit.head.eq(head),
            queue.write_flit.tail.eq(tail), queue.entry.head.eq(starts), queue.entry.tail.eq(tail),
            Cat(queue.entry.port, queue.entry.vc).eq(Mux(starts, way, choose(channel, ways))),
        ]

    def _way(self, m: Module, flit: data.View, starts: Value) -> Value:
        """Return output port and virtual channel of the head in ``flit``."""
        m.submodules.route = route = Route(self.source)
        header = Signal(header_layout())
        here = Signal()
        leaves = Signal()
        way = Signal(len(PORTS) + 1)
        m.d.comb += [
            header.eq(flit.data), route.vc.eq(flit.channel[0]),
            route.destination_x.eq(header.destination_x),
            route.destination_y.eq(header.destination_y),
            *(getattr(route, name).eq(getattr(self, name)) for name in strap_members()),
            leaves.eq((route.port[1:] & self.link_up).any()),
            # A port without a working link: the network interface answers in its place.
            way.eq(Mux(leaves, Cat(Const(0, 1), route.port[1:], route.out_vc), 1)),
            here.eq((header.destination_x == self.node_x) & (header.destination_y == self.node_y)),
            self.diverted.eq(starts & ~leaves & ~here),
            self.diverted_x.eq(header.destination_x), self.diverted_y.eq(header.destination_y),
        ]
        return way

    # Offer

    def _offer(self, m: Module, queue: InputQueue) -> None:
        """Choose the flit on offer of the next cycle; take away the one that goes."""
        queues = len(self.channels)
        working = Cat(Const(1, 1), self.link_up)
        valid, fresh, leaves, pop = (
            Signal(name=f"offer_{name}") for name in ("valid", "fresh", "leaves", "pop"))
        select = Signal(queues, reset_less=True)
        entry = Signal(entry_layout(), reset_less=True)
        #: Channels whose packet holds its output channel: of it the head has gone, and the tail not.
        holds = Signal(queues)
        m.submodules.turns = turns = Arbiter(queues)

        fit = Signal(queues)  # can go, as far as this input knows, or are to be thrown away
        for c, number in enumerate(self.channels):
            front = queue.fronts[c]
            dead = Signal(name=f"dead_{c}")
            m.d.comb += [
                dead.eq((front.port & ~working).any()),
                fit[c].eq(queue.occupied[c] & Mux(
                    front.head, dead | self._state(self.won, number, front),
                    ~holds[c] | self._state(self.room, number, front))),
            ]
            with m.If(self.grant.any() & select[c]):
                m.d.sync += holds[c].eq(~entry.tail)
            with m.Elif(dead):
                m.d.sync += holds[c].eq(0)
        self._wait(m, queue)

        # The flit on offer: can it go?
        held, useless = Signal(), Signal()
        able = Signal(len(PORTS))
        m.d.comb += [
            held.eq((holds & select).any()),
            self.offer.head.eq(entry.head), self.offer.tail.eq(entry.tail),
            self.offer.channel.eq(Cat(
                Cat(select[c] for c, number in enumerate(self.channels) if number >> 1 == out >> 1)
                .any() & (entry.vc == out & 1) for out in range(CHANNELS))),
            self.wants.eq(entry.port & valid.replicate(len(PORTS))),
            useless.eq(valid & Mux(entry.head, (entry.port & ~working).any(), ~held)),
            self.request.eq(able & (~self.stalled).replicate(len(PORTS))),
            pop.eq(self.grant.any() | useless), self.discarded.eq(useless),
            queue.pop.eq(pop), queue.select.eq(select), queue.read.eq(valid & ~self.stalled),
        ]
        for target in TARGETS[self.source]:
            o = target.value
            state = Mux(entry.head, Mux(fresh, self.own[o], self.free[o]), self.room[o])
            m.d.comb += able[o].eq(
                self.wants[o] & self.ready[o] & (self.offer.channel & state).any()
                & (entry.head | held))

        # The next one.
        offered = select & valid.replicate(queues)
        m.d.comb += [turns.requests.eq(fit & ~offered), leaves.eq(pop | ~able.any()),
                     turns.served.eq(select & pop.replicate(queues))]
        into_empty = queue.write & (queue.write_channel & (
            ~queue.occupied | (select & queue.alone & pop.replicate(queues)))).any()
        with m.If(leaves):
            with m.If(turns.requests.any()):
                m.d.sync += [valid.eq(1), fresh.eq(0), select.eq(turns.grants),
                             entry.eq(choose(turns.grants, queue.fronts))]
            with m.Elif(pop & queue.second_valid):
                m.d.sync += [fresh.eq(1), entry.eq(queue.second)]
            with m.Elif(pop | ~valid):
                m.d.sync += [valid.eq(into_empty), fresh.eq(1), select.eq(queue.write_channel),
                             entry.eq(queue.entry)]
            with m.Else():
                # A head gives way to those before it in the line for its channel.
                m.d.sync += [valid.eq(~entry.head | (fit & select).any()), fresh.eq(0)]

    def _state(self, of: data.View, number: int, entry: data.View) -> Value:
        """Return the state in ``of`` of the output channel of an entry from channel ``number``."""
        first = number // VIRTUAL_CHANNELS * VIRTUAL_CHANNELS
        return Cat(entry.port[port.value] & Mux(entry.vc, of[port.value][first + 1],
                                                of[port.value][first])
                   for port in TARGETS[self.source]).any()

    def _wait(self, m: Module, queue: InputQueue) -> None:
        """Tell each output port which of its channels a head waits for."""
        for target in TARGETS[self.source]:
            for out in range(CHANNELS):
                heads = [queue.occupied[c] & queue.fronts[c].head & queue.fronts[c].port[target.value]
                         & (queue.fronts[c].vc == out % VIRTUAL_CHANNELS)
                         for c, number in enumerate(self.channels)
                         if number // VIRTUAL_CHANNELS == out // VIRTUAL_CHANNELS]
                m.d.comb += self.waiting[target.value][out].eq(Cat(*heads).any())
