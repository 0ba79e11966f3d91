"""The drain below the array: requantizes, adds to the residual, keeps row maxima, writes."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import balanced_sum, delay
from hw.booth_product import as_factor, factor_bits
from hw.config import ChipletConfig
from hw.control.isa import SHARE_UNITS, Destination, Fault, Statistic, row_scale_layout
from hw.control.queue import command_in_flight_layout
from hw.emit import instantiate
from hw.matmul.drain_counter import DrainCounter, beat_layout
from hw.matmul.drain_lane import MANTISSA_BITS, MULTIPLIER_BITS, SCALE_SHIFT, SHIFT_BITS, DrainLane
from hw.matmul.residual_adder import ResidualAdder
from hw.matmul.row_statistic import RowStatistic
from hw.matmul.systolic_array import ACCUMULATOR_BITS
from hw.vector.sampler import TOKEN_BITS, Sampler

#: Commands in the drain, and those of which only the completion is on its way: one per cycle.
IN_FLIGHT = 15


class Drain(wiring.Component):
    """Takes the array's vectors beat by beat; every beat meets its multipliers and row scale.

    Ports: ``command``: one per matrix command, at the start of its issue (FIFO of two; the issue
    logic stalls when it is full); ``sums``/``column_bytes`` with their valids from the array, which
    also announces each, three cycles ahead, with ``sums_soon``/``column_soon``;
    ``stored``: pulse, a store command has written; ``token``: the token being embedded and
    ``token_valid`` when it is new, and with a network ``token_absent``: zeros take its place; memory ports (SRAM timing); ``sampler_*``: a beat of logits and,
    Sampler.LEAD cycles later, ``sampler_logits``, with a network ``sampler_base``; ``done``: a command has completed; ``clipped``:
    values saturated, two cycles after they were drained; ``fault`` with ``fault_pc``.

    Latency, counted from a beat: the cycle in which its multipliers and its row scale are
    requested, ``FIRST_BEAT`` cycles from its vector's valid (plus one per beat before it). Writes:
    ``WRITE``; the row maximum's: ``maximum(config)``. ``done`` of a command: ``done_latency(config)``
    from its last beat, ``shortcut(config)`` less without a row maximum. That is two cycles before
    the last write, and the write is seen by a read three cycles after ``done``: a completion takes
    two cycles to start a command, so that its first read is not earlier.
    Throughput: one beat per cycle, of logits one as often as the sampler takes it.
    Backpressure: none; the issue logic spaces vectors by at least their beats.

    NORM writes its row scale at most ``steps + LATE_SCALE`` cycles after its ``done``
    (hw/vector/schedule.py). A command that waits for it starts two cycles after ``done`` and its
    first wave comes two more later, the vector ``steps + 4`` later, so the row scale is requested
    at least ``steps + 6`` after ``done`` (tests/test_timing.py holds the two together).
    """

    #: From a vector at ``sums_valid`` to its first beat, which comes before it.
    FIRST_BEAT = -2
    #: From the beat to its multipliers (SRAM and register), the lanes' input.
    FETCH = 2
    #: From the beat to what the lanes make of it.
    DRAINED = FETCH + DrainLane.LATENCY
    #: From the beat to the value that is written.
    WRITE = DRAINED + 1
    #: ``done`` comes before the last write: its reader needs three cycles to arrive.
    EARLY = 2

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__({
            "command": In(command_in_flight_layout()), "command_valid": In(1),
            "command_ready": Out(1), "idle": Out(1), "alone": Out(1),
            "sums": In(ACCUMULATOR_BITS * config.columns), "sums_soon": In(1), "sums_valid": In(1),
            "column_bytes": In(8 * config.rows), "column_soon": In(1), "column_valid": In(1),
            "stored": In(1), "token": In(TOKEN_BITS), "token_valid": In(1),
            **({} if config.network is None else {
                "token_absent": In(1), "sampler_base": Out(range(SHARE_UNITS))}),
            "multiplier_address": Out(range(config.multiplier_beats)), "multiplier_enable": Out(1),
            "multiplier_data": In(16 * lanes),
            "row_scale_address": Out(range(config.row_slots)), "row_scale_enable": Out(1),
            "row_scale_data": In(row_scale_layout()),
            "residual_address": Out(range(config.residual_beats)), "residual_enable": Out(1),
            "residual_data": In(32 * lanes),
            "residual_write_address": Out(range(config.residual_beats)), "residual_write": Out(1),
            "residual_write_data": Out(32 * lanes),
            "result_address": Out(range(config.result_beats)), "result_write": Out(1),
            "result_data": Out(16 * lanes),
            "output_address": Out(range(config.output_words)),
            "output_mask": Out(config.row_beats), "output_data": Out(8 * config.rows),
            "maximum_address": Out(range(config.row_slots)), "maximum_write": Out(1),
            "maximum_data": Out(signed(32)),
            "sampler_valid": Out(1), "sampler_first": Out(1), "sampler_last": Out(1),
            "sampler_live": Out(range(lanes + 1)), "sampler_logits": Out(32 * lanes),
            "done": Out(1), "clipped": Out(range(lanes + 1)),
            "fault": Out(Fault), "fault_pc": Out(12),
        })

    @staticmethod
    def shortcut(config: ChipletConfig) -> int:
        """Cycles earlier in which a command without a row maximum is done."""
        return RowStatistic.latency(config)

    @classmethod
    def maximum(cls, config: ChipletConfig) -> int:
        """Cycles from a row's last beat to the write of its maximum."""
        return cls.WRITE + RowStatistic.latency(config)

    @classmethod
    def done_latency(cls, config: ChipletConfig) -> int:
        """Cycles from the last beat of a command with a row maximum to ``done``."""
        return cls.maximum(config) - cls.EARLY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        m.submodules.counter = counter = DrainCounter(config)
        m.d.comb += [
            counter.command.eq(self.command), counter.command_valid.eq(self.command_valid),
            self.command_ready.eq(counter.command_ready), counter.stored.eq(self.stored),
        ]
        # A vector's beats are counted before it is here, in logits as often as the sampler takes them.
        remaining = Signal(range(max(config.row_beats, config.column_beats) + 1))
        gap = Signal(range(lanes // config.sampler_lanes))
        step = Signal()
        m.d.comb += [step.eq((remaining != 0) & (gap == 0)), counter.step.eq(step)]
        with m.If(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        with m.If(step):
            m.d.sync += remaining.eq(remaining - 1)
            with m.If(counter.paces_sampler):
                m.d.sync += gap.eq(lanes // config.sampler_lanes - 1)
        with m.If(self.sums_soon):
            m.d.sync += remaining.eq(config.column_beats)
        with m.Elif(self.column_soon):
            m.d.sync += remaining.eq(config.row_beats)

        beats: list[data.View] = [counter.beat]
        valids = [counter.beat_valid]
        for i in range(1, self.maximum(config) + 1):
            beat = Signal(beat_layout(config), name=f"beat_{i}", reset_less=True)
            valid = Signal(name=f"beat_valid_{i}")
            m.d.sync += [beat.eq(beats[-1]), valid.eq(valids[-1])]
            beats.append(beat)
            valids.append(valid)

        def masked(cycle: int) -> list[Value]:
            """Return which lanes do not count, ``cycle`` cycles after the beat."""
            return [beats[cycle].seen <= i for i in range(lanes)]

        advance = delay(m, step, self.FETCH + 1, "advance")
        values, lane_clips = self._lanes(m, platform, counter, beats, advance, masked)

        # Residual: the old beat arrives with the drained one.
        m.submodules.adder = adder = ResidualAdder(config, len(counter.beat.address))
        read = self.DRAINED - ResidualAdder.READ_AHEAD
        adds = valids[read] & (beats[read].destination == Destination.RESIDUAL_ADD)
        m.d.comb += [
            self.residual_address.eq(beats[read].address), self.residual_enable.eq(adds),
            adder.old.eq(self.residual_data), adder.beat.eq(beats[read].address),
            adder.adds.eq(adds),
            adder.writes.eq(valids[read] & self._to_residual(beats[read].destination)),
            *(adder.drained[i].eq(values[i]) for i in range(lanes)),
        ]
        hidden, magnitude = Signal(lanes, reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            hidden.eq(Cat(masked(self.WRITE - 1))),
            magnitude.eq(beats[self.WRITE - 1].statistic == Statistic.MAGNITUDE),
        ]
        m.d.sync += self.clipped.eq(balanced_sum([
            clip & ~hide & valids[self.DRAINED]
            for clip, hide in zip(lane_clips, masked(self.DRAINED), strict=True)]))
        self._writes(m, counter, beats, valids, adder)

        # Row statistic.
        last = self.maximum(config)
        m.submodules.statistic = statistic = RowStatistic(config)
        final = Signal()
        m.d.sync += final.eq(valids[last - 1] & beats[last - 1].row_last
                             & (beats[last - 1].statistic != Statistic.NONE))
        m.d.comb += [
            statistic.values.eq(adder.sums), statistic.masked.eq(hidden),
            statistic.magnitude.eq(magnitude),
            statistic.valid.eq(valids[last - 1]), statistic.first.eq(beats[last - 1].row_first),
            self.maximum_address.eq(beats[last].maximum), self.maximum_write.eq(final),
            self.maximum_data.eq(statistic.maximum),
        ]

        self._completion(m, counter)
        with m.If(self.fault == Fault.NONE):
            m.d.sync += [self.fault.eq(counter.fault), self.fault_pc.eq(counter.fault_pc)]
        return m

    def _lanes(
        self, m: Module, platform: object, counter: DrainCounter, beats: list[data.View],
        advance: Value, masked: Callable[[int], list[Value]],
    ) -> tuple[list[Value], list[Value]]:
        """Fetch the multipliers and the row scale; return what the lanes make of the beat."""
        config, lanes = self.config, self.config.lanes
        # An embedded token brings its own row scale.
        lane_bits = (lanes - 1).bit_length()
        m.d.comb += [
            self.multiplier_address.eq(Mux(
                self.token_valid, counter.token_scale + (self.token >> lane_bits),
                counter.beat.multiplier)),
            self.multiplier_enable.eq(self.token_valid | counter.step),
            self.row_scale_address.eq(counter.beat.row_scale),
            self.row_scale_enable.eq(counter.step),
        ]
        multipliers = Signal(MULTIPLIER_BITS * lanes, name="fetched_multipliers", reset_less=True)
        token_row_scale = Signal(row_scale_layout(), reset_less=True)
        row_scale = Signal(row_scale_layout())
        exponent = Signal.like(row_scale.exponent, name="fetched_exponent", reset_less=True)
        hard = config.hard_multipliers
        mantissa = Signal(factor_bits(MANTISSA_BITS, hard=hard), reset_less=True)
        # A few gates between a memory and its register: the lanes have no time for them.
        m.d.comb += row_scale.eq(
            Mux(beats[self.FETCH - 1].embed, token_row_scale, self.row_scale_data))
        m.d.sync += [
            multipliers.eq(self.multiplier_data), exponent.eq(row_scale.exponent),
            mantissa.eq(as_factor(m, row_scale.mantissa, "mantissa_digit", hard=hard)),
        ]
        with m.If(delay(m, self.token_valid, self.FETCH, "token_fetched")):
            own = multipliers.word_select(self.token[:lane_bits], MULTIPLIER_BITS)
            if config.network is not None:
                own = Mux(self.token_absent, 0, own)
            m.d.sync += token_row_scale.as_value().eq(own)

        # Total shift, from the row scale's exponent.
        wanted = Signal(signed(10))
        shift = Signal(SHIFT_BITS)
        top = (1 << SHIFT_BITS) - 1
        m.d.comb += [
            wanted.eq(beats[self.FETCH].shift - exponent - SCALE_SHIFT),
            shift.eq(Mux(wanted < 0, 0, Mux(wanted > top, top, wanted))),
        ]
        shift = delay(m, shift, DrainLane.SHIFT_DELAY, "shift", reset_less=True)

        saturates = self.FETCH + DrainLane.DESTINATION_DELAY
        is_result = beats[saturates].destination == Destination.RESULT
        hidden = masked(saturates)
        values, clips = [], []
        for i in range(lanes):
            lane = DrainLane(config)
            instantiate(m, f"lane_{i}", "tessera_drain_lane", lane, platform)
            m.d.comb += [
                lane.sums.eq(Cat(*(self.sums.word_select(i + j * lanes, ACCUMULATOR_BITS)
                                   for j in range(config.column_beats)))),
                lane.bytes.eq(Cat(*(self.column_bytes.word_select(i + j * lanes, 8)
                                    for j in range(config.row_beats)))),
                lane.load_sums.eq(self.sums_valid), lane.load_bytes.eq(self.column_valid),
                lane.advance.eq(advance),
                lane.multiplier.eq(multipliers.word_select(i, MULTIPLIER_BITS)),
                lane.mantissa.eq(mantissa), lane.shift.eq(shift),
                lane.destination.eq(beats[saturates].destination),
                lane.hide.eq(hidden[i] & is_result),
            ]
            values.append(lane.value)
            clips.append(lane.clipped)
        return values, clips

    @staticmethod
    def _to_residual(destination: Value) -> Value:
        return ((destination == Destination.RESIDUAL_SET)
                | (destination == Destination.RESIDUAL_ADD)
                | (destination == Destination.LOGITS))

    def _writes(self, m: Module, counter: DrainCounter, beats: list[data.View],
                valids: list[Signal], adder: ResidualAdder) -> None:
        """Write the sums where the command says; what selects the place is in registers."""
        config, lanes = self.config, self.config.lanes
        beat, valid = beats[self.WRITE - 1], valids[self.WRITE - 1]
        part_bits = (config.row_beats - 1).bit_length()
        part = beat.address[:part_bits]
        m.d.sync += [
            self.result_write.eq(valid & (beat.destination == Destination.RESULT)),
            self.output_mask.eq(Mux(valid & (beat.destination == Destination.OUTPUT),
                                    Const(1) << part, 0)),
            self.residual_write.eq(valid & self._to_residual(beat.destination)),
        ]
        results = adder.sums
        address = beats[self.WRITE].address
        m.d.comb += [
            self.result_address.eq(address), self.residual_write_address.eq(address),
            self.output_address.eq(address >> part_bits),
            self.result_data.eq(Cat(*(results[i][:16] for i in range(lanes)))),
            self.output_data.eq(Cat(*(results[i][:8] for i in range(lanes)))
                                .replicate(config.row_beats)),
            self.residual_write_data.eq(Cat(*results)), self.sampler_logits.eq(Cat(*results)),
        ]

        # The sampler knows of a beat before its logits come, and makes their noise meanwhile.
        announced = self.WRITE - Sampler.LEAD
        m.d.sync += self.sampler_valid.eq(
            valids[announced - 1] & (beats[announced - 1].destination == Destination.LOGITS))
        m.d.comb += [
            self.sampler_first.eq(beats[announced].row_first),
            self.sampler_last.eq(beats[announced].row_last),
            self.sampler_live.eq(beats[announced].seen),
        ]
        if config.network is not None:
            m.d.comb += self.sampler_base.eq(
                delay(m, counter.first_token, announced, "first_token", reset_less=True))

    def _completion(self, m: Module, counter: DrainCounter) -> None:
        """Signal completions in order.

        A command that keeps no row maximum is through earlier, unless one that does is close ahead
        of it.
        """
        early = self.shortcut(self.config)
        finished = [Signal(name=f"finished_{i}") for i in range(self.done_latency(self.config))]
        shortcut = Signal()
        m.d.comb += shortcut.eq(~counter.finished_statistic & ~Cat(finished[:early]).any())
        for i, valid in enumerate(finished):
            before = finished[i - 1] if i else counter.finished & ~shortcut
            if i == early:
                before |= counter.finished & shortcut
            m.d.sync += valid.eq(before)
        m.d.comb += self.done.eq(finished[-1])
        in_flight = Signal(range(IN_FLIGHT + 1))
        m.d.sync += in_flight.eq(
            in_flight + (self.command_valid & self.command_ready) - self.done)
        m.d.comb += [self.idle.eq(in_flight == 0), self.alone.eq(in_flight <= 1)]
