"""The gate-level netlist of the `tiny` chiplet on the benches of the RTL."""

import functools
import os
import pickle
from pathlib import Path

import pytest

from compiler.compile import compile_model
from compiler.quantize import quantize
from flows.asic.library import read_library
from flows.netlist.gate_level import GateLevel, gate_level
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from hw.chiplet import Chiplet
from hw.config import CONFIGS
from hw.emit import EmittedVerilog
from tessera.commands.asic import DEFAULT_LIBERTY
from verif.chip_run import run_chip, top_name, write_image
from verif.memories import PUBLIC_MEMORIES
from verif.simulator import BUILD_ROOT, Simulation, build

CONFIG = CONFIGS["tiny"]
SHAPE = LlamaShape(dim=32, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=64,
                   context=64, tied=True)
PROMPT = [(7 * i + 3) % SHAPE.vocab for i in range(11)]

pytestmark = [
    pytest.mark.sim, pytest.mark.slow,
    pytest.mark.skipif(not DEFAULT_LIBERTY.is_file(),
                       reason="needs Debian's qflow-tech-osu018: make tools")]


@functools.cache
def netlist() -> tuple[Simulation, GateLevel]:
    """Build the netlist's simulator; it takes minutes."""
    found: list[GateLevel] = []

    def synthesize(emitted: EmittedVerilog) -> EmittedVerilog:
        found.append(gate_level(CONFIG, emitted, read_library(DEFAULT_LIBERTY),
                                BUILD_ROOT.parent / "netlist" / emitted.top))
        return found[0].verilog()

    simulation = build(Chiplet(CONFIG), top_name(CONFIG), public=[PUBLIC_MEMORIES],
                       netlist=synthesize)
    return simulation, found[0]


def test_generation() -> None:
    """Tokens and logits are golden's, tokens and cycles the RTL's."""
    quantized = quantize(random_weights(SHAPE, 3))
    image = compile_model(quantized, CONFIG)
    simulation, level = netlist()
    runs = [run_chip(CONFIG, image, quantized, PROMPT, 6, temperature=0.9, seed=5, **options)
            for options in ({}, {"simulation": simulation, "rename": level.file_name})]
    assert all(run.bit_exact for run in runs), runs[1].first_difference
    assert runs[0].tokens == runs[1].tokens
    assert runs[0].cycles_per_token == runs[1].cycles_per_token
    assert runs[0].counters == runs[1].counters


def test_layers(tmp_path: Path) -> None:
    """Every intermediate of the decoder layers is golden's."""
    quantized = quantize(random_weights(SHAPE, 3))
    image = compile_model(quantized, CONFIG)
    simulation, level = netlist()
    tokens, logits = GoldenLlama(quantized).generate(PROMPT, 2)
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps({"image": image, "quantized": quantized, "prompt": PROMPT,
                                  "count": 2, "tokens": tokens, "logits": logits}))
    images = write_image(image, simulation.directory / "images", level.file_name)
    simulation.run("verif.tb_layers", run_name=f"tb_layers-{os.getpid()}",
                   plusargs=[f"+image={images}"], environment={"TESSERA_JOB": str(job)})
