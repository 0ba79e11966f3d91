"""The processing element's size in gates, alone and within a column, against its limits."""

from pathlib import Path

import pytest

from flows.netlist.element_size import element_alone, element_with_share
from hw.config import CONFIGS

#: Limits for a processing element.
TWO_INPUT_GATES, FLIP_FLOPS = 900, 40


def test_element_alone(tmp_path: Path) -> None:
    """The multiplier with its registers: 8 bits of weight and 16 of product, inverters included."""
    size = element_alone(tmp_path)
    assert size.flip_flops == 24
    assert 400 < size.two_input_gates + size.inverters <= TWO_INPUT_GATES


@pytest.mark.parametrize("config", ["tiny", "base", "large"])
def test_element_with_its_share_of_the_sum(config: str, tmp_path: Path) -> None:
    """Each element has one adder of the column, and the column one register per step."""
    alone = element_alone(tmp_path / "alone")
    size = element_with_share(CONFIGS[config], tmp_path / "column")
    assert alone.two_input_gates < size.two_input_gates <= TWO_INPUT_GATES
    assert alone.flip_flops < size.flip_flops <= FLIP_FLOPS
