"""Bench of the register port: AXI4-Lite, every register, interrupts and counters."""

import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from hw.host.registers import COUNTERS, OFFSETS, REGISTERS, Access
from verif.host_bench import (
    CONFIG,
    DECERR,
    OKAY,
    SLVERR,
    RawChannel,
    start,
    watch,
)

LIMIT = {"timeout_time": 4, "timeout_unit": "ms"}
PREFIX = "s_axil"


class Registers:
    """Register accesses by name over cocotbext-axi."""

    def __init__(self, dut: Any, rng: random.Random | None = None) -> None:
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, PREFIX), dut.clk, reset=dut.rst)
        if rng is not None:
            channels = (self.master.write_if.aw_channel, self.master.write_if.w_channel,
                        self.master.write_if.b_channel, self.master.read_if.ar_channel,
                        self.master.read_if.r_channel)
            for channel in channels:
                channel.set_pause_generator(iter(lambda: rng.random() < 0.5, None))

    async def read(self, name: str) -> int:
        """Return a register's value."""
        answer = await self.master.read(OFFSETS[name], 4)
        assert answer.resp == OKAY, f"registers: reading {name}: got {answer.resp}, want OKAY"
        return int.from_bytes(answer.data, "little")

    async def write(self, name: str, value: int) -> None:
        """Write a register."""
        answer = await self.master.write(OFFSETS[name], value.to_bytes(4, "little"))
        assert answer.resp == OKAY, f"registers: writing {name}: got {answer.resp}, want OKAY"

    async def expect(self, name: str, want: int) -> None:
        """Read a register and compare."""
        got = await self.read(name)
        assert got == want, f"registers: {name}: got {got:#010x}, want {want:#010x}"


def constant(name: str) -> int:
    """Return a constant register's value for the bench's configuration."""
    return sum(field.value(CONFIG) << field.low for field in REGISTERS[name].fields
               if field.value is not None)


@cocotb.test(**LIMIT)
async def reset_values(dut: Any) -> None:
    """After reset each register has its value; every other address gives DECERR."""
    await start(dut)
    registers = Registers(dut)
    for name, register in REGISTERS.items():
        if register.access is Access.CONSTANT:
            await registers.expect(name, constant(name))
        elif name == "STATUS":
            await registers.expect(name, register.pack(IDLE=1))
        else:
            await registers.expect(name, register.reset)
    await registers.expect("ID", 0x54455353)
    await registers.expect("GEOMETRY", 8 | 16 << 8 | 8 << 16 | 4 << 24)
    known = set(OFFSETS.values())
    for offset in (0x08C, 0x0FC, 0x160, 0x164, 0x800, 0xFFC):
        assert offset not in known
        answer = await registers.master.read(offset, 4)
        assert answer.resp == DECERR, f"registers: reading {offset:#x}: got {answer.resp}"
        answer = await registers.master.write(offset, bytes(4))
        assert answer.resp == DECERR, f"registers: writing {offset:#x}: got {answer.resp}"


