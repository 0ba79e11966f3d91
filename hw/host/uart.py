"""Serial line of 8 data bits, no parity, one stop bit: receiver and transmitter."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.emit import instantiate
from hw.host import synchronizer
from hw.host.serial_protocol import LINE_BITS
from hw.host.synchronizer import Synchronizer

#: Fewest clock cycles of a bit: three samples must lie inside of it.
MIN_DIVISOR = 4
#: Largest deviation of the bit rate; at 5 % the last bit of a byte would be sampled at its edge.
MAX_RATE_ERROR = 0.02


def check_divisor(divisor: int) -> int:
    """Return a number of clock cycles per bit, if it is possible."""
    if divisor < MIN_DIVISOR:
        raise ValueError(f"divisor must be at least {MIN_DIVISOR} clock cycles per bit, "
                         f"not {divisor!r}")
    return divisor


def find_divisor(clock_hz: float, baud: float) -> int:
    """Return the clock cycles per bit for a bit rate; refuse one that the clock cannot make."""
    divisor = round(clock_hz / baud)
    if divisor < MIN_DIVISOR or abs(clock_hz / divisor / baud - 1) > MAX_RATE_ERROR:
        raise ValueError(
            f"baud must be within {MAX_RATE_ERROR:.0%} of the clock ({clock_hz:.0f} Hz) divided by "
            f"a whole number from {MIN_DIVISOR} on, not {baud!r}")
    return divisor


class UartReceiver(wiring.Component):
    """Turns the line into bytes.

    Ports: ``rx``: the line, asynchronous; ``byte``, with ``valid`` for one cycle: a byte came; it
    cannot be refused; ``broken`` for one cycle: its stop bit was missing instead; ``quiet``: the
    line is idle; ``bit_tick``: once in a bit time.
    Latency: ``valid`` comes half a bit before the end of the stop bit.
    A bit is the majority of three samples around its middle. A start bit that is not one is
    ignored. A line that is held low is a row of broken bytes.
    Parameters: ``divisor``: clock cycles per bit.
    """

    rx: In(1)
    byte: Out(8)
    valid: Out(1)
    broken: Out(1)
    quiet: Out(1)
    bit_tick: Out(1)

    def __init__(self, divisor: int) -> None:
        self.divisor = check_divisor(divisor)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor = self.divisor
        entry = Synchronizer()
        instantiate(m, "rx_synchronizer", synchronizer.MODULE, entry, platform)
        m.d.comb += entry.i.eq(self.rx)
        line = entry.o

        # The bit's first cycle has passed when its edge is seen.
        middle, spread = divisor // 2 - 1, max(1, divisor // 8)
        phase = Signal(range(divisor))
        receiving, number = Signal(), Signal(range(LINE_BITS))
        samples = Signal(2)
        decide, value = Signal(), Signal()
        m.d.comb += [
            decide.eq(receiving & (phase == middle + spread)),
            value.eq((samples[0] & samples[1]) | (line & (samples[0] | samples[1]))),
        ]
        m.d.sync += [
            self.bit_tick.eq(phase == divisor - 1),
            self.quiet.eq(~receiving & line),
            self.valid.eq(0), self.broken.eq(0),
            phase.eq(Mux(phase == divisor - 1, 0, phase + 1)),
        ]
        with m.If((phase == middle - spread) | (phase == middle)):
            m.d.sync += samples.eq(Cat(line, samples[0]))
        with m.If(~receiving):
            m.d.sync += number.eq(0)
            with m.If(~line):
                m.d.sync += [receiving.eq(1), phase.eq(0)]
        with m.If(decide):
            m.d.sync += number.eq(number + 1)
            with m.If(number == 0):
                m.d.sync += receiving.eq(~value)
            with m.Elif(number == LINE_BITS - 1):
                m.d.sync += [receiving.eq(0), self.valid.eq(value), self.broken.eq(~value)]
            with m.Else():
                m.d.sync += self.byte.eq(Cat(self.byte[1:], value))
        return m


class UartTransmitter(wiring.Component):
    """Turns bytes into the line.

    Ports: ``i``: stream of bytes; ``tx``: the line, from a flip-flop.
    Latency: the start bit begins in the cycle after the transfer. Throughput: a byte in
    10 bit times and a cycle. Backpressure: ``i.ready`` comes from flip-flops.
    Parameters: ``divisor``: clock cycles per bit.
    """

    i: In(stream.Signature(8))
    tx: Out(1)

    def __init__(self, divisor: int) -> None:
        self.divisor = check_divisor(divisor)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor = self.divisor
        phase, left = Signal(range(divisor)), Signal(range(LINE_BITS + 1))
        bits = Signal(9, init=0x1FF)  # what is on the line, and the bits after it; then ones
        ready = Signal(init=1)
        m.d.comb += [self.tx.eq(bits[0]), self.i.ready.eq(ready)]
        with m.If(ready):
            with m.If(self.i.valid):
                m.d.sync += [bits.eq(Cat(Const(0, 1), self.i.payload)), left.eq(LINE_BITS - 1),
                             phase.eq(0), ready.eq(0)]
        with m.Elif(phase == divisor - 1):
            m.d.sync += [bits.eq(Cat(bits[1:], Const(1, 1))), left.eq(left - 1), phase.eq(0),
                         ready.eq(left == 0)]
        with m.Else():
            m.d.sync += phase.eq(phase + 1)
        return m
