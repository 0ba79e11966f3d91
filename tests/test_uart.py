"""The serial line in Verilator: bits, frames, accesses, and everything that can go wrong."""

import pytest

from hw.host.uart import check_divisor, find_divisor
from verif.memories import PUBLIC_MEMORIES
from verif.simulator import build
from verif.uart_bench import UartBench


@pytest.mark.sim
@pytest.mark.parametrize("divisor", [8, 5])
def test_uart_bridge(divisor: int) -> None:
    """All cocotb tests, with an even and an odd number of cycles per bit."""
    simulation = build(UartBench(divisor), f"uart_bench_{divisor}", public=[PUBLIC_MEMORIES])
    simulation.run("verif.tb_uart", environment={"TESSERA_DIVISOR": str(divisor)})


@pytest.mark.parametrize(
    ("clock_hz", "baud", "divisor"),
    [(65e6, 1e6, 65), (65e6, 3e6, 22), (25e6, 115200, 217), (8e6, 1e6, 8)],
)
def test_divisor(clock_hz: float, baud: float, divisor: int) -> None:
    assert find_divisor(clock_hz, baud) == divisor


@pytest.mark.parametrize(("clock_hz", "baud"), [(25e6, 12e6), (65e6, 11.5e6), (1e6, 1e6)])
def test_rate_that_the_clock_cannot_make(clock_hz: float, baud: float) -> None:
    with pytest.raises(ValueError, match=r"baud must be within 2% of the clock \(\d+ Hz\) divided"):
        find_divisor(clock_hz, baud)


def test_divisor_that_is_too_small() -> None:
    with pytest.raises(ValueError, match="divisor must be at least 4 clock cycles per bit, not 3"):
        check_divisor(3)
