"""Bench of the sampler: several widths, and the noise alone, against golden/sampler.py."""

import random

import cocotb
import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from golden.sampler import Sampler as GoldenSampler
from golden.sampler import gumbel_noise, next_state
from hw.config import ChipletConfig
from hw.emit import instantiate
from hw.vector.gumbel_noise import NOISE_SHIFT, PART_BITS, VALUE_BITS, GumbelNoise
from hw.vector.sampler import Sampler
from verif.simulator import CLOCK_PERIOD_NS

#: (lanes, sampler_lanes) of the samplers in the bench.
WIDTHS = ((8, 2), (4, 1), (4, 4))
NOISE_LANES = 2
#: The widths with which a vector is longest in the fewest cycles.
WIDE = (4, 4)


def sampler_config(lanes: int, sampler_lanes: int) -> ChipletConfig:
    """Return a configuration with these widths."""
    return ChipletConfig(name="bench", rows=16, columns=16, lanes=lanes,
                         sampler_lanes=sampler_lanes)


class SamplerBench(wiring.Component):
    """A sampler of each width, and noise blocks of their own."""

    def __init__(self) -> None:
        self.parts: dict[str, wiring.Component] = {
            f"s{lanes}x{sampler_lanes}": Sampler(sampler_config(lanes, sampler_lanes))
            for lanes, sampler_lanes in WIDTHS}
        self.parts |= {f"noise{i}": GumbelNoise() for i in range(NOISE_LANES)}
        super().__init__({name: Out(part.signature)
                          for name, part in self.parts.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self.parts.items():
            if isinstance(part, GumbelNoise):
                instantiate(m, name, "gumbel_noise", part, platform)
            else:
                m.submodules[name] = part
            wiring.connect(m, wiring.flipped(getattr(self, name)), part)
        return m


async def start(dut: object) -> None:
    """Start the clock and reset."""
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    for name, _ in WIDTH_NAMES:
        for port in ("beat_valid", "load_seed", "draw", "temperature"):
            dut[f"{name}__{port}"].value = 0
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


WIDTH_NAMES = [(f"s{lanes}x{sampler_lanes}", (lanes, sampler_lanes))
               for lanes, sampler_lanes in WIDTHS]


class SamplerDriver:
    """Drives one sampler and compares its tokens with golden's."""

    def __init__(self, dut: object, name: str, lanes: int, sampler_lanes: int) -> None:
        self.name, self.lanes = name, lanes
        self.component = Sampler(sampler_config(lanes, sampler_lanes))
        self.component._MustUse__used = True
        self.port = {path[0]: dut[f"{name}__{path[0]}"]
                     for path, _, _ in self.component.signature.flatten(self.component)}
        self.edge = RisingEdge(dut.clk)
        self.state = 1

    async def load_seed(self, seed: int) -> None:
        """Set the generator."""
        self.port["load_seed"].value = 1
        self.port["seed"].value = seed
        await self.edge
        self.port["load_seed"].value = 0
        self.state = seed or 1

    async def choose(self, logits: np.ndarray, limit: int, temperature: int, *, gaps: bool,
                     rng: random.Random) -> None:
        """Send one vector whose length is a multiple of lanes; check token and latency."""
        port, edge = self.port, self.edge
        port["temperature"].value = temperature
        port["draw"].value = 1
        await edge
        port["draw"].value = 0
        before, self.state = self.state, next_state(self.state)
        assert len(logits) % self.lanes == 0
        beats = len(logits) // self.lanes
        token_before = port["token"].value
        # The cycle in which each beat is announced.
        times = [0]
        for _ in range(beats - 1):
            times.append(times[-1] + self.component.beat_cycles
                         + (rng.choice((0, 0, 1, 5)) if gaps else 0))
        announced = {time: beat for beat, time in enumerate(times)}
        given = {time + Sampler.LEAD: beat for time, beat in announced.items()}
        latency = self.component.latency(self.component.config)
        for cycle in range(times[-1] + latency + 1):
            beat = announced.get(cycle)
            # What is not part of a beat must not matter.
            port["beat_valid"].value = int(beat is not None)
            port["first"].value = rng.getrandbits(1) if beat is None else int(beat == 0)
            port["last"].value = rng.getrandbits(1) if beat is None else int(beat == beats - 1)
            port["live"].value = (rng.randint(0, self.lanes) if beat is None else
                                  min(max(limit - beat * self.lanes, 0), self.lanes))
            beat = given.get(cycle)
            if beat is None:
                port["logits"].value = rng.getrandbits(32 * self.lanes)
            else:
                part = logits[beat * self.lanes:(beat + 1) * self.lanes]
                port["logits"].value = int.from_bytes(part.astype("<i4").tobytes(), "little")
            await edge
            expected = int(cycle == times[-1] + latency)
            assert port["done"].value == expected, (
                f"{self.name}: done is {port['done'].value} {cycle - times[-1]} cycles after the "
                f"last of {beats} beats, the latency is {latency}")
            if not expected:
                assert port["token"].value == token_before, f"{self.name}: token changed early"
        got = port["token"].value.to_unsigned()
        ids = np.arange(len(logits))
        live = ids < limit
        if not live.any():
            want = 0
        else:
            noise = gumbel_noise(ids, self.state, temperature).noise
            noisy = logits + noise
            want = int(ids[live][np.argmax(noisy[live])])
            if live.sum() == limit:
                golden = GoldenSampler(temperature)
                golden.state = before
                assert golden.choose(logits[:limit]) == want
        assert got == want, (
            f"{self.name}: token of {len(logits)} logits, limit {limit}, "
            f"temperature {temperature}, state {self.state:#010x}: got {got}, want {want}")
        await edge
        assert not port["done"].value, f"{self.name}: done lasts more than a cycle"


def some_logits(rng: random.Random, generator: np.random.Generator, size: int) -> np.ndarray:
    """Return logits of a random kind."""
    kind = rng.randrange(6)
    if kind == 0:
        return generator.integers(-2**31, 2**31, size)
    if kind == 1:  # many ties
        return generator.integers(-2, 2, size)
    if kind == 2:  # extremes
        return generator.choice([-2**31, 2**31 - 1], size)
    if kind == 3:  # all negative
        return -generator.integers(1, 1 << 21, size)
    if kind == 4:
        return np.full(size, rng.choice([-2**31, -1, 0, 2**31 - 1]))
    return generator.integers(-8 << 16, 8 << 16, size)  # as of a model


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def tokens(dut: object) -> None:
    """Random vectors, limits, temperatures and gaps, back to back beats included."""
    await start(dut)
    seed = cocotb.RANDOM_SEED
    dut._log.info("seed %d", seed)

    async def one(name: str, lanes: int, sampler_lanes: int) -> None:
        rng = random.Random(f"{seed} {name}")
        generator = np.random.default_rng(rng.getrandbits(32))
        driver = SamplerDriver(dut, name, lanes, sampler_lanes)
        for i in range(60):
            if i % 9 == 1:
                value = rng.choice([0, 1, 0xFFFFFFFF, rng.getrandbits(32)])
                await driver.load_seed(value)
            size = lanes * rng.choice((1, 1, 2, 3, 7, 16))
            limit = rng.choice((size, size, max(1, size - rng.randrange(lanes)), 1,
                                rng.randrange(size + 1)))
            temperature = rng.choice((0, 0, 1, 2839, 0xFFFF, rng.getrandbits(16)))
            await driver.choose(some_logits(rng, generator, size), limit, temperature,
                                gaps=bool(i & 1), rng=rng)

    tasks = [cocotb.start_soon(one(name, *widths)) for name, widths in WIDTH_NAMES]
    for task in tasks:
        await task


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def long_ids(dut: object) -> None:
    """Ids of more than 16 bits, the best among the last ones."""
    await start(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    generator = np.random.default_rng(cocotb.RANDOM_SEED)
    lanes, sampler_lanes = WIDE
    driver = SamplerDriver(dut, f"s{lanes}x{sampler_lanes}", lanes, sampler_lanes)
    size = (1 << 16) + 10 * lanes
    logits = generator.integers(-8 << 16, 8 << 16, size)
    logits[1 << 16:] += 64 << 16
    await driver.choose(logits, size - 5, 2839, gaps=False, rng=rng)


def booth_digits(number: int) -> int:
    """Return the digits of a 16-bit number as GumbelNoise takes them (hw/booth_product.py)."""
    code = below = 0
    for i in range(0, 16, 2):
        low, high = number >> i & 1, (number ^ 1 << 15) >> (i + 1) & 1
        size = abs(low + below - 2 * high)
        code |= (int(size == 1) | int(size == 2) << 1 | high << 2) << 3 * (i // 2)
        below = high
    return code


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def noise(dut: object) -> None:
    """Every id of 16 bits with one state, then random states and the ends of the temperature."""
    await start(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    edge = RisingEdge(dut.clk)
    names = ("token", "state", "temperature", "noise_0", "noise_1")
    lanes = [{name: dut[f"noise{i}__{name}"] for name in names} for i in range(NOISE_LANES)]

    async def check(state: int, temperature: int, ids: np.ndarray) -> None:
        want = gumbel_noise(ids, state, temperature).noise.reshape(-1, NOISE_LANES)
        for lane in lanes:
            lane["state"].value = state
            lane["temperature"].value = booth_digits(temperature)
        table = ids.reshape(-1, NOISE_LANES).tolist()
        latency = GumbelNoise.LATENCY
        expected = want.tolist()
        for cycle in range(len(table) + latency):
            if cycle < len(table):
                for lane, value in zip(lanes, table[cycle], strict=True):
                    lane["token"].value = value
            if cycle > latency:
                at = cycle - latency - 1
                for i, lane in enumerate(lanes):
                    parts = (lane[name].value.to_unsigned() for name in ("noise_0", "noise_1"))
                    got = sum(parts) % (1 << PART_BITS) >> NOISE_SHIFT
                    got -= got >> VALUE_BITS - 1 << VALUE_BITS
                    assert got == expected[at][i], (
                        f"gumbel_noise: id {table[at][i]}, state {state:#010x}, temperature "
                        f"{temperature}: got {got}, want {expected[at][i]}")
            await edge

    await check(rng.getrandbits(32), 0xFFFF, np.arange(1 << 16))
    for temperature in (0, 1, 2048, 2839, 0xFFFF, rng.getrandbits(16)):
        for _ in range(5):
            ids = np.array([rng.getrandbits(16) for _ in range(200)])
            await check(rng.getrandbits(32) or 1, temperature, ids)
