"""Bench of the memory window: AXI4 bursts of every kind to every memory."""

import logging
import random
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiMaster

from hw.host.memory_map import WRITABLE, Region
from hw.host.registers import REGISTERS
from verif.host_bench import DECERR, MAP, OKAY, SLVERR, MemoryModel, RawChannel, start, watch
from verif.simulator import CLOCK_PERIOD_NS
from verif.tb_host_registers import Registers

LIMIT = {"timeout_time": 8, "timeout_unit": "ms"}
PREFIX = "s_axi"
FIXED, INCR, WRAP, RESERVED = range(4)


@dataclass
class Burst:
    """One burst: its address channel, and the data of a write."""

    address: int
    beats: int = 1
    size: int = 2
    kind: int = INCR
    id: int = 0
    #: (data, strobe, last) of each beat that is sent.
    data: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def legal(self) -> bool:
        """Whether AXI4 and docs/registers.md allow it."""
        if self.size > 2 or self.kind == RESERVED:
            return False
        size = 1 << self.size
        if self.kind == INCR:
            first = self.address // size * size
            return first // 4096 == (first + self.beats * size - 1) // 4096
        if self.kind == WRAP:
            return self.beats in (2, 4, 8, 16) and self.address % size == 0
        return True

    def addresses(self) -> list[int]:
        """Return each beat's address, as A3.4.1 of the AXI specification defines it."""
        size = 1 << self.size
        aligned = self.address // size * size
        result = [self.address]
        for n in range(1, self.beats):
            if self.kind == FIXED:
                result.append(self.address)
            elif self.kind == INCR:
                result.append(aligned + n * size)
            else:
                whole = size * self.beats
                boundary = self.address // whole * whole
                address = aligned + n * size
                result.append(address if address < boundary + whole else address - whole)
        return result

    def lanes(self, address: int) -> int:
        """Return the strobes that a beat at this address may have."""
        size = 1 << self.size
        last = address // size * size + size - 1
        return sum(1 << (a & 3) for a in range(address, last + 1))

    def fields(self) -> dict[str, int]:
        """Return the address channel's signals."""
        return {"id": self.id, "addr": self.address, "len": self.beats - 1, "size": self.size,
                "burst": self.kind}


class Window:
    """A manager made of raw signals, and the comparison with the model."""

    def __init__(self, dut: Any, model: MemoryModel) -> None:
        self.model = model
        address = ["id", "addr", "len", "size", "burst"]
        self.aw, self.ar = (RawChannel(dut, PREFIX, channel, address) for channel in ("aw", "ar"))
        self.w = RawChannel(dut, PREFIX, "w", ["data", "strb", "last"])
        self.b = RawChannel(dut, PREFIX, "b", ["id", "resp"])
        self.r = RawChannel(dut, PREFIX, "r", ["id", "data", "resp", "last"])
        for channel in (self.b, self.r):
            cocotb.start_soon(watch(dut, PREFIX, channel.name[-1], channel.fields))

    async def write(self, burst: Burst, rng: random.Random, gaps: tuple[int, ...] = (0,)) -> int:
        """Send a write burst, compare the answer, and return it."""
        worst = OKAY if burst.legal else SLVERR
        cut = False
        for (word, strobe, last), (n, address) in zip(burst.data, enumerate(burst.addresses()),
                                                      strict=False):
            cut |= last != (n == burst.beats - 1)
            if burst.legal:
                worst = max(worst, self.model.write(address & ~3, word,
                                                    strobe & burst.lanes(address)))
        if cut:
            worst = max(worst, SLVERR)

        async def data() -> None:
            for word, strobe, last in burst.data:
                await self.w.send(rng.choice(gaps), data=word, strb=strobe, last=last)

        tasks = [cocotb.start_soon(self.aw.send(rng.choice(gaps), **burst.fields())),
                 cocotb.start_soon(data())]
        answer = await self.b.receive(rng.choice((-1, *gaps)))
        assert all(task.done() for task in tasks), f"axi_window: {burst}: B before the last W"
        want = {"id": burst.id, "resp": worst}
        assert answer == want, f"axi_window: {burst}: B: got {answer}, want {want}"
        return worst

    async def read(self, burst: Burst, rng: random.Random, gaps: tuple[int, ...] = (0,)) -> None:
        """Send a read burst and compare each beat."""
        await self.ar.send(rng.choice(gaps), **burst.fields())
        for n, address in enumerate(burst.addresses()):
            answer = await self.r.receive(rng.choice((-1, *gaps)))
            response, word = self.model.read(address & ~3) if burst.legal else (SLVERR, 0)
            want = {"id": burst.id, "data": word, "resp": response,
                    "last": int(n == burst.beats - 1)}
            assert answer == want, (f"axi_window: {burst}: beat {n} at {address:#010x}: "
                                    f"got {answer}, want {want}")


