"""Random reads and masked writes on memories of every shape, against dictionaries.

TESSERA_SHAPES: the shapes, by their name in verif.sram_bench.
TESSERA_COLLISION: ``inverted`` when a read of the word that is being written gives the inverted old
word, ``undefined`` when it may give anything.
"""

import os
import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.memory.sram import SramShape
from verif.sram_bench import SHAPES

#: Addresses used of each memory; every one gets a known value first.
POOL = 20
CYCLES = 1500


class Driver:
    """Accesses one memory, and knows what it must show."""

    def __init__(self, dut: Any, number: int, shape: SramShape, rng: random.Random) -> None:
        self.shape, self.rng = shape, rng
        self.one_port = shape.ports == "1rw"
        self.ports = {name: dut[f"m{number}_{name}"] for name in (
            ("address", "enable") if self.one_port else
            ("read_address", "read_enable", "write_address"))}
        self.ports |= {name: dut[f"m{number}_{name}"] for name in ("write_mask", "write_data")}
        self.read_data = dut[f"m{number}_read_data"]
        edges = [a for at in (256, 512, 1024, 4096) for a in (at - 1, at) if a < shape.words]
        pool = {0, shape.words - 1, *edges}
        while len(pool) < min(POOL, shape.words):
            pool.add(rng.randrange(shape.words))
        self.pool = sorted(pool)
        self.words: dict[int, int] = {}
        #: What is read now, None when it is not defined; and what was seen to be compared.
        self.expected: int | None = None
        self.compared = self.collisions = 0

    def drive(self, cycle: int, undefined: bool) -> int | None:
        """Set the inputs of a cycle; return what its clock edge brings."""
        rng, shape = self.rng, self.shape
        full = (1 << shape.mask_bits) - 1
        first = cycle < len(self.pool)
        write_at = self.pool[cycle] if first else rng.choice(self.pool)
        mask = rng.choice((0, full, rng.randint(0, full)))
        enable = int(rng.random() < 0.7)
        if first:
            mask, enable = full, int(self.one_port)
        data = rng.getrandbits(shape.bits)
        read_at = write_at if self.one_port else rng.choice(self.pool)
        values = {"write_mask": mask, "write_data": data, "address": write_at, "enable": enable,
                  "read_address": read_at, "read_enable": enable, "write_address": write_at}
        for name, port in self.ports.items():
            port.value = values[name]
        result = self.expected
        if enable and not (self.one_port and mask):
            result = self.words[read_at]
            if mask and read_at == write_at:
                self.collisions += 1
                result = None if undefined else result ^ ((1 << shape.bits) - 1)
        if enable or not self.one_port:
            old = self.words.get(write_at, 0)
            for granule in range(shape.mask_bits):
                if mask >> granule & 1:
                    bits = ((1 << shape.granule_bits) - 1) << granule * shape.granule_bits
                    old = old & ~bits | data & bits
            if mask:
                self.words[write_at] = old
        return result

    def compare(self, cycle: int) -> None:
        """Compare what the memory shows."""
        if self.expected is not None:
            got = self.read_data.value
            assert got.is_resolvable and got.to_unsigned() == self.expected, (
                f"{self.shape.module}, cycle {cycle}: got {got}, want {self.expected:b}")
            self.compared += 1


@cocotb.test()
async def random_accesses(dut: Any) -> None:
    """Check that data come one cycle later and hold, and only enabled granules change."""
    undefined = {"inverted": False, "undefined": True}[os.environ["TESSERA_COLLISION"]]
    drivers = [Driver(dut, number, shape, random.Random(cocotb.RANDOM_SEED + number))
               for number, shape in enumerate(SHAPES[os.environ["TESSERA_SHAPES"]])]
    for driver in drivers:
        for port in driver.ports.values():
            port.value = 0
    dut.rst.value = 0
    Clock(dut.clk, 2, unit="ns").start()
    edge = RisingEdge(dut.clk)
    await edge
    for cycle in range(CYCLES):
        planned = [driver.drive(cycle, undefined) for driver in drivers]
        await edge
        for driver, result in zip(drivers, planned, strict=True):
            driver.compare(cycle)
            driver.expected = result
    assert all(driver.compared > CYCLES // 3 for driver in drivers)
    assert all(driver.collisions > 9 for driver in drivers if not driver.one_port)
