"""Random writes, reads and pops on an input port's queues, against lists."""

import os
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS
from hw.router.input_queue import entry_layout, stored_layout
from verif.simulator import CLOCK_PERIOD_NS

CHANNEL_NUMBERS = [int(c) for c in os.environ["TESSERA_CHANNELS"].split()]
FLITS = int(os.environ["TESSERA_FLITS"])
ENTRY_BITS = entry_layout().size
FLIT_BITS = stored_layout(NetworkConfig(flit_bytes=8)).size


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize((("writes", "pops", "hold"), [
    (1.0, 1.0, 0.0), (1.0, 1.0, 0.95), (0.9, 0.4, 0.5), (0.3, 1.0, 0.5), (1.0, 0.9, 1.0)]))
async def random_traffic(dut, writes, pops, hold) -> None:
    """Fronts and seconds one cycle after their writes, flits one after their reads, all in order.

    ``hold`` is the chance that a cycle works on the same queue as the one before.
    """
    rng = random.Random(int(100 * (writes + 3 * pops + 7 * hold)))
    queues = [deque() for _ in CHANNEL_NUMBERS]
    edge = RisingEdge(dut.clk)
    for name in ("write", "pop", "read", "select", "write_channel"):
        dut[name].value = 0
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    for _ in range(3):
        await edge
    dut.rst.value = 0
    await edge
    into, out, wants, gone, fulls, streams = 0, 0, None, -1, 0, 0
    for cycle in range(4000):
        # What the registers show now follows from all cycles before.
        if rng.random() >= hold:
            into = rng.randrange(len(queues))
        if rng.random() >= hold or not queues[out]:
            out = rng.randrange(len(queues))
        come = rng.random() < writes and len(queues[into]) < FLITS
        read = bool(queues[out]) and rng.random() < 0.9
        pop = read and rng.random() < pops
        entry, flit = rng.getrandbits(ENTRY_BITS), rng.getrandbits(FLIT_BITS)
        dut.write.value, dut.write_channel.value = int(come), 1 << into
        dut.entry.value, dut.write_flit.value = entry, flit
        dut.select.value, dut.read.value, dut.pop.value = 1 << out, int(read), int(pop)
        await edge
        at = f"cycle {cycle}"
        occupied, alone = dut.occupied.value.to_unsigned(), dut.alone.value.to_unsigned()
        fronts = dut.fronts.value.to_unsigned()
        for c, queue in enumerate(queues):
            assert occupied >> c & 1 == bool(queue), f"{at}: occupied {occupied:b}, queue {c}: {queue}"
            assert alone >> c & 1 == (len(queue) == 1), f"{at}: alone {alone:b}, queue {c}"
            if queue:
                got = fronts >> c * ENTRY_BITS & (1 << ENTRY_BITS) - 1
                assert got == queue[0][0], f"{at}, queue {c}: front {got:#x}, want {queue[0][0]:#x}"
        assert dut.empty.value == (not any(queues)), f"{at}: empty"
        assert dut.second_valid.value == (len(queues[out]) > 1), f"{at}: second_valid"
        if len(queues[out]) > 1:
            got = dut.second.value.to_unsigned()
            assert got == queues[out][1][0], f"{at}, queue {out}: second {got:#x}, want {queues[out][1][0]:#x}"
        if wants is not None:
            got = dut.read_data.value.to_unsigned()
            assert got == wants, f"{at}: flit {got:#x}, want {wants:#x}"
        freed = dut.freed.value.to_unsigned()
        assert freed == (1 << CHANNEL_NUMBERS[gone] if gone >= 0 else 0), f"{at}: freed {freed:b}"
        assert freed < 1 << CHANNELS
        streams = streams + 1 if pop and gone == out else 0
        if read:
            wants = queues[out][0][1]
        gone = out if pop else -1
        fulls += any(len(queue) == FLITS for queue in queues)
        if pop:
            queues[out].popleft()
        if come:
            queues[into].append((entry, flit))
    assert fulls > 20 or writes < pops or pops == 1.0
