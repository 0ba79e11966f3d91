"""The host port in Verilator: registers and memory window."""

import pytest

from verif.host_bench import HostBench
from verif.memories import PUBLIC_MEMORIES
from verif.simulator import build


@pytest.mark.sim
@pytest.mark.parametrize("bench", ["verif.tb_host_registers", "verif.tb_host_window"])
def test_host_bridge(bench: str) -> None:
    """All cocotb tests of one side of the port."""
    simulation = build(HostBench(), "host_bench", public=[PUBLIC_MEMORIES])
    simulation.run(bench, run_name=bench.rsplit(".", 1)[1])
