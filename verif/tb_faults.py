"""Bad programs: the chip stops with cause and place, a reset recovers, the next run is right."""

import os
import pickle
import random
from pathlib import Path

import cocotb

from compiler.assembler import assemble
from compiler.image import ChipImage
from hw.control.isa import INSTRUCTION_FIELDS, Fault, Opcode
from verif.chip_bench import ChipBench

_FINE = "".join(f"SET {name}, r0, r0, 1\n" for name in (
    "m.rows", "m.subrows", "m.n_tiles", "m.k_tiles", "v.rows", "v.segments", "v.beats"))
# No register has a defined value after a reset.
_FINE += "".join(f"SET {name}, r0, r0, 0\n" for name in (
    "m.weight", "m.x", "m.dst", "m.scale", "m.row_scale", "m.maximum", "v.src", "v.dst",
    "v.maximum"))
#: Where the command is, after these and one more SET.
_COMMAND = _FINE.count("\n") + 1
_MATMUL = "MATMUL signal=1, destination=RESULT\nSYNC 1, 0\nHALT ALWAYS, r0, r0, 0\n"
_NORM = "NORM signal=1\nSYNC 1, 0\nHALT ALWAYS, r0, r0, 0\n"

#: Program text -> cause, and the address of the instruction that is at fault.
CASES: list[tuple[str, str, Fault, int]] = [
    ("zeroed program", "", Fault.ILLEGAL_INSTRUCTION, 0),
    ("end of the memory", None, Fault.PROGRAM_COUNTER, -1),  # type: ignore[list-item]
    ("END without LOOP", "END\n", Fault.LOOP, 0),
    ("loops too deep", "SET r1, r0, r0, 2\n" + "LOOP r1, X\n" * 7 + "X:\nEND\n", Fault.LOOP, 7),
    ("no rows", "MATMUL signal=1, destination=RESULT\n", Fault.EMPTY_COMMAND, 0),
    ("no rows before a token", "SET v.rows, r0, r0, 0\nNORM signal=1\nEMIT r0\nHALT ALWAYS, r0, r0, 0\n",
     Fault.EMPTY_COMMAND, 1),
    ("long product", _FINE + "SET m.k_tiles, r0, r0, 1025\n" + _MATMUL, Fault.DOT_LENGTH, _COMMAND),
    ("bank", _FINE + "SET m.weight, r0, r0, 1048575\n" + _MATMUL, Fault.BANK_ADDRESS, _COMMAND),
    ("activations", _FINE + "SET m.x, r0, r0, 65535\n" + _MATMUL, Fault.ACTIVATION_ADDRESS, _COMMAND),
    ("results", _FINE + "SET m.dst, r0, r0, 65535\n" + _MATMUL, Fault.RESULT_ADDRESS, _COMMAND),
    ("multipliers", _FINE + "SET m.scale, r0, r0, 65535\n" + _MATMUL, Fault.MULTIPLIER_ADDRESS, _COMMAND),
    ("row scale", _FINE + "SET m.row_scale, r0, r0, 4095\n" + _MATMUL, Fault.ROW_SLOT, _COMMAND),
    ("residual", _FINE + "SET v.src, r0, r0, 65535\n" + _NORM, Fault.RESIDUAL_ADDRESS, _COMMAND),
    ("norm's activations", _FINE + "SET v.dst, r0, r0, 65535\n" + _NORM,
     Fault.ACTIVATION_ADDRESS, _COMMAND),
    ("token position", "SET r1, r0, r0, 65535\nEMIT r1\n", Fault.TOKEN_ADDRESS, 1),
    ("endless loop", "SET r1, r0, r0, 16777215\nLOOP r1, X\nLOOP r1, Y\nSET r2, r0, r0, 0\nY:\n"
     "END\nX:\nEND\n", Fault.WATCHDOG, -1),
]


async def _good_run(bench: ChipBench, job: dict, step: str) -> None:
    """Run the model and compare its tokens."""
    image: ChipImage = job["image"]
    prompt, want = job["prompt"], job["tokens"]
    bench.fill(image)
    ended = await bench.run(prompt, len(want), image.registers["epsilon"], WATCHDOG_CYCLES=1 << 20)
    assert ended["done"] and not ended["fault"], f"after {step}: {await bench.describe()}"
    got = bench.generated(prompt, len(want))
    assert got == want, f"run after {step}: got {got}, want {want}"


async def _bad_run(bench: ChipBench, words: list[int]) -> dict[str, int]:
    program = bench.memories["program"]
    for i in range(bench.config.program_words):
        program.write(i, words[i] if i < len(words) else 0)
    await bench.configure({"WATCHDOG_CYCLES": 3000, "IRQ_ENABLE": 0b1011, "PROMPT_LENGTH": 1,
                           "TOKEN_LIMIT": 1})
    await bench.registers.write("CONTROL", START=1)
    await bench.wait_interrupt(200_000)
    return await bench.take_interrupts()


def _job() -> dict:
    return pickle.loads(Path(os.environ["TESSERA_JOB"]).read_bytes())  # noqa: S301 - our own file


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def every_cause(dut) -> None:
    """Each cause by a program made for it."""
    job = _job()
    bench = ChipBench(dut, job["image"].config)
    await bench.start_clock()
    for name, text, cause, pc in CASES:
        size = bench.config.program_words
        words = ([int(w) for w in assemble(text)] if text is not None
                 else [int(assemble("SET r1, r0, r0, 0\n")[0])] * size)
        pending = await _bad_run(bench, words)
        assert pending["fault"] and not pending["done"], f"{name}: {await bench.describe()}"
        assert not pending["token"], f"{name}: a token came from behind the fault"
        got = Fault(await bench.registers.read("FAULT_CAUSE"))
        at = await bench.registers.read("FAULT_PC")
        assert got == cause, f"{name}: got {got.name}, want {cause.name}"
        assert pc < 0 or at == pc, f"{name}: at instruction {at}, want {pc}"
        # Sticky: a start does nothing until the reset.
        await bench.registers.write("CONTROL", START=1)
        assert Fault(await bench.registers.read("FAULT_CAUSE")) == cause
        await bench.reset_sequencer()
        assert await bench.registers.read("FAULT_CAUSE") == 0
    await _good_run(bench, job, "every fault")


@cocotb.test(timeout_time=400, timeout_unit="ms")
async def random_programs(dut) -> None:
    """Random instructions end in a fault or a halt, never in silence; then the model runs."""
    job, rng = _job(), random.Random(int(os.environ["TESSERA_SEED"]))
    bench = ChipBench(dut, job["image"].config)
    await bench.start_clock()
    good = [int(w) for w in job["image"].contents["program"][:job["image"].program_length]]
    causes = set()
    for number in range(int(os.environ["TESSERA_PROGRAMS"])):
        if rng.random() < 0.5:  # a good program with a few bits wrong
            words = list(good)
            for _ in range(rng.randint(1, 6)):
                words[rng.randrange(len(words))] ^= 1 << rng.randrange(64)
        else:
            words = []
            for _ in range(rng.randint(1, 40)):
                word = rng.choice(list(Opcode)).value << INSTRUCTION_FIELDS["opcode"][0]
                word |= rng.getrandbits(58) & rng.getrandbits(58) & rng.getrandbits(58)
                words.append(word)
        pending = await _bad_run(bench, words)
        assert pending["fault"] or pending["done"], f"program {number}: {await bench.describe()}"
        causes.add(Fault(await bench.registers.read("FAULT_CAUSE")))
        await bench.reset_sequencer()
    assert len(causes) > 4, f"random programs met only {causes}"
    await _good_run(bench, job, "random programs")
