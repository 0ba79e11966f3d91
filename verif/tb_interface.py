"""The network interface alone, against golden: accesses both ways, broken packets, timeouts, shares."""

import os
import random

import cocotb

from golden import packet as golden
from golden.packet import Flit, Packet
from hw.network.config import NetworkConfig
from verif.interface_driver import CLASSES, COLLECTIVE, NODE, OTHER, REPLY, REQUEST, InterfaceDriver

DOORBELL_ADDRESS = 0x208
TIMEOUT = 500


async def _started(dut, seed: int = 1) -> InterfaceDriver:
    config = NetworkConfig(flit_bytes=int(os.environ["TESSERA_FLIT_BYTES"]))
    driver = InterfaceDriver(dut, config, seed)
    await driver.start()
    return driver


def _counts(driver: InterfaceDriver, **want: int) -> None:
    for name in ("requests_refused", "requests_misdelivered", "replies_dropped", "reply_timeouts",
                 "stray_flits"):
        got = driver.count(name)
        assert got == want.get(name, 0), f"{name}: got {got}, want {want.get(name, 0)}"


async def _sent(driver: InterfaceDriver, kind: int, number: int) -> list[Packet]:
    for _ in range(4000):
        if len(driver.packets[kind]) >= number:
            return driver.packets[kind]
        await driver.step()
    raise AssertionError(f"class {kind}: {len(driver.packets[kind])} packets, want {number}")


async def _answered(driver: InterfaceDriver, number: int) -> tuple[int, int, int]:
    for _ in range(4000):
        if len(driver.far_answers) >= number:
            return driver.far_answers[number - 1]
        await driver.step()
    raise AssertionError(f"{len(driver.far_answers)} responses, want {number}")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def far_accesses(dut) -> None:
    """Reach registers, memories and doorbells of another chip: each packet, each response."""
    driver = await _started(dut)
    rng, tags = driver.rng, []
    driver.free_rate = 0.5
    for number in range(120):
        write = rng.random() < 0.6
        space = rng.choice(["register", "memory", "doorbell"]) if write else rng.choice(
            ["register", "memory"])
        data, strobe = rng.getrandbits(32), rng.randrange(16)
        address = {"register": rng.randrange(0x800), "doorbell": DOORBELL_ADDRESS,
                   "memory": rng.randrange(1 << 24, 1 << 32)}[space]
        driver.access(write, address | (0x800 if space == "register" else 0), data, strobe)
        packet = (await _sent(driver, REQUEST, number + 1))[-1]
        kind = golden.DOORBELL if space == "doorbell" else golden.WRITE if write else golden.READ
        payload = (data, strobe)[:golden.WORDS[kind]]
        want = Packet(destination=OTHER, source=NODE, kind=kind, tag=packet.tag, address=address,
                      payload=payload, words=len(payload))
        assert packet == want, f"access {number}: got {packet}, want {want}"
        tags.append(packet.tag)
        await driver.step(rng.choice([0, 1, 2, 20]))
        error, value = rng.choice([0, 0, 1, 2]), rng.getrandbits(32)
        driver.bring(REPLY, golden.reply(packet, OTHER, error, value))
        got = (await _answered(driver, number + 1))[1:]
        shown = (0 if write or error else value, error)
        assert got == shown, f"access {number}: got {got}, want {shown}"
    assert tags == [i % 256 for i in range(tags[0], tags[0] + len(tags))]
    _counts(driver)


def _request(rng: random.Random) -> Packet:
    kind = rng.choice([golden.READ, golden.WRITE, golden.DOORBELL])
    payload = (rng.getrandbits(32), rng.randrange(16))[:golden.WORDS[kind]]
    return Packet(destination=NODE, source=(rng.randrange(8), rng.randrange(8)), kind=kind,
                  tag=rng.randrange(256), address=rng.getrandbits(32), payload=payload)


