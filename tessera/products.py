"""Benchmarks of single matrix products: one MATMUL in a program made by hand."""

import numpy as np
from numpy.typing import NDArray

from compiler.assembler import Program
from compiler.image import ChipImage
from compiler.timing import predict
from golden.requantizer import ONE, Destination, drain
from hw.config import ChipletConfig
from tessera.workbench import BASE, Benchmark, NotRunError, Row, Workbench
from verif.chip_run import run_program

#: Every output of a product is worth its sum times MULTIPLIER / 2^SHIFT.
MULTIPLIER, SHIFT = 40000, 24


def matmul_program(
    config: ChipletConfig, rows: int, inputs: int, outputs: int, commands: int
) -> NDArray[np.uint64]:
    """Return a program that multiplies `rows` vectors by a matrix `commands` times, one by one.

    Everything is set up before, and each command is awaited, so that one command more takes all
    that a product costs: from the instruction that issues it to the one that has seen it complete.
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
    """Return the benchmark of a product on base, whose cycles may exceed the ideal by `slack`."""

    def measure(bench: Workbench) -> Row:
        activations = np.random.default_rng(2).integers(-127, 128, (rows, inputs))
        cycles, predicted = [], []
        for commands in (1, 2):
            image = matmul_image(BASE, rows, inputs, outputs, commands)
            bench.progress(f"simulating {name}")
            counters, results = run_program(image, activations)
            if not np.array_equal(results[: rows * outputs], _expected(image, activations, outputs)):
                raise NotRunError(f"{name}: the RTL's product differs from golden's")
            cycles.append(counters["cycles"])
            predicted.append(predict(image, prompt_tokens=0, tokens=0).total)
        ideal = rows * inputs * outputs / BASE.macs
        taken = cycles[1] - cycles[0]
        return Row(
            name=name, config=BASE.name, cycles=taken,
            predicted_cycles=predicted[1] - predicted[0], ideal_cycles=ideal,
            limit=f"<= {ideal:.0f} + {slack}", passed=taken <= ideal + slack,
        )  # fmt: skip

    what = f"{rows} x {inputs} times {inputs} x {outputs}, from issuing to having seen it complete"
    return Benchmark(name=name, what=what, measure=measure)


def _expected(image: ChipImage, x: NDArray[np.int64], outputs: int) -> NDArray[np.int64]:
    """Return golden's product, flat: tile n * k_tiles + k holds [k, n] of the matrix."""
    config = image.config
    k_tiles, n_tiles = x.shape[1] // config.rows, outputs // config.columns
    tiles = image.contents["banks"][: n_tiles * k_tiles].astype(np.int64)
    by_tile = tiles.reshape(n_tiles, k_tiles, config.rows, config.columns)
    matrix = by_tile.transpose(1, 2, 0, 3).reshape(x.shape[1], outputs)
    multiplier = np.full(outputs, MULTIPLIER)
    return drain(x @ matrix, multiplier, SHIFT, ONE, Destination.INT16)[0].reshape(-1)
