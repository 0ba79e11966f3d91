"""Issue of matrix commands: one wave per cycle, without a bubble from command to command."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import SHARE_UNIT, Destination, Fault, Opcode, Source
from hw.control.queue import command_in_flight_layout
from hw.matmul.array_step import address_bits, column_bits, wave_layout
from hw.matmul.store_path import store_request_layout, value_parts
from hw.matmul.systolic_array import tag_layout

#: From a read wave (and its activation address) to the activation word at the array.
ACTIVATION_DELAY = 2


class _Count:
    """What is left of a loop, counted down; ``last``, a register, says that 1 is left."""

    def __init__(self, m: Module, bits: int, name: str) -> None:
        self._m = m
        self._left = Signal(bits, name=f"{name}_left", reset_less=True)
        self.last = Signal(name=f"{name}_last", reset_less=True)

    def load(self, value: Value) -> None:
        self._m.d.sync += [self._left.eq(value), self.last.eq(value == 1)]

    def step(self) -> None:
        self._m.d.sync += [self._left.eq(self._left - 1), self.last.eq(self._left == 2)]


def _store_address(m: Module, config: ChipletConfig, weight: Signal, offset: Value) -> tuple[
        Value, Value]:
    """Return the bank word so far behind another, and whether the banks lack it.

    The carry goes through the bits that an address may have; the first word's others are looked
    at beside it.
    """
    bits = max(address_bits(config), len(offset))
    address = Signal(bits + 1)
    m.d.comb += address.eq(weight[:bits] + offset)
    return address, weight[bits:].any() | (address >= config.bank_words)


class MatrixIssue(wiring.Component):
    """Turns commands into waves, activation addresses, stores, and drain commands.

    Ports: ``head`` with ``head_ready`` (queue not empty, events complete) and ``pop``;
    ``drain_command`` (valid/ready); ``drain_alone``: every command before
    the active one has completed;
    ``wave``, ``tag``: to the array, registered; ``activation_address``, ``output_address`` with
    enables: the word for this cycle's read wave, or for the column write or store two (three)
    cycles later; ``use_outputs``: which memory's word is to be registered for the array;
    ``store_request``, ``column_wave``: to and from StorePath; ``stored``: a store command has
    written; ``token_*``: token memory read of EMBED, registered;
    ``token`` with ``token_valid`` to the drain, with a network ``token_absent``: another chip has it; ``busy``; counters ``issuing``, ``paced``,
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
            **({} if config.network is None else {"token_absent": Out(1)}),
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
        k, n = _Count(m, 12, "k"), _Count(m, 12, "n")
        subrows, rows = _Count(m, 7, "subrows"), _Count(m, 7, "rows")
        k_first = Signal()
        weight = Signal(34, reset_less=True)
        weight_n = Signal(34, reset_less=True)
        x = Signal(25, reset_less=True)
        x_sub = Signal(25, reset_less=True)
        x_row = Signal(25, reset_less=True)
        position = Signal(15, reset_less=True)
        # Idle cycles before each vector's tiles, and those that are left of them (also of EMBED).
        idle = Signal(range(config.columns + 1), reset_less=True)
        idle_left = Signal(range(config.columns + 1))
        early = Signal()  # idle_left != 0

        token = Signal(17, reset_less=True)
        token_high = Signal(reset_less=True)
        m.d.comb += [self.token.eq(token), self.token_address.eq(position)]

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
        m.d.sync += [wave.eq(self.column_wave), tag.eq(0), self.activation_enable.eq(0),
                     self.output_enable.eq(0), self.token_enable.eq(0)]
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
            logits_pace = config.columns // config.sampler_lanes
            pace = Mux(h.destination == Destination.LOGITS, logits_pace, config.column_beats)
            # The drain may still be busy with the last logits of the command before.
            first_pace = Mux((c.opcode == Opcode.MATMUL) & (c.destination == Destination.LOGITS),
                             logits_pace, pace)
            lacking, lacking_first = Signal.like(idle), Signal.like(idle)
            with m.If((h.opcode == Opcode.MATMUL) & (pace > h.k_tiles)):
                m.d.comb += lacking.eq(pace - h.k_tiles)
            with m.If((h.opcode == Opcode.MATMUL) & (first_pace > h.k_tiles)):
                m.d.comb += lacking_first.eq(first_pace - h.k_tiles)
            m.d.sync += [
                active.eq(self.head), k_first.eq(1),
                weight.eq(h.weight), weight_n.eq(h.weight),
                x.eq(h.x), x_sub.eq(h.x), x_row.eq(h.x), position.eq(h.position),
                idle.eq(lacking), idle_left.eq(lacking_first), early.eq(lacking_first != 0),
            ]
            k.load(h.k_tiles)
            n.load(h.n_tiles)
            subrows.load(h.subrows)
            rows.load(h.rows)

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
                embeds = (Opcode.EMBED,) if config.network is None else (
                    Opcode.EMBED, Opcode.EMBED_SHARE)
                with m.Case(*embeds):
                    m.next = "Embed: wait for the drain"
                with m.Case(Opcode.STORE_KEYS):
                    m.next = "Store keys"
                with m.Case(Opcode.STORE_VALUES):
                    m.next = "Store values: let waves pass"
                with m.Default():
                    m.next = "Matmul"

        def advance_row() -> None:
            k.load(c.k_tiles)
            rows.step()
            m.d.sync += [
                k_first.eq(1), x_row.eq(x_row + c.x_row_stride),
                x.eq(x_row + c.x_row_stride),
            ]

        def read_token() -> None:
            """Have the token of this row read in the next cycle, if the memory has its place."""
            m.d.sync += self.token_enable.eq(position < config.context)
            m.next = "Embed: read the token"

        parts = value_parts(config)
        part = Signal(range(max(parts, 2)))

        def finish_store_row(then: str) -> None:
            advance_row()
            m.d.sync += [weight.eq(c.weight), part.eq(0), waited.eq(0), position.eq(position + 1)]
            with m.If(rows.last):
                m.next = then

        with m.FSM(name="issue") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("Rest"))
            with m.State("Rest"):
                next_state()

            with m.State("Matmul"):
                # Idle cycles come before a vector's tiles, so that last tiles keep their distance
                # from one command to the next, too.
                m.d.comb += [access.eq(~early), reads_x.eq(1),
                             bank_bad.eq(weight >= config.bank_words),
                             self.issuing.eq(~early), self.paced.eq(early)]
                with m.If(early):
                    m.d.sync += [idle_left.eq(idle_left - 1), early.eq(idle_left != 1)]
                with m.Else():
                    read_x()
                    k.step()
                    m.d.sync += [
                        wave.read.eq(ok), wave.address.eq(weight),
                        tag.valid.eq(ok), tag.first.eq(k_first), tag.last.eq(k.last),
                        weight.eq(weight + c.weight_k_stride), x.eq(x + 1), k_first.eq(0),
                    ]
                with m.If(~early & k.last):
                    k.load(c.k_tiles)
                    n.step()
                    m.d.sync += [
                        k_first.eq(1), idle_left.eq(idle), early.eq(idle != 0),
                        weight.eq(weight_n + c.weight_n_stride),
                        weight_n.eq(weight_n + c.weight_n_stride), x.eq(x_sub),
                    ]
                    with m.If(n.last):
                        n.load(c.n_tiles)
                        subrows.step()
                        m.d.sync += [
                            weight.eq(c.weight), weight_n.eq(c.weight),
                            x.eq(x_sub + c.x_sub_stride), x_sub.eq(x_sub + c.x_sub_stride),
                        ]
                        with m.If(subrows.last):
                            subrows.load(c.subrows)
                            rows.step()
                            m.d.sync += [
                                x.eq(x_row + c.x_row_stride), x_sub.eq(x_row + c.x_row_stride),
                                x_row.eq(x_row + c.x_row_stride),
                            ]
                            with m.If(rows.last):
                                next_state()

            # EMBED: per row, read the token, then the columns; one row at a time in the drain.
            with m.State("Embed: wait for the drain"):
                with m.If(self.drain_alone):
                    read_token()
            with m.State("Embed: read the token"):
                with m.If(~self.token_enable):
                    m.d.comb += problem.eq(Fault.TOKEN_ADDRESS)
                m.next = "Embed: take the token"
            with m.State("Embed: take the token"):
                m.d.sync += [token.eq(self.token_data), token_high.eq(self.token_data[17:].any())]
                m.next = "Embed: find its column"
                if config.network is not None:
                    m.d.sync += self.token_absent.eq(0)
                    with m.If(c.opcode == Opcode.EMBED_SHARE):
                        m.next = "Embed: find its place in the share"
            if config.network is not None:
                with m.State("Embed: find its place in the share"):
                    # A token before the share becomes a number beyond it.
                    m.d.sync += token.eq(token - (c.x << (SHARE_UNIT - 1).bit_length()))
                    with m.If(token_high | (token > c.x_row_stride)):
                        m.d.comb += problem.eq(Fault.TOKEN_ADDRESS)
                    m.next = "Embed: see whether it is there"
                with m.State("Embed: see whether it is there"):
                    absent = token >= c.limit
                    m.d.sync += self.token_absent.eq(absent)
                    with m.If(absent):
                        m.d.sync += token.eq(0)
                    m.next = "Embed: find its column"
            with m.State("Embed: find its column"):
                m.d.sync += weight.eq(c.weight + (token >> col_bits))
                m.d.sync += waited.eq(0)
                with m.If(token_high | (token >= c.limit)):
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
                    tag.column.eq(ok), weight.eq(weight + c.weight_k_stride), k_first.eq(0),
                ]
                k.step()
                if config.row_beats > 1:
                    m.d.sync += idle_left.eq(config.row_beats - 1)
                    m.next = "Embed: pace"
                with m.If(k.last):
                    m.d.sync += position.eq(position + 1)
                    m.next = "Embed: let the row drain"
            if config.row_beats > 1:
                with m.State("Embed: pace"):
                    m.d.comb += self.paced.eq(1)
                    m.d.sync += idle_left.eq(idle_left - 1)
                    with m.If(idle_left == 1):
                        m.next = "Embed: read columns"
            with m.State("Embed: let the row drain"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == config.steps + config.row_beats):
                    with m.If(rows.last):
                        next_state()
                    with m.Else():
                        advance_row()
                        read_token()

            # Stores: the write follows its activation word (see StorePath).
            with m.State("Store keys"):
                key_address, key_bad = _store_address(m, config, weight, position >> col_bits)
                m.d.comb += [access.eq(1), reads_x.eq(1), self.storing.eq(1),
                             bank_bad.eq(key_bad),
                             self.store_request.column_valid.eq(ok),
                             self.store_request.address.eq(key_address),
                             self.store_request.column.eq(position)]
                read_x()
                m.d.sync += [weight.eq(weight + c.weight_k_stride), x.eq(x + 1)]
                k.step()
                with m.If(k.last):
                    finish_store_row("Store: last writes")

            with m.State("Store values: let waves pass"):
                m.d.comb += self.storing.eq(1)
                with m.If(~wave_in & (since_wave >= max(config.steps - 4, 0))):
                    m.next = "Store values"
            with m.State("Store values"):
                value_address, value_bad = _store_address(m, config, weight, position >> row_bits)
                m.d.comb += [access.eq(1), reads_x.eq(1), self.storing.eq(1),
                             bank_bad.eq(value_bad),
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
                    m.d.sync += x.eq(x + 1)
                    k.step()
                    with m.If(k.last):
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