def _broken(rng: random.Random, flit_bytes: int) -> list[Flit]:
    """Return a request that must not be carried out."""
    good = _request(rng)
    if rng.random() < 0.5:  # makes packets of several flits, for flits of any size
        good = Packet(**{**good.__dict__, "payload": tuple(rng.getrandbits(32) for _ in range(40))})
    flits = good.flits(flit_bytes)
    way = rng.choice(["kind", "words", "early", "late", "aborted", "place"])
    if way == "kind":
        return Packet(**{**good.__dict__, "kind": rng.choice([3, 4, 5, 6, 7, 8, 9, 15])}).flits(flit_bytes)
    if way == "words":
        words = rng.choice([w for w in (0, 1, 2, 3, 6, 7, 255) if w != golden.WORDS[good.kind]])
        return Packet(**{**good.__dict__, "words": words}).flits(flit_bytes)
    if way == "place":
        place = rng.choice([(2, 4), (0, 5), (7, 7)])
        return Packet(**{**good.__dict__, "destination": place}).flits(flit_bytes)
    if way == "late" or len(flits) == 1:
        flits[-1] = Flit(head=flits[-1].head, tail=False, data=flits[-1].data)
        extra = rng.randrange(4)
        return [*flits, *(Flit(head=False, tail=i == extra, data=rng.getrandbits(8 * flit_bytes))
                          for i in range(extra + 1))]
    flits = flits[:rng.randrange(1, len(flits))]
    if way == "early":
        flits[-1] = Flit(head=flits[-1].head, tail=True, data=flits[-1].data)
        return flits
    flits[-1] = Flit(head=flits[-1].head, tail=False, data=flits[-1].data)
    return [*flits, Flit(head=True, tail=True, data=rng.getrandbits(8 * flit_bytes))]


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(slow=[0, 12], broken=[0.0, 0.5])
async def near_accesses(dut, slow: int, broken: float) -> None:
    """Answer requests of other hosts, whole and broken, as golden does; none is lost."""
    driver = await _started(dut, 3)
    rng, flit_bytes = driver.rng, driver.config.flit_bytes
    driver.near_slow, driver.free_rate = slow, 0.4
    accesses: list[tuple] = []

    def near(write: bool, address: int, data: int, strobe: int) -> tuple[int, int]:
        accesses.append((write, address, data if write else 0, strobe if write else 0))
        error = address % 3 if address % 5 == 0 else 0
        return 0 if write or error else address ^ 0x5A5A5A5A, error

    driver.near = near
    want_replies, want_accesses, counts = [], [], {"requests_refused": 0, "requests_misdelivered": 0}
    for _ in range(200):
        flits = _broken(rng, flit_bytes) if rng.random() < broken else _request(rng).flits(flit_bytes)
        driver.arriving[REQUEST] += flits
        packet, whole = golden.parse(flits, flit_bytes)
        error, value = golden.judge(packet, whole, NODE), 0
        if error == golden.NONE:
            rings = packet.kind == golden.DOORBELL
            write, address = packet.kind != golden.READ, DOORBELL_ADDRESS if rings else packet.address
            want_accesses.append((write, address, packet.payload[0] if write else 0,
                                  15 if rings else packet.payload[1] if write else 0))
            error = address % 3 if address % 5 == 0 else 0
            value = address ^ 0x5A5A5A5A
        else:
            counts["requests_misdelivered" if error == golden.NO_ADDRESS else "requests_refused"] += 1
        answer = golden.reply(packet, NODE, error, value)
        want_replies.append(Packet(**{**answer.__dict__, "words": len(answer.payload)}))
    got_replies = await _sent(driver, REPLY, len(want_replies))
    await driver.step(50)
    for i, (got, want) in enumerate(zip(got_replies, want_replies, strict=True)):
        assert got == want, f"request {i}: got {got}, want {want}"
    for i, (got, want) in enumerate(zip(accesses, want_accesses, strict=True)):
        assert got == want, f"access {i}: got {got}, want {want}"
    _counts(driver, **counts)
    assert bool(broken) == all(counts.values())


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def replies_that_do_not_fit(dut) -> None:
    """Drop replies that are late, twice, broken, of a wrong tag, kind or place; the right one counts."""
    driver = await _started(dut)
    flit_bytes = driver.config.flit_bytes
    driver.bring(REPLY, Packet(destination=NODE, source=OTHER, kind=golden.READ_REPLY, payload=(1,)))
    await driver.step(20)
    _counts(driver, replies_dropped=1)
    # No reply: the access ends in bounded time, and the late reply does not answer the next one.
    driver.access(False, 0x844)
    request = (await _sent(driver, REQUEST, 1))[0]
    begun = driver.cycle
    at, value, error = await _answered(driver, 1)
    assert (value, error) == (0, golden.REFUSED) and TIMEOUT <= at - begun + 5 <= TIMEOUT + 10, at - begun
    driver.access(False, 0x848)
    second = (await _sent(driver, REQUEST, 2))[1]
    driver.bring(REPLY, golden.reply(request, OTHER, 0, 7))
    right = golden.reply(second, OTHER, 0, 8)
    fields = right.__dict__
    bad = [Packet(**{**fields, **change}) for change in (
        {"kind": golden.WRITE_REPLY, "payload": ()}, {"kind": golden.WRITE},
        {"kind": 15}, {"destination": (2, 4)}, {"destination": (1, 5)}, {"payload": (3, 4)},
        {"kind": golden.WRITE_REPLY}, {"tag": second.tag ^ 128, "payload": (9,)})]
    driver.bring(REPLY, *bad)
    first = right.flits(flit_bytes)[0]
    driver.arriving[REPLY] += [Flit(head=True, tail=False, data=first.data),
                               Flit(head=True, tail=True, data=0)]
    driver.arriving[REPLY].append(Flit(head=False, tail=True, data=right.header()))
    driver.bring(REPLY, right, right)
    assert (await _answered(driver, 2))[1:] == (8, 0)
    await driver.step(30)
    assert len(driver.far_answers) == 2
    _counts(driver, replies_dropped=len(bad) + 4, reply_timeouts=1, stray_flits=1)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def network_that_takes_nothing(dut) -> None:
    """With no credits accesses end all the same, and replies come in; later everything goes."""
    driver = await _started(dut)
    driver.free_rate = 0.0
    driver.access(False, 0x844)
    flits_each = len(Packet(destination=OTHER, source=NODE, kind=0).flits(driver.config.flit_bytes))
    number = 8 // flits_each + 3
    for i in range(1, number):
        driver.access(False, 0x844 + 4 * i)
    at = driver.cycle
    for i in range(number):
        got = await _next_answer(driver, i + 1)
        assert got[1:] == (0, golden.REFUSED) and got[0] - at <= TIMEOUT + 20, f"access {i}: {got}"
        at = got[0]
    driver.free_rate = 1.0
    await driver.step(50)
    driver.access(True, 0x0200_0000, 5)
    packet = (await _sent(driver, REQUEST, 10))[-1]
    assert packet.address == 0x0200_0000
    driver.bring(REPLY, golden.reply(packet, OTHER, 0))
    assert (await _answered(driver, number + 1))[1:] == (0, 0)
    _counts(driver, reply_timeouts=number)


