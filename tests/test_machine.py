"""The simulated machine: commands by hand, faults, races, and what a program may not rely on."""

import functools

import numpy as np
import pytest

from compiler.assembler import assemble, decode
from compiler.compile import compile_model
from compiler.image import ChipImage
from compiler.machine import Machine, MachineFaultError, ProgramError
from compiler.memories import Memories
from compiler.races import RaceChecker
from golden.model import LlamaShape, random_weights
from hw.config import CONFIGS, ChipletConfig
from hw.control.isa import INSTRUCTION_FIELDS, Fault, Opcode
from hw.vector.schedule import segment_beats

CONFIG = ChipletConfig(
    name="little", rows=8, columns=8, lanes=4, rows_per_step=2, bank_words=64,
    activation_words=32, output_words=32, result_beats=32, residual_beats=32, multiplier_beats=32,
    rope_beats=32, row_slots=16, program_words=128, max_rows=4, context=16,
)  # fmt: skip
WIDE = CONFIG.replace(columns=16)
TALL = CONFIG.replace(rows=16)

MATMUL = """
    SET m.rows, r0, r0, 2
    SET m.subrows, r0, r0, 1
    SET m.n_tiles, r0, r0, 2
    SET m.k_tiles, r0, r0, 2
    SET m.weight, r0, r0, 8
    SET m.weight_n_stride, r0, r0, 2
    SET m.weight_k_stride, r0, r0, 1
    SET m.x, r0, r0, 4
    SET m.x_row_stride, r0, r0, 3
    SET m.scale, r0, r0, 5
    SET m.row_scale, r0, r0, 2
    SET m.row_scale_stride, r0, r0, 1
    SET m.shift, r0, r0, 16
    SET m.dst, r0, r0, 10
    SET m.dst_row_stride, r0, r0, 6
    SET m.limit, r0, r0, 9
    SET m.maximum, r0, r0, 7
"""


def machine(program: str, config: ChipletConfig = CONFIG, **options: bool) -> Machine:
    """Return a machine with a program, memories full of garbage and plausible row scales."""
    words = np.zeros(config.program_words, np.uint64)
    found = assemble(program)
    words[: len(found)] = found
    memories = Memories(config, {"program": words})
    memories.row_scales[:] = 128 | (-7 & 0xFF) << 8
    return Machine(config, memories, {"epsilon": 5}, **options)


