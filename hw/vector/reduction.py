"""Trees over the lanes: largest magnitude, sum of squares."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import larger
from hw.config import ChipletConfig
from hw.vector.vector_scale import MAGNITUDE_BITS

_LEVELS_PER_STAGE = 2
_BEAT_COUNT_BITS = 12
SUM_LIMIT_BITS = 48


def _tree(m: Module, values: Sequence[Value], combine: Callable[[Value, Value], Value],
          name: str) -> Value:
    """Combine neighbours, with a register after every second level; a level follows outside.

    That makes ``tree_cycles`` with the accumulator (of a tree of one level, it is registered).
    """
    level = 0
    while len(values) > 1:
        if level and level % _LEVELS_PER_STAGE == 0:
            registers = [Signal(v.shape(), name=f"{name}_{level}_{i}", reset_less=True)
                         for i, v in enumerate(values)]
            m.d.sync += [register.eq(v) for register, v in zip(registers, values, strict=True)]
            values = registers
        values = [combine(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
        level += 1
    if level == 1 or level % _LEVELS_PER_STAGE == 0:
        result = Signal(values[0].shape(), name=f"{name}_result", reset_less=True)
        m.d.sync += result.eq(values[0])
        return result
    return values[0]


class LargestMagnitude(wiring.Component):
    """Keeps the largest magnitude of a vector that comes as one value per pair of lanes.

    Ports:
        ``values``: signed(32) each, above -2**31. ``enable``, ``first``: the values that were
        taken ``tree_cycles - 1`` cycles ago belong to a vector, are its first.
        ``load``, ``initial``: take this 32-bit number instead.
        ``magnitude``: the number of 31 bits; ``initial_low``: the lower half of ``initial`` as
        it was loaded.
    Latency: ``tree_cycles`` cycles from a value to ``magnitude``. Throughput: 1 per cycle.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "values": In(32 * config.lanes // 2), "enable": In(1), "first": In(1),
            "load": In(1), "initial": In(32),
            "magnitude": Out(MAGNITUDE_BITS), "initial_low": Out(16),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # |x| is x for x >= 0, else ~x + 1. Keys (x or ~x, then the sign) are in an order that
        # |x| follows, so one addition at the end is enough; a key compares with a magnitude, too.
        keys = []
        for i in range(self.config.lanes // 2):
            value = self.values.word_select(i, 32)
            negative = value[31]
            keys.append(Cat(negative, value[:MAGNITUDE_BITS] ^ negative.replicate(MAGNITUDE_BITS)))
        largest = _tree(m, keys, larger, "largest")
        best = Signal(MAGNITUDE_BITS, reset_less=True)
        with m.If(self.load):
            m.d.sync += best.eq(self.initial)
        with m.Elif(self.enable & (self.first | (largest > Cat(Const(0, 1), best)))):
            m.d.sync += best.eq(largest[1:] + largest[0])
        m.d.comb += [self.magnitude.eq(best), self.initial_low.eq(best)]
        return m


class SumOfSquares(wiring.Component):
    """Adds the squares of a vector that come as one sum per pair of lanes, and epsilon.

    Ports:
        ``values``: 31 bits each, in 32, of a vector in cycles that follow one another. ``first``: as
        for :class:`LargestMagnitude`.
        ``start``: what the sum starts from, below 2**48, in the cycle of ``first``.
        ``total``: the sum; with ``over``, which the reader is to take as 2**48 - 1, it is more. After
        a vector's last value it is there for one cycle.
    Latency: ``tree_cycles`` cycles from a value to ``total``. Throughput: 1 per cycle.
    Numerics: docs/numerics.md, section 5. The accumulator holds 4095 beats of the largest squares.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "values": In(32 * config.lanes // 2), "first": In(1),
            "start": In(SUM_LIMIT_BITS), "total": Out(SUM_LIMIT_BITS), "over": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        squares = [self.values.word_select(i, 32)[:31] for i in range(self.config.lanes // 2)]
        beat = _tree(m, squares, lambda a, b: a + b, "squares")
        lane_bits = self.config.lanes.bit_length() - 1
        accumulator = Signal(max(30 + lane_bits + _BEAT_COUNT_BITS, SUM_LIMIT_BITS) + 1,
                             reset_less=True)
        m.d.sync += accumulator.eq(Mux(self.first, self.start, accumulator) + beat)
        m.d.comb += [self.total.eq(accumulator), self.over.eq(accumulator[SUM_LIMIT_BITS:].any())]
        return m


class ScaledEpsilon(wiring.Component):
    """Moves epsilon to the units of the normalized vector: eps * 4**(15 - e), 48 bits.

    Ports: ``epsilon``: 32 bits; ``shift``: 31 - e; ``scaled``: saturated, one cycle later.
    """

    LATENCY = 1

    epsilon: In(32)
    shift: In(5)
    scaled: Out(SUM_LIMIT_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # 4**(15 - e) is 4**(shift - 16).
        wide = Signal(32 + 2 * 31)
        m.d.comb += wide.eq(self.epsilon << Cat(0, self.shift))
        whole = wide[32:]
        over = whole[SUM_LIMIT_BITS:].any()
        m.d.sync += self.scaled.eq(whole[:SUM_LIMIT_BITS] | over.replicate(SUM_LIMIT_BITS))
        return m
