"""Predicted cycles: commands by hand, and properties of whole runs."""

import functools
import time

import pytest

from compiler.compile import compile_model
from compiler.image import ChipImage
from compiler.timing import EVENT_CYCLES, WAVE_CYCLES, Prediction, matmul_cycles, predict
from golden.model import LlamaShape, random_weights
from hw.config import CONFIGS
from hw.control.isa import Destination
from hw.matmul.drain import Drain
from hw.matmul.systolic_array import SystolicArray
from hw.vector.schedule import LATE_SCALE

SHAPE = LlamaShape(
    dim=64, hidden=160, layers=3, heads=4, kv_heads=2, head_dim=16, vocab=96, context=128
)


@functools.cache
def image(machine: str = "base", max_block: int | None = None) -> ChipImage:
    """Compile a model."""
    return compile_model(random_weights(SHAPE, 4), CONFIGS[machine], max_block=max_block)


def test_matmul_cycles() -> None:
    """One tile a cycle, unless the drain or the sampler needs longer for a vector."""
    fields = {"rows": 3, "subrows": 2, "n_tiles": 5, "k_tiles": 4}
    base = CONFIGS["base"]
    assert matmul_cycles(base, fields, Destination.RESULT.value) == (120, 120)
    assert matmul_cycles(base, fields, Destination.LOGITS.value) == (480, 120)
    two = base.replace(sampler_lanes=2)
    assert matmul_cycles(two, fields, Destination.LOGITS.value) == (240, 120)
    narrow = base.replace(lanes=4)
    assert matmul_cycles(narrow, fields | {"k_tiles": 1}, Destination.RESULT.value) == (120, 30)


@pytest.mark.parametrize("name", CONFIGS)
def test_late_row_scale_is_in_time(name: str) -> None:
    """NORM's row scale, written after its `done`, is there before the drain can ask for it."""
    config = CONFIGS[name]
    first_wave = EVENT_CYCLES + 1 + WAVE_CYCLES  # of a command that waits for NORM, of one wave
    request = first_wave + SystolicArray.sums_latency(config) + Drain.FIRST_BEAT
    assert request > config.steps + LATE_SCALE


def tiles_per_token(position: int) -> int:
    """Count the waves of one token by the model's sizes."""
    dim, hidden, keys = 4, 4 * 3, -(-(position + 1) // 16)  # groups of 40 are padded to 48
    attention = dim * 4 + 2 * 2 * dim + 4 * dim + 2 * (2 * keys + 2 * keys)
    return dim + 3 * (attention + 3 * dim * hidden) + 6 * dim


@pytest.mark.parametrize("position", [0, 15, 16, 100])
def test_busy_cycles_are_the_tiles(position: int) -> None:
    """The array is busy for each tile once."""
    one = predict(image(), prompt_tokens=1, tokens=1, start=position)
    assert one.array_busy == tiles_per_token(position)
    assert one.total > one.array_busy


def test_accounting() -> None:
    """Tokens add up to the total, and idle cycles have a reason."""
    run = predict(image(), prompt_tokens=5, tokens=7)
    assert len(run.cycles_per_token) == 7
    assert sum(run.cycles_per_token) < run.total < sum(run.cycles_per_token) + 20
    idle = run.total - run.array_busy - sum(run.stalls.values())
    assert 0 <= idle < 100  # before the first command and after the last one
    assert 0.3 < run.utilization < 1
    phases = {phase for phase, _ in run.stalls}
    assert "token: keys" in phases


def test_position_and_prompt() -> None:
    """Later tokens take longer; prompts in blocks take fewer cycles per token than singles."""
    early = predict(image(), prompt_tokens=1, tokens=2, start=3).cycles_per_token[1]
    late = predict(image(), prompt_tokens=1, tokens=2, start=120).cycles_per_token[1]
    assert early < late
    blocks = predict(image(), prompt_tokens=64, tokens=1)
    single = predict(image("base", 1), prompt_tokens=64, tokens=1)
    assert blocks.total < single.total
    assert blocks.utilization > single.utilization
    assert blocks.instructions < single.instructions / 4


def test_queue_depth() -> None:
    """Deeper queues never slow a run down, shallow ones may."""
    totals = []
    for depth in (2, 4, 8):
        compiled = compile_model(
            random_weights(SHAPE, 4), CONFIGS["base"].replace(queue_depth=depth)
        )
        totals.append(predict(compiled, prompt_tokens=20, tokens=2).total)
    assert totals == sorted(totals, reverse=True)


def test_large_vocabulary_is_fast() -> None:
    """The time of a prediction does not grow with the tiles."""
    shape = LlamaShape(
        dim=32, hidden=64, layers=2, heads=2, kv_heads=2, head_dim=16, vocab=32000, context=64
    )
    config = CONFIGS["base"].replace(multiplier_beats=8192, residual_beats=4096)
    compiled = compile_model(random_weights(shape, 1), config)
    start = time.perf_counter()
    run: Prediction = predict(compiled, prompt_tokens=1, tokens=3)
    assert time.perf_counter() - start < 1
    assert min(run.cycles_per_token) > 2000 * 8  # two logits a cycle
