"""One lane of softmax: 2**(score - maximum)."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vector.tables import EXP2, look_up

_FRACTION_BITS = 6
_WHOLE_BITS = 3


class ExponentialLane(wiring.Component):
    """p = 127 * 2**((score - maximum) / 64), rounded (docs/numerics.md, section 6).

    Ports: ``score``, ``maximum``: int16, ``visible``: the position counts; ``probability``:
    0..127, LATENCY cycles later, to be registered by the reader. Scores above the maximum give 0.
    Throughput: 1 per cycle. Numerics: rounds half up.
    """

    LATENCY = 1

    score: In(signed(16))
    maximum: In(signed(16))
    visible: In(1)
    probability: Out(7)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        distance = Signal(signed(17))
        m.d.comb += distance.eq(self.maximum - self.score)
        counts = Signal(reset_less=True)
        near = Signal(_FRACTION_BITS + _WHOLE_BITS, reset_less=True)
        m.d.sync += [
            near.eq(distance),
            counts.eq(self.visible & (distance[len(near):] == 0)),
        ]
        entry = look_up(m, EXP2, near[:_FRACTION_BITS], "exp2_entry")
        shifted = Signal(len(entry) - 7)
        # round_shift(entry, 8 + whole) is ((entry >> 7 + whole) + 1) >> 1.
        m.d.comb += [
            shifted.eq((entry >> 7) >> near[_FRACTION_BITS:]),
            self.probability.eq(Mux(counts, (shifted + 1) >> 1, 0)),
        ]
        return m