def test_matmul() -> None:
    """A masked product by the formula of docs/machine.md."""
    chip = machine(MATMUL + "MATMUL masked=1, statistic=MAXIMUM\nHALT ALWAYS")
    memory = chip.memories
    memory.row_scales[3] = 200 | (-9 & 0xFF) << 8
    chip.run([1], 1)
    multiplier = memory.multipliers.reshape(-1).astype(int)
    for t, (mantissa, shift) in enumerate(((128, 16 + 7 - 8), (200, 16 + 9 - 8))):
        x = memory.activations.reshape(-1)[(4 + 3 * t) * 8 :][:16].astype(int)
        values = []
        for n in range(16):
            acc = sum(
                int(x[k]) * int(memory.banks[8 + n // 8 * 2 + k // 8, k % 8, n % 8])
                for k in range(16)
            )
            product = acc * ((int(multiplier[20 + n]) * mantissa + 128) >> 8)
            y = max(min((product + (1 << (shift - 1))) >> shift, 32767), -32768)
            values.append(y if n < 9 + t else -32768)
        row = memory.results.reshape(-1)[(10 + 6 * t) * 4 :][:16]
        assert row.tolist() == values
        assert memory.row_maxima[7 + t] == max(values[: 9 + t])


@pytest.mark.parametrize("config", [CONFIG, WIDE, TALL], ids=["square", "wide", "tall"])
def test_stores(config: ChipletConfig) -> None:
    """Keys become columns, values become rows, at the places of docs/machine.md."""
    r, c = config.rows, config.columns
    chip = machine(
        """
        SET m.rows, r0, r0, 2
        SET m.k_tiles, r0, r0, 2
        SET m.x, r0, r0, 3
        SET m.x_row_stride, r0, r0, 4
        SET m.position, r0, r0, 7
        SET m.weight, r0, r0, 16
        SET m.weight_k_stride, r0, r0, 2
        SET m.weight_n_stride, r0, r0, 3
        STORE_KEYS source=ACTIVATIONS
        SET m.weight, r0, r0, 32
        STORE_VALUES source=OUTPUTS
        HALT ALWAYS
        """,
        config,
    )
    memory = chip.memories
    chip.run([1], 1)
    for t in range(2):
        position = 7 + t
        key = memory.activations.reshape(-1)[(3 + 4 * t) * r :][: 2 * r]
        value = memory.outputs.reshape(-1)[(3 + 4 * t) * r :][: 2 * r]
        for e in range(2 * r):
            word = 16 + e // r * 2 + position // c
            assert memory.banks[word, e % r, position % c] == key[e]
            word = 32 + e // c * 3 + position // r
            assert memory.banks[word, position % r, e % c] == value[e]


def test_arithmetic_and_control() -> None:
    """Registers have 24 bits and wrap; loops, skips and conditions as the table says."""
    chip = machine(
        """
        SET r1, r0, r0, -1
        SHR r2, r1, 2, 0        ; wraps to 1
        SUB r3, r0, r2, 5       ; 4
        MIN r4, r3, r2, 1       ; 2
        SET r5, r0, r0, 0
        LOOP r4, outer
        LOOP r3, inner
        SET r5, r5, r0, 1
        inner:
        END
        outer:
        END
        LOOP r0, never
        SET r5, r5, r0, 100
        never:
        END
        SKIP LESS, r5, r1, 0, less
        SET r5, r0, r0, 0
        less:
        SET r0, r0, r0, 9       ; r0 stays 0
        SET r5, r5, r0, 0
        EMIT r5
        HALT NOT_EQUAL, r5, r0, 8
        HALT ALWAYS
        """
    )
    result = chip.run([1], 1)
    assert result.tokens == [0]
    assert chip.memories.tokens[8] == 0
    # Six, the loops, then what follows without the body of the loop that runs 0 times.
    assert result.instructions == 6 + 2 * (1 + 4 * 2 + 1) + 7


FAULTS = [
    (".word 0", Fault.ILLEGAL_INSTRUCTION),
    ("SET r1", Fault.ILLEGAL_INSTRUCTION),  # runs into zeros
    ("END", Fault.LOOP),
    ("SET r1, r0, r0, 1\n" + "LOOP r1, end\n" * 7 + "end:\nEND", Fault.LOOP),
    (MATMUL + "SET m.rows\nMATMUL", Fault.EMPTY_COMMAND),
    (MATMUL + "SET m.subrows\nMATMUL", Fault.EMPTY_COMMAND),
    (MATMUL + "SET m.k_tiles, r0, r0, 129\nMATMUL", Fault.DOT_LENGTH),
    (MATMUL + "SET m.weight, r0, r0, 61\nMATMUL", Fault.BANK_ADDRESS),
    (MATMUL + "SET m.x, r0, r0, 28\nMATMUL", Fault.ACTIVATION_ADDRESS),
    (MATMUL + "SET m.x, r0, r0, 28\nMATMUL source=OUTPUTS", Fault.OUTPUT_ADDRESS),
    (MATMUL + "SET m.dst, r0, r0, 28\nMATMUL", Fault.RESULT_ADDRESS),
    (MATMUL + "SET m.dst, r0, r0, 60\nMATMUL destination=OUTPUT", Fault.OUTPUT_ADDRESS),
    (MATMUL + "SET m.dst, r0, r0, 30\nMATMUL destination=RESIDUAL_ADD", Fault.RESIDUAL_ADDRESS),
    (MATMUL + "SET m.scale, r0, r0, 29\nMATMUL", Fault.MULTIPLIER_ADDRESS),
    (MATMUL + "SET m.row_scale, r0, r0, 15\nMATMUL", Fault.ROW_SLOT),
    (MATMUL + "SET m.maximum, r0, r0, 15\nMATMUL statistic=MAGNITUDE", Fault.ROW_SLOT),
    (MATMUL + "SET m.position, r0, r0, 15\nSET m.token_scale\nEMBED", Fault.TOKEN_ADDRESS),
    (MATMUL + "SET m.position\nSET m.token_scale\nSET m.limit, r0, r0, 1\nEMBED",
     Fault.TOKEN_ADDRESS),
    ("SET r1, r0, r0, 16\nEMIT r1", Fault.TOKEN_ADDRESS),
]  # fmt: skip


@pytest.mark.parametrize(("program", "fault"), FAULTS)
def test_faults(program: str, fault: Fault) -> None:
    """The machine stops with the hardware's fault and program counter."""
    words = len(assemble(program))
    with pytest.raises(MachineFaultError, match=fault.name) as raised:
        machine(program).run([1, 1, 1, 1], 1)
    assert raised.value.fault == fault
    assert raised.value.pc >= words - 2


def test_program_counter() -> None:
    """Running past the program memory is a fault."""
    with pytest.raises(MachineFaultError) as raised:
        machine("SET r1\n" * CONFIG.program_words).run([1], 1)
    assert raised.value.fault == Fault.PROGRAM_COUNTER
    assert raised.value.pc == CONFIG.program_words


VECTOR = """
    SET v.rows, r0, r0, 1
    SET v.segments, r0, r0, 1
    SET v.beats, r0, r0, 2
    SET v.src, r0, r0, 0
    SET v.dst, r0, r0, 0
    SET v.row_scale, r0, r0, 0
    SET v.maximum, r0, r0, 0
    SET v.src_up, r0, r0, 4
    SET v.table, r0, r0, 0
"""


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("SET v.beats\nSWIGLU", Fault.EMPTY_COMMAND),
        ("SET v.src, r0, r0, 31\nSWIGLU", Fault.RESULT_ADDRESS),
        ("SET v.src_up, r0, r0, 31\nSWIGLU", Fault.RESULT_ADDRESS),
        ("SET v.dst, r0, r0, 63\nSWIGLU", Fault.ACTIVATION_ADDRESS),
        ("SET v.table, r0, r0, 31\nROPE_QUERY", Fault.ROPE_ADDRESS),
        ("SET v.src, r0, r0, 31\nNORM", Fault.RESIDUAL_ADDRESS),
        ("SET v.row_scale, r0, r0, 16\nSWIGLU", Fault.ROW_SLOT),
        (f"SET v.beats, r0, r0, {segment_beats(CONFIG) + 1}\nSWIGLU", Fault.RESULT_ADDRESS),
    ],
)
def test_vector_faults(program: str, fault: Fault) -> None:
    """So do commands of the vector unit."""
    with pytest.raises(MachineFaultError) as raised:
        machine(VECTOR + program).run([1], 1)
    assert raised.value.fault == fault


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (MATMUL.replace("SET m.shift", ";") + "MATMUL", "m.shift must be written before"),
        (VECTOR + "NORM", "row maxima must be"),
        ("SET r1, r0, r0, 100000\nLOOP r1, end\nend:\nEND\nHALT ALWAYS", "must halt, not run 5000"),
    ],
)
def test_program_errors(program: str, message: str) -> None:
    """What would silently compute something else on the chip is an error here."""
    with pytest.raises(ProgramError, match=message):
        machine(program).run([1], 1, max_instructions=5000)


