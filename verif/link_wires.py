"""Wires that make errors, in hardware."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from verif.link_traffic import Random

#: Places at which a phit may be flipped.
FLIPS = 4
#: Probabilities are given in this many bits.
PROBABILITY_BITS = 24
#: Probabilities of a phit, and what happens to it with each.
ERRORS = {
    "flip": "each of four bits at random places is inverted",
    "drop": "it is replaced by random bits",
    "burst": "it and burst_phits more are replaced by random bits",
    "duplicate": "it is replaced by the phit before it",
    "slip": "the delay of the wires changes by one, so that a phit is lost, or comes twice",
}


class LinkWires(wiring.Component):
    """One direction of a link's wires, with errors of many kinds.

    Ports: ``i``, ``o``: the phits; a probability, in units of ``2**-24``, for each of ``ERRORS``;
    ``burst_phits``; ``cut``: ``o`` is 0; ``noise``: ``o`` is random; ``i_held``, ``o_held``: goes with
    the phit, without errors. Latency: none, until a slip.
    """

    def __init__(self, bits: int, seed: int) -> None:
        self.bits, self.seed = bits, seed
        super().__init__({
            "i": In(bits), "o": Out(bits), "i_held": In(1), "o_held": Out(1),
            "cut": In(1), "noise": In(1), "burst_phits": In(16),
            **{name: In(PROBABILITY_BITS) for name in ERRORS},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        randoms = []
        for i in range(FLIPS + 2):
            m.submodules[f"random_{i}"] = random = Random(self.seed * 16 + i + 1)
            randoms.append(random.o)

        def happens(random: Value, low: int, name: str) -> Value:
            return random[low:low + PROBABILITY_BITS] < getattr(self, name)

        # Delay: 0 to 3 cycles.
        line = [Cat(self.i, self.i_held)]
        for i in range(3):
            line.append(Signal(self.bits + 1, name=f"line_{i}", reset_less=True))
            m.d.sync += line[-1].eq(line[-2])
        delay = Signal(2)
        slipping = happens(randoms[FLIPS], 0, "slip")
        with m.If(slipping):
            m.d.sync += delay.eq(Mux(randoms[FLIPS][30], delay + (delay != 3), delay - (delay != 0)))
        delayed = Signal(self.bits)
        with m.Switch(delay):
            for i, phit in enumerate(line):
                with m.Case(i):
                    m.d.comb += Cat(delayed, self.o_held).eq(phit)

        flipped = Value.cast(delayed)
        for i in range(FLIPS):
            place = Signal(range(self.bits), name=f"place_{i}")
            flips = Signal(name=f"flips_{i}")
            m.d.comb += [place.eq((randoms[i][32:48] * self.bits) >> 16),
                         flips.eq(happens(randoms[i], 0, "flip"))]
            flipped = flipped ^ (flips << place)[:self.bits]

        left = Signal(16)
        bursting = happens(randoms[FLIPS], 40, "burst")
        with m.If(bursting):
            m.d.sync += left.eq(self.burst_phits)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        garbage = Signal()
        m.d.comb += garbage.eq(bursting | (left != 0) | self.noise
                               | happens(randoms[FLIPS + 1], 0, "drop"))
        random = Cat(*randoms, *reversed(randoms))[3:3 + self.bits]
        before = Signal(self.bits, reset_less=True)
        m.d.sync += before.eq(self.o)
        repeats = happens(randoms[FLIPS + 1], 32, "duplicate")
        m.d.comb += self.o.eq(Mux(self.cut, 0, Mux(garbage, random, Mux(repeats, before, flipped))))
        return m
