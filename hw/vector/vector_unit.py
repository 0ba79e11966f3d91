"""The vector unit: everything between two matrix products, ``lanes`` elements per cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import Fault, Opcode, vector_command_layout
from hw.vector.address_walker import AddressWalker, advance, narrow
from hw.vector.beat_issuer import BeatIssuer, beat_layout
from hw.vector.datapath import ISSUED_BEATS, VectorDatapath, delay_beats
from hw.vector.probability_sum import ProbabilitySum
from hw.vector.schedule import NORM_SPACING, norm_done_delay, segment_beats

_POSITION_BITS = 15


def _address_bits(words: int) -> int:
    return (words - 1).bit_length()


class VectorUnit(wiring.Component):
    """Runs NORM, ROPE_QUERY, ROPE_KEY, SOFTMAX and SWIGLU (docs/machine.md, section 3).

    Ports:
        ``command``: accepted while no command is under way and no fault stopped the unit.
        ``busy``: a command is under way, or a row scale of NORM is still to be written.
        ``done``: high for one cycle per command, in the cycle before its last write or later; only
        NORM's last row scale may be written up to ``config.steps + LATE_SCALE`` cycles after it
        (the array's own latency covers it).
        ``epsilon``: of NORM, held during a command.
        ``result_*``, ``residual_*``, ``maximum_*``, ``rope_*``: reads, with data one cycle later.
        ``activation_*``, ``multiplier_*``, ``row_scale_*``: writes.
        ``saturations``: bytes clipped in this cycle; 0 unless a magnitude in ``row_maxima`` is
        smaller than the row's.
        ``fault``: why the unit stopped; held until reset.

    An address beyond its memory, a command with nothing to do, or a segment of ROPE or SWIGLU
    longer than ``segment_beats`` stops the unit: the access does not happen, nor any after it.
    Latency and throughput: ``vector_cycles`` in hw/vector/schedule.py, exactly, whatever the data.
    Backpressure: memories always answer.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        L, R = config.lanes, config.rows
        super().__init__({
            "command": In(stream.Signature(vector_command_layout())),
            "busy": Out(1), "done": Out(1), "epsilon": In(32),
            "result_address": Out(_address_bits(config.result_beats)), "result_enable": Out(1),
            "result_data": In(16 * L),
            "residual_address": Out(_address_bits(config.residual_beats)),
            "residual_enable": Out(1), "residual_data": In(32 * L),
            "maximum_address": Out(_address_bits(config.row_slots)), "maximum_enable": Out(1),
            "maximum_data": In(signed(32)),
            "rope_address": Out(_address_bits(config.rope_beats)), "rope_enable": Out(1),
            "rope_data": In(16 * L),
            "activation_address": Out(_address_bits(config.activation_words)),
            "activation_mask": Out(config.row_beats), "activation_data": Out(8 * R),
            "multiplier_address": Out(_address_bits(config.multiplier_beats)),
            "multiplier_mask": Out(L), "multiplier_data": Out(16 * L),
            "row_scale_address": Out(_address_bits(config.row_slots)), "row_scale_enable": Out(1),
            "row_scale_data": Out(16),
            "saturations": Out(range(L + 1)), "fault": Out(Fault),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.datapath = datapath = VectorDatapath(self.config)
        self._datapath, self._operation = datapath, datapath.operation
        config = self.config
        #: Bits of an address within each memory; one more says that it is beyond.
        self._bits = {
            "source": _address_bits(max(config.result_beats, config.residual_beats)),
            "activation": _address_bits(config.activation_words * config.row_beats),
            "slot": _address_bits(config.row_slots), "rope": _address_bits(config.rope_beats),
            "multiplier": _address_bits(config.multiplier_beats),
        }
        self._faults: list[tuple[Value, Fault]] = []
        self._stopped = Signal()
        self._accept(m)
        self._connect(m)
        self._source_addresses(m)
        self._write_activations(m)
        self._write_scales(m)
        self._finish(m)
        return m

    def _accept(self, m: Module) -> None:
        """Take a command, and issue its beats."""
        payload = self.command.payload
        self._active = Signal()
        self._start = Signal()
        m.d.comb += [
            self.command.ready.eq(~self._active & ~self._stopped),
            self._start.eq(self.command.valid & self.command.ready),
        ]
        layout = payload.shape()
        # Descriptors that stay in use during a command, of addresses as many bits as needed.
        bits = self._bits
        narrowed = {
            "beats": layout["beats"].width,
            "src_row_stride": bits["source"], "src_segment_stride": bits["source"],
            "src_up": bits["source"], "dst_row_stride": bits["activation"],
            "dst_segment_stride": bits["activation"], "row_scale_stride": bits["slot"],
            "key_scale": bits["multiplier"], "key_scale_stride": bits["multiplier"],
        }
        self._held = {name: Signal(size + 1, name=name, reset_less=True)
                      for name, size in narrowed.items()}
        opcode = payload.opcode
        rope = (opcode == Opcode.ROPE_QUERY) | (opcode == Opcode.ROPE_KEY)
        swiglu = opcode == Opcode.SWIGLU
        operation = Signal(self._operation.shape(), reset_less=True, name="held_operation")
        with m.If(self._start):
            m.d.sync += [
                self._active.eq(1),
                *(register.eq(narrow(payload[name], size))
                  for (name, register), size in zip(self._held.items(), narrowed.values(),
                                                    strict=True)),
                operation.norm.eq(opcode == Opcode.NORM), operation.rope.eq(rope),
                operation.key.eq(opcode == Opcode.ROPE_KEY),
                operation.softmax.eq(opcode == Opcode.SOFTMAX), operation.swiglu.eq(swiglu),
            ]
        m.d.comb += self._operation.eq(operation)
        with m.If(self.done):
            m.d.sync += self._active.eq(0)
        empty = (payload.rows == 0) | (payload.segments == 0) | (payload.beats == 0)
        too_long = (rope | swiglu) & (payload.beats > segment_beats(self.config))
        self._faults += [(self._start & empty, Fault.EMPTY_COMMAND),
                         (self._start & too_long, Fault.RESULT_ADDRESS)]

        m.submodules.issuer = issuer = BeatIssuer(NORM_SPACING)
        for name in ("rows", "segments"):
            held = Signal(layout[name].shape, name=name, reset_less=True)
            with m.If(self._start):
                m.d.sync += held.eq(payload[name])
            m.d.comb += getattr(issuer, name).eq(Mux(self._start, payload[name], held))
        m.d.comb += [
            issuer.start.eq(self._start), issuer.stop.eq(self._stopped),
            issuer.beats.eq(Mux(self._start, payload.beats, self._held["beats"])),
            issuer.two_cycles.eq(operation.rope | operation.swiglu),
            issuer.spaced.eq(operation.norm),
        ]
        self._issued = delay_beats(m, issuer.beat, ISSUED_BEATS - 1, self._stopped, "issued")

    def _connect(self, m: Module) -> None:
        datapath = self._datapath
        m.d.comb += [
            *(datapath.issued[i].eq(beat) for i, beat in enumerate(self._issued)),
            datapath.beats.eq(self._held["beats"]), datapath.epsilon.eq(self.epsilon),
            datapath.stop.eq(self._stopped),
            datapath.result_data.eq(self.result_data), datapath.rope_data.eq(self.rope_data),
            datapath.residual_data.eq(self.residual_data),
            datapath.maximum_data.eq(self.maximum_data),
            self.saturations.eq(datapath.saturations),
        ]

    def _request(self, m: Module, wanted: Value, address: Value, words: int, fault: Fault) -> Value:
        """Return whether a wanted access is within its memory; note the fault if it is not."""
        inside = address < words
        self._faults.append((wanted & ~inside, fault))
        return wanted & inside & ~self._stopped

    def _source_addresses(self, m: Module) -> None:
        """Request source beats, magnitudes or maxima, and RoPE table beats."""
        config, operation, issued, held = self.config, self._operation, self._issued, self._held
        payload = self.command.payload
        bits = self._bits["source"]
        m.submodules.source = source = AddressWalker(bits)
        m.d.comb += [
            source.start.eq(self._start), source.base.eq(narrow(payload.src, bits)),
            source.row_stride.eq(held["src_row_stride"]),
            source.segment_stride.eq(held["src_segment_stride"]),
            # NORM reads a cycle after issue, and RoPE and SWIGLU have two cycles.
            source.beat.eq(Mux(operation.softmax, issued[0].as_value(), issued[1].as_value())),
        ]
        # SWIGLU reads the beat of up three cycles after the gate's, when the port is free.
        up_address = Signal(bits + 1, reset_less=True)
        with m.If(source.beat.valid):
            m.d.sync += up_address.eq(advance(source.address, held["src_up"]))
        up = operation.swiglu & issued[3].valid
        result_address = Signal(bits + 1)
        m.d.comb += [
            result_address.eq(Mux(up, up_address, source.address)),
            self.result_address.eq(result_address),
            self.result_enable.eq(self._request(
                m, up | (issued[0].valid & ~operation.norm), result_address, config.result_beats,
                Fault.RESULT_ADDRESS)),
            self.residual_address.eq(source.address),
            self.residual_enable.eq(self._request(
                m, issued[1].valid & operation.norm, source.address, config.residual_beats,
                Fault.RESIDUAL_ADDRESS)),
        ]

        maximum = Signal(self._bits["slot"] + 1, reset_less=True)
        read_maximum = issued[0].valid & issued[0].first & (operation.norm | operation.softmax)
        with m.If(self._start):
            m.d.sync += maximum.eq(narrow(payload.maximum, self._bits["slot"]))
        with m.Elif(read_maximum):
            m.d.sync += maximum.eq(advance(maximum, Const(1)))
        m.d.comb += [
            self.maximum_address.eq(maximum),
            self.maximum_enable.eq(
                self._request(m, read_maximum, maximum, config.row_slots, Fault.ROW_SLOT)),
        ]

        bits = self._bits["rope"]
        table = Signal(bits + 1, reset_less=True)
        table_row = Signal(bits + 1, reset_less=True)
        read_table = issued[0].valid & operation.rope
        next_row = Mux(issued[0].row_end, advance(table_row, held["beats"]), table_row)
        with m.If(self._start):
            m.d.sync += [table.eq(narrow(payload.table, bits)),
                         table_row.eq(narrow(payload.table, bits))]
        with m.Elif(read_table):
            m.d.sync += table.eq(advance(table, Const(1)))
            with m.If(issued[0].last):
                m.d.sync += [table.eq(next_row), table_row.eq(next_row)]
        m.d.comb += [
            self.rope_address.eq(table),
            self.rope_enable.eq(
                self._request(m, read_table, table, config.rope_beats, Fault.ROPE_ADDRESS)),
        ]

    def _write_activations(self, m: Module) -> None:
        """Check a beat's address two cycles before its bytes are there, and write it then."""
        config, held, writing = self.config, self._held, self._datapath.writing
        bits = self._bits["activation"]
        m.submodules.destination = destination = AddressWalker(bits)
        part_bits = _address_bits(config.row_beats)
        self._writing = self._request(
            m, writing.valid, destination.address, config.activation_words * config.row_beats,
            Fault.ACTIVATION_ADDRESS)
        checked = Signal(len(self.activation_address) + part_bits, reset_less=True)
        checked_valid = Signal()
        mask = Signal(config.row_beats, name="held_mask")
        m.d.sync += [
            checked.eq(destination.address), checked_valid.eq(self._writing),
            self.activation_address.eq(checked >> part_bits),
            mask.eq(Mux(checked_valid, Const(1) << checked[:part_bits], 0)),
        ]
        self._write_pending = mask.any()
        m.d.comb += [
            destination.start.eq(self._start),
            destination.base.eq(narrow(self.command.payload.dst, bits)),
            destination.row_stride.eq(held["dst_row_stride"]),
            destination.segment_stride.eq(held["dst_segment_stride"]),
            destination.beat.eq(writing),
            self.activation_mask.eq(mask & (~self._stopped).replicate(config.row_beats)),
            self.activation_data.eq(self._datapath.q.replicate(config.row_beats)),
        ]

    def _write_scales(self, m: Module) -> None:
        """Write row scales and key multipliers; count positions and slots for them."""
        config, operation, held = self.config, self._operation, self._held
        datapath, payload = self._datapath, self.command.payload
        issued, stopped = self._issued, self._stopped
        lane_bits = _address_bits(config.lanes)
        probabilities = Signal(beat_layout())
        m.d.comb += [
            probabilities.eq(datapath.writing),
            probabilities.valid.eq(operation.softmax & datapath.writing.valid),
        ]
        # A row scale is written one cycle after it is there, and its slot stepped two before.
        summed = delay_beats(m, probabilities, ProbabilitySum.LATENCY + 1, stopped,
                             "probabilities")[-1]

        # One step per segment, in the cycle in which its slot is needed.
        step = Signal(beat_layout(), name="scale_step")
        with m.If(operation.softmax):
            m.d.comb += [step.eq(summed), step.valid.eq(summed.valid & summed.last)]
        with m.Elif(operation.norm):
            m.d.comb += step.eq(datapath.norm_last)
        with m.Else():
            m.d.comb += step.eq(datapath.scaled)

        bits = self._bits["slot"]
        slot = Signal(bits + 1, reset_less=True)
        slot_row = Signal(bits + 1, reset_less=True)
        next_slot_row = advance(slot_row, held["row_scale_stride"])
        with m.If(self._start):
            m.d.sync += [slot.eq(narrow(payload.row_scale, bits)),
                         slot_row.eq(narrow(payload.row_scale, bits))]
        with m.Elif(step.valid):
            m.d.sync += slot.eq(advance(slot, Const(1)))
            with m.If(step.row_end):
                m.d.sync += [slot.eq(next_slot_row), slot_row.eq(next_slot_row)]
        in_slots = self._request(
            m, step.valid & ~operation.key, slot, config.row_slots, Fault.ROW_SLOT)

        # SOFTMAX's slot waits for the inverse of the sum; NORM's for the root: first for its start,
        # then for its end.
        slot_bits = len(self.row_scale_address)
        next_slot = Signal(slot_bits, reset_less=True)
        root_slot = Signal(slot_bits, reset_less=True)
        inverted = Signal()
        with m.If(in_slots):
            m.d.sync += next_slot.eq(slot)
        with m.If(datapath.root_start):
            m.d.sync += root_slot.eq(next_slot)
        m.d.sync += [
            self.row_scale_enable.eq(0), inverted.eq(in_slots & operation.softmax),
        ]
        with m.If(datapath.root_done):
            m.d.sync += [self.row_scale_enable.eq(~stopped), self.row_scale_address.eq(root_slot),
                         self.row_scale_data.eq(datapath.root_scale)]
        with m.Elif(inverted):
            m.d.sync += [self.row_scale_enable.eq(~stopped), self.row_scale_address.eq(next_slot),
                         self.row_scale_data.eq(datapath.softmax_scale)]
        with m.Elif(in_slots & (operation.rope | operation.swiglu)):
            m.d.sync += [self.row_scale_enable.eq(1), self.row_scale_address.eq(slot),
                         self.row_scale_data.eq(datapath.row_scale)]
        self._scaling = step
        self._scaling_valid = in_slots

        position = Signal(_POSITION_BITS, reset_less=True)
        left = Signal(signed(_POSITION_BITS + 1), reset_less=True)
        scores = issued[2]
        row_done = Mux(operation.softmax, scores.valid & scores.last & scores.row_end,
                       step.valid & step.row_end)
        next_position = position + 1
        with m.If(self._start):
            m.d.sync += [position.eq(payload.position), left.eq(payload.position)]
        with m.Else():
            with m.If(row_done):
                m.d.sync += position.eq(next_position)
            with m.If(scores.valid):
                m.d.sync += left.eq(Mux(left < 0, left, left - config.lanes))
                with m.If(scores.last):
                    m.d.sync += left.eq(Mux(scores.row_end, next_position, position))
        m.d.comb += datapath.visible_left.eq(left)

        bits = self._bits["multiplier"]
        key_segment = Signal(bits + 1, reset_less=True)
        key_address = Signal(bits + 1)
        m.d.comb += key_address.eq(advance(key_segment, position[lane_bits:]))
        write_key = self._request(m, step.valid & operation.key, key_address,
                                  config.multiplier_beats, Fault.MULTIPLIER_ADDRESS)
        with m.If(self._start):
            m.d.sync += key_segment.eq(narrow(payload.key_scale, bits))
        with m.Elif(step.valid):
            m.d.sync += key_segment.eq(
                Mux(step.row_end, held["key_scale"], advance(key_segment, held["key_scale_stride"])))
        key_multiplier = Signal(16, reset_less=True)
        m.d.sync += [
            self.multiplier_mask.eq(Mux(write_key, Const(1) << position[:lane_bits], 0)),
            self.multiplier_address.eq(key_address),
            key_multiplier.eq(datapath.key_multiplier),
        ]
        m.d.comb += self.multiplier_data.eq(key_multiplier.replicate(config.lanes))

    def _finish(self, m: Module) -> None:
        """Tell the end of a command, or the fault that keeps it from coming."""
        operation, datapath = self._operation, self._datapath
        last = Signal(beat_layout(), name="norm_written")
        m.d.comb += [last.eq(datapath.writing), last.valid.eq(operation.norm & self._writing)]
        norm_last = delay_beats(
            m, last, norm_done_delay(self.config), self._stopped, "norm_written")[-1]
        end = Mux(operation.softmax, self._scaling_valid & self._scaling.final,
                  Mux(operation.norm, norm_last.valid & norm_last.final,
                      self._writing & datapath.writing.final))
        raised_now = Cat(raised for raised, _ in self._faults).any()
        m.d.sync += self.done.eq(self._active & end & ~self._stopped & ~raised_now)
        m.d.comb += self.busy.eq(
            self._active | self._write_pending | datapath.root_busy | self.row_scale_enable)
        for raised, fault in self._faults:
            with m.If(raised & ~self._stopped):
                m.d.sync += [self.fault.eq(fault), self._stopped.eq(1)]
