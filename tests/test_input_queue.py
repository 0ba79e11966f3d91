"""The queues of a router's input."""

import pytest

from hw.network.config import NetworkConfig
from hw.router.input_queue import InputQueue
from verif.simulator import build


@pytest.mark.sim
@pytest.mark.parametrize(("channels", "flits"), [((0, 1, 2, 3, 4, 5), 4), ((0, 2, 4), 8)])
def test_input_queue(channels: tuple[int, ...], flits: int) -> None:
    """Link's and local input's queues, from empty to full, one queue in every cycle."""
    queue = InputQueue(NetworkConfig(flit_bytes=8), channels, flits)
    build(queue, f"input_queue_{len(channels)}_{flits}").run("verif.tb_input_queue", environment={
        "TESSERA_CHANNELS": " ".join(map(str, channels)), "TESSERA_FLITS": str(flits)})
