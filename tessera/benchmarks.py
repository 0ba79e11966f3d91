"""The figures that the project promises: what is measured, how, and the limit of each.

Every number comes from the RTL, except the predictions (from the timing model) and the quality
(golden against float). What cannot be measured fails; nothing is estimated.
"""

from collections.abc import Sequence

import numpy as np

from compiler.compile import compile_model
from compiler.quantize import quantize
from compiler.workload import useful_macs
from golden.model import LlamaShape, random_weights
from hw.config import ChipletConfig
from tessera.commands.verilog import emit_chiplet
from tessera.engines import Result
from tessera.products import matmul_benchmark
from tessera.torus_benchmarks import torus_benchmarks
from tessera.workbench import BASE, Benchmark, Figure, Row, Workbench

#: Predicted cycles may be off by this.
PREDICTION_LIMIT = 0.01

#: 15 M weights, and the base array with memories enlarged to hold them.
SHAPE_15M = LlamaShape(
    dim=288, hidden=768, layers=6, heads=6, kv_heads=6, head_dim=48, vocab=32000, context=256
)
BASE_15M = BASE.replace(
    name="base_15m", bank_words=1 << 16, multiplier_beats=16384, residual_beats=8192, rope_beats=2048
)


def _token_row(
    name: str, config: ChipletConfig, shape: LlamaShape, result: Result, index: int,
    first: int, rows: int, least: float,
) -> Row:  # fmt: skip
    """Make the row of one emitted token, behind which lie `rows` tokens from position `first`."""
    ideal = useful_macs(shape, first, rows, True) / config.macs
    cycles = result.cycles_per_token[index]
    return Row(
        name=name, config=config.name, cycles=cycles,
        predicted_cycles=result.predicted_cycles_per_token[index], ideal_cycles=ideal,
        limit=f">= {least:.0%} busy", passed=ideal / cycles >= least,
    )  # fmt: skip


def _decode_15m(bench: Workbench) -> Row:
    quantized = quantize(random_weights(SHAPE_15M, 1))
    image = compile_model(quantized, BASE_15M)
    prompt = [int(t) for t in np.random.default_rng(1).integers(1, SHAPE_15M.vocab, 64)]
    result = bench.run("decode_15m", quantized, image, prompt, 2)
    return _token_row("decode_15m", BASE_15M, SHAPE_15M, result, 1, 64, 1, 0.85)


def _shipped_run(bench: Workbench) -> Result:
    return bench.run("decode_shipped", bench.quantized, bench.image, bench.prompt(128), 2)


def _decode_shipped(bench: Workbench) -> Row:
    shape = bench.quantized.shape
    return _token_row("decode_shipped", BASE, shape, _shipped_run(bench), 1, 128, 1, 0.50)


def _prefill_shipped(bench: Workbench) -> Row:
    prompt = bench.prompt(64)
    result = bench.run("prefill_shipped", bench.quantized, bench.image, prompt, 1)
    return _token_row(
        "prefill_shipped", BASE, bench.quantized.shape, result, 0, 0, len(prompt), 0.65
    )


def _perplexity(bench: Workbench) -> Figure:
    change = bench.quality.ppl_change
    return Figure(
        name="perplexity_change", value=100 * change, unit="%", limit="<= +0.5",
        passed=change <= 0.005,
    )  # fmt: skip


def _agreement(bench: Workbench) -> Figure:
    share = bench.quality.top1_agreement
    return Figure(
        name="top1_agreement", value=100 * share, unit="%", limit=">= 95",
        passed=share >= 0.95,
    )  # fmt: skip


def _data_independence(bench: Workbench) -> Figure:
    """Compare other weights and another prompt with the shipped model."""
    reference = bench.run("32 tokens", bench.quantized, bench.image, bench.prompt(32), 2)
    other_prompt = bench.run("another prompt", bench.quantized, bench.image, bench.prompt(32, 2), 2)
    others = quantize(random_weights(bench.quantized.shape, 3))
    image = compile_model(others, BASE)
    other_weights = bench.run("other weights", others, image, bench.prompt(32), 2)
    cycles = reference.cycles_per_token
    difference = max(
        abs(a - b)
        for other in (other_prompt, other_weights)
        for a, b in zip(cycles, other.cycles_per_token, strict=True)
    )
    return Figure(
        name="data_dependence", value=difference, unit="cycles", limit="= 0", passed=difference == 0
    )


def _speed(bench: Workbench) -> Figure:
    speed = _shipped_run(bench).kcycles_per_second or 0.0
    return Figure(
        name="simulation_speed", value=speed, unit="kcycles/s", limit=">= 100",
        passed=speed >= 100,
    )  # fmt: skip


def _verilog_size(bench: Workbench) -> Figure:
    bench.progress("writing the Verilog of base")
    size = len(emit_chiplet(BASE).logic.encode())
    return Figure(
        name="verilog_size", value=size, unit="bytes", limit="<= 1,000,000",
        passed=size <= 1_000_000,
    )  # fmt: skip


BENCHMARKS: Sequence[Benchmark] = (
    matmul_benchmark("gemv_256x256", 1, 256, 256, 24),
    matmul_benchmark("gemm_16x256x256", 16, 256, 256, 32),
    matmul_benchmark("gemm_64x64x64", 64, 64, 64, 32),
    Benchmark(
        name="decode_15m", measure=_decode_15m,
        what="one token at position 64, 15 M random weights, batch 1",
    ),
    Benchmark(
        name="decode_shipped", measure=_decode_shipped,
        what="one token at position 128, the shipped model, batch 1",
    ),
    Benchmark(
        name="prefill_shipped", measure=_prefill_shipped,
        what="a prompt of 64 tokens and the first token, the shipped model",
    ),
    Benchmark(
        name="data_dependence", measure=_data_independence,
        what="cycles with another prompt of the same length, and with other weights",
    ),
    Benchmark(
        name="perplexity_change", measure=_perplexity,
        what="golden against float, the shipped model",
    ),
    Benchmark(
        name="top1_agreement", measure=_agreement,
        what="likeliest token of golden and float, the shipped model",
    ),
    Benchmark(
        name="simulation_speed", measure=_speed, what="base under cocotb, in decode_shipped",
    ),
    Benchmark(
        name="verilog_size", measure=_verilog_size, what="logic of base without memory contents",
    ),
    *torus_benchmarks(SHAPE_15M, BASE_15M, _decode_15m),
)  # fmt: skip
