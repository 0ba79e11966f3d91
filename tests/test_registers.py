"""The register table: page, constants, and counters that stay whole."""

import random
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator as AmaranthSimulator
from amaranth.sim._async import SimulatorContext

from hw.config import CONFIGS
from hw.emit import emit
from hw.host.access import axi_lite_members, axi_members
from hw.host.counters import Counters
from hw.host.host_bridge import HostBridge, bus_members
from hw.host.registers import COUNTERS, OFFSETS, REGISTERS, RegisterFile, documentation

PAGE = Path(__file__).resolve().parent.parent / "docs" / "registers.md"


def test_page_is_current() -> None:
    """docs/registers.md is what the tables say."""
    assert PAGE.read_text() == documentation(), (
        "run: python -m hw.host.registers > docs/registers.md")


def test_pack_and_unpack() -> None:
    """Fields go where the table says; what does not fit is refused."""
    end_token = REGISTERS["END_TOKEN"]
    assert end_token.reset == 0x8000_0000
    assert end_token.pack(TOKEN=5, NONE=0) == 5
    assert end_token.unpack(0x8000_0007) == {"TOKEN": 7, "NONE": 1}
    assert end_token.field("NONE").low == 31
    assert REGISTERS["WATCHDOG_CYCLES"].reset == 1 << 20
    with pytest.raises(ValueError, match=r"END_TOKEN.TOKEN must fit 17 bits, not 131072"):
        end_token.pack(TOKEN=1 << 17)
    with pytest.raises(KeyError, match="END_TOKEN has no field 'OTHER'"):
        end_token.pack(OTHER=1)
    with pytest.raises(KeyError, match="END_TOKEN has no field 'OTHER'"):
        end_token.field("OTHER")


def test_offsets() -> None:
    """Every register has a word of its own, and the halves of a counter follow each other."""
    assert all(offset % 4 == 0 for offset in OFFSETS.values())
    assert len(set(OFFSETS.values())) == len(OFFSETS)
    for name in COUNTERS:
        assert OFFSETS[f"{name.upper()}_HI"] == OFFSETS[f"{name.upper()}_LO"] + 4


@pytest.mark.parametrize("name", CONFIGS)
def test_port_names(name: str) -> None:
    """The bridge of every configuration has the usual AXI names in Verilog."""
    verilog = emit(HostBridge(CONFIGS[name]), "host_bridge").logic
    header = verilog[verilog.index("module host_bridge("):]
    ports = header[header.index("(") + 1:header.index(");")].split(",")
    wanted = {**axi_lite_members("s_axil", 12), **axi_members("s_axi", 32, 4)}
    assert {"s_axil_awaddr", "s_axi_wlast", "s_axi_rid"} <= set(wanted)
    assert set(wanted) | {"irq", "clk", "rst"} <= {port.strip() for port in ports}
    assert set(wanted) | {"irq"} == set(bus_members())


class _Whole(wiring.Component):
    """Register file and counters, as in the bridge."""

    def __init__(self) -> None:
        super().__init__({})
        self.registers, self.counters = RegisterFile(CONFIGS["tiny"]), Counters(CONFIGS["tiny"].lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers, m.submodules.counters = self.registers, self.counters
        for name in COUNTERS:
            for half in ("lo", "hi"):
                m.d.comb += getattr(self.registers, f"{name}_{half}").eq(
                    getattr(self.counters, f"{name}_{half}"))
        return m


def test_interrupt_in_the_cycle_of_its_clear() -> None:
    """A flag that is set in the very cycle in which the host clears it stays; others go."""
    registers = RegisterFile(CONFIGS["tiny"])
    simulator = AmaranthSimulator(registers)
    simulator.add_clock(2e-9)

    async def bench_process(ctx: SimulatorContext) -> None:
        ctx.set(registers.response.ready, 1)
        for delay, stays in ((0, 0), (1, 1), (2, 1)):
            ctx.set(registers.request.payload, {
                "write": 1, "address": OFFSETS["IRQ_STATUS"], "data": 15, "strobe": 15})
            ctx.set(registers.request.valid, 1)
            for cycle in range(4):
                ctx.set(registers.set_irq_token, cycle == delay)
                await ctx.tick()
                ctx.set(registers.request.valid, 0)
            assert ctx.get(registers.irq_token) == stays, f"set {delay} cycles after the request"

    simulator.add_testbench(bench_process)
    simulator.run()


def test_counters_carry() -> None:
    """Both halves belong together whenever the low half wraps, and for a token in that moment."""
    bench = _Whole()
    simulator = AmaranthSimulator(bench)
    simulator.add_clock(2e-9)
    registers, counted = bench.registers, bench.counters
    rng = random.Random(1)

    now = 0

    async def tick(ctx: SimulatorContext, count: int = 1) -> None:
        nonlocal now
        now += count
        await ctx.tick().repeat(count)

    async def read(ctx: SimulatorContext, name: str) -> tuple[int, int]:
        """Return a register and the number of the cycle in which it was read."""
        ctx.set(registers.request.payload, {"write": 0, "address": OFFSETS[name]})
        ctx.set(registers.request.valid, 1)
        ctx.set(registers.response.ready, 1)
        assert ctx.get(registers.request.ready)
        await tick(ctx)
        ctx.set(registers.request.valid, 0)
        at = now
        await tick(ctx)
        assert ctx.get(registers.response.valid)
        value = ctx.get(registers.response.payload.data)
        await tick(ctx)
        return value, at

    async def bench_process(ctx: SimulatorContext) -> None:
        ctx.set(counted.running, 1)
        seen = set()
        for delay in range(14):
            ctx.set(counted.cycles_lo, 0xFFFF_FFF8)
            ctx.set(counted.cycles_hi, 6)
            start = (6 << 32) + 0xFFFF_FFF8
            begun = now
            if delay:
                await tick(ctx, delay)
            ctx.set(counted.token_valid, 1)
            token_at = now
            await tick(ctx)
            ctx.set(counted.token_valid, 0)
            for name, expected_at in (("CYCLES", None), ("TOKEN_CYCLES", token_at)):
                low, at = await read(ctx, f"{name}_LO")
                await tick(ctx, rng.randrange(1, 5))
                high, _ = await read(ctx, f"{name}_HI")
                moment = at if expected_at is None else expected_at
                assert high << 32 | low == start + moment - begun, (name, delay)
                seen.add((name, high))
            await read(ctx, "CYCLES_LO")
            await read(ctx, "TOKEN_CYCLES_LO")
            ctx.set(counted.cycles_hi, 9)
            high, _ = await read(ctx, "CYCLES_HI")
            assert high == 9  # the one that was held is the other counter's
            ctx.set(counted.clear, 1)
            await tick(ctx)
            ctx.set(counted.clear, 0)
            low, at = await read(ctx, "TOKEN_CYCLES_LO")
            assert low == 0
            await tick(ctx, 3)
        assert seen == {(name, half) for name in ("CYCLES", "TOKEN_CYCLES") for half in (6, 7)}

    simulator.add_testbench(bench_process)
    simulator.run()
