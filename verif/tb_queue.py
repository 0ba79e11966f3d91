"""Random pushes, completions and pops on a command queue, against a list."""

import os
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.config import CONFIGS
from hw.control.isa import matrix_command_layout
from hw.control.queue import CommandQueue, in_flight_layout, wait_bits, wait_layout
from verif.simulator import CLOCK_PERIOD_NS

UNITS = ("matrix", "vector")


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def random_traffic(dut) -> None:
    """Every head is ready in exactly the cycle that the latencies say, with its own contents."""
    rng = random.Random(int(os.environ["TESSERA_SEED"]))
    config = CONFIGS["tiny"].replace(queue_depth=int(os.environ["TESSERA_DEPTH"]))
    bits = len(in_flight_layout(matrix_command_layout()).const({}).as_value())
    waits, most = wait_layout(config), (1 << wait_bits(config)) - 1
    for name in ("push", "pop", "enable", "matrix_done", "vector_done", "entry", "wait"):
        dut[name].value = 0
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    edge = RisingEdge(dut.clk)
    for _ in range(3):
        await edge
    dut.rst.value = 0
    dut.enable.value = 1
    await edge

    # Of each command here: its word, completions to come by unit, and when it is ready.
    queue: deque[tuple[int, dict[str, int], list[int]]] = deque()
    last_pop, pops, fulls, waited = -9, 0, 0, 0
    push, pop, done = False, False, dict.fromkeys(UNITS, False)
    word, wait = 0, dict.fromkeys(UNITS, 0)
    for cycle in range(20_000):
        # The cycle that ends at this edge: what the queue showed, and what it was told.
        await edge
        ready = bool(queue) and cycle >= queue[0][2][0]
        assert dut.ready.value == ready, f"cycle {cycle}: ready {dut.ready.value}, want {ready}"
        assert dut.full.value == (len(queue) == config.queue_depth + 1), f"cycle {cycle}: full"
        assert dut.occupied.value == bool(queue), f"cycle {cycle}: occupied"
        if ready:
            got = dut.head.value.to_unsigned()
            assert got == queue[0][0], f"cycle {cycle}: head {got:#x}, want {queue[0][0]:#x}"
        if pop:
            assert ready
            queue.popleft()
            last_pop, pops = cycle, pops + 1
            if queue:
                queue[0][2][0] = max(queue[0][2][0], cycle + CommandQueue.SPACING)
        if push:
            first = cycle + CommandQueue.LATENCY
            if not queue:
                first = max(first, last_pop + CommandQueue.SPACING)
            left = {unit: wait[unit] for unit in UNITS}
            queue.append((word, left, [first]))
        for _, left, when in queue:
            for unit in UNITS:
                if done[unit] and left[unit]:
                    left[unit] -= 1
                    when[0] = max(when[0], cycle + 2)
            if any(left.values()):
                when[0] = max(when[0], cycle + 3)  # not before it is seen again
                waited += 1
        fulls += len(queue) > config.queue_depth

        # The next cycle.
        busy = rng.random() < 0.7
        push = len(queue) <= config.queue_depth and rng.random() < (0.7 if busy else 0.1)
        word, wait = rng.getrandbits(bits), dict.fromkeys(UNITS, 0)
        if rng.random() < 0.3:
            wait = {unit: rng.choice([0, 1, 2, most]) for unit in UNITS}
        pop = bool(queue) and cycle + 1 >= queue[0][2][0] and rng.random() < 0.6
        done = {unit: rng.random() < 0.4 for unit in UNITS}
        dut.push.value, dut.pop.value = int(push), int(pop)
        dut.entry.value = word
        dut["wait"].value = waits.const(wait).as_value().value
        for unit in UNITS:
            dut[f"{unit}_done"].value = int(done[unit])
    assert min(pops, fulls, waited) > 100