async def begin(dut: Any) -> tuple[Window, MemoryModel, random.Random]:
    """Start, and fill the memories by the back door."""
    rng = random.Random(cocotb.RANDOM_SEED)
    model = MemoryModel(dut, rng)
    await start(dut)
    model.load()
    await RisingEdge(dut.clk)
    return Window(dut, model), model, rng


def words(rng: random.Random, burst: Burst, *, whole: bool) -> Burst:
    """Give a burst random data, with strobes of all its lanes or of any."""
    burst.data = [
        (rng.getrandbits(32), burst.lanes(a) if whole else rng.getrandbits(4), int(n == 0))
        for n, a in zip(reversed(range(burst.beats)), burst.addresses(), strict=True)]
    return burst


def random_burst(rng: random.Random, region: Region) -> Burst:
    """Draw a burst that begins in a region, or near its ends."""
    kind = rng.choice((FIXED, INCR, INCR, INCR, WRAP))
    size = rng.choice((0, 1, 2, 2, 2))
    beats = rng.choice((2, 4, 8, 16)) if kind == WRAP else rng.choice((1, 2, 3, 5, 17))
    address = rng.randrange(region.base, region.end)
    if rng.random() < 0.1:
        address = region.end - rng.randrange(24)
    if kind == WRAP or rng.random() < 0.6:
        address &= -1 << size
    return Burst(address=address, beats=beats, size=size, kind=kind, id=rng.getrandbits(4))


@cocotb.test(**LIMIT)
async def random_bursts(dut: Any) -> None:
    """Bursts of every type, size and alignment, with gaps, against the model."""
    window, model, rng = await begin(dut)
    regions = list(MAP.regions.values())
    for i in range(220):
        gaps = ((0,), (0, 0, 1, 7))[i & 1]
        region = rng.choice(regions if i % 3 else [MAP.regions["banks"]])
        burst = random_burst(rng, region)
        if rng.random() < 0.6:
            await window.write(words(rng, burst, whole=rng.random() < 0.7), rng, gaps)
        else:
            await window.read(burst, rng, gaps)
    model.compare()


@cocotb.test(**LIMIT)
async def every_region(dut: Any) -> None:
    """First and last word of each memory, what lies behind it, and who may write."""
    window, model, rng = await begin(dut)
    for region in MAP.regions.values():
        for address in (region.base, region.end - 4):
            response = await window.write(words(rng, Burst(address), whole=True), rng)
            # A granule of more than 32 bits cannot be written, but no such memory is the host's.
            assert (response == OKAY) == (region.name in WRITABLE), region.name
            await window.read(Burst(address), rng)
            for strobe in range(16):
                burst = Burst(address, data=[(rng.getrandbits(32), strobe, 1)])
                await window.write(burst, rng)
        for address in (region.end, region.base - 4):
            assert await window.write(words(rng, Burst(address % 2**32), whole=True), rng) == DECERR
            await window.read(Burst(address % 2**32), rng)
    for address in (0, 0x00FF_FFFC, 0x0B00_0000, 0x4000_0000, 0x7FFF_FFFC, 0xFFFF_FFFC,
                    0x1A00_0000, 0x4900_0000):
        await window.write(words(rng, Burst(address), whole=True), rng)
        await window.read(Burst(address), rng)
    # A burst that runs out of a memory writes what lies inside, and is answered with DECERR.
    region = MAP.regions["tokens"]
    burst = words(rng, Burst(region.end - 8, beats=4), whole=True)
    assert await window.write(burst, rng) == DECERR
    # The worst answer counts wherever it comes: SLVERR (a cut granule) after DECERR.
    region = MAP.regions["multipliers"]
    burst = Burst(region.base, beats=3, data=[(1, 15, 0), (2, 5, 0), (3, 15, 1)])
    assert await window.write(burst, rng) == SLVERR
    burst = Burst(MAP.regions["program"].end - 4, beats=2, data=[(4, 1, 0), (5, 15, 1)])
    assert await window.write(burst, rng) == DECERR
    model.compare()


