"""Read-add-write of the residual stream, with forwarding between close beats."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hw.arithmetic import saturate
from hw.config import ChipletConfig
from hw.matmul.drain_lane import RESIDUAL_BITS


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
    #: Beats back whose sum a read may have missed.
    HAZARDS = 3

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        lanes = ArrayLayout(signed(32), config.lanes)
        super().__init__({
            "drained": In(lanes), "old": In(32 * config.lanes), "adds": In(1), "writes": In(1),
            "beat": In(16), "sums": Out(lanes), "clipped": Out(self.config.lanes),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.lanes
        old = Signal(32 * lanes, reset_less=True)
        m.d.sync += old.eq(self.old)

        sums = Signal(ArrayLayout(signed(32), lanes), reset_less=True)
        recent = [(Signal(16, name=f"recent_beat_{i}"), Signal(name=f"recent_writes_{i}"),
                   sums if i == 0 else Signal(32 * lanes, name=f"recent_sums_{i}", reset_less=True))
                  for i in range(self.HAZARDS)]
        m.d.sync += [recent[0][0].eq(self.beat), recent[0][1].eq(self.writes)]
        for newer, older in zip(recent, recent[1:], strict=False):
            m.d.sync += [older[0].eq(newer[0]), older[1].eq(newer[1]), older[2].eq(newer[2])]
        hits = [valid & (beat == self.beat) for beat, valid, _ in recent]

        for i in range(lanes):
            base = old.word_select(i, 32)
            for hit, (_, _, value) in reversed(list(zip(hits, recent, strict=True))):
                newer = value[i] if value is sums else value.word_select(i, 32)
                base = Mux(hit, newer.as_unsigned(), base)
            total, clipped = saturate(
                m, base[:RESIDUAL_BITS].as_signed() + self.drained[i], RESIDUAL_BITS, f"total_{i}")
            m.d.comb += self.clipped[i].eq(clipped & self.adds)
            m.d.sync += sums[i].eq(Mux(self.adds, total, self.drained[i]))
        m.d.comb += self.sums.eq(sums)
        return m
