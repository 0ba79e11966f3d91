"""Credits on their way back: counts of the flits that have left a receiver's queues."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.wire import count_bits
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNEL_BITS, CHANNELS

#: One word in so many tells the count of the next channel in turn, changed or not.
REFRESH_WORDS = 4


class CreditReturn(wiring.Component):
    """Counts freed places of each channel, and chooses the count that the next word carries.

    Counts are absolute, so that a lost word loses no credit: the channel's next word has it too.
    Changed counts go first, in turn; every fourth word repeats one of all channels in turn, so
    that each count is repeated within ``REFRESH_WORDS * CHANNELS`` words.

    Ports: ``up``: the link is up, else all counts are 0; ``freed``: for each channel, a flit left
    its queue; ``take``: a word takes ``channel`` and ``count`` now.
    Latency: 1 cycle from ``freed`` to ``channel`` and ``count``, a function of registers.
    """

    LATENCY = 1

    def __init__(self, config: NetworkConfig, channels: int = CHANNELS) -> None:
        self.config, self.channels = config, channels
        super().__init__({
            "up": In(1), "freed": In(channels), "take": In(1),
            "channel": Out(CHANNEL_BITS), "count": Out(count_bits(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = self.channels
        counts = [Signal(len(self.count), name=f"count_{i}") for i in range(n)]
        changed, last = Signal(n), Signal(n, init=1)  # ``last``: one-hot, chosen last
        refreshed, words = Signal(n, init=1), Signal(range(REFRESH_WORDS))

        behind = Signal(n)  # channels after the one chosen last
        m.d.comb += behind.eq(Cat(*(last[:i].any() for i in range(n))))
        waiting, refresh, chosen = Signal(n), Signal(), Signal(n)
        m.d.comb += [
            waiting.eq(Mux((changed & behind).any(), changed & behind, changed)),
            refresh.eq((words == REFRESH_WORDS - 1) | ~changed.any()),
            chosen.eq(Mux(refresh, refreshed, _lowest(waiting))),
            self.channel.eq(_binary(chosen)),
            self.count.eq(_select(chosen, counts)),
        ]
        with m.If(self.take):
            m.d.sync += [words.eq(words + 1), changed.eq(changed & ~chosen | self.freed)]
            with m.If(refresh):
                m.d.sync += refreshed.eq(refreshed.rotate_left(1))
            with m.Else():
                m.d.sync += last.eq(chosen)
        with m.Else():
            m.d.sync += changed.eq(changed | self.freed)
        for count, freed in zip(counts, self.freed, strict=True):
            m.d.sync += count.eq(count + freed)
        with m.If(~self.up):
            m.d.sync += [changed.eq(0), *(count.eq(0) for count in counts)]
        return m


def _lowest(bits: Value) -> Value:
    """Return the lowest bit that is set, alone."""
    return Cat(*(bit & ~bits[:i].any() for i, bit in enumerate(bits)))


def _binary(one_hot: Value) -> Value:
    """Return the number of the bit that is set."""
    return Cat(*(Cat(*(bit for i, bit in enumerate(one_hot) if i >> b & 1)).any()
                 for b in range(CHANNEL_BITS)))


def _select(one_hot: Value, values: list[Signal]) -> Value:
    """Return the value whose bit is set."""
    return Cat(*(Cat(*(bit & value[b] for bit, value in zip(one_hot, values, strict=True))).any()
                 for b in range(len(values[0]))))
