"""The arbiter against a list of who was served last."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from verif.simulator import CLOCK_PERIOD_NS


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def least_recently_served(dut) -> None:
    rng = random.Random(1)
    count = len(dut.requests)
    order = list(range(count))  # served longest ago first
    edge = RisingEdge(dut.clk)
    dut.rst.value, dut.requests.value, dut.served.value = 1, 0, 0
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    for _ in range(3):
        await edge
    dut.rst.value = 0
    for cycle in range(3000):
        await edge
        requests = rng.getrandbits(count) if rng.random() < 0.8 else (1 << count) - 1
        dut.requests.value = requests
        dut.served.value = 0
        # Combinational from the requests; what is served is that, another one, or none.
        await ReadOnly()
        want = next((1 << i for i in order if requests >> i & 1), 0)
        got = dut.grants.value.to_unsigned()
        assert got == want, f"cycle {cycle}, requests {requests:b}, order {order}: {got:b}, want {want:b}"
        served = want.bit_length() - 1 if want and rng.random() < 0.7 else -1
        if rng.random() < 0.1:
            served = rng.randrange(count)
        await edge
        dut.requests.value = 0
        dut.served.value = 1 << served if served >= 0 else 0
        if served >= 0:
            order.remove(served)
            order.append(served)
