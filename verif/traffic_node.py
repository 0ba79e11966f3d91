"""Traffic of one node, in the bench's hardware: a source of random packets, and a checker."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import COORDINATE_BITS, NetworkConfig
from hw.network.flit import CHANNELS, TrafficClass, flit_layout
from hw.network.packet import header_layout
from hw.router.input_port import LOCAL_FLITS

CLASSES = len(TrafficClass)
#: Bits of a node's number, y * 8 + x, and of what packets count.
NODE_BITS, SEQUENCE_BITS, TIME_BITS, LENGTH_BITS = 6, 16, 16, 8


class Wrong(enum.Enum, shape=4):
    """What the checker found first."""

    NOTHING = 0
    #: a head inside of a packet, or a flit before a head
    FRAMING = 1
    #: the packet is for another node
    PLACE = 2
    #: not the next packet of its source and class: lost, twice, or overtaken
    ORDER = 3
    #: a body flit that is not the next of its packet, or bits that changed
    CONTENTS = 4
    #: a tail too early or too late
    LENGTH = 5
    #: a channel that the local port does not have
    CHANNEL = 6


def body_layout() -> data.StructLayout:
    """Return the lowest 64 bits of a body flit."""
    return data.StructLayout({"number": LENGTH_BITS, "traffic_class": 2, "destination": NODE_BITS,
                              "source": NODE_BITS, "sequence": SEQUENCE_BITS, "time": TIME_BITS,
                              "filler": 10})


class TrafficNode(wiring.Component):
    """Network interface that sends random packets, and checks and counts those that come.

    Ports: ``node_x``, ``node_y``, ``last_x``, ``last_y``; ``rate``: packets per 65,536 cycles and
    class, ``classes``: those that send; ``length``, ``length_mask``: flits of a packet, less 1, are
    the length plus a random number of the mask's bits; ``fixed``, ``fixed_x``, ``fixed_y``: where
    all packets go, instead of anywhere; ``blocked``: classes not taken in; ``time``: of all nodes.
    ``to_*`` and ``from_*``: the router's local port. ``sent``, ``received``: counters of flits,
    ``packets``: of packets received, ``by_class``; ``waiting``: packets not sent yet;
    ``latency_sum``, ``latency_max``: from a head's start to its tail's arrival; ``wrong``: a
    :class:`Wrong`. ``probe``, ``probe_count``: class * 64 + node: packets sent there.
    """

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__(self.ports(config))

    @staticmethod
    def ports(config: NetworkConfig) -> dict[str, wiring.Member]:
        """Return the ports."""
        flit = flit_layout(config)
        return {
            **{name: In(COORDINATE_BITS) for name in (
                "node_x", "node_y", "last_x", "last_y", "fixed_x", "fixed_y")},
            "rate": In(16), "classes": In(CLASSES), "length": In(4), "length_mask": In(4),
            "fixed": In(1), "blocked": In(CLASSES), "time": In(TIME_BITS),
            "to_valid": Out(1), "to_flit": Out(flit), "to_freed": In(CHANNELS),
            "from_valid": In(1), "from_flit": In(flit), "from_ready": Out(1),
            "from_room": Out(CHANNELS),
            "sent": Out(32), "received": Out(32), "packets": Out(32), "waiting": Out(20),
            "by_class": Out(data.ArrayLayout(16, CLASSES)),
            "latency_sum": Out(32), "latency_max": Out(TIME_BITS), "wrong": Out(Wrong),
            "probe": In(8), "probe_count": Out(SEQUENCE_BITS),
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        random = Signal(64)
        a, b, c = Signal(64), Signal(64), Signal(64)
        started = Signal()
        seed = Cat(self.node_x, self.node_y, Const(0x5DEECE66D1, 40))
        m.d.comb += [a.eq(random ^ (random << 13)), b.eq(a ^ (a >> 7)), c.eq(b ^ (b << 17))]
        m.d.sync += [started.eq(1), random.eq(Mux(started, c, seed))]
        self.me = Cat(self.node_x, self.node_y)
        self._send(m, random)
        self._check(m)
        return m

    def _fill(self, low: Value) -> Value:
        """Return a flit's data, all of which follows from its lowest 64 bits."""
        others = self.config.flit_bits // 64 - 1
        return Cat(low, *(~low for _ in range(others)))

    def _send(self, m: Module, random: Value) -> None:
        """Three sources, one for each class, that take turns."""
        m.submodules.sequences = sequences = memory.Memory(
            shape=SEQUENCE_BITS, depth=256, init=[])
        write, probe = sequences.write_port(), sequences.read_port(domain="comb")
        read = sequences.read_port(domain="comb")
        m.d.comb += [probe.addr.eq(self.probe), self.probe_count.eq(probe.data)]

        def each(name: str, shape: object) -> Array:
            return Array(Signal(shape, name=f"{name}_{k}") for k in range(CLASSES))

        pending, credits = each("pending", 18), each("credits", 5)
        active, index, length = each("active", 1), each("index", LENGTH_BITS), each("length", LENGTH_BITS)
        body = each("body", body_layout())
        turn, first, chosen = (Signal(range(CLASSES), name=name) for name in ("turn", "first", "chosen"))
        flits = min(self.config.queue_flits, LOCAL_FLITS)
        used, begins = each("used", 5), each("begins", 1)
        for k in range(CLASSES):
            comes = self.classes[k] & (random[16 * k:16 * k + 16] < self.rate)
            m.d.sync += pending[k].eq(pending[k] + comes - begins[k])
            m.d.comb += credits[k].eq(flits - used[k])

        # One class a cycle may prepare its next packet.
        prepared, lengths = each("prepared", 1), each("next_length", LENGTH_BITS)
        bodies = each("next_body", body_layout())
        with m.Switch(first):
            for k in range(CLASSES):
                with m.Case(k):
                    for i in range(CLASSES):
                        other = (k + CLASSES - i) % CLASSES
                        with m.If((pending[other] != 0) & ~prepared[other]):
                            m.d.comb += chosen.eq(other)
        m.d.sync += first.eq(chosen)
        x, y = Signal(COORDINATE_BITS), Signal(COORDINATE_BITS)
        for place, last, fixed, low in ((x, self.last_x, self.fixed_x, 50),
                                        (y, self.last_y, self.fixed_y, 54)):
            mask = last | last >> 1 | last >> 2
            m.d.comb += place.eq(Mux(self.fixed, fixed, random[low:low + COORDINATE_BITS] & mask))
        good = (x <= self.last_x) & (y <= self.last_y) & (Cat(x, y) != self.me)
        m.d.comb += read.addr.eq(Cat(x, y, chosen))
        with m.If((pending[chosen] != 0) & ~prepared[chosen] & good):
            m.d.comb += [write.en.eq(1), write.addr.eq(read.addr), write.data.eq(read.data + 1),
                         begins[chosen].eq(1)]
            m.d.sync += [
                prepared[chosen].eq(1), bodies[chosen].destination.eq(Cat(x, y)),
                lengths[chosen].eq(self.length + (random[58:62] & self.length_mask)),
                bodies[chosen].sequence.eq(read.data),
            ]

        # One flit a cycle, of the first class behind the last one's that has one.
        with m.Switch(turn):
            for k in range(CLASSES):
                with m.Case(k):
                    order = [(k + 1 + i) % CLASSES for i in range(CLASSES)]
                    for other in reversed(order):
                        with m.If(active[other] & (credits[other] != 0)):
                            m.d.comb += [self.to_valid.eq(1), self.to_flit.channel.eq(2 * other)]
        k = Signal(range(CLASSES))
        header, content = Signal(header_layout()), Signal(body_layout())
        head, tail = index[k] == 0, index[k] == length[k]
        low = Signal(64)
        m.d.comb += [
            k.eq(self.to_flit.channel >> 1),
            header.destination_x.eq(body[k].destination), header.source_x.eq(self.node_x),
            header.destination_y.eq(body[k].destination >> COORDINATE_BITS),
            header.source_y.eq(self.node_y), header.kind.eq(k), header.words.eq(length[k]),
            header.address.eq(Cat(body[k].sequence, self.time)),
            content.eq(body[k]), content.number.eq(index[k]), content.traffic_class.eq(k),
            content.source.eq(self.me), low.eq(Mux(head, header, content)),
            self.to_flit.head.eq(head), self.to_flit.tail.eq(tail), self.to_flit.data.eq(self._fill(low)),
        ]
        for other in range(CLASSES):
            m.d.sync += used[other].eq(used[other] - self.to_freed[2 * other]
                                       + (self.to_valid & (k == other)))
        with m.If(self.to_valid):
            m.d.sync += [turn.eq(k), self.sent.eq(self.sent + 1), index[k].eq(index[k] + 1)]
            with m.If(head):
                m.d.sync += body[k].time.eq(self.time)
            with m.If(tail):
                m.d.sync += active[k].eq(0)
        for other in range(CLASSES):
            ends = self.to_valid & (k == other) & tail
            with m.If(prepared[other] & (~active[other] | ends)):
                m.d.sync += [active[other].eq(1), prepared[other].eq(0), index[other].eq(0),
                             length[other].eq(lengths[other]), body[other].eq(bodies[other])]
        m.d.comb += self.waiting.eq(sum(pending) + sum(active) + sum(prepared))

    def _check(self, m: Module) -> None:
        """Demand each packet's flits in order, and each source's packets in order."""
        m.submodules.expected = expected = memory.Memory(shape=SEQUENCE_BITS, depth=256, init=[])
        write, read = expected.write_port(), expected.read_port(domain="comb")
        flit, k = self.from_flit, Signal(range(CLASSES + 1))
        opened = Array(Signal(name=f"opened_{i}") for i in range(CLASSES + 1))
        want = Array(Signal(body_layout(), name=f"want_{i}") for i in range(CLASSES + 1))
        last = Array(Signal(LENGTH_BITS, name=f"last_{i}") for i in range(CLASSES + 1))
        header, source = Signal(header_layout()), Signal(NODE_BITS)
        took = Signal(TIME_BITS)
        begun = Mux(flit.head, header.address[16:], want[k].time)
        index = Mux(flit.head, 0, want[k].number)
        m.d.comb += [
            k.eq(flit.channel >> 1), header.eq(flit.data), took.eq(self.time - begun),
            source.eq(Cat(header.source_x, header.source_y)), read.addr.eq(Cat(source, k)),
            write.addr.eq(read.addr), write.data.eq(read.data + 1), self.from_ready.eq(1),
        ]
        # Every flit is taken at once: there is room for as many as may come.
        for i in range(CLASSES):
            m.d.sync += self.from_room[2 * i].eq(~self.blocked[i])
        wrong = Signal(Wrong)
        with m.If(self.from_valid):
            m.d.sync += self.received.eq(self.received + 1)
            with m.If(flit.channel[0]):
                m.d.comb += wrong.eq(Wrong.CHANNEL)
            with m.Elif(opened[k] == flit.head):
                m.d.comb += wrong.eq(Wrong.FRAMING)
            with m.Elif(flit.data != self._fill(flit.data[:64])):
                m.d.comb += wrong.eq(Wrong.CONTENTS)
            with m.Elif(flit.head & (
                    Cat(header.destination_x, header.destination_y) != self.me)):
                m.d.comb += wrong.eq(Wrong.PLACE)
            with m.Elif(flit.head & ((header.address[:16] != read.data) | (header.kind != k))):
                m.d.comb += wrong.eq(Wrong.ORDER)
            with m.Elif(~flit.head & (flit.data[:64] != want[k].as_value())):
                m.d.comb += wrong.eq(Wrong.CONTENTS)
            with m.Elif(flit.tail != (index == Mux(flit.head, header.words, last[k]))):
                m.d.comb += wrong.eq(Wrong.LENGTH)
            with m.If(flit.head):
                m.d.comb += write.en.eq(1)
                m.d.sync += [
                    last[k].eq(header.words), want[k].traffic_class.eq(k),
                    want[k].destination.eq(self.me), want[k].source.eq(source),
                    want[k].sequence.eq(header.address[:16]), want[k].time.eq(header.address[16:]),
                ]
            m.d.sync += [want[k].number.eq(index + 1), opened[k].eq(~flit.tail)]
            with m.If(flit.tail):
                m.d.sync += [self.packets.eq(self.packets + 1),
                             self.latency_sum.eq(self.latency_sum + took)]
                with m.Switch(k):
                    for i in range(CLASSES):
                        with m.Case(i):
                            m.d.sync += self.by_class[i].eq(self.by_class[i] + 1)
                with m.If(took > self.latency_max):
                    m.d.sync += self.latency_max.eq(took)
            with m.If(self.wrong == Wrong.NOTHING):
                m.d.sync += self.wrong.eq(wrong)
