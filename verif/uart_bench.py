"""Bench of the serial line: a UartBridge before the host port and its memories, and line drivers."""

import random
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time

from hw.host.host_bridge import core_members
from hw.host.uart_bridge import UartBridge, manager_members
from verif.host_bench import CONFIG, HostBench
from verif.simulator import CLOCK_PERIOD_NS
from verif.uart_model import Reply, parse_reply, reply_length

#: Silence that ends an unfinished request, in bit times; short, so that tests are.
TIMEOUT_BITS = 64


class UartBench(wiring.Component):
    """The bridge and :class:`HostBench`; the ports to the core are the bench's own."""

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__({"rx": In(1), "tx": Out(1), "irq": Out(1), "tokens_grant": In(1),
                          **core_members(CONFIG)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bridge = bridge = UartBridge(
            divisor=self.divisor, timeout_bits=TIMEOUT_BITS)
        m.submodules.host = host = HostBench()
        for name, member in manager_members().items():
            source, target = (bridge, host) if member.flow == Out else (host, bridge)
            m.d.comb += getattr(target, name).eq(getattr(source, name))
        for name, member in {"irq": Out(1), "tokens_grant": In(1), **core_members(CONFIG)}.items():
            source, target = (self, host) if member.flow == In else (host, self)
            m.d.comb += getattr(target, name).eq(getattr(source, name))
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        return m


class Line:
    """The host's end of the line: sends bytes, gathers what comes."""

    def __init__(self, dut: Any, divisor: int, rng: random.Random) -> None:
        self.dut, self.rng = dut, rng
        self.bit_ps = divisor * CLOCK_PERIOD_NS * 1000
        self.received: Queue[int] = Queue()

    async def start(self) -> None:
        """Start the clock and reset."""
        dut = self.dut
        Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
        for name, member in core_members(CONFIG).items():
            if member.flow == In:
                dut[name].value = 0
        dut.idle.value = dut.tokens_grant.value = dut.rx.value = 1
        await self.reset()

    async def reset(self) -> None:
        """Reset the chip."""
        self.dut.rst.value = 1
        for _ in range(4):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def bits(self, count: float) -> None:
        """Wait."""
        await Timer(max(1, round(count * self.bit_ps)), unit="ps")

    async def send(self, data: bytes, *, rate: float = 1.0, stop: int = 1) -> None:
        """Send bytes without gaps; ``rate`` is that of the sender over that of the chip.

        ``stop`` is the level of the last byte's stop bit.
        """
        period = round(self.bit_ps / rate)
        for i, byte in enumerate(data):
            last = stop if i == len(data) - 1 else 1
            for level in (0, *(byte >> n & 1 for n in range(8)), last):
                self.dut.rx.value = level
                await Timer(period, unit="ps")
        self.dut.rx.value = 1

    async def listen(self) -> None:
        """Gather bytes for ever; each bit must keep its level from edge to edge."""
        tx, fall = self.dut.tx, FallingEdge(self.dut.tx)
        while True:
            await fall
            begun, levels = get_sim_time("ps"), []
            for number in range(10):
                for part in (0.1, 0.5, 0.9):
                    await Timer(round(begun + (number + part) * self.bit_ps) - get_sim_time("ps"),
                                unit="ps")
                    levels.append(int(tx.value))
            assert levels[0::3] == levels[1::3] == levels[2::3], f"bits change inside: {levels}"
            assert levels[1] == 0 and levels[-2] == 1, f"start and stop bit: {levels}"
            self.received.put_nowait(sum(level << i for i, level in enumerate(levels[4:-3:3])))

    async def byte(self, patience_bits: int = 2000) -> int:
        """Return the next byte."""
        return await with_timeout(self.received.get(), patience_bits * self.bit_ps, "ps")

    async def reply(self) -> Reply:
        """Return the next reply."""
        frame = bytes([await self.byte() for _ in range(4)])
        while len(frame) < reply_length(frame):
            frame += bytes([await self.byte()])
        return parse_reply(frame)

    async def ask(self, request: bytes, **line: Any) -> Reply:
        """Send a request and return its reply, which must be all that comes."""
        await self.send(request, **line)
        reply = await self.reply()
        assert self.received.empty(), "more came than the reply"
        return reply

    async def nothing_comes(self, bits: int) -> None:
        """Wait, and demand that the chip says nothing."""
        await self.bits(bits)
        assert self.received.empty(), f"got {self.received.get_nowait():#x}, want nothing"
