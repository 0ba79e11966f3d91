"""The network interface in Verilator, with flits that hold a header alone and a whole packet."""

import pytest

from hw.network.config import NetworkConfig
from hw.network.interface import NetworkInterface
from verif.simulator import build
from verif.tb_interface import DOORBELL_ADDRESS


@pytest.mark.sim
@pytest.mark.parametrize("flit_bytes", [8, 32])
def test_interface(flit_bytes: int) -> None:
    """Accesses both ways against golden, broken packets, timeouts, a network that is full."""
    interface = NetworkInterface(NetworkConfig(flit_bytes=flit_bytes), DOORBELL_ADDRESS)
    build(interface, f"network_interface_{flit_bytes}").run(
        "verif.tb_interface", environment={"TESSERA_FLIT_BYTES": str(flit_bytes)})
