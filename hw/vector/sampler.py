"""The sampler: argmax of the logits, with Gumbel noise for a temperature above zero."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import delay
from hw.booth_product import as_factor, factor_bits
from hw.carry_save import add_rows
from hw.config import ChipletConfig
from hw.control.isa import SHARE_UNIT, SHARE_UNITS
from hw.emit import instantiate
from hw.vector.gumbel_noise import NOISE_SHIFT, PART_BITS, VALUE_BITS, GumbelNoise

LOGIT_BITS = 32
TOKEN_BITS = 17


def _group_layout(lanes: int) -> data.StructLayout:
    """Return a group's place in its beat and vector, and its live lanes."""
    return data.StructLayout({"beat": 1, "first": 1, "last": 1, "live": lanes})


def candidate_layout() -> data.StructLayout:
    """Return a vector's best: whether there is one, its token, and its noisy logit."""
    return data.StructLayout({"live": 1, "token": TOKEN_BITS, "value": signed(VALUE_BITS)})


class Sampler(wiring.Component):
    """Chooses the next token: the largest logit, plus noise, of the live lanes.

    Ports:
        ``beat_valid``, ``first``, ``last``: a beat of a vector is announced, its first, its last
        one. ``live``: lanes of it from this one on are ignored. The ids of a vector count up from 0.
        ``logits``: signed(32) of each lane, LEAD cycles after their beat was announced.
        ``load_seed``, ``seed``: set the generator (0 counts as 1); ``draw``: step it, before a
        vector's first beat. ``temperature``: 0 is greedy; held while a vector is under way.
        ``token``: chosen id, held until the next; ``done``: high for the cycle in which it comes.
        With a network, ``base`` with a vector's first beat: the ids count up from SHARE_UNIT times
        this number; ``best``: with ``done`` and until the next, what CHOOSE compares.

    Latency: ``latency(config)`` cycles from the announcement of the last beat to ``done``,
    whatever the data and the temperature.
    Throughput: a beat every ``lanes / sampler_lanes`` cycles; the caller keeps this distance.
    Numerics: docs/numerics.md, section 8. Of equal values the lowest id wins. A vector without a
    live lane gives token 0.
    """

    #: Noise takes longer: logits wait for it.
    LEAD = 6

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "beat_valid": In(1), "first": In(1), "last": In(1),
            "live": In(range(config.lanes + 1)),
            "logits": In(LOGIT_BITS * config.lanes),
            "load_seed": In(1), "seed": In(32), "draw": In(1), "temperature": In(16),
            "token": Out(TOKEN_BITS), "done": Out(1),
            **({} if config.network is None else {
                "base": In(range(SHARE_UNITS)), "best": Out(candidate_layout())}),
        })

    @property
    def beat_cycles(self) -> int:
        """Smallest distance of two beats."""
        return self.config.lanes // self.config.sampler_lanes

    @staticmethod
    def latency(config: ChipletConfig) -> int:
        """Cycles from the announcement of the last beat to ``done``."""
        tree = config.sampler_lanes.bit_length() - 1
        beat_cycles = config.lanes // config.sampler_lanes
        return beat_cycles + GumbelNoise.LATENCY + 1 + tree + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.sampler_lanes
        state = self._generator(m)
        valid, group, ids = self._groups(m)
        temperature = Signal(factor_bits(16, hard=False), reset_less=True)
        m.d.sync += temperature.eq(as_factor(m, self.temperature, "temperature_digit", hard=False))

        logits = Signal(LOGIT_BITS * self.config.lanes, reset_less=True)
        held = Signal(_group_layout(lanes), name="group_held", reset_less=True)
        before = Signal(_group_layout(lanes), name="group_before")
        m.d.comb += before.eq(
            delay(m, group, GumbelNoise.LATENCY - 1, "group", reset_less=True))
        waiting = self._waiting(m)
        m.d.sync += [held.eq(before), logits.eq(logits >> (LOGIT_BITS * lanes))]
        with m.If(before.beat):
            m.d.sync += logits.eq(waiting)

        candidates = []
        for lane in range(lanes):
            noise = GumbelNoise()
            instantiate(m, f"noise_{lane}", "gumbel_noise", noise, platform)
            logit = logits.word_select(lane, LOGIT_BITS).as_signed()
            total = add_rows(
                m, [(logit, NOISE_SHIFT), (noise.noise_0, 0), (noise.noise_1, 0)], 0, PART_BITS,
                f"noisy_{lane}")
            candidate = Signal(self._candidate_layout(), name=f"candidate_{lane}", reset_less=True)
            m.d.comb += [noise.token.eq(ids[lane]), noise.state.eq(state),
                         noise.temperature.eq(temperature)]
            m.d.sync += [candidate.live.eq(held.live[lane]), candidate.lane.eq(lane),
                         candidate.value.eq(total[NOISE_SHIFT:])]
            candidates.append(candidate)
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
        decided = lanes.bit_length()
        self._choose(m, candidates[0],
                     delay(m, valid, GumbelNoise.LATENCY + decided, "valid"),
                     delay(m, held, decided, "group_decided", reset_less=True))
        return m

    def _waiting(self, m: Module) -> Value:
        """Return the logits when their noise is there; each beat waits in as few registers as do."""
        wait = GumbelNoise.LATENCY - self.LEAD
        arrived = delay(m, self.beat_valid, self.LEAD, "arrived")
        waiting = self.logits
        for i in range(0, wait, self.beat_cycles):
            register = Signal(len(self.logits), name=f"waiting_{i}", reset_less=True)
            with m.If(arrived if i == 0 else delay(m, arrived, i, f"moved_{i}")):
                m.d.sync += register.eq(waiting)
            waiting = register
        return waiting

    def _choose(self, m: Module, candidate: data.View, valid: Signal, group: Signal) -> None:
        """Keep the best of a vector's groups; count the groups for its id."""
        lanes = self.config.sampler_lanes
        now = Signal(_group_layout(lanes), name="group_now")
        best = Signal(data.StructLayout({"live": 1, "token": TOKEN_BITS,
                                         "value": signed(VALUE_BITS)}), reset_less=True)
        lane_bits = lanes.bit_length() - 1
        groups = Signal(TOKEN_BITS - lane_bits, reset_less=True)
        index = Mux(now.first, self._first_group, groups)
        token = Signal(TOKEN_BITS)
        replace = Signal()
        m.d.comb += [
            now.eq(group), token.eq(Cat(candidate.lane[:lane_bits], index)),
            replace.eq(now.first | self._beats(candidate, best)),
        ]
        m.d.sync += self.done.eq(valid & now.last)
        with m.If(valid):
            m.d.sync += groups.eq(index + 1)
            with m.If(replace):
                m.d.sync += [best.live.eq(candidate.live), best.token.eq(token),
                             best.value.eq(candidate.value)]
            with m.If(now.last):
                live = Mux(replace, candidate.live, best.live)
                m.d.sync += self.token.eq(Mux(live, Mux(replace, token, best.token), 0))
                if self.config.network is not None:
                    m.d.sync += [self.best.live.eq(live),
                                 self.best.token.eq(Mux(replace, token, best.token)),
                                 self.best.value.eq(Mux(replace, candidate.value, best.value))]

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

    def _groups(self, m: Module) -> tuple[Signal, data.View, list[Value]]:
        """Cut announced beats into groups of ``sampler_lanes`` ids, one per cycle."""
        lanes, groups = self.config.sampler_lanes, self.beat_cycles
        lane_bits = lanes.bit_length() - 1
        count = Signal(TOKEN_BITS - lane_bits, reset_less=True)
        live = Signal(range(self.config.lanes + 1), reset_less=True)
        beat, first, last = (Signal(name=name, reset_less=True)
                             for name in ("beat_begins", "vector_begins", "vector_ends"))
        left = Signal(range(groups + 1))
        valid = Signal()
        m.d.comb += valid.eq(left != 0)
        #: Group of the vector's first id.
        self._first_group: Value = Const(0)
        if self.config.network is not None:
            # Kept until the vector's first group is compared.
            self._first_group = Signal(len(count), reset_less=True)
            first_group = self.base << ((SHARE_UNIT - 1).bit_length() - lane_bits)
            with m.If(self.beat_valid & self.first):
                m.d.sync += self._first_group.eq(first_group)
        with m.If(valid):
            m.d.sync += [left.eq(left - 1), count.eq(count + 1), beat.eq(0), first.eq(0),
                         live.eq(Mux(live > lanes, live - lanes, 0))]
        with m.If(self.beat_valid):
            m.d.sync += [left.eq(groups), live.eq(self.live), beat.eq(1), first.eq(self.first),
                         last.eq(self.last)]
            with m.If(self.first):
                m.d.sync += count.eq(0 if self.config.network is None else first_group)
        ids: list[Value] = [Cat(Const(lane, lane_bits), count) for lane in range(lanes)]
        group = Signal(_group_layout(lanes), name="group_announced")
        m.d.comb += [
            group.beat.eq(beat), group.first.eq(first), group.last.eq(last & (left == 1)),
            group.live.eq(Cat(live > lane for lane in range(lanes))),
        ]
        return valid, group, [id_[:16] for id_ in ids]

    def _candidate_layout(self) -> data.StructLayout:
        return data.StructLayout({"live": 1, "lane": range(max(2, self.config.sampler_lanes)),
                                  "value": signed(VALUE_BITS)})

    @staticmethod
    def _beats(challenger: data.View, holder: data.View) -> Value:
        return challenger.live & (~holder.live | (challenger.value > holder.value))
