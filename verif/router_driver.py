"""Drives one router's ports from Python: senders with credits, receivers with random room."""

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from golden import router as golden
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS, ROOM_FLITS, flit_layout
from hw.network.packet import header_layout
from hw.router.input_port import input_channels, input_flits
from hw.router.port import PORTS
from verif.simulator import CLOCK_PERIOD_NS

NAMES = [port.name.lower() for port in PORTS]


@dataclass(frozen=True)
class Flit:
    """A flit without its channel."""

    head: int
    tail: int
    data: int


@dataclass
class Packet:
    """A packet on its way: what is sent, and where it must come out."""

    source: int
    channel: int
    destination: tuple[int, int]
    flits: list[Flit]
    port: int = 0
    out_channel: int = 0


@dataclass
class Receiver:
    """One output: credits, and packets taken apart by channel."""

    credits: list[int]
    owed: deque[tuple[int, int]] = field(default_factory=deque)  # cycle and channel of a return
    partial: dict[int, list[Flit]] = field(default_factory=dict)
    flits: int = 0


class RouterDriver:
    """Sends packets, and notes what comes out in ``delivered`` (port, channel, flits, cycle)."""

    def __init__(self, dut: Any, config: NetworkConfig, rng: random.Random) -> None:
        self.dut, self.config, self.rng = dut, config, rng
        self.layout, self.edge = flit_layout(config), RisingEdge(dut.clk)
        self.pending: dict[tuple[int, int], deque[Flit]] = {
            (port.value, channel): deque() for port in PORTS for channel in input_channels(port)}
        self.credits = {(port, channel): input_flits(config, PORTS[port])
                        for port, channel in self.pending}
        self.receivers = [Receiver([config.queue_flits] * CHANNELS) for _ in PORTS]
        self.delivered: list[tuple[int, int, list[Flit], int]] = []
        self.cycle = 0
        self.sent_at: dict[Flit, int] = {}
        #: Chances in a cycle: that a sender sends, that a receiver is ready.
        self.send_rate, self.ready_rate = 1.0, 1.0
        #: Cycles that a receiver keeps a flit at most.
        self.keep = 0
        #: Inputs whose link is down: credits that come back mean nothing, and all are there when
        #: it is up again.
        self.down: set[int] = set()
        #: Outputs and channels that give no credit back.
        self.blocked: set[tuple[int, int]] = set()
        self.handles = {name: {part: dut[f"{name}_{part}"] for part in (
            "in_valid", "in_flit", "in_freed", "out_valid", "out_flit", "out_ready", "out_room")}
            for name in NAMES}

    async def start(self, network: golden.Network, node: tuple[int, int]) -> None:
        """Start the clock, reset, set the straps."""
        dut = self.dut
        Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
        dut.rst.value = 1
        straps = {"node_x": node[0], "node_y": node[1], "last_x": network.columns - 1,
                  "last_y": network.rows - 1, "wrap_x": int(network.wrap_x),
                  "wrap_y": int(network.wrap_y), "link_up": 15, "clear_errors": 0}
        for name, value in straps.items():
            dut[name].value = value
        for ports in self.handles.values():
            for part in ("in_valid", "in_flit"):
                ports[part].value = 0
            ports["out_ready"].value = 1
            ports["out_room"].value = (1 << CHANNELS) - 1
        for _ in range(3):
            await self.edge
        dut.rst.value = 0
        await self.edge

    def packet(self, source: int, channel: int, destination: tuple[int, int], length: int) -> Packet:
        """Return a packet with random contents."""
        bits = 8 * self.config.flit_bytes
        flits = []
        for i in range(length):
            word = self.rng.getrandbits(bits)
            if i == 0:
                low = header_layout().from_bits(word & (1 << 64) - 1)
                header = {name: getattr(low, name) for name in header_layout().members}
                header |= {"destination_x": destination[0], "destination_y": destination[1]}
                word = word >> 64 << 64 | header_layout().const(header).as_bits()
            flits.append(Flit(int(i == 0), int(i == length - 1), word))
        return Packet(source, channel, destination, flits)

    def send(self, packet: Packet) -> None:
        """Queue a packet at its sender."""
        self.pending[packet.source, packet.channel].extend(packet.flits)

    def _drive(self) -> None:
        for number, name in enumerate(NAMES):
            ports, rng = self.handles[name], self.rng
            able = [channel for (port, channel), flits in self.pending.items()
                    if port == number and flits and self.credits[port, channel]]
            if able and rng.random() < self.send_rate:
                channel = rng.choice(able)
                flit = self.pending[number, channel].popleft()
                self.credits[number, channel] -= 1
                self.sent_at[flit] = self.cycle
                ports["in_valid"].value = 1
                ports["in_flit"].value = self.layout.const({
                    "channel": channel, "head": flit.head, "tail": flit.tail, "data": flit.data,
                }).as_bits()
            else:
                ports["in_valid"].value = 0
            receiver = self.receivers[number]
            ports["out_ready"].value = int(rng.random() < self.ready_rate)
            ports["out_room"].value = sum(
                (credits >= ROOM_FLITS) << c for c, credits in enumerate(receiver.credits))

    def _sample(self) -> None:
        for number, name in enumerate(NAMES):
            ports, receiver = self.handles[name], self.receivers[number]
            freed = ports["in_freed"].value.to_unsigned()
            for channel in range(CHANNELS):
                if number in self.down:
                    self.credits[number, channel] = input_flits(self.config, PORTS[number])
                elif freed >> channel & 1:
                    self.credits[number, channel] += 1
                    assert self.credits[number, channel] <= input_flits(self.config, PORTS[number])
            still: deque[tuple[int, int]] = deque()
            for when, channel in receiver.owed:
                if when <= self.cycle and (number, channel) not in self.blocked:
                    receiver.credits[channel] += 1
                else:
                    still.append((when, channel))
            receiver.owed = still
            if ports["out_valid"].value == 1 and ports["out_ready"].value == 1:
                flit = self.layout.from_bits(ports["out_flit"].value.to_unsigned())
                self._take(number, flit.channel, Flit(flit.head, flit.tail, flit.data))

    def _take(self, number: int, channel: int, flit: Flit) -> None:
        receiver = self.receivers[number]
        receiver.credits[channel] -= 1
        receiver.flits += 1
        assert receiver.credits[channel] >= 0, f"{NAMES[number]}: channel {channel} has no credit"
        receiver.owed.append((self.cycle + self.rng.randint(0, self.keep), channel))
        got = receiver.partial.setdefault(channel, [])
        got.append(flit)
        if flit.tail:
            self.delivered.append((number, channel, receiver.partial.pop(channel), self.cycle))

    async def step(self, cycles: int = 1) -> None:
        """Let cycles pass: drive, clock edge, sample what the cycle had."""
        for _ in range(cycles):
            self._drive()
            await self.edge
            self._sample()
            self.cycle += 1

    async def drain(self, limit: int = 5000) -> None:
        """Let everything come out; fail if it does not."""
        quiet, last = 0, -1
        for _ in range(limit):
            await self.step()
            out = sum(receiver.flits for receiver in self.receivers)
            quiet = quiet + 1 if out == last and not any(self.pending.values()) else 0
            last = out
            if quiet > 40 + self.keep:
                return
        raise AssertionError(f"after {limit} cycles flits are left: "
                             f"{ {k: len(v) for k, v in self.pending.items() if v} }")


