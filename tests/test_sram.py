"""The memories' behaviour."""

import pytest

from verif.simulator import build
from verif.sram_bench import SramBench


@pytest.mark.sim
def test_sram() -> None:
    """Latency, hold, masks, and the inverted word of a forbidden collision."""
    build(SramBench(), "sram_bench").run("verif.tb_sram", seed=1)
