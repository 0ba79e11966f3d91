"""Assembler: instructions by name to 64-bit words (hw/control/isa.py has the tables).

`Program` builds a program step by step; `assemble` reads the text that the disassembler writes.
A line of text is `OPCODE operand, operand ...`, where an operand is either a value in the order of
`OPERANDS`, or `name=value`; fields that are left out are zero. `label:` stands on a line of its
own, `;` starts a comment, and `.word 0x...` is any word.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hw.control.isa import (
    INSTRUCTION_BITS,
    INSTRUCTION_FIELDS,
    NETWORK_OPCODES,
    OPERANDS,
    REGISTER_BITS,
    REGISTERS,
    Condition,
    Destination,
    Opcode,
    Reduction,
    Ring,
    Source,
    Special,
    Statistic,
)

#: Fields whose values have names.
NAMED_FIELDS = {
    "condition": {member.name: member.value for member in Condition},
    "source": {member.name: member.value for member in Source},
    "destination": {member.name: member.value for member in Destination},
    "statistic": {member.name: member.value for member in Statistic},
    "ring": {member.name: member.value for member in Ring},
    "reduction": {member.name: member.value for member in Reduction},
}
SPECIALS = {member.name: member.value for member in Special}
REGISTER_NAMES = {number: name for name, number in REGISTERS.items()}
_REGISTER_FIELDS = ("dst", "rs", "rt")
_REGISTER_MASK = (1 << REGISTER_BITS) - 1


class IllegalInstructionError(ValueError):
    """A word is no instruction, or an instruction's operand is out of range."""


@dataclass(frozen=True)
class Instruction:
    """A decoded instruction: its opcode and the number in each of its fields."""

    opcode: Opcode
    operands: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        """Return an operand."""
        return self.operands[name]


@dataclass(eq=False)
class Label:
    """A place in a program; `address` is known once it is placed."""

    name: str
    address: int | None = None


def _field_value(opcode: Opcode, name: str, value: int | str) -> int:
    """Return a field's number; accept names of registers, conditions and the like."""
    where = f"{opcode.name}: {name}"
    if isinstance(value, str):
        if name in _REGISTER_FIELDS:
            names: Mapping[str, int] = REGISTERS
        elif name == "imm" and opcode == Opcode.GET:
            names = SPECIALS
        else:
            names = NAMED_FIELDS.get(name, {})
        if value not in names:
            known = ", ".join(names) or "a number"
            raise IllegalInstructionError(f"{where} must be one of {known}, not {value!r}")
        value = names[value]
    number = int(value)
    bits = INSTRUCTION_FIELDS[name][1]
    if name == "imm" and -(1 << (REGISTER_BITS - 1)) <= number < 0:
        number &= _REGISTER_MASK  # registers wrap, so a negative number is its complement
    if not 0 <= number < 1 << bits:
        raise IllegalInstructionError(f"{where} must be in 0..{(1 << bits) - 1}, not {value!r}")
    _check_name(opcode, name, number)
    return number


def _check_name(opcode: Opcode, name: str, number: int) -> None:
    """Refuse numbers that name nothing."""
    if name == "dst":
        known = number in REGISTER_NAMES
    elif name == "imm" and opcode == Opcode.GET:
        known = number in SPECIALS.values()
    elif name == "statistic" and opcode in NETWORK_OPCODES:
        known = number in (Statistic.NONE.value, Statistic.MAGNITUDE.value)
    elif name in NAMED_FIELDS:
        known = number in NAMED_FIELDS[name].values()
    else:
        known = True
    if not known:
        raise IllegalInstructionError(f"{opcode.name}: {name} must name something, not {number!r}")


def encode(opcode: Opcode, **operands: int | str) -> int:
    """Return an instruction's word; operands that are left out are zero."""
    if opcode not in OPERANDS:
        raise IllegalInstructionError(f"opcode must have operands, not {opcode.name!r}")
    word = opcode.value << INSTRUCTION_FIELDS["opcode"][0]
    for name, value in operands.items():
        if name not in OPERANDS[opcode]:
            known = ", ".join(OPERANDS[opcode]) or "none"
            raise IllegalInstructionError(f"{opcode.name}: operands are {known}, not {name!r}")
        word |= _field_value(opcode, name, value) << INSTRUCTION_FIELDS[name][0]
    return word


def decode(word: int, address: int | None = None) -> Instruction:
    """Return the instruction of a word; with its address, refuse backward targets too."""
    word = int(word)

    def bits(name: str) -> int:
        low, width = INSTRUCTION_FIELDS[name]
        return word >> low & ((1 << width) - 1)

    try:
        opcode = Opcode(bits("opcode"))
        names = OPERANDS[opcode]
    except (ValueError, KeyError):
        raise IllegalInstructionError(f"opcode must be known, not {bits('opcode')!r}") from None
    operands = {name: bits(name) for name in names}
    used = bits("opcode") << INSTRUCTION_FIELDS["opcode"][0]
    for name, value in operands.items():
        used |= value << INSTRUCTION_FIELDS[name][0]
        _check_name(opcode, name, value)
    if used != word:
        raise IllegalInstructionError(f"{opcode.name}: unused bits must be 0, not {word ^ used:#x}")
    if address is not None and operands.get("target", address + 1) <= address:
        raise IllegalInstructionError(
            f"{opcode.name}: target must be above {address}, not {operands['target']!r}"
        )
    return Instruction(opcode, operands)


