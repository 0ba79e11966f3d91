"""Writes docs/isa.md from hw/control/isa.py: `python -m compiler.isa_doc > docs/isa.md`.

Meanings are the `#:` comments of that file, so that they are written once.
"""

import enum
import inspect
from collections.abc import Iterable

from hw.control import isa

#: Meanings that hw/control/isa.py leaves to a neighbour's comment or to docs/machine.md.
_MEANINGS = {
    "ILLEGAL": "a fault, so that empty program memory stops the chip",
    "END": "end of a loop's body: back to the instruction after LOOP, or on",
    "ROPE_QUERY": "vector unit: rotate and quantize queries",
    "ROPE_KEY": "vector unit: rotate and quantize keys",
    "NORM": "vector unit: quantize the residual, and 1/rms",
    "SOFTMAX": "vector unit: probabilities, and 1/sum",
    "SWIGLU": "vector unit: silu(gate) * up, quantized",
    "NONE": "none",
    "BANK_ADDRESS": "a bank word out of range",
    "ACTIVATION_ADDRESS": "an activation word or beat out of range",
    "OUTPUT_ADDRESS": "an output word or beat out of range",
    "RESULT_ADDRESS": "a result beat out of range, or a segment too long",
    "RESIDUAL_ADDRESS": "a residual beat out of range",
    "MULTIPLIER_ADDRESS": "a multiplier beat out of range",
    "ROPE_ADDRESS": "a beat of the RoPE table out of range",
    "ROW_SLOT": "a row-scale or row-maximum slot out of range",
    "TOKEN_ADDRESS": "a position out of range, or a token beyond the limit of EMBED",
    "ACTIVATIONS": "activation memory",
    "OUTPUTS": "output memory",
    "ALWAYS": "true",
    "EQUAL": "rs = rt + imm",
    "NOT_EQUAL": "rs is not rt + imm",
    "LESS": "rs < rt + imm",
    "NOT_LESS": "rs >= rt + imm",
}


def meanings(kind: type[enum.Enum]) -> dict[str, str]:
    """Return the meaning of each member: its own `#:` comment, or the one above."""
    result: dict[str, str] = {}
    comment: list[str] = []
    for line in inspect.getsource(kind).splitlines():
        text = line.strip()
        name = text.split(" ")[0]
        if text.startswith("#:"):
            comment.append(text[2:].strip())
        elif name in kind.__members__:
            result[name] = _MEANINGS.get(name, " ".join(comment).replace("``", "`"))
            comment = []
    return result


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return a Markdown table."""
    titles = list(head)
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    lines += [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]
    return [*lines, ""]


def _bits(name: str) -> str:
    low, width = isa.INSTRUCTION_FIELDS[name]
    return str(low) if width == 1 else f"{low + width - 1}..{low}"


def _instructions() -> list[str]:
    texts = meanings(isa.Opcode)
    rows = []
    for opcode in isa.Opcode:
        fields = ", ".join(f"`{name}`" for name in isa.OPERANDS.get(opcode, ())) or "-"
        rows.append((opcode.value, f"`{opcode.name}`", fields, texts[opcode.name]))
    return table(("code", "instruction", "fields", "what it does"), rows)


def _fields() -> list[str]:
    what = {
        "opcode": "the instruction",
        "dst": "register to write",
        "rs": "general register",
        "rt": "general register",
        "condition": "comparison of SKIP and HALT",
        "amount": "right shift of SHR",
        "target": "SKIP: where to go on; LOOP: address of the matching END",
        "imm": f"{isa.REGISTER_BITS} bits, modular: -1 is all ones",
        "signal": "event to count up on completion; 0 is none",
        "wait_a": "event to wait for; 0 is none",
        "wait_b": "a second one",
        "source": "memory of the int8 vectors",
        "destination": "where the drain writes",
        "statistic": "what the drain keeps per row",
        "masked": "1: outputs from `limit` on do not count",
        "reduction": "what ALL_REDUCE makes of the chips' numbers",
        "ring": "the register with the next chip",
    }
    rows = [(f"`{name}`", _bits(name), what[name]) for name in isa.INSTRUCTION_FIELDS]
    return table(("field", "bits", "meaning"), rows)


def _descriptors(unit: str, descriptors: dict[str, tuple[int, str]]) -> list[str]:
    rows = [
        (isa.REGISTERS[f"{unit}.{name}"], f"`{unit}.{name}`", bits, meaning)
        for name, (bits, meaning) in descriptors.items()
    ]
    return table(("number", "register", "bits", "meaning"), rows)


def _members(kind: type[enum.Enum]) -> list[str]:
    texts = meanings(kind)
    return table(
        ("code", "name", "meaning"),
        [(member.value, f"`{member.name}`", texts[member.name]) for member in kind],
    )


def page() -> str:
    """Return docs/isa.md."""
    lines = [
        "# Instruction set",
        "",
        "Written by `make docs` from `hw/control/isa.py`, which the sequencer's decoder, the "
        "assembler and the disassembler also use. What each command computes, and its addresses: "
        "[machine.md](machine.md).",
        "",
        f"An instruction has {isa.INSTRUCTION_BITS} bits. Scalar instructions compute into "
        f"registers of {isa.REGISTER_BITS} bits: {isa.GENERAL_REGISTERS} general ones (`r0` reads "
        "0) and the descriptors, the fields of the next command of each unit, which keep their "
        "value until they are written again. A command takes a snapshot of its unit's descriptors "
        "into that unit's queue. Skips go forward and loops have a count, so every program ends.",
        "",
        "Bits of fields that an instruction does not have must be 0; anything else is the fault "
        "ILLEGAL_INSTRUCTION, and so is opcode 0, which empty program memory holds.",
        "",
        "## Instructions",
        "",
        *_instructions(),
        "## Fields",
        "",
        *_fields(),
        "`condition`:",
        "",
        *_members(isa.Condition),
        "`imm` of GET:",
        "",
        *_members(isa.Special),
        "`source`:",
        "",
        *_members(isa.Source),
        "`destination`:",
        "",
        *_members(isa.Destination),
        "`statistic`:",
        "",
        *_members(isa.Statistic),
        "`ring`:",
        "",
        *_members(isa.Ring),
        "`reduction`:",
        "",
        *_members(isa.Reduction),
        "Network commands know the statistics NONE and MAGNITUDE. A chip without a network knows none of "
        + ", ".join(op.name for op in isa.SHARED_MODEL_OPCODES) + ".",
        "",
        "## Registers",
        "",
        f"`dst` numbers: 0 to {isa.GENERAL_REGISTERS - 1} are `r0` to "
        f"`r{isa.GENERAL_REGISTERS - 1}`, then come the descriptors. `rs` and `rt` are general "
        "registers. A descriptor keeps the lowest bits of what is written.",
        "",
        "Matrix unit:",
        "",
        *_descriptors("m", isa.MATRIX_DESCRIPTORS),
        "Vector unit and collective engine:",
        "",
        *_descriptors("v", isa.VECTOR_DESCRIPTORS),
        "## Loops and events",
        "",
        f"LOOP takes its count once; loops nest {isa.LOOP_DEPTH} deep. Events are numbered 1 to "
        f"{isa.EVENTS - 1}. A command starts when every signal of its events that was issued "
        "before it in program order has come, and SYNC waits for the same; so no program can "
        "deadlock. Which waits a program needs: [machine.md](machine.md), section 5.",
        "",
        "## Faults",
        "",
        "A fault stops the chip; cause and program counter stay in registers "
        "([registers.md](registers.md)) until the sequencer is reset.",
        "",
        *_members(isa.Fault),
    ]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
