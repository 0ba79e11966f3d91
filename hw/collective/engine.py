"""The collective engine: sums, copies and choices over a ring of chips, beat by beat."""

import itertools

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import delay, larger
from hw.collective.limits import MAX_CHUNK
from hw.collective.packet import LENGTH_BITS, packet_layout
from hw.config import ChipletConfig
from hw.control.isa import Fault, Opcode, Reduction, Ring, Statistic, vector_command_layout
from hw.matmul.drain_lane import VALUE_BITS
from hw.matmul.row_statistic import RowStatistic
from hw.vector.address_walker import advance, narrow
from hw.vector.sampler import candidate_layout

RINGS = len(Ring)
#: ``done`` comes so many cycles before the last row maximum is written.
DONE_AHEAD = 1


def network_members(config: ChipletConfig) -> dict[str, wiring.Member]:
    """Return the engine's ports towards the network.

    ``arrived``: a bit for each ring of which a beat waits; ``take`` of ``take_ring``, while it does;
    ``data`` one cycle later, held; ``packet``: a stream of packets to send, and ``beat`` of their beats,
    which may come later; ``working``, ``waiting``,
    ``starved``: a command is under way, for want of a beat from the chip before, of room at the next.
    """
    assert config.network is not None
    return {
        "arrived": In(RINGS), "take": Out(1), "take_ring": Out(Ring),
        "data": In(config.network.flit_bits),
        "packet": Out(stream.Signature(packet_layout())),
        "beat": Out(stream.Signature(config.network.flit_bits)),
        "working": Out(1), "waiting": Out(1), "starved": Out(1),
    }


def _stage_layout(bits: int) -> data.StructLayout:
    """Return what is known of a beat on its way through the engine."""
    return data.StructLayout({
        "valid": 1, "receives": 1, "adds": 1, "writes": 1, "sends": 1, "row_first": 1,
        "row_last": 1, "address": bits,
    })


def first_beat_cycles() -> int:
    """Cycles from a command to the earliest issue of its first beat."""
    return 3


def last_cycles(config: ChipletConfig, *, has_maximum: bool) -> int:
    """Cycles from the issue of a command's last beat to ``done``."""
    late = max(0, RowStatistic.latency(config) - DONE_AHEAD - 2) if has_maximum else 0
    return 5 + late


