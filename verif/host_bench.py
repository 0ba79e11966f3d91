"""Bench of the host port: a HostBridge before real memories, and the drivers of raw AXI signals.

The memories' other side is idle, except that ``tokens`` is read all the time when not granted.
"""

import random
from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.config import ChipletConfig
from hw.host.access import forward
from hw.host.host_bridge import HostBridge, bus_members, core_members
from hw.host.memory_map import Region, memory_map
from hw.memory.shapes import memory_shapes
from hw.memory.sram import Sram
from verif.simulator import CLOCK_PERIOD_NS

#: No memory has a power of two of words, so that each has addresses behind its end.
CONFIG = ChipletConfig(
    name="bench", rows=8, columns=16, lanes=8, rows_per_step=4, bank_words=40, activation_words=24,
    output_words=20, result_beats=18, residual_beats=20, multiplier_beats=22, rope_beats=17,
    row_slots=19, program_words=21, context=48)
MAP = memory_map(CONFIG)
OKAY, SLVERR, DECERR = 0, 2, 3


class HostBench(wiring.Component):
    """HostBridge and memories; the ports to the host and to the core are the bench's own.

    ``active``: the host's access to a memory other than ``tokens`` is under way.
    """

    def __init__(self) -> None:
        super().__init__({**bus_members(), **core_members(CONFIG), "tokens_grant": In(1),
                          "active": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.host = host = HostBridge(CONFIG)
        forward(m, self, host, {**bus_members(), **core_members(CONFIG)})
        for name, shape in memory_shapes(CONFIG).items():
            memory = Sram.of(shape)
            m.submodules[name] = memory
            address, mask, write, enable, select = (
                getattr(host, f"{name}_{port}")
                for port in ("address", "write_mask", "write_data", "read_enable", "select"))
            m.d.comb += [getattr(host, f"{name}_read_data").eq(memory.read_data),
                         memory.write_data.eq(write)]
            if shape.ports == "1r1w":
                m.d.comb += [
                    memory.read_address.eq(address), memory.read_enable.eq(select & enable),
                    memory.write_address.eq(address), memory.write_mask.eq(Mux(select, mask, 0))]
            elif name == "tokens":
                granted = select & self.tokens_grant
                m.d.comb += [
                    host.tokens_grant.eq(self.tokens_grant),
                    memory.address.eq(Mux(granted, address, 1)),
                    memory.enable.eq(~granted | enable | mask.any()),
                    memory.write_mask.eq(Mux(granted, mask, 0))]
            else:
                m.d.comb += [memory.address.eq(address),
                             memory.enable.eq(select & (enable | mask.any())),
                             memory.write_mask.eq(Mux(select, mask, 0))]
        m.d.comb += self.active.eq(Cat(
            *(getattr(host, f"{name}_select") for name in MAP.regions
              if name not in ("tokens", "banks")),
            host.banks_read_enable, host.banks_write_enable).any())
        # A bank answers two cycles after the read.
        hot, read_row = Signal(), Signal(range(CONFIG.rows))
        m.d.sync += [hot.eq(host.banks_read_enable), host.banks_valid.eq(hot),
                     read_row.eq(host.banks_row)]
        read_data = Signal(8 * CONFIG.columns)
        m.d.sync += host.banks_read_data.eq(read_data)
        for row in range(CONFIG.rows):
            bank = Sram(words=CONFIG.bank_words, bits=8 * CONFIG.columns, granule_bits=8,
                        ports="1rw")
            m.submodules[f"bank_{row}"] = bank
            here = host.banks_row == row
            m.d.comb += [
                bank.address.eq(host.banks_address), bank.write_data.eq(host.banks_write_data),
                bank.write_mask.eq(Mux(here, host.banks_write_mask, 0)),
                bank.enable.eq(here & (host.banks_read_enable | host.banks_write_enable))]
            with m.If(read_row == row):
                m.d.comb += read_data.eq(bank.read_data)
        return m


class MemoryModel:
    """What the memories hold, by byte address; what each access answers; the back door."""

    def __init__(self, dut: Any, rng: random.Random) -> None:
        self.dut = dut
        self.bytes: dict[int, int] = {}
        self.busy = False
        for region in MAP.regions.values():
            for word in range(region.words):
                for byte in range(region.word_bytes):
                    self.bytes[region.address(word, byte)] = rng.getrandbits(8)

    def _words(self, region: Region) -> Iterable[tuple[Any, int, int]]:
        """Yield simulator word, first byte address and bytes of everything in a region."""
        if region.name != "banks":
            memory = self.dut[region.name].memory.mem
            for word in range(region.words):
                yield memory[word], region.address(word), region.word_bytes
            return
        for row in range(CONFIG.rows):
            memory = self.dut[f"bank_{row}"].memory.mem
            for word in range(region.words):
                yield memory[word], MAP.bank_address(word, row, 0), CONFIG.columns

    def load(self) -> None:
        """Write the model's bytes to the memories by the back door."""
        for region in MAP.regions.values():
            for handle, address, size in self._words(region):
                handle.value = int.from_bytes(
                    bytes(self.bytes[address + i] for i in range(size)), "little")

    def compare(self) -> None:
        """Compare every memory with the model, by the back door."""
        for region in MAP.regions.values():
            for handle, address, size in self._words(region):
                got = handle.value.to_unsigned().to_bytes(size, "little")
                want = bytes(self.bytes[address + i] for i in range(size))
                assert got == want, (f"{region.name}: contents at {address:#010x}: "
                                     f"got {got.hex()}, want {want.hex()}")

    def response(self, address: int, write: bool, strobe: int = 15) -> int:
        """Return the AXI response of one access of 32 bits."""
        found = MAP.find(address)
        if found is None:
            return DECERR
        region, _, byte = found
        if self.busy and region.name != "tokens":
            return SLVERR
        if not write:
            return OKAY
        if not region.writable:
            return SLVERR
        size, first = region.granule_bytes, byte & ~3
        for granule in range(first, first + 4, size):
            inside = range(granule, min(granule + size, first + 4))
            if inside[0] >= region.word_bytes:
                break
            if len({strobe >> (b - first) & 1 for b in inside}) > 1:
                return SLVERR
        return OKAY

    def write(self, address: int, word: int, strobe: int) -> int:
        """Write 32 bits at a multiple of 4; return the response."""
        response = self.response(address, True, strobe)
        if response == OKAY:
            for lane in range(4):
                if strobe >> lane & 1 and address + lane in self.bytes:
                    self.bytes[address + lane] = word >> (8 * lane) & 255
        return response

    def read(self, address: int) -> tuple[int, int]:
        """Return response and 32 bits at a multiple of 4."""
        response = self.response(address, False)
        if response != OKAY:
            return response, 0
        return response, sum(self.bytes.get(address + lane, 0) << (8 * lane) for lane in range(4))


async def start(dut: Any) -> None:
    """Start the clock, quiet all inputs, and reset."""
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    bench = HostBench()
    bench._MustUse__used = True
    for path, member, _ in bench.signature.flatten(bench):
        if member.flow == In:
            dut[path[0]].value = 0
    dut.idle.value = 1
    dut.tokens_grant.value = 1
    dut.rst.value = 1
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


class RawChannel:
    """One AXI channel, driven signal by signal; a manager's side."""

    def __init__(self, dut: Any, prefix: str, channel: str, fields: Iterable[str]) -> None:
        self.edge = RisingEdge(dut.clk)
        self.name = f"{prefix}_{channel}"
        self.valid, self.ready = dut[f"{self.name}valid"], dut[f"{self.name}ready"]
        self.fields = {field: dut[f"{self.name}{field}"] for field in fields}

    async def send(self, gap: int = 0, **values: int) -> None:
        """Offer a transfer after ``gap`` cycles, until it is taken."""
        for _ in range(gap):
            await self.edge
        self.valid.value = 1
        for name, value in values.items():
            self.fields[name].value = value
        for _ in range(5000):
            await self.edge
            if self.ready.value:
                break
        else:
            raise AssertionError(f"{self.name}: not taken within 5000 cycles")
        self.valid.value = 0

    async def receive(self, gap: int = 0) -> dict[str, int]:
        """Accept a transfer ``gap`` cycles after its offer was seen; -1: ready before."""
        if gap >= 0:
            await self._offer()
        for _ in range(gap):
            await self.edge
        self.ready.value = 1
        await self._offer()
        values = {name: int(handle.value) for name, handle in self.fields.items()}
        self.ready.value = 0
        return values

    async def _offer(self) -> None:
        for _ in range(5000):
            await self.edge
            if self.valid.value:
                return
        raise AssertionError(f"{self.name}: nothing came within 5000 cycles")


async def watch(dut: Any, prefix: str, channel: str, fields: Iterable[str]) -> None:
    """Check for ever that an offer of the subordinate stays until it is taken."""
    edge = RisingEdge(dut.clk)
    valid, ready = dut[f"{prefix}_{channel}valid"], dut[f"{prefix}_{channel}ready"]
    handles = [dut[f"{prefix}_{channel}{field}"] for field in fields]
    offered: list[int] | None = None
    while True:
        await edge
        now = [int(h.value) for h in handles] if valid.value else None
        assert offered is None or now == offered, (
            f"{prefix}_{channel}: the offer changed before it was taken: got {now}, "
            f"want {offered}")
        offered = None if ready.value or dut.rst.value else now