async def _next_answer(driver: InterfaceDriver, number: int) -> tuple[int, int, int]:
    await driver.step(1)
    return await _answered(driver, number)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def classes_share_the_way_out(dut) -> None:
    """Send collectives at full rate: requests and replies get their share; what came in is all there."""
    driver = await _started(dut)
    rng, width = driver.rng, 8 * driver.config.flit_bytes
    out = [Flit(head=i % 4 == 0, tail=i % 4 == 3, data=rng.getrandbits(width)) for i in range(1200)]
    coming = [Flit(head=i % 4 == 0, tail=i % 4 == 3, data=rng.getrandbits(width)) for i in range(400)]
    driver.collective_out.extend(out)
    driver.arriving[COLLECTIVE].extend(coming)
    begun = driver.cycle
    for _ in range(40):
        driver.bring(REQUEST, _request(rng))
    for i in range(20):
        driver.access(False, 0x01000000 + 4 * i)
        packet = (await _sent(driver, REQUEST, i + 1))[-1]
        driver.bring(REPLY, golden.reply(packet, OTHER, 0, i))
        at = driver.cycle
        assert (await _answered(driver, i + 1))[1:] == (i, 0)
        assert driver.cycle - at < 40
    await _sent(driver, REPLY, 40)
    assert driver.collective_out, "the collective flits ended before the others"
    cycles = driver.cycle - begun
    assert len(driver.order) >= cycles - 12, f"{len(driver.order)} flits in {cycles} cycles"
    for kind in range(CLASSES):
        assert kind in driver.order
    while driver.collective_out:
        await driver.step()
    await driver.step(10)
    assert driver.collective_in == coming
    _counts(driver)
