"""Collective packets that come: their beats wait, ring by ring, until the engine takes them."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.collective.limits import MAX_CHUNK, RING_BEATS
from hw.collective.packet import (
    EPOCH_BITS,
    LENGTH_BITS,
    RING_BITS,
    extent_layout,
    next_layout,
)
from hw.control.isa import Ring
from hw.memory.sram import Sram
from hw.network.config import NetworkConfig
from hw.network.flit import flit_layout
from hw.network.packet import HEADER_BYTES, PacketKind, header_layout

RINGS = len(Ring)


class CollectiveReceiver(wiring.Component):
    """Takes in a flit per cycle, always; keeps RING_BEATS beats of each ring in one memory.

    Ports: ``valid``, ``flit``: of class COLLECTIVE, for this chip; ``node``: this chip; ``epoch``:
    what packets must be of; ``clear``: forget all beats. ``arrived``: a bit for each ring of which a
    beat waits; ``take`` of ``take_ring``, while its bit is set; ``data`` one cycle later, held.
    ``credit_valid``, ``credit_ring``, ``credit_beats``: a packet gave credits; ``source``: for each
    ring the chip whose packet came last; ``stale``, ``wrong``: a packet that is not taken, or not whole.

    Latency: 1 cycle from a flit to ``arrived``. A sender that keeps to its credits finds room.
    """

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({
            "valid": In(1), "flit": In(flit_layout(config)), "node": In(next_layout()),
            "epoch": In(EPOCH_BITS), "clear": In(1),
            "arrived": Out(RINGS), "take": In(1), "take_ring": In(Ring),
            "data": Out(config.flit_bits),
            "credit_valid": Out(1), "credit_ring": Out(Ring), "credit_beats": Out(RING_BITS),
            "source": Out(data.ArrayLayout(next_layout(), RINGS)), "stale": Out(1), "wrong": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, place_bits = self.config.flit_bits, (RING_BEATS - 1).bit_length()
        m.submodules.beats = beats = Sram(words=RINGS * RING_BEATS, bits=bits, granule_bits=bits,
                                          ports="1r1w")
        # One bit more than a place: equal numbers mean empty, and RING_BEATS apart full.
        written, read = ([Signal(RING_BITS, name=f"{what}_{ring.name.lower()}") for ring in Ring]
                         for what in ("written", "read"))
        flit = self.flit
        header = data.View(header_layout(), flit.data[:8 * HEADER_BYTES])
        extent = data.View(extent_layout(), header.address[:extent_layout().size])
        left, ring = Signal(LENGTH_BITS), Signal(Ring, reset_less=True)
        open_, dropping = Signal(), Signal()
        good, is_data, is_credit, fresh, here = (
            Signal(name=name) for name in ("good", "is_data", "is_credit", "fresh", "here"))
        m.d.comb += [
            here.eq((header.destination_x == self.node.x) & (header.destination_y == self.node.y)),
            fresh.eq(header.tag == self.epoch),
            is_data.eq((header.kind == PacketKind.COLLECTIVE_DATA.value) & ~flit.tail
                       & (extent.beats != 0) & (extent.beats <= MAX_CHUNK)),
            is_credit.eq((header.kind == PacketKind.COLLECTIVE_CREDIT.value) & flit.tail),
            good.eq(self.valid & flit.head & here & fresh & ~self.clear),
            self.credit_valid.eq(good & is_credit), self.credit_ring.eq(extent.ring),
            self.credit_beats.eq(extent.beats),
        ]
        place = Array(written)[ring.as_value()]
        full = Signal()
        keeps = Signal()
        m.d.comb += [
            full.eq((place - Array(read)[ring.as_value()])[:RING_BITS] == RING_BEATS),
            keeps.eq(self.valid & ~flit.head & open_ & ~self.clear & ~full),
            beats.write_address.eq(Cat(place[:place_bits], ring)), beats.write_data.eq(flit.data),
            beats.write_mask.eq(keeps),
            beats.read_address.eq(Cat(Array(read)[self.take_ring.as_value()][:place_bits],
                                      self.take_ring)),
            beats.read_enable.eq(self.take), self.data.eq(beats.read_data),
            self.arrived.eq(Cat(a != b for a, b in zip(written, read, strict=True))),
        ]
        for number, (at, out) in enumerate(zip(written, read, strict=True)):
            with m.If(keeps & (ring.as_value() == number)):
                m.d.sync += at.eq(at + 1)
            with m.If(self.take & (self.take_ring.as_value() == number)):
                m.d.sync += out.eq(out + 1)
            with m.If(self.clear):
                m.d.sync += [at.eq(0), out.eq(0)]

        bad, old = Signal(), Signal()
        m.d.sync += [self.wrong.eq(bad), self.stale.eq(old)]
        with m.If(self.valid & flit.head):
            m.d.sync += [open_.eq(good & is_data), dropping.eq(~(good & is_data) & ~flit.tail),
                         left.eq(extent.beats), ring.eq(extent.ring)]
            m.d.comb += [old.eq(here & ~fresh),
                         bad.eq(open_ | ~here | (fresh & ~is_data & ~is_credit))]
            with m.If(good & is_data):
                m.d.sync += self.source[extent.ring.as_value()].eq(
                    Cat(header.source_x, header.source_y))
        with m.Elif(self.valid):
            ends = left == 1
            m.d.sync += [left.eq(left - 1), open_.eq(open_ & ~flit.tail & ~ends),
                         dropping.eq(~flit.tail & (dropping | ends))]
            m.d.comb += bad.eq(Mux(open_, (flit.tail != ends) | full, ~dropping))
        with m.If(self.clear):
            m.d.sync += [open_.eq(0), dropping.eq(open_ | dropping)]
        return m
