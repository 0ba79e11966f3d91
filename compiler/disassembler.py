"""Disassembler: words to a listing that `assembler.assemble` reads back."""

from collections.abc import Iterable, Mapping

from compiler.assembler import (
    NAMED_FIELDS,
    REGISTER_NAMES,
    SPECIALS,
    IllegalInstructionError,
    Instruction,
    decode,
)
from hw.control.isa import MATRIX_OPCODES, OPERANDS, SHARED_MODEL_OPCODES, VECTOR_OPCODES, Opcode

_NAMES = {name: {v: k for k, v in members.items()} for name, members in NAMED_FIELDS.items()}
_SPECIAL_NAMES = {value: name for name, value in SPECIALS.items()}
_COMMANDS = (*MATRIX_OPCODES, *VECTOR_OPCODES, *SHARED_MODEL_OPCODES)


def _operand(instruction: Instruction, name: str, labels: Mapping[int, str]) -> str:
    value = instruction[name]
    if name in ("dst", "rs", "rt"):
        return REGISTER_NAMES[value]
    if name == "imm" and instruction.opcode == Opcode.GET:
        return _SPECIAL_NAMES[value]
    if name == "target":
        return labels.get(value, str(value))
    return _NAMES[name][value] if name in _NAMES else str(value)


def format_instruction(instruction: Instruction, labels: Mapping[int, str] | None = None) -> str:
    """Return the text of an instruction: commands name their fields, scalars list them."""
    labels = labels or {}
    named = instruction.opcode in _COMMANDS
    parts = [
        f"{name}={_operand(instruction, name, labels)}"
        if named
        else _operand(instruction, name, labels)
        for name in OPERANDS[instruction.opcode]
        if instruction[name] or not named or name in ("source", "destination", "ring", "reduction")
    ]
    return f"{instruction.opcode.name} {', '.join(parts)}".rstrip()


def disassemble(words: Iterable[int], notes: Mapping[int, str] | None = None) -> str:
    """Return a listing with labels; words that are no instruction appear as `.word`."""
    notes = notes or {}
    decoded: list[Instruction | int] = []
    for address, word in enumerate(words):
        try:
            decoded.append(decode(int(word), address))
        except IllegalInstructionError:
            decoded.append(int(word))
    targets = {
        i["target"] for i in decoded if isinstance(i, Instruction) and "target" in i.operands
    }
    labels = {target: f"L{target:04d}" for target in targets if target <= len(decoded)}
    lines = []
    for address, item in enumerate(decoded):
        if address in notes:
            lines.append(f"    ; {notes[address]}")
        if address in labels:
            lines.append(f"{labels[address]}:")
        if isinstance(item, Instruction):
            lines.append(f"    {format_instruction(item, labels):<64} ; {address:4d}")
        else:
            lines.append(f"    .word {item:#018x}{'':<40} ; {address:4d} not an instruction")
    if len(decoded) in labels:
        lines.append(f"{labels[len(decoded)]}:")
    return "\n".join(lines) + "\n"
