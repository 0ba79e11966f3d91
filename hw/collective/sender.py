"""Collective packets that leave: the engine's beats, and credits for those that it took."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.collective.limits import RING_BEATS
from hw.collective.packet import (
    EPOCH_BITS,
    LENGTH_BITS,
    RING_BITS,
    extent_layout,
    next_layout,
    packet_layout,
)
from hw.control.isa import Ring
from hw.network.config import NetworkConfig
from hw.network.packet import PacketKind, header_layout
from hw.network.sender import content_layout

RINGS = len(Ring)
#: Beats taken from a ring from which on their credit goes before the engine's next packet.
URGENT_BEATS = RING_BEATS // 2


class CollectiveSender(wiring.Component):
    """Makes packets of class COLLECTIVE, one after the other.

    Ports: ``packet``, ``beat``: streams of the engine's packets and of their beats; ``abandon``: the engine forgot what it began;
    ``node``, ``epoch``; ``next``: for each ring the next chip; ``clear``: all credits are back.
    ``credit_valid``, ``credit_ring``, ``credit_beats``: the next chip has room for more; ``take``,
    ``take_ring``: the engine took a beat; ``source``: whom it came from. ``flits``: a stream.

    A packet waits until the next chip has room for all of its beats. Its flits follow as the
    engine has them: a packet is open until its last beat came. An abandoned packet is ended by one
    flit. Credits go between packets: at once if none waits, else from URGENT_BEATS on.
    Latency: none, of headers and of beats. Throughput: a flit per cycle. ``beat.ready`` is a register.
    """

    packet: stream.Interface
    beat: stream.Interface
    flits: stream.Interface

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        places = data.ArrayLayout(next_layout(), RINGS)
        super().__init__({
            "packet": In(stream.Signature(packet_layout())),
            "beat": In(stream.Signature(config.flit_bits)), "abandon": In(1),
            "node": In(next_layout()), "epoch": In(EPOCH_BITS), "next": In(places), "clear": In(1),
            "credit_valid": In(1), "credit_ring": In(Ring), "credit_beats": In(RING_BITS),
            "take": In(1), "take_ring": In(Ring), "source": In(places),
            "flits": Out(stream.Signature(content_layout(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat, beat_valid, leaves = self._waiting(m)
        packet, drop = self.packet.payload, self.abandon
        credits, owed = ([Signal(RING_BITS, name=f"{what}_{ring.name.lower()}", init=init)
                          for ring in Ring] for what, init in (("room", RING_BEATS), ("owed", 0)))
        opens, pays = Signal(), Signal()
        owes, urgent = Signal(RINGS), Signal(RINGS)
        m.d.comb += [owes.eq(Cat(count != 0 for count in owed)),
                     urgent.eq(Cat(count >= URGENT_BEATS for count in owed))]
        debtor = Signal(Ring)
        wanted = Signal(RINGS)
        m.d.comb += wanted.eq(Mux(urgent.any(), urgent, owes))
        for number in reversed(range(RINGS)):
            with m.If(wanted[number]):
                m.d.comb += debtor.eq(Ring(number))
        for number, (room, count) in enumerate(zip(credits, owed, strict=True)):
            gained = Mux(self.credit_valid & (self.credit_ring.as_value() == number),
                         self.credit_beats, 0)
            spent = Mux(opens & (packet.ring.as_value() == number), packet.beats, 0)
            taken = self.take & (self.take_ring.as_value() == number)
            paid = pays & (debtor.as_value() == number)
            m.d.sync += [room.eq(room + gained - spent), count.eq(Mux(paid, 0, count) + taken)]
            with m.If(self.clear):
                m.d.sync += [room.eq(RING_BEATS), count.eq(0)]

        header = Signal(header_layout())
        extent = Signal(extent_layout())
        target = Signal(next_layout())
        paying, able = Signal(), Signal()
        ring = packet.ring.as_value()
        m.d.comb += [
            able.eq(self.packet.valid & (Array(credits)[ring] >= packet.beats) & ~drop),
            self.packet.ready.eq(opens),
            paying.eq(urgent.any() | (owes.any() & ~able)),
            target.eq(Mux(paying, self.source[debtor.as_value()].as_value(),
                          self.next[ring].as_value())),
            extent.beats.eq(Mux(paying, Array(owed)[debtor.as_value()], packet.beats)),
            extent.ring.as_value().eq(Mux(paying, debtor.as_value(), ring)),
            header.destination_x.eq(target.x), header.destination_y.eq(target.y),
            header.source_x.eq(self.node.x), header.source_y.eq(self.node.y),
            header.kind.eq(Mux(paying, PacketKind.COLLECTIVE_CREDIT.value,
                               PacketKind.COLLECTIVE_DATA.value)),
            header.tag.eq(self.epoch), header.address.eq(extent),
        ]
        left = Signal(LENGTH_BITS, reset_less=True)
        flit, sent = self.flits.payload, Signal()
        m.d.comb += sent.eq(self.flits.valid & self.flits.ready)
        with m.FSM():
            with m.State("Between packets"):
                m.d.comb += [
                    self.flits.valid.eq((paying | able) & ~self.clear), flit.head.eq(1),
                    flit.tail.eq(paying), flit.data.eq(header), opens.eq(sent & ~paying),
                    pays.eq(sent & paying),
                ]
                m.d.sync += left.eq(packet.beats)
                with m.If(opens):
                    m.next = "Beats"
            with m.State("Beats"):
                m.d.comb += [self.flits.valid.eq(beat_valid & ~drop), flit.tail.eq(left == 1),
                             flit.data.eq(beat), leaves.eq(sent)]
                with m.If(sent):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "Between packets"
                with m.If(drop & ~(sent & (left == 1))):
                    m.next = "Abandoned"
            with m.State("Abandoned"):
                m.d.comb += [self.flits.valid.eq(1), flit.tail.eq(1)]
                with m.If(sent):
                    m.next = "Between packets"
        return m

    def _waiting(self, m: Module) -> tuple[Value, Signal, Signal]:
        """Keep up to two beats, so that ``ready`` is a register; return the first, and whether it is."""
        places = [Signal(self.config.flit_bits, name=f"place_{i}", reset_less=True) for i in range(2)]
        count, following = Signal(range(3)), Signal(range(3))
        ready = Signal(init=1)
        comes, leaves, valid = Signal(), Signal(), Signal()
        m.d.comb += [
            self.beat.ready.eq(ready), comes.eq(self.beat.valid & ready),
            valid.eq((count != 0) | comes),
            following.eq(Mux(self.abandon, 0, count + comes - leaves)),
        ]
        m.d.sync += [count.eq(following), ready.eq(following != 2)]
        with m.If(leaves):
            m.d.sync += places[0].eq(places[1])
        with m.If(comes):
            for i, place in enumerate(places):
                with m.If(count == i + leaves):
                    m.d.sync += place.eq(self.beat.payload)
        return Mux(count != 0, places[0], self.beat.payload), valid, leaves
