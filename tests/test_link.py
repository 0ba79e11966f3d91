"""The link in Verilator: every error of the wires, and what each must come to."""

import json

import pytest

from hw.network.config import NetworkConfig
from verif.link_bench import LinkBench
from verif.simulator import build

#: Fields of the configurations, each of which has a simulator.
CONFIGS = {
    "narrow": {"flit_bytes": 8},
    "phits": {"flit_bytes": 8, "phits_per_word": 4, "replay_flits": 8, "queue_flits": 8},
    "clocks": {"flit_bytes": 8, "phits_per_word": 2, "receive_clock": "link"},
    "full": {},
}


def run(name: str, flits: int, **arguments: object) -> None:
    fields = {"silence_cycles": 512, **CONFIGS[name]}
    simulation = build(LinkBench(NetworkConfig(**fields)), f"link_bench_{name}")
    simulation.run("verif.tb_link", environment={
        "TESSERA_LINK_CONFIG": json.dumps(fields), "TESSERA_FLITS": str(flits)}, **arguments)


@pytest.mark.sim
@pytest.mark.parametrize("name", ["narrow", "phits", "clocks"])
def test_link(name: str) -> None:
    """All cocotb tests."""
    run(name, 20_000)


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize("name", ["full"])
def test_soak(name: str) -> None:
    """A million flits of full width at each error rate, and with errors of every other kind."""
    run(name, 1_000_000, testcase=["without_errors", "with_errors"])
