"""Sharing of registers and memories between hosts, and links held in training: small parts, alone."""

import random

from amaranth.sim import Simulator
from amaranth.sim._async import SimulatorContext

from hw.config import CONFIGS
from hw.host.registers import OFFSETS, OTHER_CHIP, RegisterFile
from hw.host.remote_access import RemoteAccess
from hw.host.request_arbiter import RequestArbiter
from hw.link.training import LinkCause, LinkState
from hw.network.config import NetworkConfig
from hw.network.link_control import IDLE_CYCLES, LinkControl


def _run(component: object, *benches: object) -> None:
    simulator = Simulator(component)  # type: ignore[arg-type]
    simulator.add_clock(2e-9)
    for bench in benches:
        simulator.add_testbench(bench)  # type: ignore[arg-type]
    simulator.run()


def test_arbiter() -> None:
    """Each requester gets the answers to its own requests, and waits for one of the other's at most."""
    arbiter, rng = RequestArbiter(), random.Random(1)
    order: list[int] = []
    ended = [0, 0]

    def requester(i: int):
        async def bench(ctx: SimulatorContext) -> None:
            request, response = (getattr(arbiter, f"{name}_{i}") for name in ("request", "response"))
            for number in range(60):
                for _ in range(rng.choice([0, 0, 0, 3, 20]) if number > 20 else 1):
                    await ctx.tick()
                ctx.set(request.payload.address, 1000 * i + number)
                ctx.set(request.valid, 1)
                before = ended[1 - i]
                await ctx.tick().until(request.ready)
                ctx.set(request.valid, 0)
                ctx.set(response.ready, 1)
                await ctx.tick().until(response.valid)
                got = ctx.get(response.payload.data)
                assert got == 7 * (1000 * i + number), f"requester {i}, {number}: got {got}"
                ctx.set(response.ready, 0)
                ended[i] += 1
                assert ended[1 - i] - before <= 2, f"requester {i} waited for too many"
        return bench

    async def port(ctx: SimulatorContext) -> None:
        request, response = arbiter.request, arbiter.response
        while len(order) < 120:
            await ctx.tick().repeat(rng.randrange(1, 4))
            ctx.set(request.ready, 1)
            address = (await ctx.tick().sample(request.payload.address).until(request.valid))[0]
            ctx.set(request.ready, 0)
            order.append(address // 1000)
            await ctx.tick().repeat(rng.randrange(1, 4))
            ctx.set(response.payload.data, 7 * address)
            ctx.set(response.valid, 1)
            await ctx.tick().until(response.ready)
            ctx.set(response.valid, 0)

    _run(arbiter, requester(0), requester(1), port)
    assert order[:40].count(0) == 20  # while both wait, they take turns


def test_where_requests_go() -> None:
    """Registers, memories, doorbell, own chip or another: each request at the right port."""
    access = RemoteAccess()
    doorbell = OFFSETS["DOORBELL"]
    #: From, remote, address, write, strobe; where it comes out, at what address.
    cases = [
        ("lite", 0, 0x040, 1, 15, "registers", 0x040),
        ("lite", 0, OTHER_CHIP + 0x040, 1, 15, "registers", 0x040),
        ("lite", 1, 0x040, 1, 15, "registers", 0x040),
        ("lite", 1, OTHER_CHIP + 0x040, 1, 1, "far", OTHER_CHIP + 0x040),
        ("lite", 0, doorbell, 1, 15, "registers", doorbell),
        ("lite", 1, doorbell, 1, 15, "far", doorbell),
        ("lite", 1, doorbell, 1, 14, "registers", doorbell),
        ("lite", 1, doorbell, 0, 15, "registers", doorbell),
        ("lite", 1, OTHER_CHIP + doorbell, 1, 15, "far", OTHER_CHIP + doorbell),
        ("window", 0, 0x8000_0000, 1, 15, "memories", 0x8000_0000),
        ("window", 1, 0x8000_0000, 0, 15, "far", 0x8000_0000),
        ("window", 1, 0x0100_0000, 0, 15, "far", 0x0100_0000),
        ("window", 1, 0x00FF_FFFC, 0, 15, "memories", 0x00FF_FFFC),
        ("near", 1, 0x040, 0, 15, "registers", 0x040),
        ("near", 1, OTHER_CHIP + 0x040, 1, 15, "registers", OTHER_CHIP + 0x040),
        ("near", 1, 0x0A00_0000, 1, 15, "memories", 0x0A00_0000),
    ]

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(access.target_x, 3)
        for name, remote, address, write, strobe, want, at in cases:
            for node_x in (2, 3):
                ctx.set(access.node_x, node_x)
                ctx.set(access.target_remote, remote)
                own = name != "near" and (not remote or node_x == 3)
                port = {"far": "registers" if name == "lite" else "memories"}.get(want, want) \
                    if own else want
                place = at & ~OTHER_CHIP if own and name == "lite" else at
                request = getattr(access, f"{name}_request")
                ctx.set(request.payload, {"write": write, "address": address, "data": 5,
                                          "strobe": strobe})
                ctx.set(request.valid, 1)
                case = f"{name}, {address:#x}, remote {remote}, node {node_x}"
                for each in ("registers", "memories", "far"):
                    valid = ctx.get(getattr(access, f"{each}_request").valid)
                    assert valid == (each == port), f"{case}: {each} got {valid}"
                out = getattr(access, f"{port}_request")
                got = ctx.get(out.payload.address)
                assert got == place, f"{case}: got {got:#x}, want {place:#x}"
                assert ctx.get(out.payload.strobe) == strobe and ctx.get(out.payload.write) == write
                ctx.set(out.ready, 1)
                await ctx.tick()
                ctx.set(request.valid, 0)
                ctx.set(out.ready, 0)
                back, gives = (getattr(access, f"{each}_response") for each in (name, port))
                ctx.set(back.ready, 1)
                ctx.set(gives.valid, 1)
                ctx.set(gives.payload.data, address ^ 1)
                assert ctx.get(back.valid) and ctx.get(gives.ready), case
                assert ctx.get(back.payload.data) == address ^ 1, case
                await ctx.tick()
                ctx.set(gives.valid, 0)
                ctx.set(back.ready, 0)

    _run(access, bench)


def test_link_is_held_until_its_port_is_empty() -> None:
    """On demand and by itself; a port that is not empty any more starts the wait anew."""
    control = LinkControl()

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(control.state, LinkState.UP)
        ctx.set(control.automatic, 1)
        await ctx.tick().repeat(3)
        assert ctx.get(control.up) and not ctx.get(control.retrain)
        for number, (automatic, cause) in enumerate(
                ((1, LinkCause.SILENCE), (0, LinkCause.RETRIES), (1, LinkCause.PEER)), start=1):
            ctx.set(control.automatic, automatic)
            ctx.set(control.state, LinkState.DOWN)
            ctx.set(control.cause, cause)
            ctx.set(control.in_idle, 0)
            await ctx.tick().repeat(3)
            assert ctx.get(control.last_cause) == cause and ctx.get(control.downs) == number
            assert not ctx.get(control.up) and ctx.get(control.retrain) == automatic
            if not automatic:
                ctx.set(control.in_idle, 1)
                await ctx.tick().repeat(3 * IDLE_CYCLES)
                assert not ctx.get(control.retrain)
                ctx.set(control.in_idle, 0)
                ctx.set(control.demand, 1)
                await ctx.tick()
                ctx.set(control.demand, 0)
            ctx.set(control.state, LinkState.TRAINING)
            ctx.set(control.cause, LinkCause.NONE)
            for idle, cycles in ((0, 50), (1, IDLE_CYCLES - 3), (0, 1)):
                ctx.set(control.in_idle, idle)
                await ctx.tick().repeat(cycles)
                assert ctx.get(control.retrain)
            ctx.set(control.in_idle, 1)
            await ctx.tick().repeat(IDLE_CYCLES - 2)

            assert ctx.get(control.retrain)
            await ctx.tick().repeat(4)
            assert not ctx.get(control.retrain)
            assert ctx.get(control.last_cause) == cause and ctx.get(control.downs) == number
            ctx.set(control.state, LinkState.UP)
            await ctx.tick()

    _run(control, bench)


def test_doorbell_register() -> None:
    """Only a whole word rings, once; the register reads 0."""
    registers = RegisterFile(CONFIGS["tiny"].replace(network=NetworkConfig()))

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(registers.response.ready, 1)
        for write, strobe, rings, error in ((1, 15, 1, 0), (1, 3, 0, 1), (1, 0, 0, 0), (0, 15, 0, 0)):
            ctx.set(registers.request.payload, {
                "write": write, "address": OFFSETS["DOORBELL"], "data": 0, "strobe": strobe})
            ctx.set(registers.request.valid, 1)
            await ctx.tick()
            ctx.set(registers.request.valid, 0)
            rung = 0
            for _ in range(4):
                await ctx.tick()
                if ctx.get(registers.response.valid):
                    assert ctx.get(registers.response.payload.error.as_value()) == error
                    assert ctx.get(registers.response.payload.data) == 0
                rung += ctx.get(registers.doorbell_written)
            assert rung == rings, f"write {write}, strobe {strobe}: rang {rung} times"

    _run(registers, bench)
