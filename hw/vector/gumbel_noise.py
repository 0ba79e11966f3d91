"""Noise of the sampler: a hash of the token id, -log2 twice, times the temperature."""

from amaranth.hdl import Array, Cat, Const, Module, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.booth_product import as_factor, booth_product, factor_bits
from hw.vector.normalizer import shift_to_top
from hw.vector.sampler_tables import INDEX_BITS, LOG2, LOG2_STEP, REMAINDER_BITS

#: Fraction bits of the two numbers that make the noise, above those of a logit.
NOISE_SHIFT = 12
#: Bits of a logit plus noise: noise lies within +-2**24, a logit has 32 bits.
VALUE_BITS = 33
#: Bits of each of the two numbers.
PART_BITS = VALUE_BITS + NOISE_SHIFT
_MIX_ROUNDS = 5


def _register(m: Module, value: Value, name: str, shape: Shape | None = None) -> Signal:
    register = Signal(shape or value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


class GumbelNoise(wiring.Component):
    """Noise of one token id (docs/numerics.md, section 8), as two numbers still to be added.

    Ports: ``token``: id modulo 2**16, a new one each cycle; ``state`` of the generator,
    ``temperature`` (:func:`as_factor` of it): held while ids are in the pipeline;
    ``noise_0``, ``noise_1``: their sum modulo 2**PART_BITS, shifted right by NOISE_SHIFT, is the
    noise, rounded, with 16 fraction bits. So logit and noise take one carry chain.
    Latency: LATENCY cycles. Throughput: 1 per cycle. Numerics: no saturation is needed.
    """

    #: Five rounds of mixing; table, interpolation, twice; temperature.
    LATENCY = _MIX_ROUNDS + 2 * 2 + 1

    token: In(16)
    state: In(32)
    temperature: In(factor_bits(16, hard=False))
    noise_0: Out(PART_BITS)
    noise_1: Out(PART_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x: Value = self.token
        y: Value = ~self.token
        for i in range(_MIX_ROUNDS):
            key = self.state.word_select(i & 1, 16) ^ i
            total = Signal(16, name=f"mix_sum_{i}")
            mixed = Signal(16, name=f"mixed_{i}")
            m.d.comb += [total.eq(x.rotate_right(7) + y), mixed.eq(total ^ key)]
            next_x = _register(m, mixed, f"x_{i}")
            y = _register(m, y.rotate_left(2) ^ mixed, f"y_{i}", unsigned(16))
            x = next_x
        # A 17-bit number of bit length 17 - shift: 18 - bit_length = 1 + shift. The result is at
        # least 1 without the specification's maximum, since the interpolation rounds down.
        exponential = self._negative_log2(m, Cat(Const(1, 1), x), 1, unsigned(21), "e")
        # 21 bits: 17 - bit_length = shift - 4.
        gumbel = self._negative_log2(m, exponential, -4, signed(22), "g")
        parts = booth_product(m, gumbel, self.temperature, PART_BITS, "noise",
                              constant=1 << (NOISE_SHIFT - 1))
        m.d.sync += [self.noise_0.eq(parts[0]), self.noise_1.eq(parts[1])]
        return m

    @staticmethod
    def _negative_log2(m: Module, value: Value, offset: int, shape: Shape, name: str) -> Signal:
        """Compute ((offset + shift) << 16) - log2(1 + fraction), in two stages."""
        normalized, shift = shift_to_top(m, value, name)
        fraction = normalized[-17:-1]
        index, remainder = fraction[REMAINDER_BITS:], fraction[:REMAINDER_BITS]
        assert len(index) == INDEX_BITS

        def look_up(table: list[int], shape: Shape, entry: str) -> Signal:
            return _register(m, Array(Const(t, shape) for t in table)[index], f"{name}_{entry}",
                             shape)

        base = look_up(list(LOG2), unsigned(16), "base")
        step = look_up([-t for t in LOG2_STEP], signed(13), "step")
        digits = as_factor(m, Cat(remainder, Const(0, 1)).as_signed(), f"{name}_digit", hard=False)
        remainder = _register(m, digits, f"{name}_remainder")
        whole = _register(m, shift, f"{name}_whole")
        # In units of 2**-27: whole - base - (step * remainder rounded down to 2**-16), where
        # -base = ~base + 1 - 2**16, and minus a number rounded down is its negative rounded up.
        constant = ((((offset - 1) << 16) + 1) << REMAINDER_BITS) + (1 << REMAINDER_BITS) - 1
        total = Signal(REMAINDER_BITS + shape.width, name=f"{name}_total")
        m.d.comb += total.eq(sum(booth_product(
            m, step, remainder, len(total), f"{name}_step", signed_factor=True,
            extra=[(Cat(~base, whole), REMAINDER_BITS)], constant=constant)))
        return _register(m, total[REMAINDER_BITS:], f"{name}_result", shape)