def _races(setup: str, commands: str) -> list[str]:
    chip = machine(setup + commands + "\nHALT ALWAYS")
    chip.run([1], 1)
    assert chip.checker is not None
    return sorted(race.kind for race in chip.checker.races)


UNITS = MATMUL + VECTOR + "SET v.src, r0, r0, 10\nSET v.src_up, r0, r0, 2\n"


@pytest.mark.parametrize(
    ("commands", "kinds"),
    [
        # The vector unit reads the matrix unit's results.
        ("MATMUL signal=1\nSWIGLU wait_a=1", []),
        ("MATMUL signal=1\nSWIGLU", ["read after write"]),
        # An event counts only if it was signalled before.
        ("MATMUL\nSWIGLU wait_a=1", ["read after write"]),
        # SYNC holds back what follows it, on both units.
        ("MATMUL signal=1\nSYNC 1\nSWIGLU", []),
        # Results that are still read are overwritten.
        ("SWIGLU signal=2\nMATMUL wait_b=2", []),
        ("SWIGLU\nMATMUL", ["write after read"]),
        # Order passes on: the second product follows the first, the vector command waits for it.
        ("MATMUL\nMATMUL signal=1\nSWIGLU wait_a=1", []),
        # But the first's event says nothing of the second.
        ("MATMUL signal=1\nMATMUL\nSWIGLU wait_a=1", ["read after write"]),
        # Through a third command.
        ("MATMUL signal=1\nSWIGLU wait_a=1, signal=2\nMATMUL wait_a=2", []),
        # A product reads outputs that the last one still drains.
        ("MATMUL destination=OUTPUT\nSET m.x, r0, r0, 5\nMATMUL source=OUTPUTS",
         ["read after write"]),
        ("MATMUL destination=OUTPUT, signal=1\nMATMUL source=OUTPUTS, wait_a=1", []),
        # Drained writes and additions follow each other without events.
        ("MATMUL destination=RESIDUAL_ADD\nMATMUL destination=RESIDUAL_ADD", []),
    ],
)  # fmt: skip
def test_races(commands: str, kinds: list[str]) -> None:
    """Only what docs/machine.md guarantees counts as order."""
    assert sorted(set(_races(UNITS, commands))) == kinds


