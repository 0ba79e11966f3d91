"""The drain below the array: requantizes, adds to the residual, keeps row maxima, writes."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import balanced_sum, delay, larger, reduce_balanced
from hw.config import ChipletConfig
from hw.control.isa import Destination, Fault, Statistic, row_scale_layout
from hw.control.queue import command_in_flight_layout
from hw.emit import instantiate
from hw.matmul.drain_counter import DrainCounter, beat_layout
from hw.matmul.drain_lane import MULTIPLIER_BITS, DrainLane
from hw.matmul.residual_adder import ResidualAdder
from hw.matmul.systolic_array import ACCUMULATOR_BITS
from hw.vector.sampler import Sampler

#: Value of a masked result, and least score.
MASKED_RESULT = -(1 << 15)


class Drain(wiring.Component):
    """Takes the array's vectors beat by beat; every beat meets its multipliers and row scale.

    Ports: ``command``: one per matrix command, at the start of its issue (FIFO of four; the issue
    logic stalls when it is full); ``sums``/``column_bytes`` with their valids, from the array;
    ``stored``: pulse, a store command has written; ``token``: the token being embedded and
    ``token_valid`` when it is new; memory ports (SRAM timing); ``sampler_*``: a beat
    of logits, and Sampler.LEAD cycles later ``sampler_logits``;
    ``done`` with ``event``: a command has completed; ``clipped``: values saturated this cycle;
    ``fault`` with ``fault_pc``.

    Latency: ``BEAT_DELAY + DONE`` cycles from the last vector's valid (plus its further beats) to
    ``done`` of its command, ``SHORTCUT`` fewer without a row maximum; all writes are visible to a
    read two cycles after ``done``. Throughput: one beat per cycle.
    Backpressure: none; the issue logic spaces vectors by at least their beats.
    """

    #: From a vector at ``sums_valid`` to its first beat in the drain.
    BEAT_DELAY = 1
    #: From the beat to its multipliers (SRAM and register), the lanes' input.
    FETCH = 2
    #: From the beat to the value that is written.
    WRITE = FETCH + DrainLane.LATENCY + 1
    #: From the beat to the row maximum's write.
    MAXIMUM = WRITE + 3
    #: ``done`` comes one cycle before the last write: its reader needs two to arrive.
    DONE = MAXIMUM - 1
    #: Cycles earlier in which a command without a row maximum is done.
    SHORTCUT = MAXIMUM - WRITE

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__({
            "command": In(command_in_flight_layout()), "command_valid": In(1),
            "command_ready": Out(1), "idle": Out(1), "alone": Out(1),
            "sums": In(ACCUMULATOR_BITS * config.columns), "sums_valid": In(1),
            "column_bytes": In(8 * config.rows), "column_valid": In(1), "stored": In(1),
            "token": In(17), "token_valid": In(1),
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
            "sampler_limit": Out(17), "sampler_logits": Out(32 * lanes),
            "done": Out(1), "event": Out(4), "clipped": Out(range(2 * lanes + 1)),
            "fault": Out(Fault), "fault_pc": Out(12),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        m.submodules.counter = counter = DrainCounter(config)
        m.d.comb += [
            counter.command.eq(self.command), counter.command_valid.eq(self.command_valid),
            self.command_ready.eq(counter.command_ready), counter.stored.eq(self.stored),
        ]

        held_lanes = max(config.rows, config.columns)
        held = Signal(ACCUMULATOR_BITS * held_lanes, reset_less=True)
        remaining = Signal(range(held_lanes // lanes + 1))
        # Vector to beats: the held vector shifts down by L lanes per cycle; in logits as often as
        # the sampler takes a beat.
        gap = Signal(range(lanes // config.sampler_lanes + 1))
        step = Signal()
        m.d.comb += [step.eq((remaining != 0) & (gap == 0)), counter.step.eq(step)]
        with m.If(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        with m.If(step):
            m.d.sync += [held.eq(held >> (ACCUMULATOR_BITS * lanes)), remaining.eq(remaining - 1)]
            with m.If(counter.paces_sampler):
                m.d.sync += gap.eq(lanes // config.sampler_lanes - 1)
        with m.If(self.sums_valid):
            m.d.sync += [held.eq(self.sums), remaining.eq(config.column_beats)]
        with m.If(self.column_valid):
            m.d.sync += [
                held.eq(Cat(*(self._widen(self.column_bytes.word_select(r, 8))
                              for r in range(config.rows)))),
                remaining.eq(config.row_beats),
            ]

        # Fetch multipliers and row scale; an embedded token brings its own row scale.
        beat_0 = counter.beat
        token_word = self.token >> (lanes - 1).bit_length()
        m.d.comb += [
            self.multiplier_address.eq(Mux(
                self.token_valid, counter.token_scale + token_word, beat_0.multiplier)),
            self.multiplier_enable.eq(self.token_valid | beat_0.valid),
            self.row_scale_address.eq(beat_0.row_scale), self.row_scale_enable.eq(beat_0.valid),
        ]
        fetched_multipliers = Signal(16 * lanes, reset_less=True)
        fetched_row_scale = Signal(row_scale_layout(), reset_less=True)
        token_row_scale = Signal(row_scale_layout(), reset_less=True)
        m.d.sync += [fetched_multipliers.eq(self.multiplier_data),
                     fetched_row_scale.eq(self.row_scale_data)]
        with m.If(delay(m, self.token_valid, 2, "token_fetched")):
            m.d.sync += token_row_scale.as_value().eq(
                fetched_multipliers.word_select(self.token[:(lanes - 1).bit_length()], 16))

        def at(cycle: int) -> data.View:
            """Return the beat's description ``cycle`` cycles after the beat."""
            return beats[cycle]

        beats = [beat_0]
        for i in range(self.MAXIMUM):
            following = Signal(beat_layout(config), name=f"beat_{i + 1}")
            m.d.sync += following.eq(beats[-1])
            beats.append(following)

        # Total shift, from the row scale's exponent.
        row_scale = Signal(row_scale_layout())
        m.d.comb += row_scale.eq(Mux(at(self.FETCH).embed, token_row_scale, fetched_row_scale))
        wanted = Signal(signed(10))
        shift = Signal(6)
        m.d.comb += [
            wanted.eq(at(self.FETCH).shift - row_scale.exponent),
            shift.eq(Mux(wanted < 0, 0, Mux(wanted > 63, 63, wanted))),
        ]
        shift_fine = delay(m, shift[:3], DrainLane.SHIFT_FINE_DELAY, "shift_fine")
        shift_coarse = delay(m, shift[3:], DrainLane.SHIFT_COARSE_DELAY, "shift_coarse")
        accumulators = delay(m, held[:ACCUMULATOR_BITS * lanes], self.FETCH, "beat_sums",
                             reset_less=True)

        drained = self.FETCH + DrainLane.LATENCY
        values, clips = [], []
        for i in range(lanes):
            lane = DrainLane()
            instantiate(m, f"lane_{i}", "tessera_drain_lane", lane, platform)
            m.d.comb += [
                lane.accumulator.eq(accumulators.word_select(i, ACCUMULATOR_BITS).as_signed()),
                lane.multiplier.eq(fetched_multipliers.word_select(i, MULTIPLIER_BITS)),
                lane.mantissa.eq(row_scale.mantissa),
                lane.shift_coarse.eq(shift_coarse), lane.shift_fine.eq(shift_fine),
                lane.destination.eq(at(self.FETCH + DrainLane.DESTINATION_DELAY).destination),
            ]
            values.append(lane.value)
            clips.append(lane.clipped)

        # Residual: the old beat arrives with the drained one.
        m.submodules.adder = adder = ResidualAdder(config)
        before_read = at(drained - ResidualAdder.READ_AHEAD)
        m.d.comb += [
            self.residual_address.eq(before_read.destination_beat),
            self.residual_enable.eq(before_read.valid & before_read.adds),
            adder.old.eq(self.residual_data), adder.beat.eq(at(drained).destination_beat),
            adder.adds.eq(at(drained).valid & at(drained).adds),
            adder.writes.eq(at(drained).valid & at(drained).to_residual),
        ]
        for i in range(lanes):
            m.d.comb += adder.drained[i].eq(
                Mux(at(drained).masked[i] & (at(drained).destination == Destination.RESULT),
                    MASKED_RESULT, values[i]))
        clip_count = balanced_sum([
            (clip & ~at(drained).masked[i] & at(drained).valid)
            for i in range(lanes) for clip in (clips[i], adder.clipped[i])])
        m.d.sync += self.clipped.eq(clip_count)

        written = at(self.WRITE)
        results = adder.sums
        write_ok = written.valid & ~written.suppressed
        part = written.destination_beat[:max((config.row_beats - 1).bit_length(), 1)]
        word_shift = (config.row_beats - 1).bit_length()
        narrow = Cat(*(results[i][:8] for i in range(lanes)))
        m.d.comb += [
            self.result_address.eq(written.destination_beat),
            self.result_write.eq(write_ok & (written.destination == Destination.RESULT)),
            self.result_data.eq(Cat(*(results[i][:16] for i in range(lanes)))),
            self.output_address.eq(written.destination_beat >> word_shift),
            self.output_data.eq(narrow.replicate(config.row_beats)),
            self.residual_write_address.eq(written.destination_beat),
            self.residual_write.eq(write_ok & written.to_residual),
            self.residual_write_data.eq(Cat(*results)),
            self.sampler_logits.eq(Cat(*results)),
        ]
        # The sampler knows of a beat before its logits come, and makes their noise meanwhile.
        announced = at(self.WRITE - Sampler.LEAD)
        m.d.comb += [
            self.sampler_valid.eq(announced.valid & ~announced.suppressed
                                  & (announced.destination == Destination.LOGITS)),
            self.sampler_first.eq(announced.row_first), self.sampler_last.eq(announced.row_last),
            self.sampler_limit.eq(announced.limit),
        ]
        with m.If(write_ok & (written.destination == Destination.OUTPUT)):
            m.d.comb += self.output_mask.eq(1 if config.row_beats == 1 else Const(1) << part)

        # Row statistic: a tree over the lanes in two stages, then the running maximum.
        keyed = []
        for i in range(lanes):
            value = Signal(signed(32), name=f"statistic_{i}")
            magnitude = Mux(results[i] < 0, -results[i], results[i])[:32].as_signed()
            m.d.comb += value.eq(Mux(
                written.statistic == Statistic.MAGNITUDE, magnitude,
                Mux(written.masked[i], -(1 << 31), results[i])))
            keyed.append(value)
        partial_maxima = []
        for i in range(0, lanes, 4):
            register = Signal(signed(32), name=f"maximum_of_{i}", reset_less=True)
            m.d.sync += register.eq(reduce_balanced(keyed[i:i + 4], larger))
            partial_maxima.append(register)
        beat_maximum = Signal(signed(32), reset_less=True)
        m.d.sync += beat_maximum.eq(reduce_balanced(partial_maxima, larger))
        running = Signal(signed(32), reset_less=True)
        before = at(self.MAXIMUM - 1)
        with m.If(before.valid):
            m.d.sync += running.eq(Mux(before.row_first, beat_maximum, larger(running, beat_maximum)))
        final = at(self.MAXIMUM)
        m.d.comb += [
            self.maximum_address.eq(final.maximum), self.maximum_data.eq(running),
            self.maximum_write.eq(final.valid & final.row_last & ~final.suppressed
                                  & (final.statistic != Statistic.NONE)),
        ]

        # Completion, in order. A command that keeps no row maximum is through earlier, unless one
        # that does is close ahead of it.
        finished = [(Signal(name=f"finished_{i}"), Signal(4, name=f"finished_event_{i}"))
                    for i in range(self.DONE)]
        shortcut = Signal()
        m.d.comb += shortcut.eq(~counter.finished_statistic & ~Cat(
            valid for valid, _ in finished[:self.SHORTCUT]).any())
        for i, (valid, event) in enumerate(finished):
            before = finished[i - 1] if i else (counter.finished & ~shortcut, counter.finished_event)
            m.d.sync += [valid.eq(before[0]), event.eq(before[1])]
            if i == self.SHORTCUT:
                with m.If(counter.finished & shortcut):
                    m.d.sync += [valid.eq(1), event.eq(counter.finished_event)]
        m.d.comb += [self.done.eq(finished[-1][0]), self.event.eq(finished[-1][1])]
        in_flight = Signal(8)
        m.d.sync += in_flight.eq(
            in_flight + (self.command_valid & self.command_ready) - self.done)
        m.d.comb += [self.idle.eq(in_flight == 0), self.alone.eq(in_flight <= 1)]
        with m.If(self.fault == Fault.NONE):
            m.d.sync += [self.fault.eq(counter.fault), self.fault_pc.eq(counter.fault_pc)]
        return m

    @staticmethod
    def _widen(byte: Signal) -> Signal:
        return Cat(byte, byte[7].replicate(ACCUMULATOR_BITS - 8))