@cocotb.test(**LIMIT)
async def random_accesses(dut: Any) -> None:
    """Random words and bytes to all registers, with gaps and back-pressure, against a model."""
    await start(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    registers = Registers(dut, rng)
    values = {name: register.reset for name, register in REGISTERS.items()}
    names = [name for name, register in REGISTERS.items()
             if register.access in (Access.READ_WRITE, Access.CONSTANT)]
    names += ["LAST_TOKEN", "TOKEN_COUNT", "CYCLES_LO", "IRQ_STATUS", "FAULT_PC"]
    for name in names:
        if REGISTERS[name].access is Access.CONSTANT:
            values[name] = constant(name)
    for _ in range(250):
        name = rng.choice(names)
        register = REGISTERS[name]
        if rng.random() < 0.5:
            await registers.expect(name, values[name])
            continue
        first = rng.randrange(4)
        size = rng.randrange(1, 5 - first)
        data = rng.randbytes(size)
        answer = await registers.master.write(register.offset + first, data)
        writable = register.access is Access.READ_WRITE
        want = OKAY if writable or (register.access is Access.WRITE_ONE_CLEARS and size == 4) \
            else SLVERR
        assert answer.resp == want, (f"registers: writing {size} bytes at {first} of {name}: "
                                     f"got {answer.resp}, want {want}")
        if writable:
            mask = ((1 << 8 * size) - 1) << 8 * first
            fields = sum(field.mask for field in register.fields)
            written = int.from_bytes(data, "little") << 8 * first
            values[name] = (values[name] & ~mask | written) & fields
    for name in names:
        await registers.expect(name, values[name])
    await registers.write("END_TOKEN", 0x8001_2345)
    assert dut.end_token.value == 0x8001_2345
    await registers.write("WATCHDOG_CYCLES", 0)
    assert dut.watchdog_cycles.value == 0
    await registers.write("WATCHDOG_CYCLES", 77)
    assert dut.watchdog_cycles.value == 77
    for name, port, value in (("PROMPT_LENGTH", "prompt_length", 17),
                              ("TOKEN_LIMIT", "token_limit", 18),
                              ("START_POSITION", "start_position", 19),
                              ("TEMPERATURE", "temperature", 0xFEDC), ("SEED", "seed", 0x89ABCDEF),
                              ("EPSILON", "epsilon", 0x76543210)):
        await registers.write(name, value)
        assert dut[port].value == value, name
    await registers.write("BREAKPOINT", 0x8000_0ABC)
    await registers.write("OPTIONS", 1)
    assert dut.breakpoint.value == 0xABC
    assert dut.breakpoint_enable.value == 1
    assert dut.pause_after_token.value == 1


async def count_pulses(dut: Any, names: tuple[str, ...]) -> dict[str, int]:
    """Count for ever the cycles in which each port is high; the result changes meanwhile."""
    counts = dict.fromkeys(names, 0)

    async def run() -> None:
        edge = RisingEdge(dut.clk)
        while True:
            await edge
            for name in names:
                counts[name] += int(bool(dut[name].value))

    cocotb.start_soon(run())
    return counts


@cocotb.test(**LIMIT)
async def pulses_and_interrupts(dut: Any) -> None:
    """Each action comes once, and only when allowed; interrupts come and are cleared."""
    await start(dut)
    registers = Registers(dut)
    counts = await count_pulses(dut, ("start", "resume", "reset_sequencer"))
    control, status = REGISTERS["CONTROL"], REGISTERS["STATUS"]

    async def act(want: tuple[int, int, int], **flags: int) -> None:
        await registers.write("CONTROL", control.pack(**flags))
        await ClockCycles(dut.clk, 5)
        got = tuple(counts.values())
        assert got == want, f"CONTROL {flags}: start, resume, reset: got {got}, want {want}"

    await act((1, 0, 0), START=1)
    await act((1, 0, 0), RESUME=1)  # not paused
    dut.paused.value = 1
    await act((1, 1, 0), RESUME=1)
    dut.paused.value, dut.running.value, dut.idle.value = 0, 1, 0
    await act((1, 1, 0), START=1)  # runs
    await act((1, 1, 1), RESET_SEQUENCER=1)
    dut.idle.value = 1
    await act((1, 1, 1), START=1)  # pauses
    dut.running.value = 0
    answer = await registers.master.write(OFFSETS["CONTROL"], b"\1")
    assert answer.resp == SLVERR, f"registers: CONTROL, one byte: got {answer.resp}, want SLVERR"
    await act((1, 1, 1))
    await act((1, 1, 2), START=1, RESET_SEQUENCER=1)

    dut.fault_cause.value, dut.fault_pc.value = 9, 0x5A5
    await registers.expect("FAULT_CAUSE", 9)
    await registers.expect("FAULT_PC", 0x5A5)
    irq_status = REGISTERS["IRQ_STATUS"]
    await registers.expect("IRQ_STATUS", irq_status.pack(PAUSED=1))
    await registers.write("IRQ_STATUS", 0xFFFF_FFFF)
    for port, flag in (("done", "DONE"), ("faulted", "FAULT"), ("token_valid", "TOKEN"),
                       ("paused", "PAUSED")):
        await registers.expect("IRQ_STATUS", 0)
        await registers.write("IRQ_ENABLE", 15 & ~irq_status.pack(**{flag: 1}))
        dut[port].value = 1
        await RisingEdge(dut.clk)
        if port == "token_valid":
            dut[port].value = 0
        await registers.expect("IRQ_STATUS", irq_status.pack(**{flag: 1}))
        if port in ("done", "faulted", "paused"):
            await registers.expect("STATUS", status.pack(IDLE=1, **{port.upper(): 1}))
        assert dut.irq.value == 0, f"irq: {flag} is not enabled"
        await registers.write("IRQ_ENABLE", irq_status.pack(**{flag: 1}))
        await ClockCycles(dut.clk, 2)
        assert dut.irq.value == 1, f"irq: {flag} is pending and enabled"
        await registers.write("IRQ_STATUS", 15 & ~irq_status.pack(**{flag: 1}))
        await registers.expect("IRQ_STATUS", irq_status.pack(**{flag: 1}))
        await registers.write("IRQ_STATUS", irq_status.pack(**{flag: 1}))
        await registers.expect("IRQ_STATUS", 0)
        assert dut.irq.value == 0, f"irq: {flag} was cleared"
        if port != "token_valid":
            dut[port].value = 0
    # A flag that is set while the host clears it stays.
    dut.token_valid.value = 1
    await registers.write("IRQ_STATUS", 15)
    dut.token_valid.value = 0
    await registers.expect("IRQ_STATUS", irq_status.pack(TOKEN=1))


@cocotb.test(**LIMIT)
async def counters(dut: Any) -> None:
    """Counters count what their input says, keep both halves together, and restart."""
    await start(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    registers = Registers(dut)
    events = [name for name in COUNTERS
              if name not in ("cycles", "token_cycles", "saturations")]
    want = dict.fromkeys(COUNTERS, 0)
    tokens = last_token = 0
    for _ in range(300):
        running, paused = rng.getrandbits(1), rng.getrandbits(1) & rng.getrandbits(1)
        dut.running.value, dut.paused.value = running, paused
        for name in events:
            value = int(rng.random() < (events.index(name) + 1) / 12)
            dut[f"count_{name}"].value = value
            want[name] += value
        bits = len(dut.saturations)
        clipped = rng.choice((0, 0, 1, (1 << bits) - 1, rng.getrandbits(bits)))
        dut.saturations.value = clipped
        want["saturations"] += clipped
        token_valid = int(rng.random() < 0.1)
        dut.token_valid.value = token_valid
        dut.token.value = token = rng.getrandbits(17)
        if token_valid:
            tokens, last_token, want["token_cycles"] = tokens + 1, token, want["cycles"]
        want["cycles"] += running & ~paused
        await RisingEdge(dut.clk)
    for name in (*(f"count_{event}" for event in events), "running", "token_valid",
                 "saturations"):
        dut[name].value = 0
    for name, value in want.items():
        await registers.expect(f"{name.upper()}_LO", value)
        await registers.expect(f"{name.upper()}_HI", 0)
    await registers.expect("TOKEN_COUNT", tokens)
    await registers.expect("LAST_TOKEN", last_token)
    await registers.write("CONTROL", REGISTERS["CONTROL"].pack(START=1))
    for name in COUNTERS:
        await registers.expect(f"{name.upper()}_LO", 0)
    await registers.expect("TOKEN_COUNT", 0)


@cocotb.test(**LIMIT)
async def host_errors(dut: Any) -> None:
    """Refused accesses are counted, and the last one is described."""
    await start(dut)
    registers = Registers(dut)
    errors = REGISTERS["HOST_ERRORS"]
    await registers.master.write(OFFSETS["ID"], bytes(4))
    await registers.expect("HOST_ERRORS", errors.pack(COUNT=1, WRITE=1))
    await registers.master.read(0xFFC, 4)
    await registers.expect("HOST_ERRORS", errors.pack(COUNT=2, DECERR=1))
    await registers.master.write(0xFFC, bytes(4))
    await registers.expect("HOST_ERRORS", errors.pack(COUNT=3, WRITE=1, DECERR=1))
    await registers.write("CONTROL", REGISTERS["CONTROL"].pack(CLEAR_HOST_ERRORS=1))
    await registers.expect("HOST_ERRORS", 0)


@cocotb.test(**LIMIT)
async def raw_handshakes(dut: Any) -> None:
    """AW and W in any order and distance, B and R held back, reads beside writes."""
    await start(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    aw, ar = (RawChannel(dut, PREFIX, channel, ["addr"]) for channel in ("aw", "ar"))
    w = RawChannel(dut, PREFIX, "w", ["data", "strb"])
    b = RawChannel(dut, PREFIX, "b", ["resp"])
    r = RawChannel(dut, PREFIX, "r", ["data", "resp"])
    for channel, fields in (("b", ["resp"]), ("r", ["data", "resp"])):
        cocotb.start_soon(watch(dut, PREFIX, channel, fields))
    for channel in (aw, w, ar):
        channel.valid.value = 0

    async def write(offset: int, value: int, gaps: tuple[int, int, int], strobe: int = 15) -> int:
        tasks = [cocotb.start_soon(aw.send(gaps[0], addr=offset)),
                 cocotb.start_soon(w.send(gaps[1], data=value, strb=strobe))]
        answer = await b.receive(gaps[2])
        for task in tasks:
            assert task.done(), "s_axil: B came before AW and W were taken"
        return answer["resp"]

    async def read(offset: int, gaps: tuple[int, int]) -> tuple[int, int]:
        await ar.send(gaps[0], addr=offset)
        answer = await r.receive(gaps[1])
        return answer["resp"], answer["data"]

    value = 0x1234_5678
    for gaps in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (3, 0, 20), (0, 3, 20)):
        value = value * 5 + 1 & 0xFFFF_FFFF
        assert await write(OFFSETS["SEED"], value, gaps) == OKAY
        got = await read(OFFSETS["SEED"], (0, gaps[2]))
        assert got == (OKAY, value), f"s_axil: SEED after gaps {gaps}: got {got}, want {value:#x}"
    got_nothing = await write(OFFSETS["SEED"], 0, (0, 0, 0), strobe=0)
    assert got_nothing == OKAY
    assert await write(OFFSETS["CONTROL"], 15, (0, 0, 0), strobe=0) == OKAY
    assert await read(OFFSETS["SEED"], (0, 0)) == (OKAY, value)
    # The address bits below the word do not count.
    assert await read(OFFSETS["SEED"] + 3, (0, 0)) == (OKAY, value)

    # A read is answered while B of a write is held back, and the other way round.
    held = cocotb.start_soon(write(OFFSETS["EPSILON"], 5, (0, 0, 200)))
    for _ in range(5):
        assert await read(OFFSETS["SEED"], (0, 0)) == (OKAY, value)
    assert not held.done(), "s_axil: reads waited for B"
    assert await held == OKAY
    held_read = cocotb.start_soon(read(OFFSETS["EPSILON"], (0, 200)))
    for _ in range(5):
        assert await write(OFFSETS["SEED"], value, (0, 0, 0)) == OKAY
    assert not held_read.done(), "s_axil: writes waited for R"
    assert await held_read == (OKAY, 5)

    # Several transfers are offered on one channel before the others move.
    names = ("SEED", "EPSILON", "WATCHDOG_CYCLES")

    async def addresses(channel: RawChannel, wait: int) -> None:
        for name in names:
            await channel.send(wait, addr=OFFSETS[name])

    async def data(wait: int) -> None:
        for n in range(len(names)):
            await w.send(wait, data=value ^ n, strb=15)

    for waits in ((0, 12), (12, 0), (0, 0)):
        value = value * 5 + 1 & 0xFFFF_FFFF
        tasks = [cocotb.start_soon(addresses(aw, waits[0])), cocotb.start_soon(data(waits[1]))]
        for name in names:
            answer = await b.receive(15)
            assert answer["resp"] == OKAY, f"s_axil: {name}: got {answer}"
        for task in tasks:
            await task
        tasks = [cocotb.start_soon(addresses(ar, 0))]
        for n, name in enumerate(names):
            answer = await r.receive(waits[0])
            want = {"data": value ^ n, "resp": OKAY}
            assert answer == want, f"s_axil: {name}, waits {waits}: got {answer}, want {want}"
        await tasks[0]

    async def writes() -> int:
        last = value
        for _ in range(60):
            last = rng.getrandbits(32)
            gaps = (rng.choice((0, 0, 1, 4)), rng.choice((0, 0, 1, 4)), rng.choice((-1, 0, 4)))
            assert await write(OFFSETS["SEED"], last, gaps) == OKAY
        return last

    async def reads() -> None:
        for _ in range(60):
            got = await read(OFFSETS["ID"], (rng.choice((0, 0, 1, 4)), rng.choice((-1, 0, 1, 4))))
            assert got == (OKAY, 0x54455353), f"s_axil: ID: got {got}"

    tasks = [cocotb.start_soon(writes()), cocotb.start_soon(reads())]
    last = await tasks[0]
    await tasks[1]
    assert await read(OFFSETS["SEED"], (0, 0)) == (OKAY, last)
