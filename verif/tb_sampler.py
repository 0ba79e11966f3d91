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
from hw.vector.sampler import GumbelNoise, Sampler
from verif.simulator import CLOCK_PERIOD_NS

#: (lanes, sampler_lanes) of the samplers in the bench.
WIDTHS = ((8, 2), (4, 1), (4, 4))
NOISE_LANES = 2


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
                     rng: random.Random, first_index: int = 0) -> None:
        """Send one vector whose length is a multiple of lanes; check token and latency."""
        port, edge = self.port, self.edge
        port["temperature"].value = temperature
        port["draw"].value = 1
        await edge
        port["draw"].value = 0
        self.state = next_state(self.state)
        assert len(logits) % self.lanes == 0
        beats = len(logits) // self.lanes
        token_before = port["token"].value
        for beat in range(beats):
            part = logits[beat * self.lanes:(beat + 1) * self.lanes]
            port["beat_valid"].value = 1
            port["first"].value = int(beat == 0)
            port["last"].value = int(beat == beats - 1)
            port["index"].value = first_index + beat * self.lanes
            port["limit"].value = limit
            port["logits"].value = int.from_bytes(part.astype("<i4").tobytes(), "little")
            await edge
            port["beat_valid"].value = 0
            # What is not part of a beat must not matter.
            port["first"].value = rng.getrandbits(1)
            port["last"].value = rng.getrandbits(1)
            port["index"].value = rng.getrandbits(17)
            port["limit"].value = rng.getrandbits(17)
            port["logits"].value = rng.getrandbits(32 * self.lanes)
            if beat < beats - 1:
                wait = self.component.beat_cycles - 1
                for _ in range(wait + (rng.choice((0, 0, 1, 5)) if gaps else 0)):
                    await edge
                    assert not port["done"].value, f"{self.name}: done before the last beat"
        for cycle in range(1, self.component.latency(self.component.config) + 1):
            await edge
            expected = int(cycle == self.component.latency(self.component.config))
            assert port["done"].value == expected, (
                f"{self.name}: done at {cycle} cycles is {port['done'].value}, the latency is "
                f"{self.component.latency(self.component.config)}")
            if not expected:
                assert port["token"].value == token_before, f"{self.name}: token changed early"
        got = port["token"].value.to_unsigned()
        ids = first_index + np.arange(len(logits))
        live = ids < limit
        if not live.any():
            want = 0
        else:
            noise = gumbel_noise(ids, self.state, temperature).noise
            noisy = logits + noise
            want = int(ids[live][np.argmax(noisy[live])])
            if first_index == 0 and live.sum() == limit:
                golden = GoldenSampler(temperature)
                golden.state = self._before
                assert golden.choose(logits[:limit]) == want
        assert got == want, (
            f"{self.name}: token of {len(logits)} logits from id {first_index}, limit {limit}, "
            f"temperature {temperature}, state {self.state:#010x}: got {got}, want {want}")
        self._before = self.state
        await edge
        assert not port["done"].value, f"{self.name}: done lasts more than a cycle"

    _before = 1


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
                driver._before = driver.state
            size = lanes * rng.choice((1, 1, 2, 3, 7, 16))
            limit = rng.choice((size, size, max(1, size - rng.randrange(lanes)), 1,
                                rng.randrange(size + 1)))
            first_index = 0
            if i % 11 == 5:  # ids over 16 bits, and up to the end of 17 bits
                first_index = rng.choice((65536 - lanes, (1 << 17) - size))
                limit = rng.choice(((1 << 17) - 1, first_index + rng.randrange(size)))
            temperature = rng.choice((0, 0, 1, 2839, 0xFFFF, rng.getrandbits(16)))
            await driver.choose(some_logits(rng, generator, size), limit, temperature,
                                gaps=bool(i & 1), rng=rng, first_index=first_index)

    tasks = [cocotb.start_soon(one(name, *widths)) for name, widths in WIDTH_NAMES]
    for task in tasks:
        await task


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def noise(dut: object) -> None:
    """Every id of 16 bits with one state, then random states and the ends of the temperature."""
    await start(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    edge = RisingEdge(dut.clk)
    lanes = [{port: dut[f"noise{i}__{port}"] for port in ("token", "state", "temperature", "noise")}
             for i in range(NOISE_LANES)]

    async def check(state: int, temperature: int, ids: np.ndarray) -> None:
        want = gumbel_noise(ids, state, temperature).noise.reshape(-1, NOISE_LANES)
        for lane in lanes:
            lane["state"].value = state
            lane["temperature"].value = temperature
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
                    got = lane["noise"].value.to_signed()
                    assert got == expected[at][i], (
                        f"gumbel_noise: id {table[at][i]}, state {state:#010x}, temperature "
                        f"{temperature}: got {got}, want {expected[at][i]}")
            await edge

    await check(rng.getrandbits(32), 0xFFFF, np.arange(1 << 16))
    for temperature in (0, 1, 2048, 2839, 0xFFFF, rng.getrandbits(16)):
        for _ in range(5):
            ids = np.array([rng.getrandbits(16) for _ in range(200)])
            await check(rng.getrandbits(32) or 1, temperature, ids)
