"""The gate-level netlist of the `tiny` chiplet on the benches of the RTL.

A small model in Icarus, which compiles gates quickly; a larger one in Verilator among the long tests.
"""

import functools
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
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
from hw.emit import EmittedVerilog, emit
from tessera.commands.asic import DEFAULT_LIBERTY
from verif.chip_run import run_chip, top_name, write_image
from verif.icarus import IcarusSimulation, build_icarus
from verif.memories import PUBLIC_MEMORIES
from verif.simulator import BUILD_ROOT, Simulation, SimulationError, build

CONFIG = CONFIGS["tiny"]
SMALL = LlamaShape(dim=8, hidden=8, layers=1, heads=1, kv_heads=1, head_dim=8, vocab=16,
                   context=64, tied=True)
LARGER = LlamaShape(dim=32, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=64,
                    context=64, tied=True)
PLACE = BUILD_ROOT.parent / "netlist"

pytestmark = [
    pytest.mark.sim,
    pytest.mark.skipif(not DEFAULT_LIBERTY.is_file(),
                       reason="needs Debian's qflow-tech-osu018: make tools")]


def prompt_of(shape: LlamaShape, count: int) -> list[int]:
    return [(7 * i + 3) % shape.vocab for i in range(count)]


@functools.cache
def level_of(emitted: EmittedVerilog) -> GateLevel:
    return gate_level(CONFIG, emitted, read_library(DEFAULT_LIBERTY), PLACE / emitted.top)


def run_layers(
    shape: LlamaShape, prompt: list[int], simulation: Simulation | IcarusSimulation,
    rename: Callable[[str], str], place: Path, *, settle: bool = False, **options: str,
) -> None:
    """Compare every intermediate of the decoder layers, and the tokens, with golden."""
    quantized = quantize(random_weights(shape, 3))
    image = compile_model(quantized, CONFIG)
    tokens, logits = GoldenLlama(quantized).generate(prompt, 2)
    job = place / "job.pickle"
    job.write_bytes(pickle.dumps({"image": image, "quantized": quantized, "prompt": prompt,
                                  "count": 2, "tokens": tokens, "logits": logits,
                                  "settle": settle}))
    images = write_image(image, place / "images", rename)
    simulation.run("verif.tb_layers", plusargs=[f"+image={images}"],
                   environment={"TESSERA_JOB": str(job)}, **options)


def test_layers_in_icarus(tmp_path: Path) -> None:
    """Every intermediate and token of a small model; flip-flops start with random values."""
    level = level_of(emit(Chiplet(CONFIG), top_name(CONFIG)))
    simulation = build_icarus(level.verilog(), tmp_path / "sim")
    run_layers(SMALL, prompt_of(SMALL, 2), simulation, level.file_name, tmp_path, settle=True)


def test_wrong_gate_is_found(tmp_path: Path) -> None:
    """One XOR of a processing element that became an XNOR."""
    level = level_of(emit(Chiplet(CONFIG), top_name(CONFIG)))
    netlist = level.verilog()
    head, start, rest = netlist.logic.partition("module tessera_pe ")
    planted = rest.replace("XOR2X1 ", "XNOR2X1 ", 1)
    assert start and planted != rest
    simulation = build_icarus(replace(netlist, logic=head + start + planted), tmp_path / "sim")
    with pytest.raises(SimulationError, match="1 of 1 tests failed"):
        run_layers(SMALL, prompt_of(SMALL, 2), simulation, level.file_name, tmp_path, settle=True)


# A larger model


@functools.cache
def verilated() -> tuple[Simulation, GateLevel]:
    """Build the netlist's simulator; it takes minutes."""
    found: list[GateLevel] = []

    def synthesize(emitted: EmittedVerilog) -> EmittedVerilog:
        found.append(level_of(emitted))
        return found[0].verilog()

    simulation = build(Chiplet(CONFIG), top_name(CONFIG), public=[PUBLIC_MEMORIES],
                       netlist=synthesize)
    return simulation, found[0]


@pytest.mark.slow
def test_generation() -> None:
    """Tokens and logits are golden's, tokens and cycles the RTL's."""
    quantized = quantize(random_weights(LARGER, 3))
    image = compile_model(quantized, CONFIG)
    simulation, level = verilated()
    runs = [run_chip(CONFIG, image, quantized, prompt_of(LARGER, 11), 6, temperature=0.9, seed=5,
                     **options)
            for options in ({}, {"simulation": simulation, "rename": level.file_name})]
    assert all(run.bit_exact for run in runs), runs[1].first_difference
    assert runs[0].tokens == runs[1].tokens
    assert runs[0].cycles_per_token == runs[1].cycles_per_token
    assert runs[0].counters == runs[1].counters


@pytest.mark.slow
def test_layers(tmp_path: Path) -> None:
    """Every intermediate of the decoder layers is golden's."""
    simulation, level = verilated()
    run_layers(LARGER, prompt_of(LARGER, 11), simulation, level.file_name, tmp_path,
               run_name=f"tb_layers-{os.getpid()}")
