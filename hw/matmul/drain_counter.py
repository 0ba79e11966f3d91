"""Which beat the drain is at: loops of the current command, its addresses, and their checks."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import (
    MATRIX_DESCRIPTORS,
    SHARE_UNITS,
    Destination,
    Fault,
    Opcode,
    Statistic,
)
from hw.control.queue import PC_BITS, command_in_flight_layout

#: Commands between issue and drain: one that is drained, and one that waits.
COMMANDS = 2


def beat_address_bits(config: ChipletConfig) -> int:
    """Return the bits of a beat's address in the largest memory that the drain writes."""
    return (max(config.result_beats, config.residual_beats,
                config.output_words * config.row_beats) - 1).bit_length()


def beat_layout(config: ChipletConfig) -> data.StructLayout:
    """Return what the drain must know of a beat, whose addresses have been checked."""
    return data.StructLayout({
        "embed": 1, "row_first": 1, "row_last": 1,
        "multiplier": range(config.multiplier_beats), "row_scale": range(config.row_slots),
        "shift": 6, "destination": Destination, "address": beat_address_bits(config),
        "statistic": Statistic, "maximum": range(config.row_slots),
        "seen": range(config.lanes + 1),
    })


def _operand_bits(config: ChipletConfig) -> dict[str, int]:
    """Return the bits of each operand: those of the memory's addresses, and one for `beyond it`.

    An operand beyond makes any address that it is part of a fault, whatever it is exactly.
    """
    address = beat_address_bits(config) + 1
    return {
        "scale": (config.multiplier_beats - 1).bit_length() + 1,
        "maximum": (config.row_slots - 1).bit_length() + 1,
        "dst": address, "dst_row_stride": address, "dst_sub_stride": address,
        **{name: MATRIX_DESCRIPTORS[name][0] for name in ("rows", "shift", "limit")},
    }


def _clamp(operand: Value, bits: int) -> Value:
    """Return the operand in fewer bits; the top one says that it is 2**(bits - 1) at least."""
    return Cat(operand[:bits - 1], operand[bits - 1:].any()) if bits < len(operand) else operand


def _command_layout(config: ChipletConfig) -> data.StructLayout:
    """Return what the drain must know of a command."""
    bits = {name: width for name, (width, _) in MATRIX_DESCRIPTORS.items()}
    return data.StructLayout({
        "is_embed": 1, "is_store": 1, "destination": Destination, "statistic": Statistic,
        "masked": 1, "tiles": bits["n_tiles"], "subrows": bits["subrows"],
        # EMBED: where the tokens' row scales begin. Others: slot and stride.
        "row_scale": bits["row_scale"] + bits["row_scale_stride"],
        **({} if config.network is None else {"first_token": range(SHARE_UNITS)}),
        **_operand_bits(config), "pc": PC_BITS,
    })


