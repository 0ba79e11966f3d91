"""Read-add-write of the residual stream, with forwarding between close beats."""

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.emit import instantiate
from hw.matmul.drain_lane import VALUE_BITS

#: Beats back whose sum a read may have missed.
HAZARDS = 3


class ResidualLane(wiring.Component):
    """One lane of the adder: its sum, and those of the last beats for forwarding.

    Ports: ``drained``; ``base``: one bit for each number that may be added to it, the memory's
    ``old`` one or the sum of 1, 2, 3 beats ago, none set if nothing is; ``total`` in the next
    cycle, modulo 2**VALUE_BITS.
    """

    drained: In(signed(VALUE_BITS))
    old: In(signed(VALUE_BITS))
    base: In(1 + HAZARDS)
    total: Out(signed(VALUE_BITS))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        recent = [self.total, *(Signal(signed(VALUE_BITS), name=f"recent_{i}", reset_less=True)
                                for i in range(1, HAZARDS))]
        m.d.sync += [older.eq(newer) for newer, older in itertools.pairwise(recent)]
        choices: list[Value] = [
            Mux(chosen, number, 0)
            for chosen, number in zip(self.base, (self.old, *recent), strict=True)]
        base = Signal(signed(VALUE_BITS))
        m.d.comb += base.eq((choices[0] | choices[1]) | (choices[2] | choices[3]))
        m.d.sync += self.total.eq(base + self.drained)
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
        old = Signal(VALUE_BITS * self.config.lanes, reset_less=True)
        m.d.sync += old.eq(self.old)

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
        base = Signal(1 + HAZARDS)
        m.d.sync += base.eq(Mux(adds, Cat(
            ~Cat(hits).any(), hits[0], hits[1] & ~hits[0], hits[2] & ~hits[1] & ~hits[0]), 0))

        for i in range(self.config.lanes):
            lane = ResidualLane()
            instantiate(m, f"lane_{i}", "tessera_residual_lane", lane, platform)
            m.d.comb += [
                lane.drained.eq(self.drained[i]), lane.base.eq(base),
                lane.old.eq(old.word_select(i, VALUE_BITS)), self.sums[i].eq(lane.total),
            ]
        return m