@dataclass
class _Line:
    opcode: Opcode | None  #: None: a raw word
    operands: dict[str, int | str | Label] = field(default_factory=dict)
    word: int = 0


class Program:
    """Builds a program; `words` encodes it once all labels are placed.

    `notes` are comments by address, for listings. A loop's target is the address of its END; a
    skip's target is the address where execution continues.
    """

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._labels = 0
        self.notes: dict[int, str] = {}

    @property
    def address(self) -> int:
        """Address of the next instruction."""
        return len(self._lines)

    def note(self, text: str) -> None:
        """Comment the next instruction."""
        self.notes[self.address] = text

    def label(self, name: str = "") -> Label:
        """Make a label that is to be placed."""
        self._labels += 1
        return Label(name or f"label{self._labels}")

    def place(self, label: Label) -> None:
        """Let a label stand for the next instruction's address."""
        if label.address is not None:
            raise ValueError(f"label must be placed once, not again: {label.name!r}")
        label.address = self.address

    def emit(self, opcode: Opcode | str, **operands: int | str | Label) -> int:
        """Append an instruction; return its address."""
        code = Opcode[opcode] if isinstance(opcode, str) else opcode
        encode(code, **{k: v for k, v in operands.items() if not isinstance(v, Label)})
        self._lines.append(_Line(code, dict(operands)))
        return self.address - 1

    def raw(self, word: int) -> None:
        """Append any word."""
        if not 0 <= word < 1 << INSTRUCTION_BITS:
            raise IllegalInstructionError(f"word must have {INSTRUCTION_BITS} bits, not {word!r}")
        self._lines.append(_Line(None, word=word))

    @contextmanager
    def loop(self, count: str) -> Iterator[None]:
        """Repeat what is appended inside as often as register `count` says."""
        end = self.label()
        self.emit(Opcode.LOOP, rs=count, target=end)
        yield
        self.place(end)
        self.emit(Opcode.END)

    def skip(
        self, label: Label, condition: str = "ALWAYS", rs: str = "r0", rt: str = "r0", imm: int = 0
    ) -> None:
        """Append a forward skip to a label."""
        self.emit(Opcode.SKIP, condition=condition, rs=rs, rt=rt, imm=imm, target=label)

    def mark(self) -> int:
        """Return a point to which `rollback` can return."""
        return self.address

    def rollback(self, mark: int) -> None:
        """Take back everything since a mark; labels made since then must not be used again."""
        del self._lines[mark:]
        self.notes = {address: text for address, text in self.notes.items() if address < mark}

    def words(self) -> NDArray[np.uint64]:
        """Encode the program."""
        words = []
        for address, line in enumerate(self._lines):
            if line.opcode is None:
                words.append(line.word)
                continue
            operands: dict[str, int | str] = {}
            for name, value in line.operands.items():
                if isinstance(value, Label):
                    if value.address is None:
                        raise ValueError(f"label must be placed, not only used: {value.name!r}")
                    value = value.address
                operands[name] = value
            word = encode(line.opcode, **operands)
            decode(word, address)
            words.append(word)
        return np.array(words, np.uint64)


def assemble(text: str) -> NDArray[np.uint64]:
    """Encode a program in text; errors name the line."""
    program = Program()
    labels: dict[str, Label] = {}
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split(";")[0].strip()
        try:
            if code.endswith(":"):
                name = code[:-1].strip()
                program.place(labels.setdefault(name, Label(name)))
            elif code:
                _assemble_line(program, labels, code)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return program.words()


def _assemble_line(program: Program, labels: dict[str, Label], code: str) -> None:
    name, _, rest = code.partition(" ")
    if name == ".word":
        program.raw(int(rest, 0))
        return
    if name not in Opcode.__members__ or Opcode[name] not in OPERANDS:
        raise IllegalInstructionError(f"opcode must be known, not {name!r}")
    opcode = Opcode[name]
    operands: dict[str, int | str | Label] = {}
    items = [item.strip() for item in rest.split(",")] if rest.strip() else []
    if len(items) > len(OPERANDS[opcode]):
        raise IllegalInstructionError(
            f"{name} must have at most {len(OPERANDS[opcode])} operands, not {len(items)!r}"
        )
    for key, item in zip(OPERANDS[opcode], items, strict=False):
        if "=" in item:
            key, item = (part.strip() for part in item.split("="))
        value: int | str | Label = int(item, 0) if re.fullmatch(r"-?[0-9]\w*", item) else item
        if key == "target" and isinstance(value, str):
            value = labels.setdefault(value, Label(value))
        operands[key] = value
    program.emit(opcode, **operands)
