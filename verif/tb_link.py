"""Two links back to back: traffic under errors, back-pressure, cut wires, resets.

The bench's hardware makes traffic and errors, and checks; Python sets them, waits, and reads counts.
``TESSERA_LINK_CONFIG``: fields of the NetworkConfig, as JSON; ``TESSERA_FLITS``: flits of the
longer tests. ``TESSERA_FIGURES``: file for what went wrong in the test with errors, if asked for.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from hw.link.link import Link, LinkCause, LinkState
from hw.link.serializer import PACE_PHITS
from hw.link.wire import word_bits
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS
from verif.link_bench import SIDES
from verif.link_wires import ERRORS, PROBABILITY_BITS
from verif.simulator import CLOCK_PERIOD_NS

CONFIG = NetworkConfig(**json.loads(os.environ.get("TESSERA_LINK_CONFIG", "{}")))
FLITS = int(os.environ.get("TESSERA_FLITS", "20000"))
ALL = (1 << CHANNELS) - 1
#: Cycles in which everything that is on its way arrives, errors apart.
SETTLE_CYCLES = 400
#: Errors of phits are rarer, and waits longer, where a word has more phits than four.
SCALE = max(1, CONFIG.phits_per_word // 4)
#: Period of the far side's clock, if it has one of its own: 500 parts in a million faster.
FAR_PERIOD_PS = 1000 * CLOCK_PERIOD_NS - 1
_INPUTS = ("reset", "clear", "retrain", "channels", "rate", "drained", "drain_rate", "cut", "noise",
           "burst_phits", *ERRORS)


@dataclass
class Totals:
    """Counts of one side's flits."""

    departed: int
    arrived: int
    lost: int
    duplicated: int
    wrong: int
    overflow: int
    latency_sum: int
    latency_most: int


