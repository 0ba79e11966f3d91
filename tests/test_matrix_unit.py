"""The matrix unit (array, banks, drain) against its reference."""

import json

import pytest

from hw.config import ChipletConfig
from verif.matrix_bench import MatrixBench
from verif.memories import PUBLIC_MEMORIES
from verif.simulator import build

SMALL = {"bank_words": 64, "activation_words": 64, "output_words": 192, "result_beats": 192,
         "residual_beats": 192, "multiplier_beats": 512, "row_slots": 64, "context": 32,
         "program_words": 16, "rope_beats": 16}


@pytest.mark.sim
@pytest.mark.parametrize(
    ("rows", "columns", "lanes", "rows_per_step", "hard_multipliers"),
    [(8, 8, 8, 2, False), (8, 16, 4, 1, True), (16, 8, 4, 4, False), (4, 4, 4, 4, False)],
)
def test_matrix_unit(
    rows: int, columns: int, lanes: int, rows_per_step: int, hard_multipliers: bool
) -> None:
    """Random commands and every address fault, on square, wide and tall arrays."""
    fields = {"name": "bench", "rows": rows, "columns": columns, "lanes": lanes,
              "rows_per_step": rows_per_step, "sampler_lanes": 2,
              "hard_multipliers": hard_multipliers, **SMALL}
    config = ChipletConfig(**fields)
    name = f"matrix_{rows}x{columns}x{lanes}"
    simulation = build(MatrixBench(config), name, public=[PUBLIC_MEMORIES])
    simulation.run("verif.tb_matrix_unit", environment={
        "TESSERA_CONFIG": json.dumps(fields), "TESSERA_SEED": "1", "TESSERA_BATCHES": "40"})
