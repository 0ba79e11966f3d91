"""What the drain keeps of a row: its largest result, or its largest magnitude."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hw.arithmetic import larger, reduce_balanced
from hw.config import ChipletConfig
from hw.matmul.drain_lane import VALUE_BITS


def _fan_in(config: ChipletConfig) -> int:
    """Return how many values a stage of the tree makes one; an FPGA's carry chains take longer."""
    return 2 if config.hard_multipliers else 4


class RowStatistic(wiring.Component):
    """The largest of a row's numbers, beat by beat.

    Ports: ``values``: L results of a beat, with ``magnitude`` (what counts is the magnitude, of
    all lanes) and ``masked`` (else these lanes do not count); ``valid`` and ``first``: a beat
    came and is its row's first, ``latency - 1`` cycles later; ``maximum``: the largest up to this
    beat, ``latency`` cycles after ``values``, through an incrementer.
    Latency: ``latency(config)``. Throughput: 1 per cycle. Backpressure: none.
    Numerics: exact, except that the magnitude of -2**31 is 2**31 - 1; nothing at all is -2**31.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "values": In(ArrayLayout(signed(VALUE_BITS), config.lanes)), "magnitude": In(1),
            "masked": In(config.lanes), "valid": In(1), "first": In(1),
            "maximum": Out(signed(VALUE_BITS)),
        })

    @staticmethod
    def latency(config: ChipletConfig) -> int:
        """Cycles from a row's last values to ``maximum``: one or two comparisons in each."""
        stages, numbers, fan_in = 1, config.lanes, _fan_in(config)
        while numbers > fan_in // 2:
            stages, numbers = stages + 1, -(-numbers // fan_in)
        return stages

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A magnitude is the number or its complement plus one. As a key it keeps the one apart,
        # below the number: a larger key is then never a smaller magnitude.
        key = signed(VALUE_BITS + 1)
        numbers = []
        for i in range(self.config.lanes):
            value = self.values[i]
            negative = Signal(name=f"negative_{i}")
            number = Signal(key, name=f"key_{i}")
            m.d.comb += [
                negative.eq(value[-1] & self.magnitude),
                number.eq(Mux(self.masked[i] & ~self.magnitude, -(1 << VALUE_BITS),
                              Cat(negative, value ^ negative.replicate(VALUE_BITS)))),
            ]
            numbers.append(number)
        stage, fan_in = 0, _fan_in(self.config)
        while len(numbers) > fan_in // 2:
            registers = [Signal(key, name=f"largest_{stage}_{i}", reset_less=True)
                         for i in range(0, len(numbers), fan_in)]
            m.d.sync += [
                register.eq(reduce_balanced(numbers[fan_in * i:fan_in * (i + 1)], larger))
                for i, register in enumerate(registers)]
            numbers, stage = registers, stage + 1
        running = Signal(key, reset_less=True)
        beat = reduce_balanced(numbers, larger)
        with m.If(self.valid):
            m.d.sync += running.eq(Mux(self.first, beat, larger(running, beat)))
        whole = running[1:]
        m.d.comb += self.maximum.eq(whole + (running[0] & ~whole[:-1].all()))
        return m
