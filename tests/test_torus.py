"""Whole models on a torus of chiplets: every logit and token is golden's, with clean and dirty wires."""

import functools
import itertools
import re

import numpy as np
import pytest

from compiler.compile import compile_shares
from compiler.image import ChipImage
from compiler.quantize import quantize
from compiler.split import SplitError
from compiler.timing import predict_torus
from compiler.torus import Layout, parse_torus, round_trip
from golden.model import LlamaShape, random_weights
from golden.quantized import QuantizedLlama
from golden.router import EAST
from hw.control.isa import Ring
from verif.chips_simulation import CONFIG
from verif.torus_run import TRAINING_CYCLES, TorusChips, TorusRun, generate, open_torus

UNEVEN = LlamaShape(dim=24, hidden=30, layers=2, heads=12, kv_heads=6, head_dim=4, vocab=69,
                    context=32, tied=True)  # fmt: skip
UNTIED = LlamaShape(dim=32, hidden=40, layers=4, heads=4, kv_heads=4, head_dim=8, vocab=80,
                    context=32, tied=False)  # fmt: skip
PROMPT = [1, 5, 60, 7, 33]


@functools.cache
def _model(name: str) -> QuantizedLlama:
    return quantize(random_weights({"uneven": UNEVEN, "untied": UNTIED}[name], 3))


@functools.cache
def _images(name: str, tensor: int, pipeline: int) -> list[ChipImage]:
    return compile_shares(_model(name), CONFIG, tensor, pipeline)


def _run(name: str, layout: Layout, noise: float = 0.0, count: int = 4) -> TorusRun:
    images = _images(name, layout.tensor, layout.pipeline)
    with open_torus(CONFIG, layout, images) as simulation:
        simulation.noise(noise)
        simulation.run(TRAINING_CYCLES)
        chips = TorusChips(simulation, layout, images)
        return generate(chips, _model(name), [PROMPT], count, temperature=0.7, seed=3)


@pytest.mark.sim
@pytest.mark.parametrize("noise", [0.0, 1e-4])
@pytest.mark.parametrize(("columns", "rows", "tensor", "pipeline"), [
    (1, 1, 1, 1), (2, 1, 2, 1), (2, 2, 4, 1), (2, 1, 1, 2), (2, 2, 1, 4), (2, 2, 2, 2)])
def test_bits_of_one_chip(columns: int, rows: int, tensor: int, pipeline: int, noise: float) -> None:
    layout = Layout(columns=columns, rows=rows, tensor=tensor, pipeline=pipeline)
    run = _run("untied", layout, noise)
    assert run.first_difference is None
    assert len(run.tokens) == 4
    images = _images("untied", tensor, pipeline)
    predicted = predict_torus(images, layout, prompt_tokens=len(PROMPT), tokens=4)
    # Chips that did not start together are ahead of each other in turn; in sum they are not.
    want, got = sum(predicted[0].cycles_per_token), sum(run.cycles_per_token)
    assert abs(got - want) <= (0.1 if noise else 0.005) * want, f"predicted {want}, got {got}"
    for report in run.chips:
        errors = sum(link["errors"] for link in report.links.values())
        assert bool(errors) == bool(noise and columns > 1), f"chip {report.chip}: {errors} errors"
        assert all(link["downs"] == 0 for link in report.links.values())
        assert bool(report.counters["collective_working"]) == (columns > 1)


