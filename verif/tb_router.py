"""One router: random packets through all ports, latency, throughput, links that fail."""

import os
import random

import cocotb

from golden import router as golden
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS
from hw.router.input_port import input_channels
from hw.router.port import PORTS
from hw.router.router import Router
from verif.router_driver import RouterDriver, check

LOCAL, NORTH, EAST, SOUTH, WEST = range(5)
TORUS = golden.Network(columns=4, rows=4, wrap_x=True, wrap_y=True)


def _config() -> NetworkConfig:
    return NetworkConfig(flit_bytes=int(os.environ["TESSERA_FLIT_BYTES"]),
                         queue_flits=int(os.environ["TESSERA_QUEUE_FLITS"]))


async def _started(dut, network=TORUS, node=(1, 1), seed=1) -> RouterDriver:
    driver = RouterDriver(dut, _config(), random.Random(seed))
    await driver.start(network, node)
    return driver


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize((
    ("columns", "rows", "wrap", "node", "send", "ready", "keep"),
    [(4, 4, True, (1, 1), 1.0, 1.0, 0), (8, 8, True, (7, 3), 1.0, 0.7, 20),
     (5, 3, True, (0, 2), 0.5, 1.0, 60), (8, 8, False, (4, 0), 1.0, 0.9, 8),
     (1, 4, True, (0, 3), 0.9, 0.9, 4), (2, 2, True, (1, 0), 1.0, 0.5, 30)]))
