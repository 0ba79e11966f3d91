"""The router in Verilator: alone, and many of them as a network."""

import pytest

from hw.network.config import NetworkConfig
from hw.router.router import Router
from verif.simulator import build


@pytest.mark.sim
@pytest.mark.parametrize(("flit_bytes", "queue_flits"), [(8, 16), (32, 4)])
def test_router(flit_bytes: int, queue_flits: int) -> None:
    """Random packets against golden, latency, throughput, shares, links that fail."""
    config = NetworkConfig(flit_bytes=flit_bytes, queue_flits=queue_flits)
    build(Router(config), f"router_{flit_bytes}_{queue_flits}").run(
        "verif.tb_router", environment={"TESSERA_FLIT_BYTES": str(flit_bytes),
                                        "TESSERA_QUEUE_FLITS": str(queue_flits)})
