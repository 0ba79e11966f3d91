"""Benchmarks of single matrix products: one MATMUL in a program made by hand."""

from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from compiler.assembler import Program
from compiler.image import ChipImage
from compiler.timing import predict
from hw.config import ChipletConfig
from hw.control.queue import CommandQueue
from tessera.workbench import BASE, Benchmark, NotRunError, Row, Workbench

#: Every output of a product is worth its sum times MULTIPLIER / 2^SHIFT.
MULTIPLIER, SHIFT = 40000, 24
#: Cycles of the sequencer's around a command: through the queue to the unit, and from the
#: completion pulse to the instruction behind SYNC.
SEQUENCER_CYCLES = CommandQueue.LATENCY + 2


def matmul_program(
    config: ChipletConfig, rows: int, inputs: int, outputs: int, commands: int
) -> NDArray[np.uint64]:
    """Return a program that multiplies `rows` vectors by a matrix `commands` times, one by one.

    Everything is set up before, and each command is awaited, so that one command more takes the
    matrix unit's time for a product, from taking the command to its completion, and
    SEQUENCER_CYCLES.
    """
    k_tiles, n_tiles = inputs // config.rows, outputs // config.columns
    program = Program()
    descriptors = {
        "weight": 0, "weight_n_stride": k_tiles, "weight_k_stride": 1, "n_tiles": n_tiles,
        "k_tiles": k_tiles, "rows": rows, "subrows": 1, "x": 0, "x_row_stride": k_tiles,
        "x_sub_stride": 0, "scale": 0, "row_scale": 0, "row_scale_stride": 0, "shift": SHIFT,
        "dst": 0, "dst_row_stride": outputs // config.lanes, "dst_sub_stride": 0, "limit": outputs,
        "maximum": 0,
    }  # fmt: skip
    for name, value in descriptors.items():
        program.emit("SET", dst=f"m.{name}", imm=value)
    for _ in range(commands):
        program.emit("MATMUL", destination="RESULT", source="ACTIVATIONS", signal=1)
        program.emit("SYNC", wait_a=1)
    program.emit("HALT")
    return program.words()


def matmul_image(
    config: ChipletConfig, rows: int, inputs: int, outputs: int, commands: int, seed: int = 1
) -> ChipImage:
    """Return the program with random weights; every result is scaled by the same factor."""
    random = np.random.default_rng(seed)
    words = matmul_program(config, rows, inputs, outputs, commands)
    program = np.zeros(config.program_words, np.uint64)
    program[: len(words)] = words
    tile = (config.bank_words, config.rows, config.columns)
    return ChipImage(
        config=config,
        contents={
            "banks": random.integers(-127, 128, tile).astype(np.int8),
            "multipliers": np.full((config.multiplier_beats, config.lanes), MULTIPLIER, np.uint16),
            "rope": np.zeros((config.rope_beats, config.lanes), np.int16),
            "row_scales": np.full(config.row_slots, 128 | (-7 & 0xFF) << 8, np.uint16),
            "program": program,
        },
        registers={"epsilon": 1}, program_length=len(words), context=config.context,
        vocab=config.columns, max_block=1, logits=0, phases=((0, "matmul"),),
    )  # fmt: skip


def matmul_benchmark(name: str, rows: int, inputs: int, outputs: int, slack: int) -> Benchmark:
    def measure(bench: Workbench) -> Row:
        run_program = getattr(import_module("verif.chip_run"), "run_program", None)
        if run_program is None:
            raise NotRunError("verif.chip_run cannot run a single program yet")
        cycles, predicted = [], []
        for commands in (1, 2):
            image = matmul_image(BASE, rows, inputs, outputs, commands)
            bench.progress(f"simulating {name}")
            counters = run_program(
                BASE, image.contents["program"][: image.program_length], image.contents
            )
            cycles.append(int(counters["cycles"]))
            predicted.append(predict(image, prompt_tokens=0, tokens=0).total)
        ideal = rows * inputs * outputs / BASE.macs
        taken = cycles[1] - cycles[0] - SEQUENCER_CYCLES
        return Row(
            name=name, config=BASE.name, cycles=taken,
            predicted_cycles=predicted[1] - predicted[0] - SEQUENCER_CYCLES, ideal_cycles=ideal,
            limit=f"<= {ideal:.0f} + {slack}", passed=taken <= ideal + slack,
        )  # fmt: skip

    what = f"{rows} x {inputs} times {inputs} x {outputs}, from taking the command to its completion"
    return Benchmark(name=name, what=what, measure=measure)
