"""The sampler: argmax of the logits, with Gumbel noise for a temperature above zero."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.emit import instantiate
from hw.vector.sampler_tables import INDEX_BITS, LOG2, LOG2_STEP, REMAINDER_BITS

LOGIT_BITS = 32
TOKEN_BITS = 17
#: Noise lies within +-2**24: 2**20 (the largest Gumbel number) times 16 bits of temperature, >> 12.
NOISE_BITS = 25
#: Logit plus noise.
VALUE_BITS = LOGIT_BITS + 1
_MIX_ROUNDS = 5
_TEMPERATURE_FRACTION_BITS = 12


def _register(m: Module, value: Value, name: str, shape: Shape | None = None) -> Signal:
    register = Signal(shape or value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def _normalize(m: Module, value: Value, name: str) -> tuple[Value, Value]:
    """Shift the leading one of a value above 0 to the top; return the result and the shift."""
    width = len(value)
    steps = []
    for step in reversed(range((width - 1).bit_length())):
        amount = 1 << step
        empty = Signal(name=f"{name}_empty_{amount}")
        shifted = Signal(width, name=f"{name}_shifted_{amount}")
        m.d.comb += [
            empty.eq(value[width - amount:] == 0),
            shifted.eq(Mux(empty, value << amount, value)),
        ]
        steps.insert(0, empty)
        value = shifted
    return value, Cat(steps)


class GumbelNoise(wiring.Component):
    """Noise of one token id: hash, -log2 twice, times the temperature.

    Ports: ``token``: id modulo 2**16, a new one each cycle; ``state``: of the generator and
    ``temperature``: held while ids are in the pipeline; ``noise``: signed, 16 fraction bits.
    Latency: LATENCY cycles. Throughput: 1 per cycle. Numerics: docs/numerics.md, section 8; no
    saturation is needed.
    """

    #: Five rounds of mixing; normalize, look up, multiply, subtract, twice; temperature: two.
    LATENCY = _MIX_ROUNDS + 2 * 4 + 2

    token: In(16)
    state: In(32)
    temperature: In(16)
    noise: Out(signed(NOISE_BITS))

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
        # 22 x 16 bits as two products of 11 x 16.
        high = _register(m, gumbel[11:].as_signed() * self.temperature, "product_high")
        low = _register(m, gumbel[:11] * self.temperature, "product_low")
        product = Signal(signed(NOISE_BITS + _TEMPERATURE_FRACTION_BITS))
        m.d.comb += product.eq((high << 11) + low + (1 << (_TEMPERATURE_FRACTION_BITS - 1)))
        m.d.sync += self.noise.eq(product >> _TEMPERATURE_FRACTION_BITS)
        return m

    @staticmethod
    def _negative_log2(m: Module, value: Value, offset: int, shape: Shape, name: str) -> Signal:
        """Compute ((offset + shift) << 16) - log2(1 + fraction), in four stages."""
        normalized, shift = _normalize(m, value, name)
        fraction = _register(m, normalized[-17:-1], f"{name}_fraction")
        whole = _register(m, shift + offset, f"{name}_whole", signed(7))
        index, remainder = fraction[REMAINDER_BITS:], fraction[:REMAINDER_BITS]
        assert len(index) == INDEX_BITS
        base = _register(m, Array(Const(t, 16) for t in LOG2)[index], f"{name}_base", unsigned(16))
        step = _register(m, Array(Const(t, 12) for t in LOG2_STEP)[index], f"{name}_step",
                         unsigned(12))
        remainder = _register(m, remainder, f"{name}_remainder")
        whole = _register(m, whole, f"{name}_whole_looked_up")
        product = _register(m, (step * remainder)[REMAINDER_BITS:], f"{name}_product")
        high = _register(m, (whole << 16) - base, f"{name}_high", signed(23))
        return _register(m, high - product, f"{name}_result", shape)


class Sampler(wiring.Component):
    """Chooses the next token: the largest logit, plus noise, of those with an id below the limit.

    Ports:
        ``beat_valid``, ``first``, ``last``: a beat of a vector comes, its first, its last one.
        ``index``: token id of the beat's lane 0. ``limit``: ids from it on are ignored.
        ``logits``: signed(32) of each lane.
        ``load_seed``, ``seed``: set the generator (0 counts as 1); ``draw``: step it, before a
        vector's first beat. ``temperature``: 0 is greedy; held while a vector is under way.
        ``token``: chosen id, held until the next; ``done``: high for the cycle in which it comes.

    Latency: ``latency(config)`` cycles from the last beat to ``done``, whatever the data and the temperature.
    Throughput: a beat every ``lanes / sampler_lanes`` cycles; the caller keeps this distance.
    Numerics: docs/numerics.md, section 8. Of equal values the lowest id wins if ids rise. A vector
    without an id below the limit gives token 0.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "beat_valid": In(1), "first": In(1), "last": In(1),
            "index": In(TOKEN_BITS), "limit": In(TOKEN_BITS),
            "logits": In(LOGIT_BITS * config.lanes),
            "load_seed": In(1), "seed": In(32), "draw": In(1), "temperature": In(16),
            "token": Out(TOKEN_BITS), "done": Out(1),
        })

    @property
    def beat_cycles(self) -> int:
        """Smallest distance of two beats."""
        return self.config.lanes // self.config.sampler_lanes

    @staticmethod
    def latency(config: ChipletConfig) -> int:
        """Cycles from the last beat to ``done``."""
        tree = config.sampler_lanes.bit_length() - 1
        beat_cycles = config.lanes // config.sampler_lanes
        return beat_cycles + 1 + GumbelNoise.LATENCY + 1 + tree + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state = self._generator(m)
        valid, group, ids = self._groups(m)

        # The group waits for its noise.
        lanes = self.config.sampler_lanes
        noises = [GumbelNoise() for _ in range(lanes)]
        for lane, noise in enumerate(noises):
            instantiate(m, f"noise_{lane}", "gumbel_noise", noise, platform)
            m.d.comb += [noise.token.eq(ids[lane]), noise.state.eq(state),
                         noise.temperature.eq(self.temperature)]
        for i in range(GumbelNoise.LATENCY):
            valid, previous = self._delay_valid(m, valid, f"valid_{i}"), group
            group = Signal(previous.shape(), name=f"group_{i}", reset_less=True)
            m.d.sync += group.eq(previous)

        candidates = []
        for lane, noise in enumerate(noises):
            candidate = Signal(self._candidate_layout(), name=f"candidate_{lane}", reset_less=True)
            m.d.sync += [
                candidate.live.eq(group.live[lane]),
                candidate.token.eq(group.base + lane),
                candidate.value.eq(group.logits[lane] + noise.noise),
            ]
            candidates.append(candidate)
        valid, ends = self._delay_valid(m, valid, "valid_sum"), (group.first, group.last)
        ends = self._delay_ends(m, ends, "sum")
        while len(candidates) > 1:
            level = len(candidates) // 2
            winners = []
            for i in range(level):
                left, right = candidates[2 * i:2 * i + 2]
                winner = Signal(self._candidate_layout(), name=f"winner_{level}_{i}",
                                reset_less=True)
                m.d.sync += winner.eq(Mux(self._beats(right, left), right, left))
                winners.append(winner)
            candidates = winners
            valid = self._delay_valid(m, valid, f"valid_{level}_winners")
            ends = self._delay_ends(m, ends, f"{level}_winners")

        (candidate,), (first, last) = candidates, ends
        best = Signal(self._candidate_layout(), reset_less=True)
        replace = Signal()
        m.d.comb += replace.eq(first | self._beats(candidate, best))
        m.d.sync += self.done.eq(valid & last)
        with m.If(valid):
            with m.If(replace):
                m.d.sync += best.eq(candidate)
            with m.If(last):
                live = Mux(replace, candidate.live, best.live)
                m.d.sync += self.token.eq(
                    Mux(live, Mux(replace, candidate.token, best.token), 0))
        return m

    def _generator(self, m: Module) -> Signal:
        """Xorshift, 32 bits; never 0."""
        state = Signal(32, init=1)
        a, b, c = (Signal(32, name=f"xorshift_{name}") for name in "abc")
        m.d.comb += [a.eq(state ^ (state << 13)), b.eq(a ^ (a >> 17)), c.eq(b ^ (b << 5))]
        with m.If(self.load_seed):
            m.d.sync += state.eq(Mux(self.seed == 0, 1, self.seed))
        with m.Elif(self.draw):
            m.d.sync += state.eq(c)
        return state

    def _groups(self, m: Module) -> tuple[Signal, Signal, list[Signal]]:
        """Cut beats into groups of ``sampler_lanes`` logits, one per cycle; and each lane's id."""
        lanes, groups = self.config.sampler_lanes, self.beat_cycles
        held = Signal(LOGIT_BITS * self.config.lanes, reset_less=True)
        base = Signal(TOKEN_BITS + 1, reset_less=True)
        limit = Signal(TOKEN_BITS, reset_less=True)
        first, last = Signal(reset_less=True), Signal(reset_less=True)
        left = Signal(range(groups + 1))
        with m.If(left != 0):
            m.d.sync += [left.eq(left - 1), held.eq(held >> (LOGIT_BITS * lanes)),
                         base.eq(base + lanes), first.eq(0)]
        with m.If(self.beat_valid):
            m.d.sync += [left.eq(groups), held.eq(self.logits), base.eq(self.index),
                         limit.eq(self.limit), first.eq(self.first), last.eq(self.last)]
        layout = data.StructLayout({
            "logits": data.ArrayLayout(signed(LOGIT_BITS), lanes), "base": TOKEN_BITS,
            "live": lanes, "first": 1, "last": 1,
        })
        group = Signal(layout, reset_less=True)
        m.d.sync += [
            group.logits.as_value().eq(held),
            group.base.eq(base),
            group.live.eq(Cat(base + lane < limit for lane in range(lanes))),
            group.first.eq(first),
            group.last.eq(last & (left == 1)),
        ]
        ids = [_register(m, base + lane, f"id_{lane}", unsigned(16)) for lane in range(lanes)]
        return self._delay_valid(m, left != 0, "valid"), group, ids

    @staticmethod
    def _candidate_layout() -> data.StructLayout:
        return data.StructLayout({"live": 1, "token": TOKEN_BITS, "value": signed(VALUE_BITS)})

    @staticmethod
    def _beats(challenger: data.View, holder: data.View) -> Value:
        return challenger.live & (~holder.live | (challenger.value > holder.value))

    @staticmethod
    def _delay_valid(m: Module, valid: Value, name: str) -> Signal:
        delayed = Signal(name=name)
        m.d.sync += delayed.eq(valid)
        return delayed

    @staticmethod
    def _delay_ends(m: Module, ends: tuple[Value, Value], name: str) -> tuple[Value, Value]:
        first = Signal(name=f"first_{name}", reset_less=True)
        last = Signal(name=f"last_{name}", reset_less=True)
        m.d.sync += [first.eq(ends[0]), last.eq(ends[1])]
        return first, last
