"""The vector unit's datapath: from words of the source memories to int8 beats and scales."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import balanced_sum
from hw.config import ChipletConfig
from hw.control.isa import row_scale_layout
from hw.emit import instantiate
from hw.memory.sram import Sram
from hw.vector.beat_issuer import BEAT_BITS, beat_layout
from hw.vector.exponential_lane import ExponentialLane
from hw.vector.probability_sum import ProbabilitySum
from hw.vector.quantize_lane import QuantizeLane
from hw.vector.reciprocal_root import ReciprocalRoot
from hw.vector.reduction import LargestMagnitude, ScaledEpsilon, SumOfSquares
from hw.vector.schedule import temporary_beats, tree_cycles
from hw.vector.transform_pair import TransformPair
from hw.vector.vector_scale import VectorScale

#: Beats that have been issued 0 to 5 cycles ago.
ISSUED_BEATS = 6


def operation_layout() -> data.StructLayout:
    """Return one flag per operation; ``rope`` is set for queries and for keys."""
    return data.StructLayout({"norm": 1, "rope": 1, "key": 1, "softmax": 1, "swiglu": 1})


def delay_beats(m: Module, beat: data.View, cycles: int, stop: Value, name: str) -> list[data.View]:
    """Return a beat as it is now and was 1 to ``cycles`` cycles ago; ``stop`` makes it invalid."""
    beats = [beat]
    for i in range(cycles):
        stage = Signal(beat_layout(), name=f"{name}_{i + 1}")
        m.d.sync += [stage.eq(beats[-1]), stage.valid.eq(beats[-1].valid & ~stop)]
        beats.append(stage)
    return beats


class VectorDatapath(wiring.Component):
    """Arithmetic of all operations, shared: one transform and one quantizing multiplier per lane.

    NORM and the second pass of RoPE and SWIGLU quantize a beat per cycle. The first pass of these
    two transforms the even lanes of a beat in one cycle and the odd lanes in the next, into a
    temporary memory, and finds the largest magnitude. The squares of NORM use its multipliers.

    Ports:
        ``operation``, ``beats`` (of a segment), ``epsilon``: held during a command.
        ``stop``: let no beat go on.
        ``issued``: the beats of 0 to 5 cycles ago. A source word comes one cycle after its request:
        ``result_data`` of beat ``issued[1]`` (and of ``up`` for ``issued[4]``), ``rope_data`` and,
        for a segment's first beat, ``maximum_data`` of ``issued[1]``, ``residual_data`` of
        ``issued[2]`` (requested one cycle after issue).
        ``visible_left``: of beat ``issued[2]``, the row's last visible position minus that of
        lane 0; lanes up to it count.
        ``writing``: the beat whose bytes are in ``q`` two cycles later; ``saturations``: of those in
        ``q``, clipped ones.
        ``scaled``: with ``last``, the ``row_scale`` and ``key_multiplier`` of a segment of RoPE or
        SWIGLU are there. ``softmax_scale``: ProbabilitySum.LATENCY + 2 cycles after the segment's
        last ``writing`` beat. ``norm_last``: NORM's ``root_start`` for this segment follows.
        ``root_start``, ``root_done``, ``root_scale``, ``root_busy``: NORM's row scale.
    Latency and throughput: hw/vector/schedule.py.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        L = config.lanes
        super().__init__({
            "operation": In(operation_layout()), "beats": In(BEAT_BITS), "epsilon": In(32),
            "stop": In(1), "issued": In(data.ArrayLayout(beat_layout(), ISSUED_BEATS)),
            "visible_left": In(signed(16)),
            "result_data": In(16 * L), "rope_data": In(16 * L), "residual_data": In(32 * L),
            "maximum_data": In(32),
            "writing": Out(beat_layout()), "q": Out(8 * L), "saturations": Out(range(L + 1)),
            "scaled": Out(beat_layout()), "row_scale": Out(row_scale_layout()),
            "key_multiplier": Out(16), "softmax_scale": Out(row_scale_layout()),
            "norm_last": Out(beat_layout()), "root_start": Out(1), "root_done": Out(1),
            "root_busy": Out(1), "root_scale": Out(row_scale_layout()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._source(m)
        self._beats(m)
        results = self._transform(m, platform)
        self._reduce(m, results)
        x = self._second_source(m, results)
        self._quantize(m, platform, x)
        return m

    def _source(self, m: Module) -> None:
        """Register the operands: words of result and RoPE memory, and of NORM what is squared.

        The table's register holds ``up`` in SWIGLU. In a beat's second cycle neighbouring lanes
        change places, so that the even lane is always the one whose turn it is.
        """
        width, operation = 16 * self.config.lanes, self.operation
        self._word = Signal(width, reset_less=True)
        self._table = Signal(width, reset_less=True)
        self._normalizing = Signal(width)
        two_cycles = operation.rope | operation.swiglu
        # RoPE's memory holds its word for the beat's second cycle. While nothing is issued the
        # memories' words stay, and so does what is loaded.
        with m.If(operation.norm):
            m.d.sync += [self._word.eq(self._normalizing), self._table.eq(self._normalizing)]
        with m.Else():
            m.d.sync += self._word.eq(Mux(self.issued[2].valid & two_cycles,
                                          self._swapped(self._word), self.result_data))
            with m.If(operation.rope):
                m.d.sync += self._table.eq(self.rope_data)
            with m.Else():
                m.d.sync += self._table.eq(Mux(self.issued[5].valid & operation.swiglu,
                                               self._swapped(self._table), self.result_data))

    def _swapped(self, word: Value) -> Value:
        return Cat(word.word_select(i ^ 1, 16) for i in range(self.config.lanes))

    def _beats(self, m: Module) -> None:
        """Follow a beat: its transform, its normalization, its write."""
        tree = tree_cycles(self.config)
        operation = self.operation
        transform = Signal(beat_layout(), name="transform_0")
        m.d.comb += [
            transform.eq(
                Mux(operation.swiglu, self.issued[5].as_value(), self.issued[2].as_value())),
            transform.valid.eq(Mux(operation.swiglu, self.issued[5].valid,
                                   self.issued[2].valid & operation.rope)),
        ]
        self._transformed = delay_beats(m, transform, 3 + tree, self.stop, "transform")

        # The second pass begins with the last beat of the first, when all but the last comparison
        # is done: the scale is there when the memory's first word is.
        end = self._transformed[2 + tree]
        running = Signal()
        left = Signal(BEAT_BITS, reset_less=True)
        held = Signal(beat_layout(), name="second_pass_held", reset_less=True)
        begin = end.valid & end.last
        normalize = Signal(beat_layout(), name="normalize_0")
        with m.If(operation.norm):
            m.d.comb += normalize.eq(self.issued[1])
        with m.Elif(begin):
            m.d.comb += [normalize.eq(end), normalize.last.eq(self.beats == 1),
                         normalize.final.eq(end.final & (self.beats == 1))]
        with m.Else():
            m.d.comb += [normalize.eq(held), normalize.valid.eq(running & ~self.stop),
                         normalize.last.eq(left == 1), normalize.final.eq(held.final & (left == 1))]
        with m.If(begin):
            m.d.sync += [running.eq(self.beats != 1), left.eq(self.beats - 1), held.eq(end)]
        with m.Elif(running):
            m.d.sync += [running.eq(left != 1), left.eq(left - 1)]
        with m.If(self.stop):
            m.d.sync += running.eq(0)
        self._normalized = delay_beats(m, normalize, 5, self.stop, "normalize")
        # The squares of NORM's last beat outlive the command.
        squared = Signal(beat_layout(), name="squared_0")
        m.d.comb += [squared.eq(self._normalized[4]),
                     squared.valid.eq(self._normalized[4].valid & operation.norm)]
        self._squared = delay_beats(m, squared, 1 + tree, self.stop, "squared")
        m.d.comb += [
            self.writing.eq(Mux(operation.softmax, self.issued[2].as_value(),
                                self._normalized[3].as_value())),
            self.norm_last.eq(self._normalized[3]),
            self.norm_last.valid.eq(
                operation.norm & self._normalized[3].valid & self._normalized[3].last),
        ]

    def _transform(self, m: Module, platform: object) -> list[Value]:
        """Return the results of RoPE, SwiGLU or squares: one per pair of lanes and cycle."""
        results = []
        for i in range(self.config.lanes // 2):
            pair = TransformPair(hard=self.config.hard_multipliers)
            instantiate(m, f"pair_{i}", "transform_pair", pair, platform)
            m.d.comb += [
                pair.rope.eq(self.operation.rope), pair.swiglu.eq(self.operation.swiglu),
                pair.subtract.eq(self.operation.rope & self._transformed[0].valid),
                pair.x.eq(self._word.word_select(2 * i, 16)),
                pair.y.eq(self._word.word_select(2 * i + 1, 16)),
                pair.table_0.eq(self._table.word_select(2 * i, 16)),
                pair.table_1.eq(self._table.word_select(2 * i + 1, 16)),
            ]
            results.append(pair.result)
        return results

    def _reduce(self, m: Module, results: list[Value]) -> None:
        """Find the largest magnitude, or add the squares, and make the scales."""
        tree = tree_cycles(self.config)
        even, odd = self._transformed[1 + tree], self._transformed[2 + tree]
        square, start = self._squared[tree], self._squared[tree + 1]
        first_read = self.issued[1].valid & self.issued[1].first
        m.submodules.largest = largest = LargestMagnitude(self.config)
        m.submodules.squares = squares = SumOfSquares(self.config)
        m.submodules.epsilon_scaler = epsilon = ScaledEpsilon()
        m.submodules.scale = scale = self._scale = VectorScale()
        m.submodules.root = root = ReciprocalRoot()
        self._maximum = largest.initial_low
        operation = self.operation

        known = Signal(beat_layout(), name="magnitude_known_0")
        ready = self._transformed[3 + tree]
        m.d.comb += [
            known.eq(ready),
            known.valid.eq(ready.valid & ready.last),
        ]
        m.d.comb += [
            largest.values.eq(Cat(results)),
            largest.enable.eq(even.valid | odd.valid),
            largest.first.eq(even.valid & even.first),
            largest.load.eq(first_read & (operation.norm | operation.softmax)),
            largest.initial.eq(self.maximum_data),
            scale.magnitude.eq(largest.magnitude),
            scale.key.eq(operation.key),
            scale.load.eq(Mux(operation.norm, self.issued[2].valid & self.issued[2].first,
                              known.valid)),
            self.scaled.eq(delay_beats(m, known, 2, self.stop, "magnitude_known")[2]),
            self.row_scale.eq(scale.row_scale),
            self.key_multiplier.eq(scale.key_multiplier),
        ]

        m_of_row = Signal(5, reset_less=True)
        with m.If(self.norm_last.valid):
            m.d.sync += m_of_row.eq(scale.m)
        m.d.comb += [
            epsilon.epsilon.eq(self.epsilon), epsilon.shift.eq(scale.shift),
            squares.values.eq(Cat(results)),
            squares.first.eq(square.first),
            squares.start.eq(epsilon.scaled),
            self.root_start.eq(start.valid & start.last),
            root.start.eq(self.root_start), root.total.eq(squares.total),
            root.over.eq(squares.over), root.m.eq(m_of_row),
            self.root_done.eq(root.done),
            self.root_busy.eq(root.busy | Cat(beat.valid for beat in self._squared).any()),
            self.root_scale.eq(root.row_scale),
        ]

    def _second_source(self, m: Module, results: list[Value]) -> Signal:
        """Keep transformed beats until their scale is known; return what is to be quantized."""
        lanes, words = self.config.lanes, temporary_beats(self.config)
        m.submodules.temporary = temporary = Sram(
            words=words, bits=32 * lanes, granule_bits=32, ports="1r1w")
        write_address = Signal(range(words))
        read_address = Signal(range(words))
        even, odd = self._transformed[2], self._transformed[3]
        normalize = self._normalized[0]
        with m.If(odd.valid):
            m.d.sync += write_address.eq(write_address + 1)
        with m.If(normalize.valid & ~self.operation.norm):
            m.d.sync += read_address.eq(read_address + 1)
        m.d.comb += [
            temporary.write_address.eq(write_address),
            temporary.write_mask.eq(Cat(even.valid, odd.valid).replicate(lanes // 2)),
            temporary.write_data.eq(Cat(Cat(value, value) for value in results)),
            temporary.read_address.eq(read_address),
            temporary.read_enable.eq(normalize.valid & ~self.operation.norm),
        ]
        x = Signal(32 * lanes, reset_less=True)
        m.d.sync += x.eq(Mux(self.operation.norm, self.residual_data, temporary.read_data))
        return x

    def _quantize(self, m: Module, platform: object, x: Signal) -> None:
        """Quantize, or exponentiate; register the bytes."""
        lanes = self.config.lanes
        m.submodules.sum = total = ProbabilitySum(self.config)
        clipped = Signal(lanes, reset_less=True)
        for i in range(lanes):
            lane, exponential = QuantizeLane(), ExponentialLane()
            instantiate(m, f"quantize_{i}", "quantize_lane", lane, platform)
            instantiate(m, f"exponential_{i}", "exponential_lane", exponential, platform)
            byte = Signal(8, name=f"byte_{i}", reset_less=True)
            m.d.comb += [
                lane.x.eq(x.word_select(i, 32)),
                lane.shift.eq(self._scale.shift),
                lane.reciprocal.eq(self._scale.reciprocal),
                self._normalizing.word_select(i, 16).eq(lane.normalizing),
                exponential.score.eq(self._word.word_select(i, 16)),
                exponential.maximum.eq(self._maximum),
                exponential.visible.eq(self.visible_left >= i),
                self.q.word_select(i, 8).eq(byte),
                total.probabilities.word_select(i, 7).eq(byte),
            ]
            m.d.sync += [
                byte.eq(Mux(self.operation.softmax, exponential.probability, lane.q)),
                clipped[i].eq(lane.clipped & ~self.operation.softmax),
            ]
        count = balanced_sum(list(clipped))
        m.d.comb += [
            total.enable.eq(self.operation.softmax & self.issued[4].valid),
            total.first.eq(self.issued[4].first),
            self.softmax_scale.eq(total.row_scale),
            self.saturations.eq(Mux(self._normalized[5].valid, count, 0)),
        ]
