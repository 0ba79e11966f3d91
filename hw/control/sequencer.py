"""The sequencer: executes the program, fills the two command queues, stops on faults."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.decoder import Decoder, decoded_layout, instruction_fields
from hw.control.fetch import Fetch
from hw.control.isa import (
    GENERAL_REGISTERS,
    INSTRUCTION_BITS,
    MATRIX_DESCRIPTORS,
    REGISTER_BITS,
    REGISTERS,
    VECTOR_DESCRIPTORS,
    Fault,
    Source,
    matrix_command_layout,
    vector_command_layout,
)
from hw.control.loop_stack import LoopStack
from hw.control.queue import PC_BITS, in_flight_layout, wait_layout
from hw.control.scalar_unit import ScalarUnit
from hw.control.scoreboard import Scoreboard
from hw.control.watchdog import Watchdog


class Sequencer(wiring.Component):
    """Runs one instruction per cycle; commands go to the queues with a snapshot of descriptors.

    Ports: ``start``, ``resume`` (pulses); ``running``, ``done``, ``paused``, ``stalled``;
    ``breakpoint`` with ``breakpoint_enable``, ``pause_after_token``; program memory port; special
    registers; ``matrix_*``/``vector_*``: queue entries and completions; ``wait``: what the entry
    waits for; ``units_idle``: queues and units are empty; ``sampler_busy``, ``sampled_token``,
    ``draw``; ``token_write`` with ``token_address``, ``token_data``: stays until the memory takes
    it (``token_blocked``: not in this cycle); ``token_event``: it has; ``unit_fault`` with
    ``unit_fault_pc``; ``fault``, ``fault_pc``: sticky until reset; ``healthy``: no fault, and
    none is found in this cycle: no command may start without it; ``watchdog_cycles``: most cycles
    without a completed command or token, 0 counts as 2**32. All outputs but pushes, waits,
    ``healthy``, ``stalled`` and ``program_enable`` are registers.

    Stages: program memory, decoding with the read of operands, execution.
    Throughput: one instruction per cycle; SHR, MIN, and a SKIP or HALT that compares take two; a
    taken LOOP skip, END, SKIP costs three more. It stalls while a queue is full, in SYNC, and
    while the sampler works when the token is needed.
    """

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
            "matrix_entry": Out(in_flight_layout(matrix_command_layout())),
            "matrix_push": Out(1), "matrix_full": In(1), "matrix_done": In(1),
            "vector_entry": Out(in_flight_layout(
                vector_command_layout(network=config.network is not None))),
            "vector_push": Out(1), "vector_full": In(1), "vector_done": In(1),
            "wait": Out(wait_layout(config)), "units_idle": In(1),
            "token_address": Out(range(config.context)), "token_write": Out(1),
            "token_data": Out(32), "token_blocked": In(1), "token_event": Out(1),
            "unit_fault": In(Fault), "unit_fault_pc": In(PC_BITS),
            "fault": Out(Fault), "fault_pc": Out(PC_BITS), "healthy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = self._fetch = Fetch(self.config)
        m.submodules.loops = self._loops = LoopStack()
        m.submodules.scoreboard = self._scoreboard = Scoreboard(self.config)
        m.submodules.scalar = self._scalar = ScalarUnit()

        #: The instruction in execution.
        self._valid, self._pc = Signal(), Signal(PC_BITS, reset_less=True)
        self._instruction = Signal(INSTRUCTION_BITS, reset_less=True)
        self._decoded = Signal(decoded_layout(), reset_less=True)
        self._fields = instruction_fields(self._instruction)
        #: It has had the first of its two cycles.
        self._second = Signal()
        self._halting, self._pausing, self._passed = Signal(), Signal(), Signal()
        self._active, self._hold, self._go = Signal(), Signal(), Signal()
        #: It completes now if it is none of those that may wait for queues, events, or EMIT.
        self._brief = Signal()
        #: The command just pushed is bad, and its program counter.
        self._empty, self._too_long = Signal(), Signal()
        self._pushed_pc = Signal(PC_BITS, reset_less=True)
        self._registers(m)
        self._decode(m)
        self._execute(m)
        self._emit_token(m)
        self._issue(m)
        self._run(m)
        return m

    def _registers(self, m: Module) -> None:
        """General registers and descriptors; a program writes before it reads, so no reset."""
        self._general = Array([Const(0, REGISTER_BITS), *(
            Signal(REGISTER_BITS, name=f"r{i}", reset_less=True)
            for i in range(1, GENERAL_REGISTERS))])
        self._descriptors = {
            f"{unit}.{name}": Signal(bits, name=f"{unit}_{name}", reset_less=True)
            for unit, table in (("m", MATRIX_DESCRIPTORS), ("v", VECTOR_DESCRIPTORS))
            for name, (bits, _) in table.items()}
        write = Signal(64)
        with m.If(self._brief & self._decoded.writes):
            m.d.comb += write.eq(Const(1) << self._fields["dst"])
        targets = [(i, self._general[i]) for i in range(1, GENERAL_REGISTERS)]
        targets += [(REGISTERS[name], register) for name, register in self._descriptors.items()]
        for number, register in targets:
            with m.If(write[number]):
                m.d.sync += register.eq(self._scalar.result)

    def _decode(self, m: Module) -> None:
        """Take an instruction from fetch, with its operands."""
        fetch, scalar = self._fetch, self._scalar
        m.submodules.decoder = decoder = Decoder(self.config)
        a, b = (Signal(REGISTER_BITS, name=name, reset_less=True) for name in ("rs", "rt"))
        take = Signal()
        m.d.comb += [
            take.eq(~self._valid | self._go), fetch.take.eq(take), fetch.run.eq(self.running),
            self.program_address.eq(fetch.address), self.program_enable.eq(fetch.enable),
            fetch.data.eq(self.program_data),
            decoder.instruction.eq(fetch.instruction), decoder.pc.eq(fetch.pc),
            scalar.a.eq(a), scalar.b.eq(b), scalar.instruction.eq(self._instruction),
            scalar.decoded.eq(self._decoded),
        ]
        with m.If(take):
            m.d.sync += [
                self._valid.eq(fetch.valid & ~fetch.redirect), self._second.eq(0),
                self._pc.eq(fetch.pc), self._instruction.eq(fetch.instruction),
                self._decoded.eq(decoder.decoded),
            ]
        with m.If(~self.running):
            m.d.sync += self._valid.eq(0)

        # An operand is the result of this cycle if the instruction in execution writes it.
        first, step = Signal(), Signal()
        needed, target = instruction_fields(fetch.instruction), self._fields["dst"]
        m.d.comb += [
            first.eq(self._valid & (self._decoded.first_a | self._decoded.first_b) & ~self._second),
            step.eq(first & self._active & ~self._hold), scalar.first.eq(first),
        ]
        with m.If(step):
            m.d.sync += self._second.eq(1)
        for operand, name, is_first in ((a, "rs", self._decoded.first_a),
                                        (b, "rt", self._decoded.first_b)):
            follows = self._valid & self._decoded.writes & (target == needed[name]) & (target != 0)
            with m.If(take | (step & is_first)):
                m.d.sync += operand.eq(Mux(follows | (first & is_first), scalar.result,
                                           self._general[needed[name]]))

    def _execute(self, m: Module) -> None:
        """Find out whether the instruction may be executed, and whether it completes now."""
        fetch, loops, scalar = self._fetch, self._loops, self._scalar
        fields, decoded, d = self._fields, self._decoded, self._descriptors
        matmul_empty = decoded.matmul & ((d["m.n_tiles"] == 0) | (d["m.subrows"] == 0))
        empty = ((decoded.matrix & ((d["m.rows"] == 0) | (d["m.k_tiles"] == 0) | matmul_empty))
                 | (decoded.vector & ((d["v.rows"] == 0) | (d["v.segments"] == 0)
                                      | (d["v.beats"] == 0))))
        entered = scalar.a != 0
        too_long = decoded.matmul & (
            d["m.k_tiles"] > self.config.longest_dot // self.config.rows)
        problems = (
            (decoded.past_end, Fault.PROGRAM_COUNTER), (decoded.illegal, Fault.ILLEGAL_INSTRUCTION),
            ((decoded.loop & entered & loops.full) | (decoded.end & loops.empty), Fault.LOOP),
            (decoded.emit & (scalar.a >= self.config.context), Fault.TOKEN_ADDRESS))
        self._cause, problem = Signal(Fault), Signal()
        for condition, fault in reversed(problems):
            with m.If(condition):
                m.d.comb += self._cause.eq(fault)
        self._at_break = (self.breakpoint_enable & (self._pc == self.breakpoint) & ~self._passed)
        board = self._scoreboard
        ready, needs_token = Signal(), Signal()
        m.d.comb += [
            ready.eq(self._valid & self.running & ~self._halting & ~self._pausing & ~self.paused
                     & ~self._at_break & ~decoded.past_end & ~decoded.illegal & self.healthy),
            needs_token.eq(decoded.needs_token & self.sampler_busy),
            self._brief.eq(ready & ~needs_token & ~scalar.first),
            problem.eq(Cat(*(condition for condition, _ in problems)).any()),
            self._active.eq(ready & ~problem),
            self._hold.eq(
                (decoded.matrix & (self.matrix_full | board.matrix_limit))
                | (decoded.vector & (self.vector_full | board.vector_limit))
                | (decoded.sync & board.busy) | needs_token
                | (decoded.emit & self.token_write)),
            self._go.eq(self._active & ~self._hold & ~scalar.first),
            self.stalled.eq(self._active & self._hold),
        ]
        # A command's sizes are judged in the cycle after its push, in which no unit can start it.
        m.d.sync += [self._empty.eq(self._go & empty), self._too_long.eq(self._go & too_long)]
        with m.If(self._go):
            m.d.sync += self._pushed_pc.eq(self._pc)
        m.d.comb += self.healthy.eq(
            (self.fault == Fault.NONE) & ~self._empty & ~self._too_long)
        is_end = Signal()
        m.d.sync += [is_end.eq(self.sampled_token == self.end_token),
                     self.draw.eq(self._go & decoded.draw)]
        specials = (self.prompt_length, self.token_limit, self.start_position, self.sampled_token)
        m.d.comb += [
            scalar.is_end.eq(is_end),
            *(getattr(scalar, f"special_{i}").eq(value) for i, value in enumerate(specials)),
            loops.start.eq(fetch.pc), loops.count.eq(scalar.a),
            loops.push.eq(self._brief & decoded.loop & entered & ~loops.full),
            loops.end.eq(self._brief & decoded.end & ~loops.empty),
            fetch.redirect.eq(self._brief & (
                (decoded.loop & ~entered) | (decoded.end & ~loops.empty & loops.again)
                | (decoded.skip & scalar.holds))),
        ]
        # While the program does not run, fetch waits at its first instruction.
        with m.If(self.running):
            m.d.comb += fetch.target.eq(
                Mux(decoded.end, loops.top_start, fields["target"] + decoded.loop))

    def _emit_token(self, m: Module) -> None:
        """Keep an emitted token until the token memory takes it."""
        address = Signal(self.token_address.shape(), reset_less=True)
        token = Signal(17, reset_less=True)
        m.d.comb += [self.token_address.eq(address), self.token_data.eq(token)]
        m.d.sync += self.token_event.eq(self.token_write & ~self.token_blocked)
        with m.If(~self.token_blocked):
            m.d.sync += self.token_write.eq(0)
        with m.If(self._go & self._decoded.emit):
            m.d.sync += [self.token_write.eq(1), address.eq(self._scalar.a),
                         token.eq(self.sampled_token)]

    def _issue(self, m: Module) -> None:
        """Form the commands."""
        fields, decoded, board = self._fields, self._decoded, self._scoreboard
        m.d.comb += [
            board.event_a.eq(fields["wait_a"]), board.event_b.eq(fields["wait_b"]),
            board.signal.eq(fields["signal"]), self.wait.eq(board.wait),
            self.matrix_push.eq(self._go & decoded.matrix),
            self.vector_push.eq(self._go & decoded.vector),
            board.matrix_issue.eq(self.matrix_push), board.vector_issue.eq(self.vector_push),
            board.matrix_done.eq(self.matrix_done), board.vector_done.eq(self.vector_done),
        ]
        for entry, unit in ((self.matrix_entry, "m"), (self.vector_entry, "v")):
            m.d.comb += [entry.command.opcode.as_value().eq(fields["opcode"]),
                         entry.pc.eq(self._pc)]
            m.d.comb += [entry.command[name[2:]].eq(register)
                         for name, register in self._descriptors.items()
                         if name.startswith(f"{unit}.")]
        command = self.matrix_entry.command
        m.d.comb += [
            command.source.eq(Source(fields["source"])), command.masked.eq(fields["masked"]),
            command.destination.as_value().eq(fields["destination"]),
            command.statistic.as_value().eq(fields["statistic"]),
        ]
        if self.config.network is not None:
            shared = self.vector_entry.command
            m.d.comb += [getattr(shared, name).as_value().eq(fields[name])
                         for name in ("ring", "reduction", "statistic")]

    def _run(self, m: Module) -> None:
        """Start, pause, resume, end, and stop on a fault."""
        settled = Signal()
        m.d.comb += settled.eq(self.units_idle & ~self.token_write)
        with m.If(self._go):
            m.d.sync += self._passed.eq(0)
            with m.If(self._decoded.halt & self._scalar.holds):
                m.d.sync += self._halting.eq(1)
            with m.If(self._decoded.emit):
                m.d.sync += self._pausing.eq(self.pause_after_token)
        healthy = self.fault == Fault.NONE
        with m.If(self.start & ~self.running & healthy):
            m.d.sync += [self.running.eq(1), self.done.eq(0), self._passed.eq(0)]
            m.d.comb += self._loops.clear.eq(1)
        with m.If(self.running & settled):
            ends = self._go & self._decoded.halt & self._scalar.holds
            with m.If(self._halting | ends):
                m.d.sync += [self.running.eq(0), self.done.eq(1), self._halting.eq(0)]
            with m.Elif((self._pausing | (self._at_break & self._valid)) & healthy):
                m.d.sync += self.paused.eq(1)
        with m.If(self.resume & self.paused):
            m.d.sync += [self.paused.eq(0), self._pausing.eq(0), self._passed.eq(self._at_break)]

        m.submodules.watchdog = watchdog = Watchdog()
        m.d.comb += [
            watchdog.cycles.eq(self.watchdog_cycles),
            watchdog.progress.eq(self.matrix_done | self.vector_done | self.token_event
                                 | self.paused | ~self.running),
        ]
        with m.If(healthy):
            with m.If(self.unit_fault != Fault.NONE):
                m.d.sync += [self.fault.eq(self.unit_fault), self.fault_pc.eq(self.unit_fault_pc)]
            with m.Elif(self._empty | self._too_long):
                m.d.sync += [
                    self.fault.eq(Mux(self._empty, Fault.EMPTY_COMMAND, Fault.DOT_LENGTH)),
                    self.fault_pc.eq(self._pushed_pc)]
            with m.Elif(self.running & self._valid & ~self._halting & ~self._pausing
                        & (self._cause != Fault.NONE)):
                m.d.sync += [self.fault.eq(self._cause), self.fault_pc.eq(self._pc)]
            with m.Elif(watchdog.late):
                m.d.sync += [self.fault.eq(Fault.WATCHDOG), self.fault_pc.eq(self._pc)]
