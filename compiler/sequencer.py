"""The sequencer: control flow, registers and descriptors of a running program.

`Sequencer.step` executes one instruction and tells what the units must do. The functional simulator
(machine.py) and the timing model (timing.py) share it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from compiler.assembler import REGISTER_NAMES, IllegalInstructionError, Instruction, decode
from hw.control.isa import (
    LOOP_DEPTH,
    MATRIX_DESCRIPTORS,
    MATRIX_OPCODES,
    NETWORK_OPCODES,
    REGISTER_BITS,
    REGISTERS,
    SHARED_MODEL_OPCODES,
    VECTOR_DESCRIPTORS,
    VECTOR_OPCODES,
    Condition,
    Fault,
    Opcode,
    Special,
)

_MASK = (1 << REGISTER_BITS) - 1
_DESCRIPTORS = {
    **{f"m.{name}": bits for name, (bits, _) in MATRIX_DESCRIPTORS.items()},
    **{f"v.{name}": bits for name, (bits, _) in VECTOR_DESCRIPTORS.items()},
}
#: What a write keeps, by register number: r0 nothing, a descriptor its own width.
_WRITE_MASK = [
    0 if number == 0 else (1 << _DESCRIPTORS.get(REGISTER_NAMES.get(number, ""), REGISTER_BITS)) - 1
    for number in range(64)
]
_FIRST = {"matrix": REGISTERS["m.weight"], "vector": REGISTERS["v.rows"]}
_NAMES = {"matrix": tuple(MATRIX_DESCRIPTORS), "vector": tuple(VECTOR_DESCRIPTORS)}


class MachineFaultError(Exception):
    """The chip stops with a fault."""

    def __init__(self, fault: Fault, pc: int, detail: str = "") -> None:
        super().__init__(f"{fault.name} at instruction {pc}{': ' if detail else ''}{detail}")
        self.fault = fault
        self.pc = pc


@dataclass(frozen=True)
class Step:
    """One executed instruction."""

    pc: int
    instruction: Instruction
    taken: bool  #: a loop-back or skip was taken
    unit: str | None = None  #: `matrix` or `vector` for a command: the queue that it goes to
    fields: dict[str, int] | None = None  #: the command's descriptors
    value: int = 0  #: EMIT: the position


class Sequencer:
    """Executes scalar instructions; `special` reads the host's registers and the sampled token.

    Registers and descriptors are not cleared by a run, so a program must not read what it did not
    write: they start as `garbage`, and `unwritten` collects the numbers of descriptors that no
    instruction has written yet.
    """

    def __init__(
        self,
        words: Iterable[int],
        special: Callable[[Special], int],
        is_end_token: Callable[[], bool],
        garbage: int = 0x5A5A5A,
        *,
        network: bool = False,
    ) -> None:
        self._special = special
        self._is_end_token = is_end_token
        self._decoded: list[Instruction | None] = []
        for address, word in enumerate(words):
            try:
                decoded: Instruction | None = decode(int(word), address)
            except IllegalInstructionError:
                decoded = None
            if decoded is not None and decoded.opcode in SHARED_MODEL_OPCODES and not network:
                decoded = None
            self._decoded.append(decoded)
        self.registers = [garbage & mask for mask in _WRITE_MASK]
        self.unwritten = set(range(1, 64))
        self.pc = 0
        self.halted = False
        self._loops: list[list[int]] = []

    def written(self, register: str) -> bool:
        """Whether a register has been written."""
        return REGISTERS[register] not in self.unwritten

    def _write(self, number: int, value: int) -> None:
        self.registers[number] = value & _WRITE_MASK[number]
        self.unwritten.discard(number)

    def _holds(self, i: Instruction) -> bool:
        """Evaluate a condition."""
        a, b = self.registers[i["rs"]], (self.registers[i["rt"]] + i["imm"]) & _MASK
        match Condition(i["condition"]):
            case Condition.ALWAYS:
                return True
            case Condition.EQUAL:
                return a == b
            case Condition.NOT_EQUAL:
                return a != b
            case Condition.LESS:
                return a < b
            case Condition.NOT_LESS:
                return a >= b
            case Condition.END_TOKEN:
                return self._is_end_token()

    def step(self) -> Step:
        """Execute the instruction at `pc`."""
        pc, registers = self.pc, self.registers
        if pc >= len(self._decoded):
            raise MachineFaultError(Fault.PROGRAM_COUNTER, pc)
        i = self._decoded[pc]
        if i is None:
            raise MachineFaultError(Fault.ILLEGAL_INSTRUCTION, pc)
        self.pc = pc + 1
        taken = False
        value = 0
        match i.opcode:
            case Opcode.SET:
                self._write(i["dst"], registers[i["rs"]] + registers[i["rt"]] + i["imm"])
            case Opcode.SUB:
                self._write(i["dst"], registers[i["rs"]] - registers[i["rt"]] + i["imm"])
            case Opcode.SHR:
                self._write(i["dst"], ((registers[i["rs"]] + i["imm"]) & _MASK) >> i["amount"])
            case Opcode.MIN:
                other = (registers[i["rt"]] + i["imm"]) & _MASK
                self._write(i["dst"], min(registers[i["rs"]], other))
            case Opcode.GET:
                self._write(i["dst"], self._special(Special(i["imm"])))
            case Opcode.LOOP:
                taken = self._loop(pc, i)
            case Opcode.END:
                taken = self._end(pc)
            case Opcode.SKIP:
                taken = self._holds(i)
                if taken:
                    self.pc = i["target"]
            case Opcode.HALT:
                self.halted = self._holds(i)
                if self.halted:
                    self.pc = 0
                    self._loops.clear()
            case Opcode.EMIT:
                value = registers[i["rs"]]
            case _:
                return self._command(pc, i)
        return Step(pc, i, taken, value=value)

    def _loop(self, pc: int, i: Instruction) -> bool:
        count = self.registers[i["rs"]]
        if count == 0:
            self.pc = i["target"] + 1
            return True
        if len(self._loops) == LOOP_DEPTH:
            raise MachineFaultError(Fault.LOOP, pc, "too many loops inside each other")
        self._loops.append([pc + 1, count])
        return False

    def _end(self, pc: int) -> bool:
        if not self._loops:
            raise MachineFaultError(Fault.LOOP, pc, "END without LOOP")
        self._loops[-1][1] -= 1
        if self._loops[-1][1] == 0:
            self._loops.pop()
            return False
        self.pc = self._loops[-1][0]
        return True

    def _command(self, pc: int, i: Instruction) -> Step:
        if i.opcode in (*MATRIX_OPCODES, Opcode.EMBED_SHARE):
            unit = "matrix"
        elif i.opcode in (*VECTOR_OPCODES, *NETWORK_OPCODES):
            unit = "vector"
        else:
            return Step(pc, i, taken=False)
        names, first = _NAMES[unit], _FIRST[unit]
        fields = dict(zip(names, self.registers[first : first + len(names)], strict=True))
        return Step(pc, i, taken=False, unit=unit, fields=fields)