async def random_packets(dut, columns, rows, wrap, node, send, ready, keep) -> None:
    """Packets of all classes, sizes, inputs and destinations, also outside the network."""
    network = golden.Network(columns=columns, rows=rows, wrap_x=wrap, wrap_y=wrap)
    driver = await _started(dut, network, node)
    driver.send_rate, driver.ready_rate, driver.keep = send, ready, keep
    rng, packets = driver.rng, []
    for _ in range(600):
        port = rng.choice(PORTS)
        destination = (rng.randrange(columns), rng.randrange(rows))
        if rng.random() < 0.1:
            destination = (rng.randrange(8), rng.randrange(8))
        packets.append(driver.packet(port.value, rng.choice(input_channels(port)), destination,
                                     rng.choice([1, 1, 2, 3, 4, 5, 9, 20])))
        driver.send(packets[-1])
    await driver.drain(40_000)
    check(driver, packets, network, node)
    assert len(driver.delivered) == len(packets)
    for port, receiver in zip(PORTS, driver.receivers, strict=True):
        assert dut[f"{port.name.lower()}_flits_out"].value.to_unsigned() == receiver.flits
    assert dut.flits_discarded.value == 0
    if keep > 20:
        assert dut.local_cycles_blocked.value.to_unsigned() > 100


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def latency(dut) -> None:
    """From every input to every output that it has, in an empty router."""
    network = golden.Network(columns=8, rows=8, wrap_x=False, wrap_y=False)
    driver = await _started(dut, network, (4, 4))
    ways = {LOCAL: (4, 4), NORTH: (4, 0), EAST: (7, 4), SOUTH: (4, 7), WEST: (0, 4)}
    seen = 0
    for port in PORTS:
        for target, destination in ways.items():
            for channel in input_channels(port):
                packet = driver.packet(port.value, channel, destination, 2)
                if golden.step(network, (4, 4), destination, port.value, 0)[0] != target:
                    continue
                driver.delivered.clear()
                driver.send(packet)
                await driver.step(10)
                (delivered,) = driver.delivered
                for i, flit in enumerate(packet.flits):
                    took = delivered[3] - 1 + i - driver.sent_at[flit]
                    assert took == Router.LATENCY, \
                        f"{port.name} to {target}, flit {i}: {took}, want {Router.LATENCY}"
                seen += 1
    assert Router.LATENCY <= 3 and seen > 80


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(length=[1, 4, 100])
async def one_channel_at_full_rate(dut, length) -> None:
    """One channel alone, and a channel on each input at the same time, move a flit every cycle."""
    network = golden.Network(columns=8, rows=8, wrap_x=False, wrap_y=False)
    for pairs in ([(WEST, (7, 4))], [(LOCAL, (4, 4)), (NORTH, (4, 7)), (EAST, (0, 4)),
                                     (SOUTH, (4, 0)), (WEST, (7, 4))]):
        driver = await _started(dut, network, (4, 4))
        for _ in range(400 // length):
            for port, destination in pairs:
                driver.send(driver.packet(port, 2, destination, length))
        begun = driver.cycle
        await driver.drain()
        took = max(cycle for *_, cycle in driver.delivered) + 1 - begun
        # A credit comes back ROUND_TRIP cycles after the flit came: small queues wait for it.
        slack = 400 if driver.config.queue_flits < 8 else 10
        assert took <= 400 + Router.LATENCY + slack, f"{len(pairs)} inputs: {took} cycles"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def inputs_share_an_output(dut) -> None:
    """Four inputs that want one output get the same share, and so do channels of one input."""
    network = golden.Network(columns=8, rows=8, wrap_x=False, wrap_y=False)
    driver = await _started(dut, network, (4, 4))
    sources = [(NORTH, 0), (EAST, 0), (EAST, 2), (EAST, 4), (SOUTH, 0), (WEST, 0)]
    names = {}
    for source, channel in sources:
        for _ in range(200):
            packet = driver.packet(source, channel, (4, 4), 4)
            names[packet.flits[0].data] = source, channel
            driver.send(packet)
    await driver.step(1500)
    counts = dict.fromkeys(sources, 0)
    for _, _, flits, _ in driver.delivered:
        counts[names[flits[0].data]] += 1
    assert sum(counts.values()) > 300, counts
    # Four inputs compete for channel 0; those of classes 1 and 2 have a channel of their own.
    line = [counts[port, 0] for port in (NORTH, EAST, SOUTH, WEST)]
    assert max(line) - min(line) <= 2, counts
    assert min(counts[EAST, 2], counts[EAST, 4]) >= max(line), counts


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(blocked=[0, 1, 2])
async def blocked_class(dut, blocked) -> None:
    """Other classes go on when the network interface takes one class in no more."""
    driver = await _started(dut)
    driver.blocked = {(LOCAL, 2 * blocked), (LOCAL, 2 * blocked + 1)}
    packets = {c: [] for c in range(3)}
    for _ in range(60):
        for port in (NORTH, EAST, SOUTH, WEST):
            for c in range(3):
                packets[c].append(driver.packet(port, 2 * c + driver.rng.randrange(2), (1, 1), 4))
                driver.send(packets[c][-1])
    await driver.step(4500)
    others = [p for c in range(3) if c != blocked for p in packets[c]]
    done = {flits[0].data for _, _, flits, _ in driver.delivered}
    left = [p for p in others if p.flits[0].data not in done]
    assert not left, f"{len(left)} packets of other classes did not come"
    assert not all(p.flits[0].data in done for p in packets[blocked])
    driver.blocked.clear()
    await driver.drain()
    check(driver, [p for c in range(3) for p in packets[c]], TORUS, (1, 1))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def dead_link(dut) -> None:
    """Packets whose link is not up go to the network interface, and are reported."""
    driver = await _started(dut)
    dut.link_up.value = 0b1101  # no EAST
    packet = driver.packet(WEST, 2, (2, 3), 4)
    other = driver.packet(LOCAL, 0, (1, 2), 4)
    for p in (packet, other):
        driver.send(p)
    await driver.drain()
    assert sorted((port, flits[0].data) for port, _, flits, _ in driver.delivered) == sorted(
        [(LOCAL, packet.flits[0].data), (SOUTH, other.flits[0].data)])
    assert dut.undeliverable.value == 1
    assert (dut.undeliverable_x.value, dut.undeliverable_y.value) == (2, 3)
    dut.clear_errors.value = 1
    await driver.step()
    dut.clear_errors.value = 0
    await driver.step(2)
    assert dut.undeliverable.value == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def link_fails_before_the_tail(dut) -> None:
    """Of a packet that a failing link tears, the rest is thrown away, and the channels are free."""
    for seed, cut in enumerate(range(1, 30)):
        driver = await _started(dut, seed=seed)
        driver.send_rate = 0.6
        before = dut.flits_discarded.value.to_unsigned()
        torn = [driver.packet(WEST, 0, (2, 1), 9), driver.packet(LOCAL, 0, (2, 1), 9)]
        passing = [driver.packet(NORTH, c, (1, 3), 5) for c in range(CHANNELS)]
        for p in torn + passing:
            driver.send(p)
        await driver.step(cut)
        dut.link_up.value = 0b1101
        await driver.step(4)
        if seed % 2:  # up again before all of it has come
            dut.link_up.value = 0b1111
            driver.receivers[EAST].partial.clear()
            await driver.drain()
        else:
            await driver.drain()
            dut.link_up.value = 0b1111
        driver.receivers[EAST].partial.clear()
        driver.receivers[EAST].credits = [driver.config.queue_flits] * CHANNELS
        driver.receivers[EAST].owed.clear()
        # The others were not touched; and the channel is free for the next packet.
        done = {flits[0].data for port, _, flits, _ in driver.delivered if port == SOUTH}
        assert done == {p.flits[0].data for p in passing}, f"cut at {cut}"
        after = driver.packet(WEST, 0, (2, 1), 3)
        driver.send(after)
        await driver.drain()
        port, _, flits, _ = driver.delivered[-1]
        assert (port, flits) == (EAST, after.flits), f"cut at {cut}: the next packet"
        came = sum(len(flits) for port, _, flits, _ in driver.delivered if port in (EAST, LOCAL))
        assert came <= 21 and dut.flits_discarded.value.to_unsigned() + came >= before + 3
        assert all(driver.credits[port, 0] in (8, driver.config.queue_flits)
                   for port in (WEST, LOCAL)) or driver.config.queue_flits < 8, "credits are lost"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sender_fails_before_the_tail(dut) -> None:
    """Packets whose tail cannot come any more are ended by a flit that is head and tail."""
    for sent in (1, 2, 5):
        driver = await _started(dut)
        packet = driver.packet(WEST, 2, (1, 1), 8)
        packet.flits = packet.flits[:sent]
        driver.send(packet)
        driver.blocked = {(LOCAL, 2)} if sent == 5 else set()
        await driver.step(sent + 2)
        assert dut.west_in_idle.value == 0
        dut.link_up.value = 0b0111  # no WEST
        driver.down = {WEST}
        await driver.step(30)
        driver.blocked = set()
        await driver.step(30)
        port, channel, flits, _ = driver.delivered[-1]
        assert (port, channel) == (LOCAL, 2)
        assert flits[:-1] == packet.flits and (flits[-1].head, flits[-1].tail) == (1, 1)
        assert dut.west_in_idle.value == 1
        # The mark passes a router as part of its packet.
        dut.link_up.value = 15
        driver.down = set()
        for flit in (*packet.flits, flits[-1]):
            driver.pending[WEST, 4].append(flit)
        await driver.step(30)
        port, channel, passed, _ = driver.delivered[-1]
        assert (port, channel) == (LOCAL, 4) and passed == flits
