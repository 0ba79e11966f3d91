"""The whole chiplet in simulation: generation, every intermediate, faults, the front door."""

import os
import pickle
from functools import cache
from pathlib import Path

import pytest

from compiler.checkpoint import load_checkpoint
from compiler.compile import compile_model
from compiler.image import ChipImage
from compiler.quantize import quantize
from compiler.timing import predict
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from golden.quantized import QuantizedLlama
from hw.config import CONFIGS
from verif.chip_run import build_chiplet, run_chip, write_image

SHIPPED = Path(__file__).parent.parent / "models" / "shakespeare-850k"

#: A small model, one whose sizes are multiples of nothing, and other kinds of attention.
SHAPES = {
    "small": LlamaShape(dim=32, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=64,
                        context=64, tied=True),
    "odd": LlamaShape(dim=96, hidden=172, layers=2, heads=6, kv_heads=2, head_dim=16, vocab=131,
                      context=128, tied=False),
    "multi-query": LlamaShape(dim=40, hidden=48, layers=1, heads=5, kv_heads=1, head_dim=8,
                              vocab=50, context=64, tied=True),
    "multi-head": LlamaShape(dim=24, hidden=56, layers=1, heads=2, kv_heads=2, head_dim=12,
                             vocab=70, context=64, tied=False),
}

pytestmark = pytest.mark.sim


@cache
def model(name: str) -> QuantizedLlama:
    """Return a quantized model."""
    if name == "shipped":
        return quantize(load_checkpoint(SHIPPED).weights)
    return quantize(random_weights(SHAPES[name], 3))


@cache
def image(name: str, config: str) -> ChipImage:
    """Return a compiled model."""
    return compile_model(model(name), CONFIGS[config])


def prompt_of(name: str, length: int) -> list[int]:
    """Return a prompt."""
    return [(7 * i + 3) % model(name).shape.vocab for i in range(length)]


def run_bench(name: str, config: str, bench: str, tmp_path: Path, *, prompt: int, count: int,
              filled: bool = True, **environment: str) -> None:
    """Run a chip-level bench on a model."""
    simulation = build_chiplet(CONFIGS[config])
    tokens = prompt_of(name, prompt)
    expected, logits = GoldenLlama(model(name)).generate(tokens, count)
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps({
        "image": image(name, config), "quantized": model(name), "prompt": tokens, "count": count,
        "tokens": expected, "logits": logits}))
    images = write_image(image(name, config), simulation.directory / "images")
    simulation.run(f"verif.{bench}", run_name=f"{bench}-{os.getpid()}",
                   plusargs=[f"+image={images}"] if filled else [],
                   environment={"TESSERA_JOB": str(job), **environment})


@pytest.mark.parametrize(
    ("name", "config", "prompt", "count", "temperature"),
    [
        ("small", "tiny", 1, 10, 0.0), ("small", "tiny", 11, 10, 0.9), ("odd", "tiny", 19, 4, 0.0),
        ("odd", "base", 19, 6, 0.0), ("odd", "base", 37, 6, 1.0), ("shipped", "base", 64, 4, 0.8),
        ("odd", "large", 19, 3, 0.0), ("multi-query", "tiny", 13, 6, 0.7),
        ("multi-head", "tiny", 9, 6, 0.0),
    ],
)
def test_generation(name: str, config: str, prompt: int, count: int, temperature: float) -> None:
    """Every logit and token is golden's, and every token takes the cycles that were predicted."""
    run = run_chip(CONFIGS[config], image(name, config), model(name), prompt_of(name, prompt),
                   count, temperature=temperature, seed=5)
    assert run.bit_exact, run.first_difference
    assert len(run.tokens) == count
    prediction = predict(image(name, config), prompt_tokens=prompt, tokens=count)
    assert run.cycles_per_token == prediction.cycles_per_token
    assert run.total_cycles == prediction.total
    assert run.array_busy == prediction.array_busy


def test_end_token() -> None:
    """The chip stops after the end token, which it returns."""
    greedy, _ = GoldenLlama(model("small")).generate(prompt_of("small", 3), 12)
    end = greedy[5]
    run = run_chip(CONFIGS["tiny"], image("small", "tiny"), model("small"),
                   prompt_of("small", 3), 12, end_token=end)
    assert run.tokens == greedy[:greedy.index(end) + 1]
    assert run.bit_exact


def test_cycles_do_not_depend_on_data() -> None:
    """Other weights and another prompt of the same length take the same cycles."""
    runs = []
    for seed, step in ((1, 5), (2, 11)):
        quantized = quantize(random_weights(SHAPES["small"], seed))
        prompt = [(step * i + seed) % 64 for i in range(9)]
        runs.append(run_chip(CONFIGS["tiny"], compile_model(quantized, CONFIGS["tiny"]), quantized,
                             prompt, 5))
    assert runs[0].cycles_per_token == runs[1].cycles_per_token
    assert all(run.bit_exact for run in runs)


@pytest.mark.parametrize("name", ["small", "odd"])
def test_layers(name: str, tmp_path: Path) -> None:
    """Every intermediate by name, at breakpoints: prompt blocks and single tokens."""
    run_bench(name, "tiny", "tb_layers", tmp_path, prompt=11, count=2)


def test_faults(tmp_path: Path) -> None:
    """Every cause, random programs, recovery."""
    run_bench("small", "tiny", "tb_faults", tmp_path, prompt=5, count=4, TESSERA_SEED="1",
              TESSERA_PROGRAMS="240")


def test_front_door(tmp_path: Path) -> None:
    """A model loaded through AXI runs like one loaded by the back door; logits on request."""
    run_bench("small", "tiny", "tb_front_door", tmp_path, prompt=5, count=4, filled=False)
