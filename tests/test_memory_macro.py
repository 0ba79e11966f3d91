"""The whole chiplet with its memories built from macros of another shape."""

import os
import pickle
from pathlib import Path

import pytest

from compiler.compile import compile_model
from compiler.quantize import quantize
from compiler.timing import predict
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from hw.config import CONFIGS
from verif.chip_run import build_chiplet, run_chip, write_image

pytestmark = pytest.mark.sim

CONFIG = CONFIGS["tiny"].replace(memory_macro="32x512")
SHAPE = LlamaShape(dim=32, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=64,
                   context=64, tied=True)
PROMPT = [3, 10, 17, 24, 31]
TOKENS = 3


def test_generation() -> None:
    """Logits and tokens are golden's, and the macros cost no cycle."""
    quantized = quantize(random_weights(SHAPE, 3))
    image = compile_model(quantized, CONFIG)
    run = run_chip(CONFIG, image, quantized, PROMPT, TOKENS)
    assert run.bit_exact, run.first_difference
    assert len(run.tokens) == TOKENS
    prediction = predict(image, prompt_tokens=len(PROMPT), tokens=TOKENS)
    assert run.cycles_per_token == prediction.cycles_per_token


def test_layers(tmp_path: Path) -> None:
    """Every intermediate by name, read and written through the macros by the back door."""
    quantized = quantize(random_weights(SHAPE, 3))
    image = compile_model(quantized, CONFIG)
    simulation = build_chiplet(CONFIG)
    expected, logits = GoldenLlama(quantized).generate(PROMPT, TOKENS)
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps({
        "image": image, "quantized": quantized, "prompt": PROMPT, "count": TOKENS,
        "tokens": expected, "logits": logits}))
    images = write_image(image, simulation.directory / "images")
    simulation.run("verif.tb_layers", run_name=f"tb_layers-{os.getpid()}",
                   plusargs=[f"+image={images}"], environment={"TESSERA_JOB": str(job)})
