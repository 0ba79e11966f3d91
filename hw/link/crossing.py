"""Phits from the clock that comes with the wires into the chip's clock."""

from amaranth.hdl import Array, Cat, ClockDomain, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.wire import phit_bits
from hw.network.config import MAX_CROSSING_BITS, NetworkConfig

#: Phits that are on their way between the clocks at most: a round trip of both positions.
ENTRIES = 8
_POSITION_BITS = ENTRIES.bit_length()


class Crossing(wiring.Component):
    """FIFO of a few phits, written with one clock and read with another.

    Ports: ``link_clk``: clock of ``link_phit``, with no more edges in the long run than the
    chip's, at any phase; ``phit`` with ``valid``: registers of the chip's clock.
    Latency: 2 cycles of ``link_clk`` at most, and 4 of the chip's. Throughput: a phit in every cycle
    of ``link_clk``.
    Positions cross in Gray code through two flip-flops; the phit that a position names has not
    changed for two cycles when it is read. A phit for which there is no room is dropped.
    Reset: that of the chip's clock; it ends in the link's clock two edges later.
    """

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        bits = phit_bits(config)
        if bits * ENTRIES > MAX_CROSSING_BITS:
            raise ValueError(f"phits_per_word must be more than {config.phits_per_word} for "
                             f"receive_clock 'link': {ENTRIES} phits of {bits} bits would be kept")
        super().__init__({"link_clk": In(1), "link_phit": In(bits),
                          "phit": Out(bits), "valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.link_phit)
        # The reset comes at any time, and goes with the link's clock.
        m.domains.link_release = release = ClockDomain("link_release", async_reset=True, local=True)
        m.domains.link = link = ClockDomain("link", async_reset=True, local=True)
        stages = [Signal(init=1, name=f"link_reset_{i}") for i in range(2)]
        m.d.comb += [release.clk.eq(self.link_clk), release.rst.eq(ResetSignal("sync")),
                     link.clk.eq(self.link_clk), link.rst.eq(stages[1])]
        m.d.link_release += [stages[0].eq(0), stages[1].eq(stages[0])]

        def position(name: str) -> Signal:
            return Signal(_POSITION_BITS, name=name)

        entries = Array(Signal(bits, name=f"entry_{i}", reset_less=True)
                        for i in range(ENTRIES))
        written, written_gray = position("written"), position("written_gray")
        read, read_gray = position("read"), position("read_gray")
        read_seen = _synchronized(m.d.link, read_gray, "read")
        written_seen = _synchronized(m.d.sync, written_gray, "written")

        arriving = Signal(bits, reset_less=True)
        m.d.link += arriving.eq(self.link_phit)
        with m.If(written_gray != Cat(read_seen[:-2], ~read_seen[-2:])):  # not full
            m.d.link += [entries[written[:-1]].eq(arriving), written.eq(written + 1),
                         written_gray.eq(_gray(written + 1))]

        m.d.sync += [self.valid.eq(written_seen != read_gray), self.phit.eq(entries[read[:-1]])]
        with m.If(written_seen != read_gray):
            m.d.sync += [read.eq(read + 1), read_gray.eq(_gray(read + 1))]
        return m


def _gray(value: Value) -> Value:
    value = value[:_POSITION_BITS]
    return value ^ value[1:]


def _synchronized(domain: object, position: Value, name: str) -> Value:
    """Return a position behind two flip-flops for each bit."""
    seen = []
    for i, bit in enumerate(position):
        stages = [Signal(name=f"{name}_{stage}_{i}", reset_less=True) for stage in ("first", "seen")]
        for stage, source in zip(stages, (bit, stages[0]), strict=True):
            domain += stage.eq(source)
        seen.append(stages[1])
    return Cat(*seen)
