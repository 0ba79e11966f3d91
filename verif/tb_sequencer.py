"""Random programs on the sequencer against the instruction-set simulator's."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from compiler.assembler import Program
from compiler.sequencer import Sequencer
from hw.control.isa import (
    MATRIX_DESCRIPTORS,
    MATRIX_OPCODES,
    REGISTERS,
    VECTOR_DESCRIPTORS,
    VECTOR_OPCODES,
    Condition,
    Destination,
    Special,
    matrix_command_layout,
    vector_command_layout,
)
from hw.control.queue import queued_layout
from verif.memories import MemoryHandle
from verif.simulator import CLOCK_PERIOD_NS

SPECIALS = {Special.PROMPT_LENGTH: 11, Special.TOKEN_LIMIT: 7, Special.START_POSITION: 3,
            Special.SAMPLED_TOKEN: 42}
#: Counts that a command needs above zero.
_COUNTS = {"rows", "subrows", "n_tiles", "k_tiles", "segments", "beats"}


def random_program(rng: random.Random) -> Program:
    """Return a program that ends: arithmetic, loops, skips and commands."""
    program, general = Program(), [f"r{i}" for i in range(16)]
    for name in REGISTERS:
        if name != "r0":
            program.emit("SET", dst=name, imm=rng.randint(1, 100))
    writable = [n for n in REGISTERS if n.split(".")[-1] not in _COUNTS and n != "r15"]

    def block(depth: int) -> None:
        for _ in range(rng.randint(1, 8)):
            kind = rng.random()
            rs, rt = rng.choice(general), rng.choice(general)
            imm = rng.choice([0, 1, 3, (1 << 24) - 1, rng.getrandbits(24)])
            if kind < 0.45:
                opcode = rng.choice(["SET", "SUB", "MIN", "SHR", "GET"])
                operands = {"dst": rng.choice(writable)}
                if opcode == "GET":
                    operands["imm"] = rng.choice(list(Special)).value
                else:
                    operands |= {"rs": rs, "imm": imm}
                    operands |= ({"amount": rng.randrange(24)} if opcode == "SHR"
                                 else {"rt": rt})
                program.emit(opcode, **operands)
            elif kind < 0.6 and depth < 3:
                program.emit("SET", dst="r15", imm=rng.randint(0, 3))
                with program.loop("r15"):
                    block(depth + 1)
            elif kind < 0.75 and depth < 4:
                label = program.label()
                program.skip(label, rng.choice([c.name for c in Condition]), rs, rt, imm)
                block(4)
                program.place(label)
            elif kind < 0.8:
                program.emit("SYNC", wait_a=rng.randrange(16), wait_b=rng.randrange(16))
            elif kind < 0.83:
                program.emit("DRAW")
            else:
                opcode = rng.choice([*MATRIX_OPCODES, *VECTOR_OPCODES])
                operands = {"signal": rng.randrange(16), "wait_a": rng.randrange(16),
                            "wait_b": rng.randrange(16)}
                if opcode.name in ("MATMUL", "EMBED"):
                    operands |= {"destination": rng.choice(list(Destination)).value,
                                 "statistic": rng.randrange(3)}
                program.emit(opcode, **operands)

    block(0)
    program.emit("HALT")
    return program


class Units:
    """Stand-ins for queues and units: take commands, complete them in order some time later."""

    def __init__(self, dut, rng: random.Random) -> None:
        self.dut, self.rng = dut, rng
        self.taken: list[tuple[str, dict]] = []
        self.waiting: dict[str, list[int]] = {"matrix": [], "vector": []}

    async def run(self) -> None:
        layouts = {
            "matrix": (queued_layout(matrix_command_layout()), tuple(MATRIX_DESCRIPTORS)),
            "vector": (queued_layout(vector_command_layout()), tuple(VECTOR_DESCRIPTORS))}
        edge = RisingEdge(self.dut.clk)
        while True:
            await edge
            for unit, (layout, names) in layouts.items():
                waiting = self.waiting[unit]
                if getattr(self.dut, f"{unit}_push").value == 1:
                    word = getattr(self.dut, f"{unit}_entry").value.to_unsigned()
                    flight = layout.from_bits(word).flight
                    self.taken.append((unit, {
                        "pc": flight.pc, "opcode": flight.command.opcode,
                        **{name: flight.command[name] for name in names}}))
                    waiting.append(flight.signal)
                done = bool(waiting) and self.rng.random() < 0.2
                getattr(self.dut, f"{unit}_done").value = int(done)
                if done:
                    getattr(self.dut, f"{unit}_event").value = waiting.pop(0)
                full = len(waiting) > 3 or self.rng.random() < 0.3
                getattr(self.dut, f"{unit}_full").value = int(full)
            self.dut.sampler_busy.value = int(self.rng.random() < 0.2)
            self.dut.units_idle.value = int(not any(self.waiting.values()))


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def random_programs(dut) -> None:
    """Commands come in order with the right descriptors, whatever the queues and units do."""
    rng = random.Random(int(os.environ["TESSERA_SEED"]))
    inputs = ["start", "resume", "breakpoint", "breakpoint_enable", "pause_after_token",
              "watchdog_cycles", "sampler_busy", "matrix_full", "vector_full", "matrix_done",
              "matrix_event", "vector_done", "vector_event", "matrix_waits", "vector_waits",
              "matrix_valid", "vector_valid", "matrix_pop", "vector_pop",
              "units_idle", "token_blocked", "unit_fault", "unit_fault_pc", "end_token"]
    for name in inputs:
        dut[name].value = 0
    for special, value in SPECIALS.items():
        dut[special.name.lower()].value = value
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    edge = RisingEdge(dut.clk)
    for _ in range(3):
        await edge
    dut.rst.value = 0
    units = Units(dut, rng)
    cocotb.start_soon(units.run())
    memory = MemoryHandle(dut.program)
    commands = 0
    for number in range(int(os.environ["TESSERA_PROGRAMS"])):
        words = [int(word) for word in random_program(rng).words()]
        if len(words) > 500:
            continue
        for address, word in enumerate(words):
            memory.write(address, word)
        reference = Sequencer(words, SPECIALS.__getitem__, lambda: False)
        want = []
        while not reference.halted:
            step = reference.step()
            if step.unit is not None:
                want.append((step.unit, {"pc": step.pc, "opcode": step.instruction.opcode,
                                         **step.fields}))
        units.taken.clear()
        dut.start.value = 1
        await edge
        dut.start.value = 0
        await edge
        for _ in range(100_000):
            await edge
            if dut.done.value == 1 or dut.fault.value.to_unsigned():
                break
        assert dut.done.value == 1, (
            f"sequencer, program {number}: fault {dut.fault.value.to_unsigned()} at "
            f"{dut.fault_pc.value.to_unsigned()}")
        for i, (got, expected) in enumerate(zip(units.taken, want, strict=False)):
            assert got == expected, (
                f"sequencer, program {number}, command {i}: got {got}, want {expected}")
        assert len(units.taken) == len(want), (
            f"sequencer, program {number}: {len(units.taken)} commands, want {len(want)}")
        commands += len(want)
    assert commands > 100
