"""Which beat the drain is at: loops of the current command, its addresses, and their checks."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import Destination, Fault, Opcode, Statistic
from hw.control.queue import command_in_flight_layout

#: Commands between issue and drain.
COMMANDS = 4


def beat_layout(config: ChipletConfig) -> data.StructLayout:
    """Return what the drain must know of a beat."""
    return data.StructLayout({
        "valid": 1, "embed": 1, "suppressed": 1, "row_first": 1, "row_last": 1,
        "multiplier": range(config.multiplier_beats), "row_scale": range(config.row_slots),
        "shift": 6, "destination": Destination, "destination_beat": 16, "adds": 1,
        "to_residual": 1, "statistic": Statistic, "maximum": range(config.row_slots),
        "masked": config.lanes, "limit": 17,
    })


class DrainCounter(wiring.Component):
    """Holds up to four commands; ``step`` is one beat of the oldest.

    Ports: ``command`` stream (valid/ready); ``step``: a beat is at the drain; ``beat``: its
    description, in the same cycle; ``token_scale``: of the current command; ``paces_sampler``: it brings logits; ``stored``: a store
    command's writes are done; ``finished`` with ``finished_event``: a command's last beat, or a
    store whose turn has come; ``finished_statistic``: it keeps row maxima; ``fault`` with ``fault_pc``: an address out of range; from then on
    beats are ``suppressed``: nothing more is written.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "command": In(command_in_flight_layout()), "command_valid": In(1),
            "command_ready": Out(1), "step": In(1), "beat": Out(beat_layout(config)),
            "token_scale": Out(16), "paces_sampler": Out(1), "stored": In(1), "finished": Out(1), "finished_event": Out(4),
            "finished_statistic": Out(1),
            "fault": Out(Fault), "fault_pc": Out(12),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = command_in_flight_layout()

        # Waiting commands: a shift register; the last one filled moves into `active`.
        waiting = [Signal(layout, name=f"waiting_{i}", reset_less=True) for i in range(COMMANDS - 1)]
        count = Signal(range(COMMANDS))
        active = Signal(layout, reset_less=True)
        active_valid = Signal()
        push = Signal()
        load = Signal()
        m.d.comb += [
            self.command_ready.eq((count != COMMANDS - 1) & (self.fault == Fault.NONE)),
            push.eq(self.command_valid & self.command_ready),
            load.eq((count != 0) & (~active_valid | self.finished)),
        ]
        m.d.sync += count.eq(count + push - load)
        for i, slot in enumerate(waiting):
            following = waiting[i + 1] if i + 1 < len(waiting) else None
            with m.If(push & (count - load == i)):
                m.d.sync += slot.eq(self.command)
            if following is not None:
                with m.Elif(load):
                    m.d.sync += slot.eq(following)
        c = active.command
        head = waiting[0].command

        is_embed = c.opcode == Opcode.EMBED
        is_store = (c.opcode == Opcode.STORE_KEYS) | (c.opcode == Opcode.STORE_VALUES)
        stored = Signal(range(COMMANDS + 1))
        beats_left = Signal(12 + 8)
        row_beats = Signal(12 + 8)
        subrows_left, rows_left = Signal(7), Signal(7)
        # Wide enough that no program makes an address wrap round into range.
        multiplier, index, limit = Signal(22), Signal(25), Signal(18)
        slot, row_slot, maximum = Signal(20), Signal(20), Signal(15)
        destination, sub_base, row_base = Signal(25), Signal(25), Signal(25)

        last_beat = beats_left == 1
        last_subrow = subrows_left == 1
        last_row = rows_left == 1
        m.d.comb += [
            self.token_scale.eq(c.token_scale),
            self.paces_sampler.eq((c.opcode == Opcode.MATMUL)
                                  & (c.destination == Destination.LOGITS)),
        ]
        with m.If(self.step & active_valid):
            m.d.sync += [
                beats_left.eq(beats_left - 1), multiplier.eq(multiplier + 1),
                destination.eq(destination + 1), index.eq(index + config.lanes),
            ]
            with m.If(last_beat):
                m.d.sync += [
                    beats_left.eq(row_beats), multiplier.eq(c.scale), index.eq(0),
                    maximum.eq(maximum + 1), slot.eq(slot + 1),
                    subrows_left.eq(subrows_left - 1),
                    destination.eq(sub_base + c.dst_sub_stride),
                    sub_base.eq(sub_base + c.dst_sub_stride),
                ]
                with m.If(last_subrow):
                    m.d.sync += [
                        subrows_left.eq(Mux(is_embed, 1, c.subrows)),
                        rows_left.eq(rows_left - 1), limit.eq(limit + 1),
                        destination.eq(row_base + c.dst_row_stride),
                        sub_base.eq(row_base + c.dst_row_stride),
                        row_base.eq(row_base + c.dst_row_stride),
                        slot.eq(row_slot + c.row_scale_stride),
                        row_slot.eq(row_slot + c.row_scale_stride),
                    ]
        m.d.comb += [
            self.finished.eq(active_valid & Mux(
                is_store, stored != 0, self.step & last_beat & last_subrow & last_row)),
            self.finished_event.eq(active.signal),
            self.finished_statistic.eq(~is_store & (c.statistic != Statistic.NONE)),
        ]
        m.d.sync += stored.eq(stored + self.stored - (self.finished & is_store))
        with m.If(self.finished):
            m.d.sync += active_valid.eq(0)
        with m.If(load):
            beats = Mux(head.opcode == Opcode.EMBED,
                        head.k_tiles << (config.row_beats - 1).bit_length(),
                        head.n_tiles << (config.column_beats - 1).bit_length())
            m.d.sync += [
                active.eq(waiting[0]), active_valid.eq(1), beats_left.eq(beats),
                row_beats.eq(beats), rows_left.eq(head.rows),
                subrows_left.eq(Mux(head.opcode == Opcode.EMBED, 1, head.subrows)),
                multiplier.eq(head.scale), index.eq(0), limit.eq(head.limit),
                slot.eq(head.row_scale), row_slot.eq(head.row_scale), maximum.eq(head.maximum),
                destination.eq(head.dst), sub_base.eq(head.dst), row_base.eq(head.dst),
            ]

        # Masked lanes: those at and beyond `limit`.
        remaining = Signal(range(config.lanes + 1))
        lanes_bits = (config.lanes - 1).bit_length()
        above = limit > index
        distance = (limit - index)[:18]
        m.d.comb += remaining.eq(Mux(
            ~above, 0, Mux(distance[lanes_bits:].any(), config.lanes, distance[:lanes_bits])))
        masked = Cat(*(c.masked & (remaining <= i) for i in range(config.lanes)))

        sizes = {
            Destination.RESULT: (config.result_beats, Fault.RESULT_ADDRESS),
            Destination.OUTPUT: (config.output_words * config.row_beats, Fault.OUTPUT_ADDRESS),
            Destination.RESIDUAL_SET: (config.residual_beats, Fault.RESIDUAL_ADDRESS),
            Destination.RESIDUAL_ADD: (config.residual_beats, Fault.RESIDUAL_ADDRESS),
            Destination.LOGITS: (config.residual_beats, Fault.RESIDUAL_ADDRESS),
        }
        problem = Signal(Fault)
        stepping = self.step & active_valid
        with m.Switch(c.destination):
            for kind, (size, cause) in sizes.items():
                with m.Case(kind):
                    with m.If(destination >= size):
                        m.d.comb += problem.eq(cause)
            with m.Default():
                m.d.comb += problem.eq(Fault.ILLEGAL_INSTRUCTION)
        with m.If(multiplier >= config.multiplier_beats):
            m.d.comb += problem.eq(Fault.MULTIPLIER_ADDRESS)
        with m.If((~is_embed & (slot >= config.row_slots))
                  | ((c.statistic != Statistic.NONE) & (maximum >= config.row_slots))):
            m.d.comb += problem.eq(Fault.ROW_SLOT)
        with m.If(stepping & (problem != Fault.NONE) & (self.fault == Fault.NONE)):
            m.d.sync += [self.fault.eq(problem), self.fault_pc.eq(active.pc)]

        to_residual = ((c.destination == Destination.RESIDUAL_SET)
                       | (c.destination == Destination.RESIDUAL_ADD)
                       | (c.destination == Destination.LOGITS))
        m.d.comb += [
            self.beat.valid.eq(stepping), self.beat.embed.eq(is_embed),
            self.beat.suppressed.eq((problem != Fault.NONE) | (self.fault != Fault.NONE)),
            self.beat.row_first.eq(beats_left == row_beats), self.beat.row_last.eq(last_beat),
            self.beat.multiplier.eq(multiplier), self.beat.row_scale.eq(slot),
            self.beat.shift.eq(c.shift), self.beat.destination.eq(c.destination),
            self.beat.destination_beat.eq(destination),
            self.beat.adds.eq(c.destination == Destination.RESIDUAL_ADD),
            self.beat.to_residual.eq(to_residual), self.beat.statistic.eq(c.statistic),
            self.beat.maximum.eq(maximum), self.beat.masked.eq(masked),
            self.beat.limit.eq(Mux(c.masked, limit[:17], (1 << 17) - 1)),
        ]
        return m