@cocotb.test(**LIMIT)
async def refused_bursts(dut: Any) -> None:
    """Bursts that are not allowed, answered with SLVERR as a whole; nothing is written."""
    window, model, rng = await begin(dut)
    base = MAP.regions["banks"].base
    bursts = [
        Burst(base, beats=4, kind=RESERVED), Burst(base, beats=1, kind=RESERVED),
        Burst(base, beats=3, size=3), Burst(base, beats=1, size=7), Burst(base, beats=2, size=4),
        Burst(base + 0xFFC, beats=2), Burst(base + 0xFFF, beats=2, size=0),
        Burst(base + 0xFF1, beats=5), Burst(base + 0xC04, beats=256),
        Burst(base + 0x100, beats=3, kind=WRAP), Burst(base + 0x100, beats=1, kind=WRAP),
        Burst(base + 0x102, beats=4, kind=WRAP), Burst(base + 0x100, beats=32, kind=WRAP),
    ]
    for burst in bursts:
        assert not burst.legal
        await window.read(burst, rng)
        burst.data = [(rng.getrandbits(32), 15, int(n == burst.beats - 1))
                      for n in range(burst.beats)]
        assert await window.write(burst, rng) == SLVERR
        # The next burst is served as ever.
        await window.write(words(rng, Burst(base + 64, beats=2), whole=True), rng)
        await window.read(Burst(base + 64, beats=2), rng)
    # Up to the end of 4 KiB, and 256 beats, are allowed.
    for burst in (Burst(base + 0xFF8, beats=2), Burst(base + 0xFFD, beats=3, size=0),
                  Burst(base + 0xC00, beats=256), Burst(base + 0x20, beats=100, kind=FIXED)):
        assert await window.write(words(rng, burst, whole=True), rng) == OKAY
        await window.read(burst, rng)
    model.compare()


@cocotb.test(**LIMIT)
async def wrong_last(dut: Any) -> None:
    """WLAST too early ends the burst, none at the end is an error; the port lives on."""
    window, model, rng = await begin(dut)
    base = MAP.regions["banks"].base
    for lasts in ((0, 1), (1,), (0, 0, 0, 0)):
        burst = Burst(base, beats=4, data=[(rng.getrandbits(32), 15, last) for last in lasts])
        assert await window.write(burst, rng) == SLVERR
        await window.write(words(rng, Burst(base + 8, beats=2), whole=True), rng)
        await window.read(Burst(base, beats=4), rng)
    model.compare()


@cocotb.test(**LIMIT)
async def order_and_independence(dut: Any) -> None:
    """W before AW; reads while a write waits for its data or for B; writes while R is held."""
    window, model, rng = await begin(dut)
    base = MAP.regions["banks"].base
    # Data come 20 cycles before the address.
    burst = words(rng, Burst(base + 4, beats=3, id=9), whole=True)
    model.write(base + 4, burst.data[0][0], 15)
    for n in (1, 2):
        model.write(base + 4 + 4 * n, burst.data[n][0], 15)
    first = cocotb.start_soon(window.w.send(0, data=burst.data[0][0], strb=15, last=0))
    await ClockCycles(dut.clk, 20)
    await window.aw.send(0, **burst.fields())
    await first
    await window.w.send(0, data=burst.data[1][0], strb=15, last=0)
    # The burst is open: its last beat comes only after three reads.
    for _ in range(3):
        await window.read(Burst(base + 4, beats=2), rng)
    await window.w.send(0, data=burst.data[2][0], strb=15, last=1)
    # B is not taken: reads go on.
    for _ in range(3):
        await window.read(Burst(base + 4, beats=3), rng)
    answer = await window.b.receive(30)
    assert answer == {"id": 9, "resp": OKAY}, f"axi_window: B: got {answer}"
    # R is not taken: writes go on.
    await window.ar.send(0, **Burst(base + 64, beats=2).fields())
    await ClockCycles(dut.clk, 20)
    for n in range(3):
        await window.write(words(rng, Burst(base + 128 * n, beats=4), whole=True), rng)
    for n in range(2):
        answer = await window.r.receive(5)
        assert answer["data"] == model.read(base + 64 + 4 * n)[1], f"axi_window: R: got {answer}"
        assert answer["last"] == n

    # Random traffic in both directions, in places of their own.
    async def writes() -> None:
        for _ in range(40):
            burst = random_burst(rng, MAP.regions["program"])
            await window.write(words(rng, burst, whole=True), rng, (0, 0, 2))

    async def reads() -> None:
        for _ in range(40):
            await window.read(random_burst(rng, MAP.regions["rope"]), rng, (0, 0, 2))

    tasks = [cocotb.start_soon(writes()), cocotb.start_soon(reads())]
    for task in tasks:
        await task
    model.compare()