class CollectiveEngine(wiring.Component):
    """Runs ALL_REDUCE, ALL_GATHER, SEND, RELAY, RECEIVE and CHOOSE (docs/collective.md).

    Ports: ``command``: taken while none is under way and no fault stopped the engine; ``busy``;
    ``done``: one cycle per command, at most one before its last write; :func:`network_members`;
    ``residual_*``, ``maximum_*``: memory ports (SRAM timing); ``candidate``: what CHOOSE offers;
    ``best``: the best of the ring, from ``done`` on; ``fault``: why the engine stopped, until reset.

    A row's chunks follow each other: each is received, read, added, written and sent as its place in
    the ring says. Latency: 3 cycles from a beat's arrival to ``beat`` and to the write. Throughput: a
    beat per cycle, and one cycle between chunks, which the packet's header takes as well.
    Backpressure: the whole pipeline stops while ``beat`` is not taken.
    Errors: an address beyond its memory, an empty chunk, or one longer than a packet stops the engine;
    the access does not happen, nor any after it.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        bits = 32 * config.lanes
        super().__init__({
            "command": In(stream.Signature(vector_command_layout(network=True))),
            "busy": Out(1), "done": Out(1), "fault": Out(Fault), **network_members(config),
            "residual_address": Out(range(config.residual_beats)), "residual_enable": Out(1),
            "residual_data": In(bits),
            "residual_write_address": Out(range(config.residual_beats)), "residual_write": Out(1),
            "residual_write_data": Out(bits),
            "maximum_address": Out(range(config.row_slots)), "maximum_write": Out(1),
            "maximum_data": Out(signed(VALUE_BITS)),
            "candidate": In(candidate_layout()), "best": Out(candidate_layout()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        #: Bits of a beat's address in the residual memory; one more says that it is beyond.
        self._bits = (config.residual_beats - 1).bit_length()
        self._problem, self._stopped = Signal(Fault), Signal()
        self._command(m)
        self._chunks(m)
        self._pipeline(m, platform)
        with m.If((self._problem != Fault.NONE) & ~self._stopped):
            m.d.sync += [self.fault.eq(self._problem), self._stopped.eq(1)]
        return m

    def _command(self, m: Module) -> None:
        """Take a command into registers."""
        payload, bits = self.command.payload, self._bits
        self._active = Signal()
        start = Signal()
        m.d.comb += [
            self.command.ready.eq(~self._active & ~self._stopped),
            start.eq(self.command.valid & self.command.ready), self.busy.eq(self._active),
            self.working.eq(self._active & ~self._stopped),
        ]
        narrowed = {"src": "row", "src_row_stride": "row_stride", "src_segment_stride": "length",
                    "dst_segment_stride": "last", "src_up": "own", "beats": "beats"}
        held = {name: Signal(bits + 1, name=name, reset_less=True) for name in narrowed.values()}
        self._row, self._row_stride, self._length, self._last, self._own, self._beats = held.values()
        self._rows, self._chips = (Signal(7, name=name, reset_less=True)
                                   for name in ("rows_left", "chips"))
        self._ring, self._statistic = Signal(Ring, reset_less=True), Signal(reset_less=True)
        self._maximizes = Signal(reset_less=True)
        self._slot = Signal((self.config.row_slots - 1).bit_length() + 1, reset_less=True)
        kinds = {"reduce": (Opcode.ALL_REDUCE,), "gather": (Opcode.ALL_GATHER,),
                 "choose": (Opcode.CHOOSE,), "from_before": (Opcode.RELAY, Opcode.RECEIVE),
                 "to_next": (Opcode.SEND, Opcode.RELAY)}
        self._is = {name: Signal(name=f"is_{name}", reset_less=True) for name in kinds}
        self._start = start
        with m.If(start):
            m.d.sync += [
                self._active.eq(1), self._rows.eq(payload.rows), self._chips.eq(payload.segments),
                *(held[name].eq(narrow(payload[field], bits)) for field, name in narrowed.items()),
                self._ring.eq(payload.ring), self._statistic.eq(payload.statistic == Statistic.MAGNITUDE),
                self._maximizes.eq(payload.reduction == Reduction.MAXIMUM),
                *(self._is[name].eq(Cat(payload.opcode == op for op in opcodes).any())
                  for name, opcodes in kinds.items()),
            ]
        with m.If(self.done):
            m.d.sync += self._active.eq(0)

    def _chunks(self, m: Module) -> None:
        """Go through the chunks of all rows, and issue their beats."""
        bits, is_ = self._bits, self._is
        on_ring = is_["reduce"] | is_["gather"]
        chunk = Signal(8)  #: number of the chunk in its row, in the order of time
        chunks = Signal(8, reset_less=True)
        offset = Signal(bits + 1, reset_less=True)
        rest = Signal(bits + 1, reset_less=True)
        address = Signal(bits + 1, reset_less=True)
        left = Signal(LENGTH_BITS, reset_less=True)
        row_first = Signal()
        stage = Signal(_stage_layout(bits), name="chunk_now", reset_less=True)
        self._enable, self._issue = Signal(), Signal()
        # Reduce: the ring's chunks but the own come to be added, then all but one to be kept.
        turn = self._chips - 1
        is_last = Signal()
        length = Signal(LENGTH_BITS)
        lacks, empty_or_long, no_slot = Signal(), Signal(), Signal()
        packet, opens = self.packet, Signal()
        with m.If(packet.ready):
            m.d.sync += packet.valid.eq(0)
        too_long = [(value == 0) | (value > MAX_CHUNK) for value in (self._length, rest)]
        m.d.comb += [
            is_last.eq(chunk + 1 == chunks),
            length.eq(Mux(is_["choose"], 1, Mux(offset == self._last, rest, self._length))),
            lacks.eq(stage.receives & ~Array(self.arrived)[self._ring.as_value()]),
            self.take_ring.eq(self._ring), self.waiting.eq(0),
            no_slot.eq(self._statistic & (self._slot + self._rows > self.config.row_slots)),
            empty_or_long.eq(~is_["choose"] & (
                (too_long[0] & (self._chips != 1)) | too_long[1] | (self._last >= self._beats))),
        ]
        self._finished = Signal()
        with m.FSM(name="engine"):
            with m.State("Rest"):
                m.d.sync += [chunk.eq(0), row_first.eq(1)]
                with m.If(self._start):
                    m.next = "Measure"
            with m.State("Measure"):
                m.d.sync += [
                    rest.eq(self._beats - self._last), offset.eq(Mux(on_ring, self._own, 0)),
                    chunks.eq(Mux(is_["reduce"], self._chips + turn, self._chips)),
                ]
                m.next = "Chunk"
            with m.State("Chunk"):
                # Of the first chunk; later ones are the same lengths.
                with m.If(empty_or_long):
                    m.d.comb += self._problem.eq(Fault.CHUNK_LENGTH)
                with m.Elif(no_slot & row_first & (chunk == 0)):
                    m.d.comb += self._problem.eq(Fault.ROW_SLOT)
                first = chunk == 0
                sends = Mux(on_ring | is_["choose"], ~is_last, is_["to_next"])
                m.d.sync += [
                    address.eq(advance(self._row, offset)), left.eq(length),
                    stage.receives.eq(Mux(on_ring | is_["choose"], ~first, is_["from_before"])),
                    stage.adds.eq(is_["reduce"] & ~first & (chunk <= turn)),
                    stage.writes.eq(Mux(is_["reduce"], chunk >= turn,
                                        is_["gather"] | is_["from_before"])),
                    stage.sends.eq(sends),
                ]
                m.d.sync += opens.eq(sends)
                with m.If(~self._stopped & ~packet.valid & (self._problem == Fault.NONE)):
                    m.next = "Beats"
            with m.State("Beats"):
                beyond = ~is_["choose"] & (address >= self.config.residual_beats)
                m.d.comb += [
                    self.waiting.eq(lacks & self._enable & ~self._stopped),
                    self._issue.eq(~lacks & self._enable & ~beyond & ~self._stopped),
                ]
                with m.If(beyond):
                    m.d.comb += self._problem.eq(Fault.RESIDUAL_ADDRESS)
                with m.If(self._issue):
                    m.d.sync += [left.eq(left - 1), address.eq(advance(address, Const(1))),
                                 opens.eq(0)]
                    # Not before a beat is here: else the packet would keep others from coming in at
                    # the next chip, while what it waits for may need them to.
                    with m.If(opens):
                        m.d.sync += [packet.valid.eq(1), packet.payload.beats.eq(left),
                                     packet.payload.ring.eq(self._ring)]
                    with m.If(stage.writes):
                        m.d.sync += row_first.eq(0)
                    with m.If(left == 1):
                        m.d.sync += [
                            chunk.eq(chunk + 1),
                            offset.eq(Mux(on_ring, Mux(offset == 0, self._last, offset - self._length),
                                          advance(offset, self._length))),
                        ]
                        m.next = "Chunk"
                        with m.If(is_last):
                            m.d.sync += [
                                chunk.eq(0), row_first.eq(1), self._rows.eq(self._rows - 1),
                                self._row.eq(advance(self._row, self._row_stride)),
                                offset.eq(Mux(on_ring, self._own, 0)),
                            ]
                            with m.If(self._rows == 1):
                                m.next = "Let the last beats pass"
            with m.State("Let the last beats pass"):
                m.d.comb += self._finished.eq(1)
                with m.If(self.done):
                    m.next = "Rest"
        self._now = Signal(_stage_layout(bits), name="issued")
        m.d.comb += [
            self._now.eq(stage), self._now.valid.eq(self._issue), self._now.address.eq(address),
            self._now.row_first.eq(row_first), self._now.row_last.eq(is_last & (left == 1)),
            self.take.eq(self._issue & stage.receives),
            self.residual_address.eq(address),
            self.residual_enable.eq(self._issue & ~is_["choose"] & (~stage.receives | stage.adds)),
        ]

    def _pipeline(self, m: Module, platform: object) -> None:
        """Memories, registers, sum; the last stage is written and sent."""
        config, lanes, choose = self.config, self.config.lanes, self._is["choose"]
        stages = [Signal(_stage_layout(self._bits), name=f"stage_{i}") for i in range(3)]
        came, own, value = (Signal(32 * lanes, name=name, reset_less=True)
                            for name in ("came", "own_beat", "value"))
        sums = []
        for i in range(lanes):
            a, b = (beats.word_select(i, 32).as_signed() for beats in (came, own))
            sums.append(Mux(self._maximizes, larger(a, b), (a + b)[:32].as_signed())[:32])
        with m.If(self._enable):
            m.d.sync += [
                stages[0].eq(self._now), stages[1].eq(stages[0]), stages[2].eq(stages[1]),
                came.eq(self.data), own.eq(Mux(choose, self.candidate.as_value(), self.residual_data)),
                value.eq(Mux(stages[1].adds, Cat(sums), Mux(stages[1].receives, came, own))),
            ]
        last = stages[2]
        leaves, writes = Signal(), Signal()
        m.d.comb += [
            self.beat.valid.eq(last.valid & last.sends), self.beat.payload.eq(value),
            self.starved.eq(self.beat.valid & ~self.beat.ready),
            self._enable.eq(~self.starved), leaves.eq(last.valid & self._enable),
            writes.eq(leaves & last.writes & ~choose),
            self.residual_write.eq(writes), self.residual_write_address.eq(last.address),
            self.residual_write_data.eq(value),
        ]
        offered = data.View(candidate_layout(), value[:candidate_layout().size])
        with m.If(leaves & choose):
            beats_best = (offered.value > self.best.value) | (
                (offered.value == self.best.value) & (offered.token < self.best.token))
            with m.If(~last.receives | (offered.live & (~self.best.live | beats_best))):
                m.d.sync += self.best.eq(offered)

        m.submodules.statistic = statistic = RowStatistic(config)
        latency = RowStatistic.latency(config)
        counted = delay(m, Cat(writes, last.row_first), latency - 1, "counted")
        ends = [Signal(name=f"row_end_{i}") for i in range(latency + 1)]
        m.d.comb += ends[0].eq(writes & last.row_last & self._statistic)
        m.d.sync += [after.eq(before) for before, after in itertools.pairwise(ends)]
        m.d.comb += [
            statistic.values.eq(value), statistic.magnitude.eq(1), statistic.masked.eq(0),
            statistic.valid.eq(counted[0]), statistic.first.eq(counted[1]),
            self.maximum_address.eq(self._slot), self.maximum_data.eq(statistic.maximum),
            self.maximum_write.eq(ends[-1] & ~self._stopped),
        ]
        with m.If(self._start):
            m.d.sync += self._slot.eq(narrow(self.command.payload.maximum, len(self._slot) - 1))
        with m.Elif(ends[-1]):
            m.d.sync += self._slot.eq(advance(self._slot, Const(1)))
        # A completion takes longer than this to let a command read the row's maximum.
        ahead = DONE_AHEAD + 2
        passing = Cat(*(stage.valid for stage in stages), *ends[:max(0, len(ends) - ahead)]).any()
        m.d.sync += self.done.eq(self._finished & ~passing & ~self.done & ~self._stopped)
