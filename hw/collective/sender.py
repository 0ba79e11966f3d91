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
RING_INDEX_BITS = Ring.as_shape().width
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
    Latency: 1 cycle of a header, none of beats. Throughput: a flit per cycle. ``beat.ready`` is a register.
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
        ring = packet.ring.as_value()
        opens, pays = Signal(), Signal()
        room = self._room(m, opens)
        offer = self._offer(m, pays)
        # Room only grows while a packet waits, so what is enough stays so.
        able, enough, paying = Signal(), Signal(), Signal()
        judged = Signal()
        m.d.sync += [judged.eq(self.packet.valid & ~opens),
                     enough.eq(self.packet.valid & (Array(room)[ring] >= packet.beats) & ~opens)]
        header, extent = Signal(header_layout()), Signal(extent_layout())
        target = Signal(next_layout())
        m.d.comb += [
            able.eq(enough & ~drop), self.packet.ready.eq(opens),
            # A packet that has just come may be able to go in the next cycle.
            paying.eq(offer.valid & (offer.urgent | (~able & ~(self.packet.valid & ~judged)))),
            target.eq(Mux(paying, offer.target.as_value(), self.next[ring].as_value())),
            extent.beats.eq(Mux(paying, offer.beats, packet.beats)),
            extent.ring.as_value().eq(Mux(paying, offer.ring, ring)),
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

    def _room(self, m: Module, opens: Signal) -> list[Signal]:
        """Count what the next chips of the rings have room for; a packet takes it two cycles later."""
        room = [Signal(RING_BITS, name=f"room_{ring.name.lower()}", init=RING_BEATS) for ring in Ring]
        opened = Signal()
        spent, of = Signal(LENGTH_BITS, reset_less=True), Signal(Ring, reset_less=True)
        m.d.sync += [opened.eq(opens), spent.eq(self.packet.payload.beats),
                     of.eq(self.packet.payload.ring)]
        for number, count in enumerate(room):
            gained = Mux(self.credit_valid & (self.credit_ring.as_value() == number),
                         self.credit_beats, 0)
            lost = Mux(opened & (of.as_value() == number), spent, 0)
            m.d.sync += count.eq(count + gained - lost)
            with m.If(self.clear):
                m.d.sync += count.eq(RING_BEATS)
        return room

    def _offer(self, m: Module, pays: Signal) -> data.View:
        """Return the credit that goes back next, in registers."""
        owed = [Signal(RING_BITS, name=f"owed_{ring.name.lower()}") for ring in Ring]
        offer = Signal(data.StructLayout({
            "valid": 1, "urgent": 1, "ring": RING_INDEX_BITS, "beats": RING_BITS,
            "target": next_layout()}))
        paid, amount = Signal(), Signal(RING_BITS, reset_less=True)
        of = Signal(RING_INDEX_BITS, reset_less=True)
        m.d.sync += [paid.eq(pays), amount.eq(offer.beats), of.eq(offer.ring)]
        for number, count in enumerate(owed):
            taken = self.take & (self.take_ring.as_value() == number)
            m.d.sync += count.eq(count + taken - Mux(paid & (of == number), amount, 0))
            with m.If(self.clear):
                m.d.sync += count.eq(0)
        owes, urgent = Signal(RINGS), Signal(RINGS)
        m.d.comb += [owes.eq(Cat(count != 0 for count in owed)),
                     urgent.eq(Cat(count >= URGENT_BEATS for count in owed))]
        wanted, debtor = Mux(urgent.any(), urgent, owes), Signal(RING_INDEX_BITS)
        for number in reversed(range(RINGS)):
            with m.If(wanted[number]):
                m.d.comb += debtor.eq(number)
        m.d.sync += [
            # What was just paid still counts for a cycle.
            offer.valid.eq(owes.any() & ~pays & ~paid & ~self.clear), offer.urgent.eq(urgent.any()),
            offer.ring.eq(debtor), offer.beats.eq(Array(owed)[debtor]),
            offer.target.eq(self.source[debtor].as_value()),
        ]
        return offer

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
