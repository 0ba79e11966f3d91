"""Read-add-write of the residual stream, with forwarding between close beats."""

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hw.arithmetic import saturate
from hw.config import ChipletConfig
from hw.emit import instantiate
from hw.matmul.drain_lane import RESIDUAL_BITS

#: Beats back whose sum a read may have missed.
HAZARDS = 3


class ResidualLane(wiring.Component):
    """One lane of the adder: its sum, and the last three for forwarding.

    Ports: ``drained``, ``old``, ``adds`` -> ``total`` in the next cycle; ``newer``: bit i says that
    the sum of i + 1 beats ago replaces ``old``; ``clipped``: at once.
    """

    drained: In(signed(32))
    old: In(signed(RESIDUAL_BITS))
    adds: In(1)
    newer: In(HAZARDS)
    total: Out(signed(32))
    clipped: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        recent = [self.total, *(Signal(signed(32), name=f"recent_{i}", reset_less=True)
                                for i in range(1, HAZARDS))]
        m.d.sync += [older.eq(newer) for newer, older in itertools.pairwise(recent)]
        base = Signal(signed(RESIDUAL_BITS))
        m.d.comb += base.eq(self.old)
        for i in reversed(range(HAZARDS)):
            with m.If(self.newer[i]):
                m.d.comb += base.eq(recent[i])
        total, clipped = saturate(m, base + self.drained, RESIDUAL_BITS, "saturated")
        m.d.comb += self.clipped.eq(clipped & self.adds)
        m.d.sync += self.total.eq(Mux(self.adds, total, self.drained))
        return m


class ResidualAdder(wiring.Component):
    """Adds a drained beat to the residual beat of the same address, saturating to 24 bits.

    Ports: ``drained``: L values; ``old``: the residual memory's output for this beat, whose read
    was requested ``READ_AHEAD`` cycles before ``drained``; ``adds``: add (else pass ``drained``);
    ``writes``: the sums go to the residual memory; ``beat``: address; ``sums``: L values, one cycle
    later, to be written in that cycle; ``clipped``: one bit per lane, with ``drained``.
    Beats of one address that follow within three cycles get the newer value by forwarding, since
    their read came before the write.
    """

    #: Read request to sum: SRAM, register.
    READ_AHEAD = 2

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        lanes = ArrayLayout(signed(32), config.lanes)
        super().__init__({
            "drained": In(lanes), "old": In(32 * config.lanes), "adds": In(1), "writes": In(1),
            "beat": In(16), "sums": Out(lanes), "clipped": Out(config.lanes),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        old = Signal(32 * self.config.lanes, reset_less=True)
        m.d.sync += old.eq(self.old)

        # The newest beat of the same address wins.
        recent = [(Signal(16, name=f"recent_beat_{i}"), Signal(name=f"recent_writes_{i}"))
                  for i in range(HAZARDS)]
        m.d.sync += [recent[0][0].eq(self.beat), recent[0][1].eq(self.writes)]
        for newer, older in itertools.pairwise(recent):
            m.d.sync += [older[0].eq(newer[0]), older[1].eq(newer[1])]
        hits = Cat(*(writes & (beat == self.beat) for beat, writes in recent))

        for i in range(self.config.lanes):
            lane = ResidualLane()
            instantiate(m, f"lane_{i}", "tessera_residual_lane", lane, platform)
            m.d.comb += [
                lane.drained.eq(self.drained[i]), lane.adds.eq(self.adds), lane.newer.eq(hits),
                lane.old.eq(old.word_select(i, 32)[:RESIDUAL_BITS]),
                self.sums[i].eq(lane.total), self.clipped[i].eq(lane.clipped),
            ]
        return m
