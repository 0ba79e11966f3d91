"""One lane of the drain: INT32 accumulator to requantized integer (docs/numerics.md, section 2)."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.control.isa import Destination
from hw.matmul.systolic_array import ACCUMULATOR_BITS

MULTIPLIER_BITS = 16
MANTISSA_BITS = 8
SHIFT_BITS = 6
RESIDUAL_BITS = 24
#: Accumulator times multiplier, and that times the mantissa (both factors unsigned).
PRODUCT_BITS = ACCUMULATOR_BITS + MULTIPLIER_BITS
SCALED_BITS = PRODUCT_BITS + MANTISSA_BITS


class DrainLane(wiring.Component):
    """``round_shift(accumulator * multiplier * mantissa, shift)``, saturated to the destination.

    Ports: ``accumulator``, ``multiplier``, ``mantissa`` in one cycle; ``shift_coarse`` (the upper
    three bits of the shift) four cycles later, ``shift_fine`` (the lower three) five,
    ``destination`` six; ``value`` and ``clipped`` seven cycles later.
    Latency: 7 cycles. Throughput: 1 per cycle. Backpressure: none.
    Numerics: exact product of 56 bits, round half up, saturation to +-127, 16, 24 or 32 bits.
    """

    LATENCY = 7
    SHIFT_COARSE_DELAY = 4
    SHIFT_FINE_DELAY = 5
    DESTINATION_DELAY = 6

    accumulator: In(signed(ACCUMULATOR_BITS))
    multiplier: In(MULTIPLIER_BITS)
    mantissa: In(MANTISSA_BITS)
    shift_coarse: In(3)
    shift_fine: In(3)
    destination: In(Destination)
    value: Out(signed(32))
    clipped: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        half = ACCUMULATOR_BITS // 2

        def stage(name: str, bits: int, value: object) -> Signal:
            register = Signal(signed(bits), name=name, reset_less=True)
            m.d.sync += register.eq(value)
            return register

        # 32 x 16 as two 16 x 16 products, so that no stage is longer than a multiplier.
        low = stage("low", half + MULTIPLIER_BITS + 1, self.accumulator[:half] * self.multiplier)
        high = stage("high", half + MULTIPLIER_BITS,
                     self.accumulator[half:].as_signed() * self.multiplier)
        mantissa_1 = Signal(MANTISSA_BITS, reset_less=True)
        mantissa_2 = Signal(MANTISSA_BITS, reset_less=True)
        m.d.sync += [mantissa_1.eq(self.mantissa), mantissa_2.eq(mantissa_1)]
        product = stage("product", PRODUCT_BITS, low + (high << half))
        scaled_low = stage("scaled_low", PRODUCT_BITS + 4, product * mantissa_2[:4])
        scaled_high = stage("scaled_high", PRODUCT_BITS + 4, product * mantissa_2[4:])
        scaled = stage("scaled", SCALED_BITS, scaled_low + (scaled_high << 4))
        # One extra bit below the point keeps what rounding half up needs.
        doubled = scaled << 1
        coarse = stage("coarse", SCALED_BITS + 1, doubled >> (self.shift_coarse << 3))
        rounded = stage("rounded", SCALED_BITS, ((coarse >> self.shift_fine) + 1) >> 1)

        with m.Switch(self.destination):
            for destinations, bits, low_bound in (
                ((Destination.OUTPUT,), 8, -127),
                ((Destination.RESULT,), 16, None),
                ((Destination.RESIDUAL_SET, Destination.RESIDUAL_ADD), RESIDUAL_BITS, None),
                ((Destination.LOGITS,), 32, None),
            ):
                high_bound = (1 << (bits - 1)) - 1
                low_bound = -high_bound - 1 if low_bound is None else low_bound
                over, under = rounded > high_bound, rounded < low_bound
                with m.Case(*destinations):
                    m.d.sync += [
                        self.value.eq(Mux(over, high_bound, Mux(under, low_bound, rounded))),
                        self.clipped.eq(over | under),
                    ]
        return m
