"""When the reset acts, and when it lets go."""

import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from verif.simulator import CLOCK_PERIOD_NS

#: Edges after the fall of ``rst`` that an asynchronous reset still covers.
RELEASE_EDGES = 2
#: A quarter of the clock period.
QUARTER_PS = CLOCK_PERIOD_NS * 250


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def acts_and_lets_go(dut) -> None:
    """Reset between two edges: it acts at once or at the edge; it lets go at an edge always."""
    is_async = os.environ["TESSERA_RESET"] == "async"
    dut.rst.value = 1
    edge = RisingEdge(dut.clk)
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    for _ in range(3):
        await edge
    dut.rst.value = 0
    for _ in range(10):
        await edge
    await Timer(QUARTER_PS, unit="ps")
    before = {name: dut[name].value.to_unsigned() for name in ("outer", "inner")}
    assert all(before.values()), before
    dut.rst.value = 1
    await Timer(QUARTER_PS, unit="ps")
    for name, count in before.items():
        got, want = dut[name].value.to_unsigned(), 0 if is_async else count
        assert got == want, f"{name}, reset without an edge: got {got}, want {want}"
    await edge
    await Timer(QUARTER_PS, unit="ps")
    for name in before:
        assert dut[name].value.to_unsigned() == 0, f"{name}: the reset did not act at the edge"
    dut.rst.value = 0
    held = RELEASE_EDGES if is_async else 0
    for i in range(1, 6):
        await edge
        await Timer(QUARTER_PS, unit="ps")
        for name in before:
            got, want = dut[name].value.to_unsigned(), max(0, i - held)
            assert got == want, f"{name}, edge {i} after the release: got {got}, want {want}"
