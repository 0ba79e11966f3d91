"""Issue of matrix commands: one wave per cycle, without a bubble from command to command."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import Destination, Fault, Opcode, Source
from hw.control.queue import command_in_flight_layout
from hw.matmul.array_step import column_bits, wave_layout
from hw.matmul.store_path import store_request_layout, value_parts
from hw.matmul.systolic_array import tag_layout

#: From a read wave (and its activation address) to the activation word at the array.
ACTIVATION_DELAY = 2


class MatrixIssue(wiring.Component):
    """Turns commands into waves, activation addresses, stores, and drain commands.

    Ports: ``head`` with ``head_ready`` (queue not empty, events complete) and ``pop``;
    ``drain_command`` (valid/ready); ``drain_alone``: every command before
    the active one has completed;
    ``wave``, ``tag``: to the array, registered; ``activation_address``, ``output_address`` with
    enables: the word for this cycle's read wave, or for the column write or store two (three)
    cycles later; ``use_outputs``: which memory's word is to be registered for the array;
    ``store_request``, ``column_wave``: to and from StorePath; ``stored``: a store command has
    written; ``token_*``: token memory read of EMBED;
    ``token`` with ``token_valid`` to the drain; ``busy``; counters ``issuing``, ``paced``,
    ``storing``; ``fault`` with ``fault_pc``: the access is not made and issue stops.

    Latency: a command's first wave is in ``wave`` two cycles after ``pop`` of a waiting head is
    possible, in the next cycle after the previous command's last wave. Throughput: one wave per
    cycle, except where the drain needs longer for a vector: ``columns / lanes`` cycles, for logits
    ``columns / sampler_lanes``.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "head": In(command_in_flight_layout()), "head_ready": In(1), "pop": Out(1),
            "drain_command": Out(command_in_flight_layout()), "drain_valid": Out(1),
            "drain_ready": In(1), "drain_alone": In(1),
            "wave": Out(wave_layout(config)), "tag": Out(tag_layout()),
            "activation_address": Out(range(config.activation_words)), "activation_enable": Out(1),
            "output_address": Out(range(config.output_words)), "output_enable": Out(1),
            "use_outputs": Out(1),
            "store_request": Out(store_request_layout(config)),
            "column_wave": In(wave_layout(config)), "stored": Out(1),
            "token_address": Out(range(config.context)), "token_enable": Out(1),
            "token_data": In(32), "token": Out(17), "token_valid": Out(1),
            "busy": Out(1), "issuing": Out(1), "paced": Out(1), "storing": Out(1),
            "fault": Out(Fault), "fault_pc": Out(12),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        active = Signal(command_in_flight_layout(), reset_less=True)
        c = active.command
        row_bits, col_bits = (config.rows - 1).bit_length(), column_bits(config)

        # Loops of the active command. Addresses are wide enough not to wrap into range.
        k_left, n_left = Signal(12), Signal(12)
        subrows_left, rows_left = Signal(7), Signal(7)
        k_first = Signal()
        weight, weight_n = Signal(34), Signal(34)
        x, x_sub, x_row = Signal(25), Signal(25), Signal(25)
        position = Signal(15)
        pace, pace_left = Signal(range(config.columns + 1)), Signal(range(config.columns + 1))
        last_k, last_n = k_left == 1, n_left == 1
        last_subrow, last_row = subrows_left == 1, rows_left == 1

        token = Signal(17)
        m.d.comb += self.token.eq(token)

        x_memory_words = Mux(c.source == Source.OUTPUTS, config.output_words,
                             config.activation_words)
        bank_bad = Signal()
        x_bad = x >= x_memory_words
        access = Signal()          # a wave or an activation read is attempted in this cycle
        reads_x = Signal()
        problem = Signal(Fault)
        ok = Signal()
        # After a fault the loops run on without effect until the sequencer's reset.
        m.d.comb += ok.eq((problem == Fault.NONE) & (self.fault == Fault.NONE))
        with m.If(access & reads_x & x_bad):
            m.d.comb += problem.eq(Mux(c.source == Source.OUTPUTS, Fault.OUTPUT_ADDRESS,
                                       Fault.ACTIVATION_ADDRESS))
        with m.If(access & bank_bad):
            m.d.comb += problem.eq(Fault.BANK_ADDRESS)

        # Registered outputs to array and memories.
        wave = Signal(wave_layout(config))
        tag = Signal(tag_layout())
        m.d.sync += [wave.eq(self.column_wave), tag.eq(0), self.activation_enable.eq(0), self.output_enable.eq(0)]
        m.d.comb += [self.wave.eq(wave), self.tag.eq(tag)]

        def read_x() -> None:
            m.d.sync += [
                self.activation_address.eq(x), self.output_address.eq(x),
                self.activation_enable.eq(ok & (c.source == Source.ACTIVATIONS)),
                self.output_enable.eq(ok & (c.source == Source.OUTPUTS)),
            ]

        select_outputs = Signal()
        m.d.sync += select_outputs.eq(self.output_enable)
        m.d.comb += self.use_outputs.eq(select_outputs)

        # Starting a command: it needs a place in the drain, too.
        may_start = self.head_ready & self.drain_ready & (self.fault == Fault.NONE)
        h = self.head.command

        def start() -> None:
            m.d.comb += [self.pop.eq(1), self.drain_valid.eq(1)]
            slow = (h.opcode == Opcode.MATMUL) & (h.destination == Destination.LOGITS)
            m.d.sync += [
                active.eq(self.head), k_left.eq(h.k_tiles), n_left.eq(h.n_tiles),
                subrows_left.eq(h.subrows), rows_left.eq(h.rows), k_first.eq(1),
                weight.eq(h.weight), weight_n.eq(h.weight),
                x.eq(h.x), x_sub.eq(h.x), x_row.eq(h.x), position.eq(h.position),
                pace.eq(Mux(slow, config.columns // config.sampler_lanes, config.column_beats)),
                pace_left.eq(Mux(slow, config.columns // config.sampler_lanes,
                                 config.column_beats)),
            ]

        m.d.comb += self.drain_command.eq(self.head)
        waited = Signal(range(config.steps + 16))
        since_wave = Signal(range(config.steps + 2), init=config.steps)
        wave_in = wave.read | wave.write_column
        with m.If(wave_in):
            m.d.sync += since_wave.eq(0)
        with m.Elif(since_wave != config.steps):
            m.d.sync += since_wave.eq(since_wave + 1)

        def next_state() -> None:
            """Go on with the next command if it can start, else rest."""
            with m.If(may_start):
                start()
                dispatch()
            with m.Else():
                m.next = "Rest"

        def dispatch() -> None:
            with m.Switch(h.opcode):
                with m.Case(Opcode.EMBED):
                    m.next = "Embed: wait for the drain"
                with m.Case(Opcode.STORE_KEYS):
                    m.next = "Store keys"
                with m.Case(Opcode.STORE_VALUES):
                    m.next = "Store values: let waves pass"
                with m.Default():
                    m.next = "Matmul"

        def advance_row() -> None:
            m.d.sync += [
                k_left.eq(c.k_tiles), k_first.eq(1), x_row.eq(x_row + c.x_row_stride),
                x.eq(x_row + c.x_row_stride), rows_left.eq(rows_left - 1),
                position.eq(position + 1),
            ]

        parts = value_parts(config)
        part = Signal(range(max(parts, 2)))

        def finish_store_row(then: str) -> None:
            advance_row()
            m.d.sync += [weight.eq(c.weight), part.eq(0), waited.eq(0)]
            with m.If(last_row):
                m.next = then

        with m.FSM(name="issue") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("Rest"))
            with m.State("Rest"):
                next_state()

            with m.State("Matmul"):
                # Idle cycles come before a vector's tiles, so that last tiles keep their distance
                # from one command to the next, too.
                early = k_first & (pace_left > k_left)
                m.d.comb += [access.eq(~early), reads_x.eq(1),
                             bank_bad.eq(weight >= config.bank_words),
                             self.issuing.eq(~early), self.paced.eq(early)]
                with m.If(early):
                    m.d.sync += pace_left.eq(pace_left - 1)
                with m.Else():
                    read_x()
                    m.d.sync += [
                        wave.read.eq(ok), wave.address.eq(weight),
                        tag.valid.eq(ok), tag.first.eq(k_first), tag.last.eq(last_k),
                        weight.eq(weight + c.weight_k_stride), x.eq(x + 1),
                        k_left.eq(k_left - 1), k_first.eq(0),
                    ]
                with m.If(~early & last_k):
                    m.d.sync += [
                        k_left.eq(c.k_tiles), k_first.eq(1), pace_left.eq(pace),
                        n_left.eq(n_left - 1), weight.eq(weight_n + c.weight_n_stride),
                        weight_n.eq(weight_n + c.weight_n_stride), x.eq(x_sub),
                    ]
                    with m.If(last_n):
                        m.d.sync += [
                            n_left.eq(c.n_tiles), weight.eq(c.weight), weight_n.eq(c.weight),
                            subrows_left.eq(subrows_left - 1),
                            x.eq(x_sub + c.x_sub_stride), x_sub.eq(x_sub + c.x_sub_stride),
                        ]
                        with m.If(last_subrow):
                            m.d.sync += [
                                subrows_left.eq(c.subrows), rows_left.eq(rows_left - 1),
                                x.eq(x_row + c.x_row_stride), x_sub.eq(x_row + c.x_row_stride),
                                x_row.eq(x_row + c.x_row_stride),
                            ]
                            with m.If(last_row):
                                next_state()

            # EMBED: per row, read the token, then the columns; one row at a time in the drain.
            with m.State("Embed: wait for the drain"):
                with m.If(self.drain_alone):
                    m.next = "Embed: read the token"
            with m.State("Embed: read the token"):
                with m.If(position >= config.context):
                    m.d.comb += problem.eq(Fault.TOKEN_ADDRESS)
                m.d.comb += [self.token_address.eq(position), self.token_enable.eq(ok)]
                m.next = "Embed: take the token"
            with m.State("Embed: take the token"):
                m.d.sync += [
                    token.eq(self.token_data),
                    weight.eq(c.weight + (self.token_data >> col_bits)),
                ]
                m.d.sync += waited.eq(0)
                with m.If(self.token_data >= c.limit):
                    m.d.comb += problem.eq(Fault.TOKEN_ADDRESS)
                m.next = "Embed: read columns"
            with m.State("Embed: read columns"):
                m.d.comb += [access.eq(1), bank_bad.eq(weight >= config.bank_words),
                             self.issuing.eq(1), self.token_valid.eq(k_first)]
                token_beat = c.token_scale + (token >> (config.lanes - 1).bit_length())
                with m.If(token_beat >= config.multiplier_beats):
                    m.d.comb += problem.eq(Fault.MULTIPLIER_ADDRESS)
                m.d.sync += [
                    wave.read.eq(ok), wave.address.eq(weight), wave.column.eq(token),
                    tag.column.eq(ok), weight.eq(weight + c.weight_k_stride),
                    k_left.eq(k_left - 1), k_first.eq(0),
                ]
                if config.row_beats > 1:
                    m.d.sync += pace_left.eq(config.row_beats - 1)
                    m.next = "Embed: pace"
                with m.If(last_k):
                    m.next = "Embed: let the row drain"
            if config.row_beats > 1:
                with m.State("Embed: pace"):
                    m.d.comb += self.paced.eq(1)
                    m.d.sync += pace_left.eq(pace_left - 1)
                    with m.If(pace_left == 1):
                        m.next = "Embed: read columns"
            with m.State("Embed: let the row drain"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == config.steps + config.row_beats):
                    with m.If(last_row):
                        next_state()
                    with m.Else():
                        advance_row()
                        m.next = "Embed: read the token"

            # Stores: the write follows its activation word (see StorePath).
            with m.State("Store keys"):
                key_address = weight + (position >> col_bits)
                m.d.comb += [access.eq(1), reads_x.eq(1), self.storing.eq(1),
                             bank_bad.eq(key_address >= config.bank_words),
                             self.store_request.column_valid.eq(ok),
                             self.store_request.address.eq(key_address),
                             self.store_request.column.eq(position)]
                read_x()
                m.d.sync += [weight.eq(weight + c.weight_k_stride), x.eq(x + 1),
                             k_left.eq(k_left - 1)]
                with m.If(last_k):
                    finish_store_row("Store: last writes")

            with m.State("Store values: let waves pass"):
                m.d.comb += self.storing.eq(1)
                with m.If(~wave_in & (since_wave >= max(config.steps - 4, 0))):
                    m.next = "Store values"
            with m.State("Store values"):
                value_address = weight + (position >> row_bits)
                m.d.comb += [access.eq(1), reads_x.eq(1), self.storing.eq(1),
                             bank_bad.eq(value_address >= config.bank_words),
                             self.store_request.word_valid.eq(ok),
                             self.store_request.address.eq(value_address),
                             self.store_request.row.eq(position),
                             self.store_request.part.eq(part)]
                read_x()
                # A bank word takes several activation words, or the other way round.
                last_part = part == parts - 1
                next_bank_word = last_part if config.columns >= config.rows else Const(1)
                next_x = Const(1) if config.columns >= config.rows else last_part
                m.d.sync += part.eq(Mux(last_part, 0, part + 1))
                with m.If(next_bank_word):
                    m.d.sync += weight.eq(weight + c.weight_n_stride)
                with m.If(next_x):
                    m.d.sync += [x.eq(x + 1), k_left.eq(k_left - 1)]
                    with m.If(last_k):
                        finish_store_row("Store: last writes")
            with m.State("Store: last writes"):
                m.d.comb += self.storing.eq(1)
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == ACTIVATION_DELAY - 1):
                    m.d.comb += self.stored.eq(1)
                    next_state()

        with m.If((problem != Fault.NONE) & (self.fault == Fault.NONE)):
            m.d.sync += [self.fault.eq(problem), self.fault_pc.eq(active.pc)]
        return m
