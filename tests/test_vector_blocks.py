"""The vector unit's arithmetic blocks and tables."""

import numpy as np
import pytest

from golden import tables as golden_tables
from hw.config import CONFIGS, ChipletConfig
from hw.control.isa import Opcode
from hw.vector import tables
from hw.vector.reciprocal_root import ReciprocalRoot
from hw.vector.schedule import (
    LATE_SCALE,
    norm_done_delay,
    segment_beats,
    tree_cycles,
    vector_cycles,
)
from verif.simulator import build
from verif.vector_blocks_bench import VectorBlocksBench


@pytest.mark.sim
def test_blocks() -> None:
    build(VectorBlocksBench(), "vector_blocks").run("verif.tb_vector_blocks")


@pytest.mark.parametrize(("name", "skipped"), [
    ("RECIPROCAL", 0), ("RSQRT", 8), ("EXP2", 0), ("RECIP", 0)])
def test_tables_agree(name: str, skipped: int) -> None:
    np.testing.assert_array_equal(getattr(tables, name), getattr(golden_tables, name)[skipped:])


def test_digits_make_the_reciprocals() -> None:
    made = [sum(digit * 4**i for i, digit in enumerate(digits)) for digits in tables.RECIPROCAL_DIGITS]
    np.testing.assert_array_equal(made, tables.RECIPROCAL)


def test_silu_tables_agree() -> None:
    np.testing.assert_array_equal(tables.SILU, golden_tables.SILU[:128])
    np.testing.assert_array_equal(tables.SILU_STEP, np.diff(golden_tables.SILU))


def test_latency_of_one_segment() -> None:
    """The figures that decoding depends on."""
    base = CONFIGS["base"]
    assert vector_cycles(base, Opcode.NORM, 1, 1, 16) == 25
    assert vector_cycles(base, Opcode.ROPE_KEY, 1, 1, 2) == 14
    assert vector_cycles(base, Opcode.ROPE_QUERY, 1, 1, 4) == 20
    assert vector_cycles(base, Opcode.SOFTMAX, 1, 1, 17) == 24
    assert vector_cycles(base, Opcode.SWIGLU, 1, 1, 12) == 47


@pytest.mark.parametrize("lanes", [4, 8, 16, 32, 64, 128])
def test_norm_waits_for_its_row_scale(lanes: int) -> None:
    for steps in (1, 2, 4, 8):
        config = ChipletConfig(name="any", rows=128, columns=128, lanes=lanes,
                               rows_per_step=128 // steps)
        # Cycles from `done` to the row scale's write, when `done` is one before the last byte's.
        late = tree_cycles(config) + 2 + ReciprocalRoot.LATENCY - norm_done_delay(config)
        assert late <= config.steps + LATE_SCALE


def test_longest_segment() -> None:
    assert {name: segment_beats(config) for name, config in CONFIGS.items()} == {
        "tiny": 30, "base": 126, "large": 62, "fpga": 62, "fpga_small": 30}
