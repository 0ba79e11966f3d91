"""Drives a network interface cycle by cycle: a router, two hosts and a collective transport in Python."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from amaranth.lib.wiring import In
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from golden.packet import Flit, Packet, parse
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS, VIRTUAL_CHANNELS, TrafficClass
from hw.network.interface import ERRORS, NetworkInterface
from verif.simulator import CLOCK_PERIOD_NS

REQUEST, REPLY, COLLECTIVE = (kind.value for kind in TrafficClass)
CLASSES = len(TrafficClass)
NODE, OTHER = (2, 5), (3, 1)
#: Cycles from the look at ``out_room`` to the cycle before the flit's transfer.
GRANT_CYCLES = 1


class InterfaceDriver:
    """A network interface at NODE; every port is looked at in every cycle.

    ``arriving``: flits to bring, for each class; ``sent``: flits that came out, of each class;
    ``packets``: the same as packets; ``near``: answers an access of another host with data and error, and sees it;
    ``free_rate``: chance that a flit leaves the router's queue in a cycle.
    """

    def __init__(self, dut: Any, config: NetworkConfig, seed: int = 1) -> None:
        self.dut, self.config, self.rng = dut, config, Random(seed)
        self.edge = RisingEdge(dut.clk)
        self.arriving: list[deque[Flit]] = [deque() for _ in range(CLASSES)]
        self.flits: list[list[Flit]] = [[] for _ in range(CLASSES)]
        self.packets: list[list[Packet]] = [[] for _ in range(CLASSES)]
        self.order: list[int] = []
        self.collective_in: list[Flit] = []
        self.collective_out: deque[Flit] = deque()
        self.near: Callable[[bool, int, int, int], tuple[int, int]] = lambda *_: (0, 0)
        self.near_slow = 0
        self.free_rate = 1.0
        self.cycle = 0
        self._queued = [0] * CLASSES
        self._granted: deque[tuple[int, Flit] | None] = deque([None] * GRANT_CYCLES)
        self._answer: tuple[int, int, int] | None = None
        self._far: deque[tuple[int, int, int, int]] = deque()
        self.far_answers: list[tuple[int, int, int]] = []

    async def start(self) -> None:
        """Start the clock, quiet all inputs, and reset."""
        dut = self.dut
        Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
        ports = NetworkInterface(self.config, 0)
        for path, member, _ in ports.signature.flatten(ports):
            if member.flow == In:
                dut["__".join(map(str, path))].value = 0
        dut.node_x.value, dut.node_y.value = NODE
        dut.target_x.value, dut.target_y.value = OTHER
        dut.timeout.value = 500
        dut.far_response__ready.value = 1
        dut.rst.value = 1
        for _ in range(4):
            await self.edge
        dut.rst.value = 0
        await self.edge

    def flit(self, value: int) -> tuple[int, Flit]:
        """Take a flit's bits apart."""
        low = (CHANNELS - 1).bit_length()
        return value & (1 << low) - 1, Flit(
            head=bool(value >> low & 1), tail=bool(value >> low + 1 & 1), data=value >> low + 2)

    def bits(self, channel: int, flit: Flit) -> int:
        """Put a flit's bits together."""
        low = (CHANNELS - 1).bit_length()
        return channel | flit.head << low | flit.tail << low + 1 | flit.data << low + 2

    def bring(self, kind: int, *packets: Packet) -> None:
        """Let packets arrive in one class."""
        for packet in packets:
            self.arriving[kind] += packet.flits(self.config.flit_bytes)

    def access(self, write: bool, address: int, data: int = 0, strobe: int = 15) -> None:
        """Queue an access of this chip's host to the other chip."""
        self._far.append((int(write), address, data, strobe))

    def count(self, name: str) -> int:
        """Return an error counter."""
        assert name in ERRORS
        return self.dut[f"count_{name}"].value.to_unsigned()

    async def step(self, cycles: int = 1) -> None:
        """Let cycles pass."""
        for _ in range(cycles):
            await self.edge
            self.cycle += 1
            self._router_input()
            self._router_output()
            self._near()
            self._host()
            self._collective()

    def _router_input(self) -> None:
        dut, freed = self.dut, 0
        if dut.in_valid.value == 1:
            channel, flit = self.flit(dut.in_flit.value.to_unsigned())
            kind = channel // VIRTUAL_CHANNELS
            assert channel % VIRTUAL_CHANNELS == 0, f"cycle {self.cycle}: got channel {channel}"
            self._queued[kind] += 1
            assert self._queued[kind] <= min(8, self.config.queue_flits), \
                f"cycle {self.cycle}: class {kind}: a flit without a credit"
            self.order.append(kind)
            flits = self.flits[kind]
            assert flit.head == (not flits), f"cycle {self.cycle}: class {kind}: got {flit}"
            flits.append(flit)
            if flit.tail:
                packet, whole = parse(flits, self.config.flit_bytes)
                assert whole or kind == COLLECTIVE, f"cycle {self.cycle}: {packet} is not whole"
                self.packets[kind].append(packet)
                flits.clear()
        for kind in range(CLASSES):
            if self._queued[kind] and self.rng.random() < self.free_rate:
                self._queued[kind] -= 1
                freed |= 1 << VIRTUAL_CHANNELS * kind
        dut.in_freed.value = freed

    def _router_output(self) -> None:
        dut = self.dut
        assert dut.out_ready.value == 1
        room = dut.out_room.value.to_unsigned()
        assert room >> VIRTUAL_CHANNELS * REPLY & 1 and room >> VIRTUAL_CHANNELS * COLLECTIVE & 1
        able = [kind for kind in range(CLASSES)
                if self.arriving[kind] and room >> VIRTUAL_CHANNELS * kind & 1]
        chosen = self.rng.choice(able) if able else None
        self._granted.append(
            None if chosen is None else (chosen, self.arriving[chosen].popleft()))
        given = self._granted.popleft()
        dut.out_valid.value = int(given is not None)
        if given is not None:
            dut.out_flit.value = self.bits(VIRTUAL_CHANNELS * given[0], given[1])

    def _near(self) -> None:
        dut = self.dut
        if self._answer is not None:
            wait, data, error = self._answer
            if dut.near_response__valid.value == 1 and dut.near_response__ready.value == 1:
                self._answer = None
                dut.near_response__valid.value = 0
            elif wait > 0:
                self._answer = wait - 1, data, error
            else:
                dut.near_response__payload.value = data | error << 32
                dut.near_response__valid.value = 1
        if dut.near_request__valid.value == 1 and dut.near_request__ready.value == 1:
            assert self._answer is None, f"cycle {self.cycle}: a request before the last one's answer"
            value = dut.near_request__payload.value.to_unsigned()
            data, error = self.near(bool(value & 1), value >> 1 & 0xFFFF_FFFF,
                                    value >> 33 & 0xFFFF_FFFF, value >> 65)
            self._answer = self.rng.randrange(self.near_slow + 1), data, error
            dut.near_request__ready.value = 0
        else:
            dut.near_request__ready.value = int(self._answer is None)

    def _host(self) -> None:
        dut = self.dut
        if dut.far_response__valid.value == 1:
            value = dut.far_response__payload.value.to_unsigned()
            self.far_answers.append((self.cycle, value & 0xFFFF_FFFF, value >> 32))
        if dut.far_request__valid.value == 1 and dut.far_request__ready.value == 1:
            self._far.popleft()
        dut.far_request__valid.value = int(bool(self._far))
        if self._far:
            write, address, data, strobe = self._far[0]
            dut.far_request__payload.value = write | address << 1 | data << 33 | strobe << 65

    def _collective(self) -> None:
        dut = self.dut
        if dut.collective_receive_valid.value == 1:
            channel, flit = self.flit(dut.collective_receive_flit.value.to_unsigned())
            assert channel == VIRTUAL_CHANNELS * COLLECTIVE
            self.collective_in.append(flit)
        if dut.collective_send_valid.value == 1 and dut.collective_send_ready.value == 1:
            self.collective_out.popleft()
        dut.collective_send_valid.value = int(bool(self.collective_out))
        if self.collective_out:
            dut.collective_send_flit.value = self.bits(0, self.collective_out[0])
