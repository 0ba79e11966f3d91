"""One lane of the drain: INT32 accumulators to requantized integers (docs/numerics.md, section 2)."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.booth_product import as_factor, booth_product, factor_bits
from hw.config import ChipletConfig
from hw.control.isa import Destination
from hw.matmul.systolic_array import ACCUMULATOR_BITS

MULTIPLIER_BITS = 16
MANTISSA_BITS = 8
SHIFT_BITS = 6
RESIDUAL_BITS = 24
#: Bits of multiplier times mantissa that are rounded away.
SCALE_SHIFT = 8
SCALE_BITS = MULTIPLIER_BITS + MANTISSA_BITS - SCALE_SHIFT
#: Widest result: a logit.
VALUE_BITS = 32


def shift_right(m: Module, value: Value, shift: Value) -> tuple[Value, Value]:
    """Return ``value >> shift``, ``VALUE_BITS + 1`` bits of it, and whether higher ones matter.

    The second is 1 if any bit that is cut off at the top differs from the sign. Each of the
    shifter's levels keeps only what a later one can still bring down.
    """
    sign = value[-1]
    bits: Sequence[Value] = list(value)
    lost = []
    for level in reversed(range(len(shift))):
        amount, kept = 1 << level, VALUE_BITS + (1 << level)
        lost.append((Cat(*bits[kept:]) != sign.replicate(max(len(bits) - kept, 0)))
                    & ~shift[level])
        shifted = Signal(min(len(bits), kept), name=f"shifted_{level}")
        m.d.comb += shifted.eq(
            Mux(shift[level], Cat(*bits[amount:], sign.replicate(amount)), Cat(*bits)))
        bits = list(shifted)
    return Cat(*bits), Cat(*lost).any()


class DrainLane(wiring.Component):
    """Accumulator times multiplier times mantissa, shifted, saturated to the destination.

    Ports: ``sums`` with ``load_sums``: this lane's accumulators of a vector, one per beat;
    ``bytes`` with ``load_bytes``: the same of a column; ``advance``: the vector's next beat takes
    the place of this one, not before the cycle after the load; ``multiplier`` and ``mantissa``
    (:func:`as_factor` of it) of a beat: in the cycle before its accumulator is in place; ``shift``
    two cycles after these,
    ``destination`` three, and with it ``hide``: the least 16-bit number instead of the result;
    ``value`` and ``clipped`` four cycles after them, from registers.
    Latency: 4 cycles. Throughput: one beat per cycle. Backpressure: none.
    Numerics: multiplier times mantissa rounded to 16 bits, exact product, round half up,
    saturation to +-127, 16, 24 or 32 bits.
    """

    LATENCY = 4
    SHIFT_DELAY = 2
    DESTINATION_DELAY = 3

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "sums": In(ACCUMULATOR_BITS * config.column_beats), "load_sums": In(1),
            "bytes": In(8 * config.row_beats), "load_bytes": In(1), "advance": In(1),
            "multiplier": In(MULTIPLIER_BITS),
            "mantissa": In(factor_bits(MANTISSA_BITS, hard=config.hard_multipliers)),
            "shift": In(SHIFT_BITS), "destination": In(Destination), "hide": In(1),
            "value": Out(signed(VALUE_BITS)), "clipped": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, hard = self.config.sum_bits, self.config.hard_multipliers
        accumulator = self._beats(m, bits)

        # 0: multiplier times mantissa, rounded. 1: times the accumulator, but for the last addition.
        exact, scale = Signal(MULTIPLIER_BITS + MANTISSA_BITS), Signal(SCALE_BITS)
        high, low = booth_product(
            m, Cat(self.multiplier, Const(0, 1)), self.mantissa, len(exact), "scale_product",
            constant=1 << (SCALE_SHIFT - 1), hard=hard)
        m.d.comb += [exact.eq(high + low), scale.eq(exact >> SCALE_SHIFT)]
        scale_factor = Signal(factor_bits(SCALE_BITS, hard=hard), reset_less=True)
        m.d.sync += scale_factor.eq(as_factor(m, scale, "scale_digit", hard=hard))
        partial = [Signal(bits + SCALE_BITS, name=f"partial_{i}", reset_less=True)
                   for i in range(2)]
        product = booth_product(
            m, accumulator, scale_factor, bits + SCALE_BITS, "product", hard=hard)
        m.d.sync += [register.eq(part) for register, part in zip(partial, product, strict=True)]

        # 2: that addition, and the shift. A bit below the point keeps what rounding half up needs.
        doubled = Signal(bits + SCALE_BITS + 1)
        m.d.comb += doubled[1:].eq(partial[0] + partial[1])
        shifted, lost = shift_right(m, doubled, self.shift)
        value = Signal(VALUE_BITS + 1, reset_less=True)
        sign, outside = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [value.eq(shifted), sign.eq(doubled[-1]), outside.eq(lost)]

        # 3: round and saturate.
        rounded = Signal(VALUE_BITS + 1)
        m.d.comb += rounded.eq(Cat(value[1:], sign) + value[0])
        self._saturate(m, rounded, sign, outside)
        return m

    def _beats(self, m: Module, bits: int) -> Signal:
        """Hold the accumulators of a vector, and return that of the current beat."""
        beats = max(self.config.column_beats, self.config.row_beats)
        held = [Signal(bits, name=f"held_{i}", reset_less=True) for i in range(beats)]
        for i, register in enumerate(held):
            sums = self.sums.word_select(i, ACCUMULATOR_BITS)[:bits]
            byte = self.bytes.word_select(i, 8)
            if i + 1 < beats:
                with m.If(self.advance):
                    m.d.sync += register.eq(held[i + 1])
            if i < self.config.column_beats:
                with m.If(self.load_sums):
                    m.d.sync += register.eq(sums)
            if i < self.config.row_beats:
                with m.If(self.load_bytes):
                    m.d.sync += register.eq(Cat(byte, byte[-1].replicate(bits - 8)))
        return held[0]

    def _saturate(self, m: Module, rounded: Signal, sign: Signal, outside: Signal) -> None:
        def overflows(bits: int) -> Value:
            above = rounded[bits - 1:]
            return above.any() & ~above.all()

        is_output = self.destination == Destination.OUTPUT
        is_result = self.destination == Destination.RESULT
        is_logits = self.destination == Destination.LOGITS
        least_byte = rounded[7:].all() & ~rounded[:7].any()
        clip = Signal()
        m.d.comb += clip.eq(outside | Mux(
            is_output, overflows(8) | least_byte, Mux(is_result, overflows(16), Mux(
                is_logits, overflows(32), overflows(RESIDUAL_BITS)))))
        # The limit has the sign from the destination's top bit on, and its complement below.
        negative = sign | self.hide
        below = ~negative
        limit = Cat(
            below | is_output, below.replicate(6), Mux(is_output, negative, below).replicate(8),
            Mux(is_output | is_result, negative, below).replicate(8),
            Mux(is_logits, below, negative).replicate(8), negative)
        m.d.sync += [
            self.value.eq(Mux(clip | self.hide, limit, rounded[:VALUE_BITS])),
            self.clipped.eq(clip),
        ]
