"""No X after reset: the `tiny` chiplet in Icarus, with initial values stripped."""

import functools
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.compile import compile_model
from compiler.quantize import quantize
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from hw.chiplet import Chiplet
from hw.config import CONFIGS
from hw.emit import EmittedVerilog, emit
from verif.chip_run import top_name
from verif.icarus import build_icarus
from verif.simulator import SimulationError
from verif.unknowns import with_random_values, without_initial_values

CONFIG = CONFIGS["tiny"]
SHAPE = LlamaShape(dim=8, hidden=8, layers=1, heads=1, kv_heads=1, head_dim=8, vocab=16,
                   context=64, tied=True)

pytestmark = [pytest.mark.sim, pytest.mark.skipif(
    not shutil.which("iverilog"), reason="needs Icarus Verilog: install the package iverilog")]


@functools.cache
def emitted() -> EmittedVerilog:
    return emit(Chiplet(CONFIG), top_name(CONFIG))


def run(logic: str, tmp_path: Path, prompt: list[int], count: int) -> None:
    """Generate with this logic."""
    quantized = quantize(random_weights(SHAPE, 3))
    image = compile_model(quantized, CONFIG)
    tokens, _ = GoldenLlama(quantized).generate(prompt, count)
    ports = {name: (value, member.flow.name) for (name,), member, value in
             Chiplet(CONFIG).signature.flatten(Chiplet(CONFIG))}
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps({
        "image": image, "prompt": prompt, "tokens": tokens,
        "outputs": [name for name, (_, flow) in ports.items() if flow == "Out"]}))
    simulation = build_icarus(replace(emitted(), logic=logic), tmp_path / "sim")
    simulation.run("verif.tb_unknowns", environment={"TESSERA_JOB": str(job)})


def test_initial_values_are_stripped() -> None:
    logic = emitted().logic
    assert re.search(r"^ *reg .* = ", logic, re.MULTILINE)
    assert not re.search(r"^ *reg .* = ", without_initial_values(logic), re.MULTILINE)


def test_no_unknown_after_reset(tmp_path: Path) -> None:
    """Tokens of a small model are golden's, every output watched at every edge."""
    run(without_initial_values(emitted().logic), tmp_path, [3], 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_values(seed: int, tmp_path: Path) -> None:
    """Tokens do not depend on what registers hold before reset."""
    run(with_random_values(emitted().logic, seed), tmp_path, [3], 1)


def test_no_unknown_in_a_longer_run(tmp_path: Path) -> None:
    run(without_initial_values(emitted().logic), tmp_path, [3, 5, 7, 9, 2], 8)


def test_lost_reset_is_found(tmp_path: Path) -> None:
    """Registers of the top whose reset was removed."""
    head, start, top = without_initial_values(emitted().logic).partition(
        f"module {top_name(CONFIG)}")
    planted = re.sub(r"if \(rst\) begin\n.*?\n +end", "", top, flags=re.DOTALL)
    assert planted != top
    with pytest.raises(SimulationError, match="X on running"):
        run(head + start + planted, tmp_path, [3], 1)
