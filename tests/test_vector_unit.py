"""The vector unit against golden, on several shapes."""

import json

import pytest

from hw.config import CONFIGS, ChipletConfig
from verif.simulator import build
from verif.vector_unit_bench import PUBLIC, VectorUnitBench

pytestmark = pytest.mark.sim

SHAPES = {
    "tiny": (CONFIGS["tiny"], 500),
    "base": (CONFIGS["base"], 500),
    # Several beats per activation word; a temporary memory of the smallest size.
    "narrow": (ChipletConfig(name="narrow", rows=16, columns=16, lanes=8, result_beats=700,
                             activation_words=300, row_slots=100), 500),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_vector_unit(shape: str) -> None:
    config, commands = SHAPES[shape]
    simulation = build(VectorUnitBench(config), f"vector_unit_{shape}", public=PUBLIC)
    simulation.run("verif.tb_vector_unit", environment={
        "CHIPLET_CONFIG": json.dumps(config.as_dict()), "COMMANDS": str(commands)})
