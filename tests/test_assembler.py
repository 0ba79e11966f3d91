"""Assembler and disassembler: encodings by hand, round trips, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.assembler import (
    NAMED_FIELDS,
    IllegalInstructionError,
    Program,
    assemble,
    decode,
    encode,
)
from compiler.disassembler import disassemble
from hw.control.isa import (
    INSTRUCTION_FIELDS,
    NETWORK_OPCODES,
    OPERANDS,
    REGISTERS,
    Opcode,
    Special,
    Statistic,
)


def test_encoding_by_hand() -> None:
    """Fields lie where the tables say."""
    # opcode 1, dst 16 (m.weight), rs 5, rt 0, imm 12
    assert encode(Opcode.SET, dst="m.weight", rs="r5", imm=12) == (
        1 << 58 | 16 << 52 | 5 << 48 | 12
    )
    # opcode 16, signal 3, wait_a 1, source 1, destination 3, statistic 2, masked 1
    word = encode(
        Opcode.MATMUL, signal=3, wait_a=1, source="OUTPUTS", destination="RESIDUAL_ADD",
        statistic="MAGNITUDE", masked=1,
    )  # fmt: skip
    assert word == 16 << 58 | 3 << 54 | 1 << 50 | 1 << 45 | 3 << 42 | 2 << 40 | 1 << 39
    # Negative immediates are complements.
    assert encode(Opcode.SET, dst="r1", imm=-1) & 0xFFFFFF == 0xFFFFFF


def _field(opcode: Opcode, name: str) -> st.SearchStrategy[int]:
    if name == "dst":
        return st.sampled_from(sorted(REGISTERS.values()))
    if name in NAMED_FIELDS:
        return st.sampled_from(sorted(NAMED_FIELDS[name].values()))
    if name == "imm" and opcode == Opcode.GET:
        return st.sampled_from([special.value for special in Special])
    if name == "target":
        return st.integers(100, 4095)  # ahead of every program below
    return st.integers(0, (1 << INSTRUCTION_FIELDS[name][1]) - 1)


@st.composite
def _words(draw: st.DrawFn) -> int:
    opcode = draw(st.sampled_from(sorted(OPERANDS, key=lambda each: each.value)))
    operands = {name: draw(_field(opcode, name)) for name in OPERANDS[opcode]}
    if opcode in NETWORK_OPCODES and operands.get("statistic") == Statistic.MAXIMUM.value:
        operands["statistic"] = Statistic.NONE.value
    return encode(opcode, **operands)


@settings(max_examples=60, deadline=None)
@given(st.lists(_words() | st.integers(0, 2**64 - 1), max_size=30))
def test_listing_round_trip(words: list[int]) -> None:
    """What the disassembler writes, illegal words included, assembles to the same words."""
    assert assemble(disassemble(words)).tolist() == words


@settings(max_examples=100, deadline=None)
@given(_words())
def test_decode_inverts_encode(word: int) -> None:
    """Decoding and encoding again changes nothing."""
    instruction = decode(word, 0)
    assert encode(instruction.opcode, **instruction.operands) == word


def test_labels() -> None:
    """A loop's target is its END; a skip's target is where execution continues."""
    program = Program()
    end = program.label("done")
    with program.loop("r3"):
        program.skip(end, "EQUAL", "r1", imm=4)
        program.emit("EMIT", rs="r1")
    program.place(end)
    program.emit("HALT")
    words = program.words()
    assert decode(words[0])["target"] == 3
    assert decode(words[1])["target"] == 4
    listing = disassemble(words, {0: "a loop"})
    assert "LOOP r3, L0003" in listing
    assert "; a loop" in listing
    np.testing.assert_array_equal(assemble(listing), words)


def test_text_operands() -> None:
    """Operands come in order or by name; comments and words are read."""
    words = assemble("start:\n  SET dst=v.beats, imm=0x10 ; comment\n .word 0x5\n HALT ALWAYS\n")
    assert words[0] == encode(Opcode.SET, dst="v.beats", imm=16)
    assert words[1] == 5
    assert words[2] == encode(Opcode.HALT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("JUMP r1", "line 1: opcode must be known, not 'JUMP'"),
        ("SET r16", "dst must be one of r0, "),
        ("SET r1, r0, r0, 0x1000000", r"imm must be in 0..16777215, not 16777216"),
        ("SHR r1, r2, 0, 32", r"amount must be in 0..31, not 32"),
        ("GET r1, TIME", "imm must be one of PROMPT_LENGTH"),
        ("SYNC 16", r"wait_a must be in 0..15, not 16"),
        ("NORM masked=1", "operands are wait_a, wait_b, signal, not 'masked'"),
        ("DRAW 1", "at most 0 operands, not 1"),
        ("LOOP r1, nowhere", "label must be placed, not only used: 'nowhere'"),
        ("a:\nHALT\nSKIP ALWAYS, r0, r0, 0, a", "target must be above 1, not 0"),
        ("a:\na:", "line 2: label must be placed once"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    """Errors say what is wrong and where."""
    with pytest.raises(ValueError, match=message):
        assemble(text)


@pytest.mark.parametrize(
    "word",
    [
        0,  # empty program memory
        6 << 58,  # no such opcode
        11 << 58 | 1,  # SYNC with a bit it does not use
        1 << 58 | 37 << 52,  # no such register
        5 << 58 | 4,  # no such special register
        14 << 58 | 6 << 41,  # no such condition
        16 << 58 | 7 << 42,  # no such destination
        10 << 58 | 5 << 24,  # skip to itself (at 5)
    ],
)
def test_illegal_words(word: int) -> None:
    """What the hardware faults on does not decode."""
    with pytest.raises(IllegalInstructionError):
        decode(word, 5)