def test_store_needs_no_event() -> None:
    """Banks are read and written in program order, vectors to be stored are not."""
    setup = MATMUL + "SET m.position\n"
    assert _races(setup, "STORE_KEYS\nMATMUL") == []
    assert _races(setup, "MATMUL destination=OUTPUT\nSTORE_VALUES source=OUTPUTS") == [
        "read after write"
    ]


@functools.cache
def image() -> ChipImage:
    """Compile a small model."""
    shape = LlamaShape(
        dim=32, hidden=48, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=61, context=64
    )
    return compile_model(random_weights(shape, 3), CONFIGS["tiny"])


def test_every_wait_is_needed() -> None:
    """Removing any one wait from a compiled program is reported as a race of its command."""
    compiled = image()
    words = compiled.contents["program"]
    waits = 0
    for address in range(compiled.program_length):
        instruction = decode(int(words[address]), address)
        for name in ("wait_a", "wait_b"):
            if not instruction.operands.get(name):
                continue
            waits += 1
            low, width = INSTRUCTION_FIELDS[name]
            chip = compiled.machine()
            chip.memories.program[address] &= np.uint64(~(((1 << width) - 1) << low) % (1 << 64))
            chip.run([1] * 11, 2)
            assert chip.checker is not None
            assert chip.checker.races, f"instruction {address} needs no {name}"
            if instruction.opcode != Opcode.SYNC:
                assert any(race.second_pc >= address for race in chip.checker.races)
    assert waits > 20


def test_race_report() -> None:
    """A race names both instructions and the cell."""
    checker = RaceChecker({"results": 8})
    cells = np.arange(3)
    checker.command("matrix", 10, (), 0, [], [], [], [("results", cells)])
    checker.command("vector", 14, (), 0, [("results", cells[1:])], [], [], [])
    assert [str(race) for race in checker.races] == [
        "instruction 14 races with instruction 10: read after write of results[1] without an event "
        "between them"
    ]