def check(driver: RouterDriver, packets: Iterable[Packet], network: golden.Network,
          node: tuple[int, int]) -> None:
    """Every packet came out once, whole, where golden says, in order by input and channel."""
    expected: dict[tuple[int, int, int, int], deque[Packet]] = {}
    where: dict[int, Packet] = {}
    for packet in packets:
        packet.port, vc = golden.step(
            network, node, packet.destination, packet.source, packet.channel & 1)
        packet.out_channel = packet.channel & ~1 | vc
        key = (packet.source, packet.channel, packet.port, packet.out_channel)
        expected.setdefault(key, deque()).append(packet)
        where[packet.flits[0].data] = packet
    for port, channel, flits, cycle in driver.delivered:
        at = f"cycle {cycle}, {NAMES[port]}, channel {channel}"
        known = where.get(flits[0].data)
        assert known is not None, f"{at}: a packet that nobody sent: {flits[0]}"
        assert (port, channel) == (known.port, known.out_channel), \
            f"{at}: want {NAMES[known.port]}, channel {known.out_channel} for {known.destination}"
        first = expected[known.source, known.channel, port, channel].popleft()
        assert first is known, f"{at}: out of order"
        assert flits == known.flits, f"{at}: got {flits}, want {known.flits}"
    left = {key: len(packets) for key, packets in expected.items() if packets}
    assert not left, f"lost (source, channel, port, channel): {left}"
    assert not any(receiver.partial for receiver in driver.receivers)
