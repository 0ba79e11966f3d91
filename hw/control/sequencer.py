"""The sequencer: executes the program, fills the two command queues, stops on faults."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.fetch import Fetch
from hw.control.isa import (
    GENERAL_REGISTERS,
    INSTRUCTION_BITS,
    INSTRUCTION_FIELDS,
    MATRIX_DESCRIPTORS,
    MATRIX_OPCODES,
    OPERANDS,
    REGISTER_BITS,
    REGISTERS,
    VECTOR_DESCRIPTORS,
    VECTOR_OPCODES,
    Condition,
    Destination,
    Fault,
    Opcode,
    Source,
    Special,
    Statistic,
    matrix_command_layout,
    vector_command_layout,
)
from hw.control.loop_stack import LoopStack
from hw.control.queue import PC_BITS, queued_layout, waits_layout
from hw.control.scoreboard import Scoreboard


class Sequencer(wiring.Component):
    """Runs one instruction per cycle; commands go to the queues with a snapshot of descriptors.

    Ports: ``start``, ``resume`` (pulses); ``running``, ``done``, ``paused``, ``stalled``;
    ``breakpoint`` with ``breakpoint_enable``, ``pause_after_token``; program memory port; special
    registers; ``matrix_*``/``vector_*``: queue entries, completions, and whether the queue's head
    may start; ``units_idle``: queues and units are empty; ``sampler_busy``, ``sampled_token``,
    ``draw``; token memory write (``token_blocked``: another reads in this cycle);
    ``token_event``; ``unit_fault`` with ``unit_fault_pc``; ``fault``, ``fault_pc``: sticky until
    reset; ``watchdog_cycles``: most cycles without a completed command or token, 0 for none.

    Throughput: one instruction per cycle; a taken LOOP skip, END, SKIP costs ``REDIRECT_CYCLES``
    more: fetch, decode with the reading of registers, execution. It stalls
    while a queue is full, in SYNC, and while the sampler works when the token is needed.
    """

    #: Lost when the program does not go straight on.
    REDIRECT_CYCLES = Fetch.LATENCY

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "resume": In(1), "running": Out(1), "done": Out(1), "paused": Out(1),
            "stalled": Out(1), "breakpoint": In(PC_BITS), "breakpoint_enable": In(1),
            "pause_after_token": In(1), "watchdog_cycles": In(32),
            "program_address": Out(range(config.program_words)), "program_enable": Out(1),
            "program_data": In(INSTRUCTION_BITS),
            "prompt_length": In(16), "token_limit": In(16), "start_position": In(16),
            "end_token": In(32), "sampled_token": In(17), "sampler_busy": In(1), "draw": Out(1),
            "matrix_entry": Out(queued_layout(matrix_command_layout())),
            "matrix_push": Out(1), "matrix_full": In(1),
            "vector_entry": Out(queued_layout(vector_command_layout())),
            "vector_push": Out(1), "vector_full": In(1),
            "matrix_done": In(1), "matrix_event": In(4),
            "vector_done": In(1), "vector_event": In(4),
            **{f"{unit}_{name}": member for unit in ("matrix", "vector") for name, member in (
                ("waits", In(waits_layout())), ("valid", In(1)), ("pop", In(1)),
                ("ready", Out(1)))},
            "units_idle": In(1),
            "token_address": Out(range(config.context)), "token_write": Out(1),
            "token_data": Out(32), "token_blocked": In(1), "token_event": Out(1),
            "unit_fault": In(Fault), "unit_fault_pc": In(PC_BITS),
            "fault": Out(Fault), "fault_pc": Out(PC_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = fetch = Fetch(self.config)
        m.submodules.loops = loops = LoopStack()
        m.submodules.scoreboard = scoreboard = Scoreboard()

        # Decode: operands and checks of the fetched instruction, registered for its execution.
        fetched = _fields(fetch.instruction)
        instruction = Signal(INSTRUCTION_BITS, reset_less=True)
        fields = _fields(instruction)
        pc = Signal(PC_BITS + 1, reset_less=True)
        valid, stall = Signal(), Signal()
        illegal, past_end = Signal(reset_less=True), Signal(reset_less=True)
        opcode = Signal(Opcode)
        m.d.comb += opcode.eq(fields["opcode"])

        def known(*opcodes: Opcode) -> Signal:
            """Return whether the executed instruction is one of these, decided a cycle before."""
            flag = Signal(name=f"is_{'_'.join(op.name.lower() for op in opcodes)}",
                          reset_less=True)
            with m.If(~stall):
                m.d.sync += flag.eq(Cat(fetched["opcode"] == op for op in opcodes).any())
            return flag

        is_matrix, is_vector = known(*MATRIX_OPCODES), known(*VECTOR_OPCODES)
        writes_register = known(Opcode.SET, Opcode.SUB, Opcode.SHR, Opcode.MIN, Opcode.GET)

        # Registers.
        general = Array([Const(0, REGISTER_BITS), *(
            Signal(REGISTER_BITS, name=f"r{i}") for i in range(1, GENERAL_REGISTERS))])
        descriptors = {
            f"{unit}.{name}": Signal(bits, name=f"{unit}_{name}")
            for unit, table in (("m", MATRIX_DESCRIPTORS), ("v", VECTOR_DESCRIPTORS))
            for name, (bits, _) in table.items()}
        rs = Signal(REGISTER_BITS, reset_less=True)
        rt = Signal(REGISTER_BITS, reset_less=True)
        result = Signal(REGISTER_BITS)
        with m.If(~stall):
            m.d.sync += [
                instruction.eq(fetch.instruction), pc.eq(fetch.pc), past_end.eq(fetch.past_end),
                illegal.eq(self._illegal(m, fetch.instruction, fetch.pc)),
            ]
            for name, operand in (("rs", rs), ("rt", rt)):
                # The instruction in execution may write the register that this one reads.
                newer = (valid & writes_register & (fields["dst"] == fetched[name])
                         & (fetched[name] != 0))
                m.d.sync += operand.eq(Mux(newer, result, general[fetched[name]]))
        m.d.sync += valid.eq(self.running & ~fetch.redirect & (fetch.valid | stall))

        immediate = fields["imm"]
        sum_t = (rt + immediate)[:REGISTER_BITS]
        special = Array([self.prompt_length, self.token_limit, self.start_position,
                         self.sampled_token])
        with m.Switch(opcode):
            with m.Case(Opcode.SET):
                m.d.comb += result.eq(rs + sum_t)
            with m.Case(Opcode.SUB):
                m.d.comb += result.eq(rs - rt + immediate)
            with m.Case(Opcode.SHR):
                m.d.comb += result.eq((rs + immediate)[:REGISTER_BITS] >> fields["amount"])
            with m.Case(Opcode.MIN):
                m.d.comb += result.eq(Mux(rs < sum_t, rs, sum_t))
            with m.Case(Opcode.GET):
                m.d.comb += result.eq(special[immediate[:2]])

        condition_holds, needs_token = Signal(), Signal()
        with m.Switch(fields["condition"]):
            with m.Case(Condition.ALWAYS.value):
                m.d.comb += condition_holds.eq(1)
            with m.Case(Condition.EQUAL.value):
                m.d.comb += condition_holds.eq(rs == sum_t)
            with m.Case(Condition.NOT_EQUAL.value):
                m.d.comb += condition_holds.eq(rs != sum_t)
            with m.Case(Condition.LESS.value):
                m.d.comb += condition_holds.eq(rs < sum_t)
            with m.Case(Condition.NOT_LESS.value):
                m.d.comb += condition_holds.eq(rs >= sum_t)
            with m.Case(Condition.END_TOKEN.value):
                m.d.comb += condition_holds.eq(self.sampled_token == self.end_token)
        conditional = (opcode == Opcode.SKIP) | (opcode == Opcode.HALT)
        m.d.comb += needs_token.eq(
            (opcode == Opcode.EMIT) | (opcode == Opcode.DRAW)
            | ((opcode == Opcode.GET) & (immediate == Special.SAMPLED_TOKEN.value))
            | (conditional & (fields["condition"] == Condition.END_TOKEN.value)))

        empty = Signal()
        m.d.comb += empty.eq(
            (is_matrix & ((descriptors["m.rows"] == 0) | (descriptors["m.k_tiles"] == 0)
                          | ((opcode == Opcode.MATMUL) & ((descriptors["m.n_tiles"] == 0)
                                                          | (descriptors["m.subrows"] == 0)))))
            | (is_vector & ((descriptors["v.rows"] == 0) | (descriptors["v.segments"] == 0)
                            | (descriptors["v.beats"] == 0))))

        cause = Signal(Fault)
        with m.If(past_end):
            m.d.comb += cause.eq(Fault.PROGRAM_COUNTER)
        with m.Elif(illegal):
            m.d.comb += cause.eq(Fault.ILLEGAL_INSTRUCTION)
        with m.Elif(((opcode == Opcode.LOOP) & (rs != 0) & loops.full)
                    | ((opcode == Opcode.END) & loops.empty)):
            m.d.comb += cause.eq(Fault.LOOP)
        with m.Elif(empty):
            m.d.comb += cause.eq(Fault.EMPTY_COMMAND)
        with m.Elif((opcode == Opcode.EMIT) & (rs >= self.config.context)):
            m.d.comb += cause.eq(Fault.TOKEN_ADDRESS)

        # Execution: `go` when the instruction completes in this cycle.
        halting, pausing, passed = Signal(), Signal(), Signal()
        at_break = self.breakpoint_enable & (pc == self.breakpoint) & ~passed
        active = Signal()
        hold, go = Signal(), Signal()
        m.d.comb += [
            active.eq(self.running & valid & ~halting & ~pausing & ~at_break & ~self.paused
                      & (cause == Fault.NONE) & (self.fault == Fault.NONE)
                      & (self.unit_fault == Fault.NONE)),
            hold.eq((is_matrix & self.matrix_full) | (is_vector & self.vector_full)
                    | ((opcode == Opcode.SYNC) & ~scoreboard.now)
                    | (needs_token & self.sampler_busy)
                    | ((opcode == Opcode.EMIT) & self.token_blocked)),
            go.eq(active & ~hold),
            stall.eq(valid & ~go), fetch.stall.eq(stall), fetch.run.eq(self.running),
            self.program_address.eq(fetch.address), self.program_enable.eq(fetch.enable),
            fetch.data.eq(self.program_data),
            self.stalled.eq(active & hold),
        ]
        with m.If(go):
            m.d.sync += passed.eq(0)
            with m.Switch(opcode):
                with m.Case(Opcode.LOOP):
                    m.d.comb += [loops.push.eq(rs != 0), fetch.redirect.eq(rs == 0),
                                 fetch.target.eq(fields["target"] + 1)]
                with m.Case(Opcode.END):
                    m.d.comb += [loops.end.eq(1), fetch.redirect.eq(loops.again),
                                 fetch.target.eq(loops.top_start)]
                with m.Case(Opcode.SKIP):
                    m.d.comb += [fetch.redirect.eq(condition_holds),
                                 fetch.target.eq(fields["target"])]
                with m.Case(Opcode.HALT):
                    m.d.sync += halting.eq(condition_holds)
                with m.Case(Opcode.EMIT):
                    m.d.sync += pausing.eq(self.pause_after_token)
        write = Signal(64)
        with m.If(go & writes_register):
            m.d.comb += write.eq(Const(1) << fields["dst"])
        for i in range(1, GENERAL_REGISTERS):
            with m.If(write[i]):
                m.d.sync += general[i].eq(result)
        for name, register in descriptors.items():
            with m.If(write[REGISTERS[name]]):
                m.d.sync += register.eq(result)
        m.d.comb += [
            loops.start.eq(pc + 1), loops.count.eq(rs),
            self.draw.eq(go & (opcode == Opcode.DRAW)),
            self.token_write.eq(go & (opcode == Opcode.EMIT)), self.token_address.eq(rs),
            self.token_data.eq(self.sampled_token), self.token_event.eq(self.token_write),
        ]

        # Commands.
        signals = Signal(4)
        m.d.comb += [
            signals.eq(fields["signal"]), scoreboard.event_a.eq(fields["wait_a"]),
            scoreboard.event_b.eq(fields["wait_b"]),
            scoreboard.issue.eq(go & (is_matrix | is_vector)), scoreboard.issue_event.eq(signals),
            scoreboard.matrix_done.eq(self.matrix_done),
            scoreboard.matrix_event.eq(self.matrix_event),
            scoreboard.vector_done.eq(self.vector_done),
            scoreboard.vector_event.eq(self.vector_event),
            self.matrix_push.eq(go & is_matrix), self.vector_push.eq(go & is_vector),
        ]
        for entry, unit, letter in ((self.matrix_entry, "matrix", "m"),
                                    (self.vector_entry, "vector", "v")):
            command = entry.flight.command
            m.d.comb += [
                command.opcode.eq(opcode), entry.flight.pc.eq(pc),
                entry.flight.signal.eq(signals), entry.waits.eq(scoreboard.waits),
                getattr(self, f"{unit}_ready").eq(getattr(scoreboard, f"{unit}_ready")),
                *(getattr(scoreboard, f"{unit}_{name}").eq(getattr(self, f"{unit}_{name}"))
                  for name in ("waits", "valid", "pop")),
            ]
            for name, register in descriptors.items():
                if name.startswith(f"{letter}."):
                    m.d.comb += command[name[2:]].eq(register)
        command = self.matrix_entry.flight.command
        m.d.comb += [
            command.source.eq(Source(fields["source"])), command.masked.eq(fields["masked"]),
            command.destination.as_value().eq(fields["destination"]),
            command.statistic.as_value().eq(fields["statistic"]),
        ]

        # Running, pausing, stopping.
        with m.If(self.start & ~self.running & (self.fault == Fault.NONE)):
            m.d.sync += [self.running.eq(1), self.done.eq(0), passed.eq(0)]
            m.d.comb += loops.clear.eq(1)
        with m.If(self.running & self.units_idle):
            with m.If(halting):
                m.d.sync += [self.running.eq(0), self.done.eq(1), halting.eq(0)]
            with m.Elif((pausing | (at_break & valid)) & (self.fault == Fault.NONE)):
                m.d.sync += self.paused.eq(1)
        with m.If(self.resume & self.paused):
            m.d.sync += [self.paused.eq(0), pausing.eq(0), passed.eq(at_break)]

        # Watchdog and faults.
        quiet = Signal(32)
        progress = (self.matrix_done | self.vector_done | self.token_event | self.paused
                    | ~self.running)
        m.d.sync += quiet.eq(Mux(progress, 0, quiet + 1))
        with m.If(self.fault == Fault.NONE):
            with m.If(self.unit_fault != Fault.NONE):
                m.d.sync += [self.fault.eq(self.unit_fault), self.fault_pc.eq(self.unit_fault_pc)]
            with m.Elif(self.running & valid & ~halting & ~pausing & (cause != Fault.NONE)):
                m.d.sync += [self.fault.eq(cause), self.fault_pc.eq(pc)]
            with m.Elif((self.watchdog_cycles != 0) & (quiet >= self.watchdog_cycles)):
                m.d.sync += [self.fault.eq(Fault.WATCHDOG), self.fault_pc.eq(pc)]
        return m

    @staticmethod
    def _illegal(m: Module, instruction: Value, pc: Value) -> Signal:
        """Return whether an instruction at ``pc`` breaks the rules of its format."""
        fields = _fields(instruction)
        opcode = Signal(Opcode, name="fetched_opcode")
        m.d.comb += opcode.eq(fields["opcode"])
        illegal = Signal(name="fetched_illegal")
        with m.Switch(opcode):
            for op, operands in OPERANDS.items():
                unused = ~_field_mask(("opcode", *operands)) & ((1 << INSTRUCTION_BITS) - 1)
                with m.Case(op):
                    m.d.comb += illegal.eq((instruction & unused) != 0)
            with m.Default():
                m.d.comb += illegal.eq(1)

        def is_any(*opcodes: Opcode) -> Value:
            return Cat(opcode == op for op in opcodes).any()

        writable = Array(Const(int(i in REGISTERS.values()), 1) for i in range(64))
        with m.If((is_any(Opcode.SET, Opcode.SUB, Opcode.SHR, Opcode.MIN, Opcode.GET)
                   & ~writable[fields["dst"]])
                  | (is_any(Opcode.SKIP, Opcode.HALT)
                     & (fields["condition"] > max(c.value for c in Condition)))
                  | (is_any(Opcode.GET) & (fields["imm"] > max(s.value for s in Special)))
                  | (is_any(Opcode.SKIP, Opcode.LOOP) & (fields["target"] <= pc))
                  | (is_any(*MATRIX_OPCODES)
                     & ((fields["destination"] > max(d.value for d in Destination))
                        | (fields["statistic"] > max(s.value for s in Statistic))))):
            m.d.comb += illegal.eq(1)
        return illegal


def _fields(instruction: Value) -> dict[str, Value]:
    """Cut an instruction into its fields."""
    return {name: instruction[low:low + width]
            for name, (low, width) in INSTRUCTION_FIELDS.items()}


def _field_mask(names: tuple[str, ...]) -> int:
    """Return the bits that the named fields occupy."""
    mask = 0
    for name in names:
        low, width = INSTRUCTION_FIELDS[name]
        mask |= ((1 << width) - 1) << low
    return mask