@cocotb.test(**LIMIT)
async def reset_in_a_burst(dut: Any) -> None:
    """Reset in the middle of bursts: nothing is left behind but what was written."""
    window, model, rng = await begin(dut)
    base = MAP.regions["banks"].base
    for cycles in range(4, 24):
        tasks = [cocotb.start_soon(window.aw.send(0, **Burst(base, beats=9).fields())),
                 cocotb.start_soon(window.ar.send(0, **Burst(base, beats=9).fields())),
                 cocotb.start_soon(window.w.send(0, data=rng.getrandbits(32), strb=0, last=0))]
        await ClockCycles(dut.clk, cycles)
        for task in tasks:
            task.cancel()
        for channel in (window.aw, window.ar, window.w):
            channel.valid.value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        for channel in (window.b, window.r):
            assert not channel.valid.value, f"{channel.name}: valid in reset"
        dut.rst.value = 0
        await window.write(words(rng, Burst(base + 32, beats=3), whole=True), rng)
        await window.read(Burst(base, beats=12), rng)
    model.compare()


@cocotb.test(**LIMIT)
async def throughput(dut: Any) -> None:
    """Write a beat every 4 cycles, read one every 8 (banks that answer after two)."""
    window, _, rng = await begin(dut)
    burst = words(rng, Burst(MAP.regions["banks"].base, beats=256), whole=True)
    begun = get_sim_time("ns")
    await window.write(burst, rng)
    cycles = (get_sim_time("ns") - begun) / CLOCK_PERIOD_NS
    assert 1024 <= cycles <= 1024 + 12, f"axi_window: 256 beats written in {cycles} cycles"
    window.r.ready.value = 1
    await window.ar.send(0, **burst.fields())
    begun, edge = get_sim_time("ns"), RisingEdge(dut.clk)
    while not (window.r.valid.value and window.r.fields["last"].value):
        await edge
    cycles = (get_sim_time("ns") - begun) / CLOCK_PERIOD_NS
    assert 2048 - 12 <= cycles <= 2048 + 12, f"axi_window: 256 beats read in {cycles} cycles"
    await edge


@cocotb.test(**LIMIT)
async def third_party_manager(dut: Any) -> None:
    """cocotbext-axi: random lengths, sizes and pauses, as its authors read the protocol."""
    logging.getLogger(f"cocotb.{dut._name}.{PREFIX}").setLevel(logging.WARNING)
    _, model, rng = await begin(dut)
    master = AxiMaster(AxiBus.from_prefix(dut, PREFIX), dut.clk, reset=dut.rst)
    banks = MAP.regions["banks"]
    for paused in (False, True):
        if paused:
            for channel in (master.write_if.aw_channel, master.write_if.w_channel,
                            master.write_if.b_channel, master.read_if.ar_channel,
                            master.read_if.r_channel):
                channel.set_pause_generator(iter(lambda: rng.random() < 0.4, None))
        for _ in range(12):
            size = rng.choice((0, 1, 2, 2))
            length = rng.choice((1, 2, 3, 4, 7, 30, 120))
            address = rng.randrange(banks.base, banks.end - length)
            data = rng.randbytes(length)
            answer = await master.write(address, data, size=size)
            assert answer.resp == OKAY, f"axi_window: write at {address:#x}: got {answer.resp}"
            for i, byte in enumerate(data):
                model.bytes[address + i] = byte
            first = max(banks.base, address - rng.randrange(8))
            got = await master.read(first, length, size=size)
            want = bytes(model.bytes[first + i] for i in range(length))
            assert got.resp == OKAY
            assert bytes(got.data) == want, (
                f"axi_window: read at {first:#x}: got {got.data.hex()}, want {want.hex()}")
        # Across 4 KiB the manager makes two bursts.
        data = rng.randbytes(40)
        await master.write(banks.base + 4080, data)
        for i, byte in enumerate(data):
            model.bytes[banks.base + 4080 + i] = byte
        answer = await master.write(MAP.regions["results"].base, bytes(8))
        assert answer.resp == SLVERR, f"axi_window: results: got {answer.resp}"
        answer = await master.read(0x7000_0000, 8)
        assert answer.resp == DECERR, f"axi_window: nothing: got {answer.resp}"
    model.compare()