class Bench:
    """The bench's controls and counts, by name."""

    def __init__(self, dut: object) -> None:
        self.dut = dut

    async def start(self) -> None:
        for side in SIDES:
            self.set(side, **dict.fromkeys(_INPUTS, 0))
            self.set(side, drained=ALL, drain_rate=255, rate=255)
        self.dut.rst.value = 1
        Clock(self.dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
        if CONFIG.receive_clock == "link":
            await Timer(700, unit="ps")
            Clock(self.dut.far_clk, FAR_PERIOD_PS, unit="ps", period_high=FAR_PERIOD_PS // 2).start()
            self.set_both(reset=1)
        await self.cycles(8)
        self.dut.rst.value = 0
        self.set_both(reset=0)

    async def up(self) -> None:
        """Wait until both links are up."""
        for _ in range(100):
            await self.cycles(40)
            if all(self.state(side) == LinkState.UP for side in SIDES):
                return
        raise AssertionError(f"links are {[self.state(side) for side in SIDES]}, not up")

    def set(self, side: str, **values: int) -> None:
        for name, value in values.items():
            self.dut[f"{side}_{name}"].value = value

    def set_both(self, **values: int) -> None:
        for side in SIDES:
            self.set(side, **values)

    def get(self, side: str, name: str) -> int:
        return int(str(self.dut[f"{side}_{name}"].value), 2)

    def state(self, side: str) -> LinkState:
        return LinkState(self.get(side, "state"))

    def cause(self, side: str) -> LinkCause:
        return LinkCause(self.get(side, "cause"))

    def totals(self, side: str) -> Totals:
        return Totals(**{name: self.get(side, name) for name in Totals.__annotations__})

    async def cycles(self, count: int) -> None:
        """Wait until just after an edge."""
        await Timer((2 * count - 1) * CLOCK_PERIOD_NS // 2, unit="ns")
        await RisingEdge(self.dut.clk)

    def errors(self, bit_error_rate: float = 0.0, **probabilities: float) -> None:
        """Make errors in both directions: a rate of bits, and the probabilities of a phit."""
        bits = word_bits(CONFIG) // CONFIG.phits_per_word
        chosen = {"flip": bit_error_rate * bits / 4, **probabilities}
        for name in ERRORS:
            self.set_both(**{name: round(chosen.get(name, 0.0) * (1 << PROBABILITY_BITS))})

    async def traffic(self, flits: int, channels: int = ALL, limit_cycles: int = 0) -> int:
        """Send until so many flits have arrived at each side since now; return the cycles."""
        first = {side: self.totals(side).arrived for side in SIDES}
        limit = limit_cycles or 60 * flits * CONFIG.phits_per_word + 10_000
        self.set_both(channels=channels)
        step = max(50, flits // 20)
        for cycles in range(0, limit, step):
            await self.cycles(step)
            if all(self.totals(side).arrived - first[side] >= flits for side in SIDES):
                return cycles + step
        raise AssertionError(f"only {[self.totals(side) for side in SIDES]} in {limit} cycles")

    async def check(self) -> None:
        """End the traffic without errors, and demand that everything has arrived right."""
        self.set_both(channels=0, drained=ALL, drain_rate=255)
        self.errors()
        await self.cycles(SETTLE_CYCLES * CONFIG.phits_per_word)
        sides = [self.totals(side) for side in SIDES]
        for side, own, other in zip(SIDES, sides, reversed(sides), strict=True):
            assert self.state(side) == LinkState.UP, f"{side}: {self.state(side)} {self.cause(side)}"
            faults = own.lost, own.duplicated, own.wrong, own.overflow
            assert faults == (0, 0, 0, 0), f"{side}: lost, duplicated, wrong, overflow {faults}"
            assert own.arrived == other.departed, (
                f"{side}: {own.arrived} flits arrived, want {other.departed}")


async def begin(dut: object) -> Bench:
    bench = Bench(dut)
    await bench.start()
    await bench.up()
    return bench


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def without_errors(dut) -> None:
    """One flit per word on one channel and on all, at the stated latency; no replay."""
    bench = await begin(dut)
    for channels in (0b1, 0b100000, ALL):
        bench.set_both(clear=1)
        await bench.cycles(3)
        bench.set_both(clear=0)
        before = {side: bench.get(side, "count_starved") for side in SIDES}
        cycles = await bench.traffic(4000, channels)
        if channels != ALL:
            most = 4000 * CONFIG.phits_per_word + 300
            if CONFIG.receive_clock == "link":
                most += most // PACE_PHITS
            assert cycles <= most, f"{cycles} cycles for 4000 flits"
            assert {side: bench.get(side, "count_starved") for side in SIDES} == before
        await bench.check()
        for side in SIDES:
            totals = bench.totals(side)
            if CONFIG.receive_clock == "core":
                assert totals.latency_sum == totals.arrived * Link.latency(CONFIG)
                assert totals.latency_most == Link.latency(CONFIG)
            assert bench.get(side, "count_replays") == 0
            assert bench.get(side, "count_errors") == 0


@cocotb.test(timeout_time=400, timeout_unit="ms")
async def with_errors(dut) -> None:
    """Bit errors at several rates; drops, duplicates, slips and bursts."""
    bench = await begin(dut)
    for rate in (1e-3, 1e-4, 1e-6):
        bench.errors(rate)
        cycles = await bench.traffic(FLITS, ALL if rate != 1e-4 else 0b10)
        report(bench, f"bit error rate {rate:g}", cycles)
        await bench.check()
    bench.set_both(burst_phits=30 * CONFIG.phits_per_word)
    bench.errors(1e-4, drop=1e-2 / SCALE, duplicate=1e-2 / SCALE, slip=1e-3 / SCALE,
                 burst=1e-3 / SCALE)
    cycles = await bench.traffic(FLITS)
    report(bench, "drops, duplicates, slips, bursts", cycles)
    await bench.check()
    assert all(bench.get(side, "count_replays") > 100 for side in SIDES)
    assert all(bench.get(side, "count_errors") > 100 for side in SIDES)
    if "TESSERA_FIGURES" in os.environ:
        sides = [bench.totals(side) for side in SIDES]
        Path(os.environ["TESSERA_FIGURES"]).write_text(json.dumps({
            name: sum(getattr(side, name) for side in sides)
            for name in ("arrived", "lost", "duplicated", "wrong")}))


def report(bench: Bench, what: str, cycles: int) -> None:
    near = bench.totals("near")
    cocotb.log.info("%s: %d cycles, %s, %d replays, %d bad words", what, cycles, near,
                    bench.get("near", "count_replays"), bench.get("near", "count_errors"))


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def back_pressure(dut) -> None:
    """Queues that are emptied slowly, or one not at all, under errors: none overflows."""
    bench = await begin(dut)
    bench.errors(3e-4)
    for drained, drain_rate in ((ALL, 20), (ALL & ~0b100, 255), (0b1, 100)):
        bench.set_both(channels=ALL, drained=drained, drain_rate=drain_rate)
        await bench.cycles(4000 * SCALE)
    bench.set_both(drained=0)
    await bench.cycles(2000 * SCALE)
    # Every queue is full, and no more flits come.
    held = [bench.totals(side).arrived for side in SIDES]
    await bench.cycles(1000)
    assert [bench.totals(side).arrived for side in SIDES] == held
    assert all(bench.get(side, "count_starved") > 500 for side in SIDES)
    await bench.check()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def cut_and_repaired(dut) -> None:
    """Cut one direction: both ends go down in bounded time, train again, and work."""
    bench = await begin(dut)
    for kind in ("cut", "noise"):
        await bench.traffic(200)
        bench.set("near", **{kind: 1})  # wires from near to far
        await bench.cycles(CONFIG.silence_cycles + 60 * CONFIG.phits_per_word)
        assert (bench.state("far"), bench.cause("far")) == (LinkState.DOWN, LinkCause.SILENCE)
        assert (bench.state("near"), bench.cause("near")) == (LinkState.DOWN, LinkCause.PEER)
        assert all(bench.get(side, "is_down") for side in SIDES)
        bench.set("near", **{kind: 0})
        await bench.cycles(200 * SCALE)
        assert all(bench.state(side) == LinkState.DOWN for side in SIDES)
        await train_again(bench)
        await bench.traffic(500)
        await bench.check()


async def train_again(bench: Bench) -> None:
    """Tell both ends to train, at different times, with the traffic cleared."""
    bench.set_both(channels=0, clear=1)
    for retrain in (1, 0):
        for side in SIDES:
            bench.set(side, retrain=retrain)
            await bench.cycles(30)
    bench.set_both(clear=0)
    await bench.up()
    assert not any(bench.get(side, "is_down") for side in SIDES)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def reset_of_one_side(dut) -> None:
    """Reset of one chip takes the other end down, with the cause; both train again."""
    bench = await begin(dut)
    for side, other in (SIDES, SIDES[::-1]):
        await bench.traffic(300)
        bench.set(side, reset=1, channels=0)
        await bench.cycles(20)
        bench.set(side, reset=0)
        await bench.cycles(100 * CONFIG.phits_per_word)
        assert (bench.state(other), bench.cause(other)) == (LinkState.DOWN, LinkCause.PEER)
        assert bench.state(side) == LinkState.TRAINING
        bench.set(other, retrain=1, clear=1, channels=0)
        await bench.cycles(3)
        bench.set(other, retrain=0, clear=0)
        await bench.up()
        await bench.traffic(300)
        await bench.check()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def training_with_errors(dut) -> None:
    """Train over wires that make errors from the start."""
    bench = Bench(dut)
    await bench.start()
    bench.errors(1e-3)
    for _ in range(20):
        await train_again(bench)
        await bench.traffic(60)
        bench.set_both(channels=0)
        await bench.cycles(100 * CONFIG.phits_per_word)
    await bench.traffic(60)
    await bench.check()
