"""Read-add-write of the residual stream, with forwarding between close beats."""

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.emit import instantiate
from hw.matmul.drain_lane import VALUE_BITS

#: Beats back whose sum a read may have missed.
HAZARDS = 3


class ResidualLane(wiring.Component):
    """One lane of the adder, with forwarding.

    Ports: ``memory``: the residual memory's output, a cycle before it is added, and ``late``: it
    counts (bit 0), or the sum of 2 beats ago (bit 1), or of 3 (bit 2); then ``drained``, and with it
    ``base``: what is added to it, this number (bit 0), the sum of the last beat (bit 1) or nothing;
    ``total`` in the next cycle, modulo 2**VALUE_BITS.
    """

    memory: In(VALUE_BITS)
    late: In(3)
    drained: In(VALUE_BITS)
    base: In(2)
    total: Out(VALUE_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        old, recent = (Signal(VALUE_BITS, name=name, reset_less=True) for name in ("old", "recent"))
        base = Signal(VALUE_BITS)
        m.d.comb += base.eq(Mux(self.base[0], old, 0) | Mux(self.base[1], self.total, 0))
        m.d.sync += [
            recent.eq(self.total),
            old.eq(Mux(self.late[0], self.memory, 0) | Mux(self.late[1], self.total, 0)
                   | Mux(self.late[2], recent, 0)),
            self.total.eq(base + self.drained),
        ]
        return m


class ResidualAdder(wiring.Component):
    """Adds a drained beat to the residual beat of the same address: int32, in any order the same.

    Ports: ``beat`` with ``adds`` and ``writes``: the address, ``READ_AHEAD`` cycles before
    ``drained``: the beat is to be added to (else ``drained`` passes), or is to be written, and the
    read is requested in that cycle; ``old``: the residual memory's output; ``drained``: L values;
    ``sums``: L values, one cycle later, to be written in that cycle, from registers.
    Beats of one address that follow within three cycles get the newer value by forwarding, since
    their read is not later than the write.
    """

    #: Read request to sum: SRAM, register.
    READ_AHEAD = 2

    def __init__(self, config: ChipletConfig, address_bits: int) -> None:
        self.config = config
        lanes = ArrayLayout(signed(VALUE_BITS), config.lanes)
        super().__init__({
            "drained": In(lanes), "old": In(VALUE_BITS * config.lanes), "adds": In(1),
            "writes": In(1), "beat": In(address_bits), "sums": Out(lanes),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The newest beat of the same address wins.
        recent = [(Signal(len(self.beat), name=f"recent_beat_{i}", reset_less=True),
                   Signal(name=f"recent_writes_{i}")) for i in range(HAZARDS)]
        for (newer_beat, newer_writes), (beat, writes) in itertools.pairwise(
                [(self.beat, self.writes), *recent]):
            m.d.sync += [beat.eq(newer_beat), writes.eq(newer_writes)]
        hits = [Signal(name=f"hit_{i}") for i in range(HAZARDS)]
        adds = Signal()
        m.d.sync += [adds.eq(self.adds), *(
            hit.eq(writes & (beat == self.beat))
            for hit, (beat, writes) in zip(hits, recent, strict=True))]
        late, base = Signal(3), Signal(2)
        m.d.comb += late.eq(Cat(~hits[1] & ~hits[2], hits[1], hits[2] & ~hits[1]))
        m.d.sync += base.eq(Cat(adds & ~hits[0], adds & hits[0]))

        for i in range(self.config.lanes):
            lane = ResidualLane()
            instantiate(m, f"lane_{i}", "tessera_residual_lane", lane, platform)
            m.d.comb += [
                lane.memory.eq(self.old.word_select(i, VALUE_BITS)), lane.late.eq(late),
                lane.drained.eq(self.drained[i]), lane.base.eq(base), self.sums[i].eq(lane.total),
            ]
        return m