@cocotb.test(**LIMIT)
async def busy_chip(dut: Any) -> None:
    """While the chip runs only the tokens answer, when granted; starts wait for accesses."""
    window, model, rng = await begin(dut)
    registers = Registers(dut)
    program, tokens = MAP.regions["program"], MAP.regions["tokens"]
    model.busy = True
    dut.running.value, dut.idle.value = 1, 0
    grants = cocotb.start_soon(random_grants(dut, rng))
    for region in MAP.regions.values():
        await window.write(words(rng, Burst(region.base), whole=True), rng)
        await window.read(Burst(region.base, beats=2), rng)
        await window.write(words(rng, Burst(region.end), whole=True), rng)
    for _ in range(25):
        address = tokens.base + 4 * rng.randrange(tokens.words - 9)
        await window.write(words(rng, Burst(address, beats=9), whole=True), rng)
        await window.read(Burst(address, beats=9), rng)
    grants.cancel()
    dut.tokens_grant.value = 1
    dut.running.value, dut.idle.value = 0, 1
    model.busy = False
    model.compare()

    # A start in the middle of a burst: no access after it, and none cut.
    dut.running.value = 0
    control = REGISTERS["CONTROL"]
    for delay in range(24):
        before = dict(model.bytes)
        burst = words(rng, Burst(program.base, beats=16), whole=True)
        task = cocotb.start_soon(plain_write(window, burst))
        await ClockCycles(dut.clk, 10 + delay)
        edge = RisingEdge(dut.clk)
        sent = cocotb.start_soon(registers.write("CONTROL", control.pack(START=1)))
        for _ in range(60):
            await edge
            if dut.start.value:
                break
        else:
            raise AssertionError("host_bridge: the start did not come")
        # What the host wrote until now is there, and nothing follows.
        for _ in range(2):
            assert not dut.active.value, "host_bridge: an access is under way with the start"
            await edge
        found = bytes(b for word in range(program.words) for b in
                      dut.program.memory.mem[word].value.to_unsigned().to_bytes(8, "little"))
        dut.idle.value, dut.running.value = 0, 1
        answer = await task
        assert answer == SLVERR, f"host_bridge: a burst over the start: got {answer}, want SLVERR"
        await sent
        after = bytes(b for word in range(program.words) for b in
                      dut.program.memory.mem[word].value.to_unsigned().to_bytes(8, "little"))
        assert after == found, "host_bridge: the program changed after the start"
        done = 0
        for n in range(16):
            want = burst.data[n][0].to_bytes(4, "little")
            old = bytes(before[program.base + 4 * n + i] for i in range(4))
            got = after[4 * n:4 * n + 4]
            if got == want and done == n:
                done += 1
                for i in range(4):
                    model.bytes[program.base + 4 * n + i] = want[i]
            else:
                assert got == old, f"host_bridge: word {n} after the start: got {got.hex()}"
        assert 0 < done < 16, f"host_bridge: {done} words were written before the start"
        # The same while the host reads the banks, which answer late.
        dut.idle.value, dut.running.value = 1, 0
        await ClockCycles(dut.clk, 3)
        reads = cocotb.start_soon(plain_read(window, Burst(MAP.regions["banks"].base, beats=9)))
        await ClockCycles(dut.clk, 10 + delay)
        sent = cocotb.start_soon(registers.write("CONTROL", control.pack(START=1)))
        await RisingEdge(dut.start)
        for cycle in range(30):
            await edge
            assert not dut.active.value, f"host_bridge: access {cycle} cycles after the start"
            if cycle == 2:
                dut.idle.value, dut.running.value = 0, 1
        await sent
        answers = await reads
        assert answers == sorted(answers) and {*answers} == {OKAY, SLVERR}, answers
        dut.idle.value, dut.running.value = 1, 0
        await ClockCycles(dut.clk, 3)
    # Window errors are counted, and said to be the window's.
    await registers.write("CONTROL", control.pack(CLEAR_HOST_ERRORS=1))
    errors = REGISTERS["HOST_ERRORS"]
    await window.read(Burst(0x7000_0000, beats=3), rng)
    await registers.expect("HOST_ERRORS", errors.pack(COUNT=3, DECERR=1, WINDOW=1))
    await window.write(words(rng, Burst(MAP.regions["results"].base), whole=True), rng)
    await registers.expect("HOST_ERRORS", errors.pack(COUNT=4, WRITE=1, WINDOW=1))


async def plain_write(window: Window, burst: Burst) -> int:
    """Send a write burst and return its answer, without the model."""
    address = cocotb.start_soon(window.aw.send(0, **burst.fields()))
    for word, strobe, last in burst.data:
        await window.w.send(0, data=word, strb=strobe, last=last)
    await address
    return (await window.b.receive(0))["resp"]


async def plain_read(window: Window, burst: Burst) -> list[int]:
    """Send a read burst and return its answers, without the model."""
    await window.ar.send(0, **burst.fields())
    return [(await window.r.receive(-1))["resp"] for _ in range(burst.beats)]


async def random_grants(dut: Any, rng: random.Random) -> None:
    """Grant the tokens in one cycle of three."""
    edge = RisingEdge(dut.clk)
    while True:
        dut.tokens_grant.value = int(rng.random() < 0.33)
        await edge