class DrainCounter(wiring.Component):
    """Holds up to two commands; ``step`` is one beat of the oldest.

    Ports: ``command`` stream (valid/ready); ``step``: a beat is due; ``beat`` with ``beat_valid``:
    its description, in the same cycle, unless something of it is out of range; ``token_scale``: of
    the current command; ``paces_sampler``: it brings logits; ``stored``: a store command's writes
    are done; ``finished``: a command's last beat, or a store whose turn has come;
    ``finished_statistic``: it keeps row maxima; ``fault`` with ``fault_pc``: an address out of
    range; from then on no beat is valid: nothing more is written. With a network, ``first_token``: of
    the current command's logits.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "command": In(command_in_flight_layout()), "command_valid": In(1),
            "command_ready": Out(1), "step": In(1), "beat": Out(beat_layout(config)),
            "beat_valid": Out(1), "token_scale": Out(16), "paces_sampler": Out(1), "stored": In(1),
            "finished": Out(1), "finished_statistic": Out(1), "fault": Out(Fault),
            "fault_pc": Out(PC_BITS),
            **({} if config.network is None else {"first_token": Out(range(SHARE_UNITS))}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        load = Signal()
        head, active, active_valid = self._commands(m, load)
        c = active

        stored = Signal(range(COMMANDS + 1))
        tile_beats = max(config.row_beats, config.column_beats)
        beats_left = Signal(len(c.tiles) + (tile_beats - 1).bit_length(), reset_less=True)
        row_first = Signal(reset_less=True)
        subrows_left, rows_left = Signal(7, reset_less=True), Signal(7, reset_less=True)
        # With a bit more than the operands: a sum past the memory is seen before it wraps, since
        # each address is checked before the next one is computed.
        multiplier = Signal(len(c.scale) + 1, reset_less=True)
        slots, slot_bits = c.row_scale, MATRIX_DESCRIPTORS["row_scale"][0]
        slot_stride = slots[slot_bits:]
        slot, row_slot = (Signal(slot_bits + 1, name=name, reset_less=True)
                          for name in ("slot", "row_slot"))
        maximum = Signal(len(c.maximum) + 1, reset_less=True)
        destination, sub_base, row_base = (
            Signal(len(c.dst) + 1, name=name, reset_less=True)
            for name in ("destination", "sub_base", "row_base"))
        # Outputs of this row that are not masked, and those of them from this beat on.
        limit, seen_left = (Signal(len(c.limit) + 1, name=name, reset_less=True)
                            for name in ("limit", "seen_left"))
        lane_bits = (config.lanes - 1).bit_length()

        last_beat = beats_left == 1
        last_subrow = subrows_left == 1
        last_row = rows_left == 1
        next_destination = Signal.like(destination)
        next_slot = Signal.like(slot)
        next_limit = Signal.like(limit)
        row_ends = Signal()
        m.d.comb += [
            self.token_scale.eq(slots),
            self.paces_sampler.eq(~c.is_embed & ~c.is_store & (c.destination == Destination.LOGITS)),
            row_ends.eq(last_beat & last_subrow),
            next_destination.eq(
                Mux(last_beat, Mux(last_subrow, row_base, sub_base), destination)
                + Mux(last_beat, Mux(last_subrow, c.dst_row_stride, c.dst_sub_stride), 1)),
            next_slot.eq(Mux(last_subrow, row_slot, slot) + Mux(last_subrow, slot_stride, 1)),
            next_limit.eq(limit + last_subrow),
        ]
        stepping = Signal()
        m.d.comb += stepping.eq(self.step & active_valid)
        with m.If(stepping):
            m.d.sync += [
                beats_left.eq(Mux(last_beat, self._beats(c), beats_left - 1)), row_first.eq(last_beat),
                multiplier.eq(Mux(last_beat, c.scale, multiplier + 1)),
                destination.eq(next_destination),
                seen_left.eq(Mux(last_beat, next_limit, Mux(
                    seen_left[lane_bits:].any(), seen_left - config.lanes, 0))),
            ]
            with m.If(last_beat):
                m.d.sync += [
                    maximum.eq(maximum + 1), slot.eq(next_slot), sub_base.eq(next_destination),
                    subrows_left.eq(Mux(last_subrow, c.subrows, subrows_left - 1)),
                    limit.eq(next_limit),
                ]
            with m.If(row_ends):
                m.d.sync += [row_base.eq(next_destination), row_slot.eq(next_slot),
                             rows_left.eq(rows_left - 1)]
        m.d.comb += [
            self.finished.eq(active_valid & Mux(
                c.is_store, stored != 0, self.step & row_ends & last_row)),
            self.finished_statistic.eq(~c.is_store & (c.statistic != Statistic.NONE)),
        ]
        m.d.sync += stored.eq(stored + self.stored - (self.finished & c.is_store))
        with m.If(load):
            m.d.sync += [
                beats_left.eq(self._beats(head)), row_first.eq(1), rows_left.eq(head.rows),
                subrows_left.eq(head.subrows), multiplier.eq(head.scale),
                limit.eq(head.limit), seen_left.eq(head.limit),
                slot.eq(head.row_scale[:slot_bits]), row_slot.eq(head.row_scale[:slot_bits]),
                maximum.eq(head.maximum),
                destination.eq(head.dst), sub_base.eq(head.dst), row_base.eq(head.dst),
            ]

        if config.network is not None:
            m.d.comb += self.first_token.eq(c.first_token)
        problem = self._problem(m, c, destination, multiplier, slot, maximum)
        stopped = Signal()
        with m.If(stepping & (problem != Fault.NONE) & ~stopped):
            m.d.sync += [stopped.eq(1), self.fault.eq(problem), self.fault_pc.eq(c.pc)]
        m.d.comb += [
            self.beat_valid.eq(stepping & (problem == Fault.NONE) & ~stopped),
            self.beat.embed.eq(c.is_embed),
            self.beat.row_first.eq(row_first), self.beat.row_last.eq(last_beat),
            self.beat.multiplier.eq(multiplier), self.beat.row_scale.eq(slot),
            self.beat.shift.eq(c.shift), self.beat.destination.eq(c.destination),
            self.beat.address.eq(destination), self.beat.statistic.eq(c.statistic),
            self.beat.maximum.eq(maximum),
            self.beat.seen.eq(Mux(
                ~c.masked | seen_left[lane_bits:].any(), config.lanes, seen_left[:lane_bits])),
        ]
        return m

    def _beats(self, command: data.View) -> Value:
        """Return the beats of a command's row."""
        row_shift = (self.config.row_beats - 1).bit_length()
        column_shift = (self.config.column_beats - 1).bit_length()
        return Mux(command.is_embed, command.tiles << row_shift, command.tiles << column_shift)

    def _commands(self, m: Module, load: Signal) -> tuple[data.View, data.View, Signal]:
        """Make the waiting and the active command; return them, and whether one is active."""
        layout = _command_layout(self.config)
        waiting, active = (Signal(layout, name=name, reset_less=True)
                           for name in ("waiting", "active"))
        waiting_valid, active_valid = Signal(), Signal()
        m.d.comb += [
            self.command_ready.eq(~waiting_valid & (self.fault == Fault.NONE)),
            load.eq(waiting_valid & (~active_valid | self.finished)),
        ]
        with m.If(self.command_valid & self.command_ready):
            m.d.sync += [waiting.as_value().eq(self._incoming(layout)), waiting_valid.eq(1)]
        with m.Elif(load):
            m.d.sync += waiting_valid.eq(0)
        with m.If(load):
            m.d.sync += [active.eq(waiting), active_valid.eq(1)]
        with m.Elif(self.finished):
            m.d.sync += active_valid.eq(0)
        return waiting, active, active_valid

    def _incoming(self, layout: data.StructLayout) -> Value:
        """Return the command at ``command`` in the drain's layout."""
        command = self.command.command
        is_embed = command.opcode == Opcode.EMBED
        if self.config.network is not None:
            is_embed |= command.opcode == Opcode.EMBED_SHARE
        fields = {
            "is_embed": is_embed,
            "is_store": ((command.opcode == Opcode.STORE_KEYS)
                         | (command.opcode == Opcode.STORE_VALUES)),
            "destination": command.destination, "statistic": command.statistic,
            "masked": command.masked, "tiles": Mux(is_embed, command.k_tiles, command.n_tiles),
            "subrows": Mux(is_embed, 1, command.subrows),
            "row_scale": Mux(is_embed, command.token_scale, Cat(
                command.row_scale, command.row_scale_stride)),
            "pc": self.command.pc, "first_token": command.position,
            **{name: _clamp(command[name], bits)
               for name, bits in _operand_bits(self.config).items()},
        }
        # In the layout's order, each as wide as its field.
        return Cat(*(Cat(fields[name], Const(0, field.width))[:field.width]
                     for name, field in layout))

    def _problem(self, m: Module, c: data.View, destination: Value, multiplier: Value, slot: Value,
                 maximum: Value) -> Signal:
        """Return what is wrong with the current beat's addresses."""
        config = self.config
        sizes = {
            Destination.RESULT: (config.result_beats, Fault.RESULT_ADDRESS),
            Destination.OUTPUT: (config.output_words * config.row_beats, Fault.OUTPUT_ADDRESS),
            Destination.RESIDUAL_SET: (config.residual_beats, Fault.RESIDUAL_ADDRESS),
            Destination.RESIDUAL_ADD: (config.residual_beats, Fault.RESIDUAL_ADDRESS),
            Destination.LOGITS: (config.residual_beats, Fault.RESIDUAL_ADDRESS),
        }
        problem = Signal(Fault)
        with m.Switch(c.destination):
            for kind, (size, cause) in sizes.items():
                with m.Case(kind):
                    with m.If(destination >= size):
                        m.d.comb += problem.eq(cause)
            with m.Default():
                m.d.comb += problem.eq(Fault.ILLEGAL_INSTRUCTION)
        with m.If(multiplier >= config.multiplier_beats):
            m.d.comb += problem.eq(Fault.MULTIPLIER_ADDRESS)
        with m.If((~c.is_embed & (slot >= config.row_slots))
                  | ((c.statistic != Statistic.NONE) & (maximum >= config.row_slots))):
            m.d.comb += problem.eq(Fault.ROW_SLOT)
        return problem
