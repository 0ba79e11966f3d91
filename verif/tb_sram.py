"""Random reads and masked writes on both kinds of memory, against a list."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

WORDS, GRANULES, GRANULE_BITS = 12, 4, 4


@cocotb.test()
async def random_accesses(dut) -> None:
    """Check that data come one cycle later and hold, and only enabled granules change."""
    rng = random.Random(cocotb.RANDOM_SEED)
    contents = {"one": [0] * WORDS, "two": [0] * WORDS}
    expected: dict[str, int | None] = {"one": None, "two": None}
    for name in contents:
        for port in ("write_mask", "enable", "write_data", "address", "read_address"):
            dut[f"{name}_{port}"].value = 0
    dut.rst.value = 0
    Clock(dut.clk, 2, unit="ns").start()
    edge = RisingEdge(dut.clk)
    await edge
    for cycle in range(3000):
        planned = dict(expected)
        for name, words in contents.items():
            mask = rng.getrandbits(GRANULES) if rng.random() < 0.5 or cycle < 60 else 0
            data, address = rng.getrandbits(16), rng.randrange(WORDS)
            read = rng.randrange(WORDS)
            enable = int(rng.random() < 0.7)
            if cycle < 60:  # every word gets a known value first
                mask, address, enable = (1 << GRANULES) - 1, cycle % WORDS, 1
            dut[f"{name}_write_mask"].value = mask
            dut[f"{name}_write_data"].value = data
            dut[f"{name}_address"].value = address
            dut[f"{name}_read_address"].value = read
            dut[f"{name}_enable"].value = enable
            writes = mask if name == "two" or enable else 0
            if name == "one":
                if enable and not mask:
                    planned[name] = words[address]
            elif enable:
                planned[name] = words[read] ^ (0xFFFF if mask and read == address else 0)
            for granule in range(GRANULES):
                if writes >> granule & 1:
                    bits = 0xF << granule * GRANULE_BITS
                    words[address] = words[address] & ~bits | data & bits
        await edge
        for name, want in expected.items():
            got = dut[f"{name}_read_data"].value
            assert cycle < 70 or want is None or got.to_unsigned() == want, (
                f"SRAM {name}, cycle {cycle}: got {got}, want {want:016b}")
        expected = planned