@pytest.mark.sim
def test_predicted_cycles_of_chips_that_start_together() -> None:
    layout, images = Layout(columns=2, rows=2, tensor=4, pipeline=1), _images("untied", 4, 1)
    predicted = predict_torus(images, layout, prompt_tokens=len(PROMPT), tokens=5)
    with open_torus(CONFIG, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        run = generate(TorusChips(simulation, layout, images), _model("untied"), [PROMPT], 5, at_once=True)
    assert run.first_difference is None
    # Credits between packets may cost a cycle where a chip waits for another.
    for want, got in zip(predicted[0].cycles_per_token, run.cycles_per_token, strict=True):
        assert abs(got - want) <= 2, f"predicted {want}, got {got}"


@pytest.mark.sim
@pytest.mark.parametrize(("columns", "rows", "tensor", "pipeline", "sequences", "noise", "gain"), [
    (1, 1, 1, 1, 2, 0.0, 0.9), (2, 1, 1, 2, 2, 0.0, 1.7), (2, 2, 2, 2, 2, 1e-4, 1.6),
    (2, 2, 1, 4, 4, 0.0, 3.0)])
def test_sequences_keep_all_stages_busy(
    columns: int, rows: int, tensor: int, pipeline: int, sequences: int, noise: float, gain: float
) -> None:
    """Bits of each sequence alone; tokens come faster than those of one sequence."""
    layout = Layout(columns=columns, rows=rows, tensor=tensor, pipeline=pipeline)
    prompts = [[(7 * i + 11 * b) % 69 for i in range(5)] for b in range(sequences)]
    steady = []
    for several in (prompts[:1], prompts):
        images = compile_shares(_model("untied"), CONFIG, tensor, pipeline, context=8,
                                sequences=len(several))
        with open_torus(CONFIG, layout, images) as simulation:
            simulation.noise(noise)
            simulation.run(TRAINING_CYCLES)
            run = generate(TorusChips(simulation, layout, images), _model("untied"), several, 3,
                           temperature=0.7, seed=3)
        assert run.first_difference is None
        assert len(run.tokens) == 3 * len(several)
        steady.append(np.mean(run.cycles_per_token[len(several):]))
    assert steady[0] / steady[1] >= gain, f"a token takes {steady} cycles"


@pytest.mark.sim
def test_shares_of_different_size() -> None:
    run = _run("uneven", Layout(columns=2, rows=2, tensor=4, pipeline=1))
    assert run.first_difference is None and len(run.tokens) == 4


@pytest.mark.sim
def test_wire_cut_in_mid_run() -> None:
    """Every chip stops with a cause; after repair and reset the next run is right."""
    layout = Layout(columns=2, rows=2, tensor=4, pipeline=1)
    images, model = _images("untied", 4, 1), _model("untied")
    with open_torus(CONFIG, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        chips = TorusChips(simulation, layout, images)

        def cut(record: object) -> None:
            simulation.cut((0, 0), EAST)

        run = generate(chips, model, [PROMPT], 20, on_token=cut, watchdog=8000)
        assert 1 <= len(run.tokens) < 20
        assert run.first_difference is not None and "WATCHDOG" in run.first_difference
        simulation.run(20_000)
        faults = chips.faults()
        assert set(faults) == set(layout.chips)
        assert {why.split()[0] for why in faults.values()} == {"WATCHDOG"}
        simulation.cut((0, 0), EAST, on=False)
        simulation.run(3000)
        chips.reset()
        again = generate(chips, model, [PROMPT], 3, watchdog=8000)
        assert again.first_difference is None and again.tokens[:1] == run.tokens[:1]


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 1), (1, 3), (2, 2), (3, 2), (2, 3), (4, 4),
                                               (3, 3), (5, 4), (4, 5)])
def test_round_trip(columns: int, rows: int) -> None:
    trip = round_trip(columns, rows)
    assert sorted(trip) == sorted((x, y) for x in range(columns) for y in range(rows))
    closes = columns > 1 and rows > 1 and (columns % 2 == 0 or rows % 2 == 0)
    ends = [*trip, trip[0]] if closes else trip
    for (ax, ay), (bx, by) in itertools.pairwise(ends):
        assert abs(ax - bx) + abs(ay - by) == 1, f"{ax, ay} is no neighbour of {bx, by}"


def test_rings() -> None:
    layout = Layout(columns=2, rows=2, tensor=2, pipeline=2)
    rings = layout.rings()
    assert layout.chips == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert rings[Ring.ROW] == {(0, 0): (1, 0), (1, 0): (0, 0), (0, 1): (1, 1), (1, 1): (0, 1)}
    assert rings[Ring.PIPE][0, 0] == (0, 1) and rings[Ring.PIPE][1, 0] == (1, 1)
    assert rings[Ring.TORUS] == {(0, 0): (1, 0), (1, 0): (1, 1), (1, 1): (0, 1), (0, 1): (0, 0)}
    columns = Layout(columns=3, rows=2, tensor=2, pipeline=3)
    assert columns.chips[:2] == [(0, 0), (0, 1)]


@pytest.mark.parametrize(("tensor", "pipeline", "message"), [
    (3, 2, "must be the 8 chips of a torus of 4x2, not 3 times 2"),
    (8, 2, "must be the 8 chips of a torus of 4x2, not 8 times 2"),
])  # fmt: skip
def test_layouts_that_do_not_fit(tensor: int, pipeline: int, message: str) -> None:
    with pytest.raises(SplitError, match=re.escape(message)):
        Layout(columns=4, rows=2, tensor=tensor, pipeline=pipeline)
    with pytest.raises(SplitError, match="one of 1, 6, 36, not 2"):
        Layout(columns=6, rows=6, tensor=2, pipeline=18)


@pytest.mark.parametrize("text", ["2", "0x1", "2x9", "axb", "2x2x2", ""])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="columns x rows, each 1 to 8, such as 2x2"):
        parse_torus(text)


def test_size() -> None:
    assert parse_torus("4x2") == (4, 2)
