"""Requests over the serial line, right and wrong, against the model of the frames and memories."""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge, Timer

from hw.host.registers import OFFSETS, REGISTERS, Access
from verif.host_bench import CONFIG, MAP, MemoryModel
from verif.simulator import CLOCK_PERIOD_NS
from verif.uart_bench import TIMEOUT_BITS, Line
from verif.uart_model import (
    BAD_CHECKSUM,
    BAD_FRAME,
    DECERR,
    OK,
    OVERRUN,
    SLVERR,
    TRUNCATED,
    Reply,
    request,
)

DIVISOR = int(os.environ.get("TESSERA_DIVISOR", "8"))
BANKS, TOKENS, RESULTS = (MAP.regions[name].base for name in ("banks", "tokens", "results"))


class Bench:
    """A running bench: line, memories, and what the next request's number is."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.rng = random.Random(cocotb.RANDOM_SEED)
        self.line = Line(dut, DIVISOR, self.rng)
        self.memories = MemoryModel(dut.host, self.rng)
        self.sequence = self.rng.randrange(256)

    async def start(self) -> "Bench":
        await self.line.start()
        self.memories.load()
        self.listener = cocotb.start_soon(self.line.listen())
        await self.line.bits(3)
        return self

    async def reset(self) -> None:
        """Reset the chip, which may cut a byte that it sends."""
        self.listener.cancel()
        await self.line.reset()
        await self.line.bits(20)
        while not self.line.received.empty():
            self.line.received.get_nowait()
        self.listener = cocotb.start_soon(self.line.listen())

    def next(self) -> int:
        self.sequence = (self.sequence + 1) & 255
        return self.sequence

    async def read(self, address: int, words: int = 1, *, window: bool = True, **line) -> Reply:
        number = self.next()
        reply = await self.line.ask(request(number, address, window=window, words=words), **line)
        assert reply.sequence == number
        return reply

    async def write(self, address: int, data: list[int], *, window: bool = True) -> Reply:
        number = self.next()
        reply = await self.line.ask(request(number, address, window=window, data=data))
        assert reply.sequence == number and reply.data is None
        return reply

    async def works(self) -> None:
        """Demand that the next request is answered as if nothing had happened."""
        reply = await self.read(BANKS, 2)
        want = tuple(self.memories.read(BANKS + 4 * i)[1] for i in range(2))
        assert reply == Reply(OK, self.sequence, 2, want), reply

    def random_words(self, count: int) -> list[int]:
        return [self.rng.getrandbits(32) for _ in range(count)]


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def registers(dut) -> None:
    """Every register, alone and in bursts: constants, read-only, written, addresses of none."""
    bench = await Bench(dut).start()
    constants = [r for r in REGISTERS.values() if r.access is Access.CONSTANT]
    values = [sum(f.value(CONFIG) << f.low for f in r.fields) for r in constants]
    assert [r.offset for r in constants] == list(range(0, 4 * len(constants), 4))
    for register, value in zip(constants, values, strict=True):
        reply = await bench.read(register.offset, window=False)
        assert reply == Reply(OK, bench.sequence, 1, (value,)), register.name
    reply = await bench.read(0, len(constants), window=False)
    assert reply == Reply(OK, bench.sequence, len(constants), tuple(values))

    written = [r for r in REGISTERS.values()
               if OFFSETS["PROMPT_LENGTH"] <= r.offset <= OFFSETS["EPSILON"]]
    data = bench.random_words(len(written))
    reply = await bench.write(written[0].offset, data, window=False)
    assert reply == Reply(OK, bench.sequence, len(written), None)
    want = tuple(word & sum(f.mask for f in r.fields)
                 for word, r in zip(data, written, strict=True))
    reply = await bench.read(written[0].offset, len(written), window=False)
    assert reply == Reply(OK, bench.sequence, len(written), want)

    # A burst ends at its first error; what came before is done and said.
    reply = await bench.write(OFFSETS["OPTIONS"], [1, 2, 3], window=False)
    assert reply == Reply(SLVERR, bench.sequence, 1, None)
    assert (await bench.read(OFFSETS["OPTIONS"], window=False)).data == (1,)
    reply = await bench.read(OFFSETS["HOST_ERRORS"], 3, window=False)
    assert reply.status == DECERR and reply.count == 1
    assert reply.data[0] & 0xFFFF == 1  # the write; the read beyond it came later
    for address in (0xFFC, 0x1000, 0x4000_0000, OFFSETS["EPSILON"] + 2, OFFSETS["EPSILON"] + 1):
        assert await bench.read(address, window=False) == Reply(DECERR, bench.sequence, 0, ())
        assert await bench.write(address, [5], window=False) == Reply(DECERR, bench.sequence, 0, None)
    assert (await bench.read(OFFSETS["EPSILON"], window=False)).data == (want[-1],)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def both_ports(dut) -> None:
    """Both ports in turn: neither is left with half an access of the other."""
    bench = await Bench(dut).start()
    for i in range(4):
        seed, word = bench.random_words(2)
        assert (await bench.write(TOKENS + 4 * i, [word])).status == OK
        assert (await bench.write(OFFSETS["SEED"], [seed], window=False)).status == OK
        assert (await bench.read(TOKENS + 4 * i)).data == (word,)
        assert (await bench.read(OFFSETS["SEED"], window=False)).data == (seed,)
        bench.memories.write(TOKENS + 4 * i, word, 15)
    bench.memories.compare()
    reply = await bench.read(OFFSETS["HOST_ERRORS"], window=False)
    assert reply.data == (0,)


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def window(dut) -> None:
    """Bursts of any length anywhere, against the memories' model and by the back door."""
    bench = await Bench(dut).start()
    rng, model = bench.rng, bench.memories
    regions = list(MAP.regions.values())
    ended = set()
    for round_ in range(90):
        region = rng.choice(regions)
        count = rng.choice((1, 1, 2, 5, 17, 63, 64))
        span = region.words * region.stride
        address = region.base + 4 * rng.randrange(span // 4)
        if rng.random() < 0.4:  # across the end, or behind it
            address = region.base + span + 4 * rng.randrange(-8, 3)
        dut.tokens_grant.value = 1
        model.busy = round_ % 7 == 3
        dut.idle.value = not model.busy
        if rng.random() < 0.5:
            data = bench.random_words(count)
            reply = await bench.write(address, data)
            status, done = OK, 0
            for word in data:
                status = model.write(address + 4 * done, word, 15)
                if status:
                    break
                done += 1
            want = Reply(status, bench.sequence, done, None)
        else:
            reply = await bench.read(address, count)
            status, words = OK, []
            for i in range(count):
                status, word = model.read(address + 4 * i)
                if status:
                    break
                words.append(word)
            want = Reply(status, bench.sequence, len(words), tuple(words))
        assert reply == want, f"{region.name} at {address:#x}, {count} words: {reply}, want {want}"
        ended.add((status, want.data is None, want.count > 0))
    model.compare()
    assert {status for status, *_ in ended} == {OK, SLVERR, DECERR} and len(ended) >= 6, ended


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def waiting(dut) -> None:
    """Late grants of a memory: the answer waits, and the data stay until they are taken."""
    bench = await Bench(dut).start()
    for delay in (0, 1, 7, 300):
        dut.tokens_grant.value = 0
        data = bench.random_words(1)
        number = bench.next()
        await bench.line.send(request(number, TOKENS + 8, window=True, data=data))
        await Timer(40 * CLOCK_PERIOD_NS, unit="ns")
        await bench.line.nothing_comes(delay)
        dut.tokens_grant.value = 1
        assert await bench.line.reply() == Reply(OK, number, 1, None)
        bench.memories.write(TOKENS + 8, data[0], 15)
        reply = await bench.read(TOKENS + 8)
        assert reply.data == tuple(data)
    bench.memories.compare()


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def corrupted_bits(dut) -> None:
    """Each bit of a write and of a read, turned over: an error, nothing done, and it goes on."""
    bench = await Bench(dut).start()
    seen = set()
    for frame in (request(0x35, BANKS + 16, window=True, data=[0xDEAD_BEEF, 0x0BAD_CAFE]),
                  request(0x36, OFFSETS["IRQ_STATUS"], window=False, words=1)):
        for bit in range(8 * len(frame)):
            wrong = bytearray(frame)
            wrong[bit // 8] ^= 1 << bit % 8
            reply = await bench.line.ask(bytes(wrong))
            assert reply.count == 0 and reply.data is None
            if bit < 8:
                want = {BAD_FRAME}
            elif bit < 14 and frame[1] >> 7:  # the length: longer or shorter than what comes
                want = {TRUNCATED} if wrong[1] & 63 > frame[1] & 63 else {BAD_CHECKSUM}
            elif bit == 15:  # a write of nothing, or a read with bytes behind it
                want = {BAD_CHECKSUM, TRUNCATED}
            else:
                want = {BAD_CHECKSUM}
            assert reply.status in want, f"bit {bit} of {frame.hex()}: {reply}, want {want}"
            seen.add(reply.status)
        await bench.works()
    assert seen == {BAD_FRAME, TRUNCATED, BAD_CHECKSUM}
    bench.memories.compare()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def corrupted_bytes(dut) -> None:
    """Bytes that are wrong, lost, doubled or too many: an error or an error for each rest."""
    bench = await Bench(dut).start()
    for _ in range(60):
        data = bench.random_words(bench.rng.randint(1, 4))
        frame = bytearray(request(bench.next(), BANKS + 64, window=True, data=data))
        place = bench.rng.randrange(len(frame))
        kind = bench.rng.choice(("wrong", "lost", "doubled"))
        if kind == "wrong":
            frame[place] ^= bench.rng.randrange(1, 256)
        elif kind == "lost":
            del frame[place]
        else:
            frame.insert(place, frame[place])
        await bench.line.send(bytes(frame))
        replies = [await bench.line.reply()]
        await bench.line.bits(2 * TIMEOUT_BITS)
        while not bench.line.received.empty():
            replies.append(await bench.line.reply())
        assert all(reply.status >= BAD_CHECKSUM or reply.status in (OK, OVERRUN)
                   for reply in replies), (kind, replies)
        if replies[0].status == OK:
            # The last byte doubled: the request itself was right.
            assert kind == "doubled" and place == len(frame) - 2, (kind, place, replies)
            assert [reply.status for reply in replies[1:]] in ([OVERRUN], [BAD_FRAME]), replies
            for i, word in enumerate(data):
                bench.memories.write(BANKS + 64 + 4 * i, word, 15)
        else:
            assert len(replies) == 1, (kind, replies)
        await bench.works()
    bench.memories.compare()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def truncated(dut) -> None:
    """Any byte may be the last of a request: silence, not time, decides."""
    bench = await Bench(dut).start()
    frame = request(0x41, BANKS, window=True, data=[1, 2])
    for length in range(1, len(frame)):
        await bench.line.send(frame[:length])
        await bench.line.nothing_comes(TIMEOUT_BITS - 4)
        reply = await bench.line.reply()
        assert (reply.status, reply.count, reply.data) == (TRUNCATED, 0, None), length
    await bench.works()
    bench.memories.compare()
    # Gaps between bytes that are shorter than the timeout do no harm.
    number, data = bench.next(), bench.random_words(2)
    for byte in request(number, BANKS, window=True, data=data):
        await bench.line.send(bytes([byte]))
        await bench.line.bits(TIMEOUT_BITS - 4)
    assert await bench.line.reply() == Reply(OK, number, 2, None)
    assert (await bench.read(BANKS, 2)).data == tuple(data)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def broken_bytes(dut) -> None:
    """Missing stop bits anywhere in a request, and a line that is held low."""
    bench = await Bench(dut).start()
    frame = request(0x51, BANKS, window=True, data=[7])
    for length in range(1, len(frame) + 1):
        await bench.line.send(frame[:length], stop=0)
        await bench.line.send(frame[length:])
        reply = await bench.line.reply()
        assert (reply.status, reply.count, reply.data) == (BAD_FRAME, 0, None), length
    dut.rx.value = 0
    await bench.line.nothing_comes(5 * TIMEOUT_BITS)
    dut.rx.value = 1
    await bench.line.nothing_comes(TIMEOUT_BITS - 4)
    assert (await bench.line.reply()).status == BAD_FRAME
    await bench.works()
    bench.memories.compare()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def overrun(dut) -> None:
    """Two requests at once: the first reply is whole, the second request is refused."""
    bench = await Bench(dut).start()
    first = request(0x61, BANKS, window=True, words=16)
    second = request(0x62, BANKS, window=True, data=[1])
    for gap in (2, 30, 200):
        await bench.line.send(first)
        await bench.line.bits(gap)
        await bench.line.send(second)
        want = tuple(bench.memories.read(BANKS + 4 * i)[1] for i in range(16))
        assert await bench.line.reply() == Reply(OK, 0x61, 16, want)
        reply = await bench.line.reply()
        assert (reply.status, reply.count, reply.data) == (OVERRUN, 0, None)
        await bench.works()
    bench.memories.compare()


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def repeated(dut) -> None:
    """Repetition of a write is answered but not carried out; that of a read is."""
    bench = await Bench(dut).start()
    model, line = bench.memories, bench.line
    write = request(0x71, TOKENS, window=True, data=[11, 12])
    assert await line.ask(write) == Reply(OK, 0x71, 2, None)
    word = dut.host.tokens.memory.mem[0]
    word.value = 99
    for disturbed in (False, True):
        if disturbed:
            assert (await line.ask(write[:-1] + b"\x00")).status == BAD_CHECKSUM
        assert await line.ask(write) == Reply(OK, 0x71, 2, None)
        assert word.value.to_unsigned() == 99, "the write was done again"
    # Another number, or a read in between, makes it another request.
    assert await line.ask(request(0x72, TOKENS, window=True, data=[21])) == Reply(OK, 0x72, 1, None)
    assert word.value.to_unsigned() == 21
    assert (await line.ask(request(0x72, TOKENS, window=True, words=1))).data == (21,)
    word.value = 22
    assert (await line.ask(request(0x72, TOKENS, window=True, words=1))).data == (22,)
    assert await line.ask(request(0x72, TOKENS, window=True, data=[23])) == Reply(OK, 0x72, 1, None)
    assert word.value.to_unsigned() == 23
    # An error is repeated too, with its count.
    end = MAP.regions["tokens"].end
    wrong = request(0x73, end - 8, window=True, data=[1, 2, 3])
    for _ in range(2):
        assert await line.ask(wrong) == Reply(DECERR, 0x73, 2, None)
    for address, value in ((TOKENS, 23), (TOKENS + 4, 12), (end - 8, 1), (end - 4, 2)):
        model.write(address, value, 15)
    model.compare()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def started_once(dut) -> None:
    """Three times the same start, as after lost replies, start the chip once."""
    bench = await Bench(dut).start()
    starts = 0

    async def count() -> None:
        nonlocal starts
        while True:
            await RisingEdge(dut.start)
            starts += 1

    cocotb.start_soon(count())
    for _ in range(3):
        frame = request(0x31, OFFSETS["CONTROL"], window=False, data=[1])
        assert await bench.line.ask(frame) == Reply(OK, 0x31, 1, None)
    assert starts == 1


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def rates(dut) -> None:
    """Senders too fast or too slow by 2 %, requests without a pause, other idle times."""
    bench = await Bench(dut).start()
    for rate in (0.98, 1.02, 1.0):
        for _ in range(6):
            reply = await bench.read(BANKS + 32, 3, rate=rate)
            want = tuple(bench.memories.read(BANKS + 32 + 4 * i)[1] for i in range(3))
            assert reply == Reply(OK, bench.sequence, 3, want)
            await Timer(bench.rng.randrange(1, 40 * DIVISOR * CLOCK_PERIOD_NS * 100), unit="ps")


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def spikes(dut) -> None:
    """Spikes of one clock cycle on the idle line and inside of bits change nothing."""
    bench = await Bench(dut).start()
    half_bit = DIVISOR // 2 * CLOCK_PERIOD_NS

    async def spike(level: int) -> None:
        dut.rx.value = level
        await Timer(CLOCK_PERIOD_NS, unit="ns")
        dut.rx.value = 1 - level

    for _ in range(5):
        await spike(0)
        await bench.line.nothing_comes(3 * TIMEOUT_BITS)
    number = bench.next()
    for byte in request(number, BANKS, window=True, words=1):
        for level in (0, *(byte >> n & 1 for n in range(8)), 1):
            # In the middle of the bit, so that a single sample there would be wrong.
            dut.rx.value = level
            await Timer(half_bit, unit="ns")
            await spike(1 - level)
            await Timer(DIVISOR * CLOCK_PERIOD_NS - half_bit - CLOCK_PERIOD_NS, unit="ns")
    assert await bench.line.reply() == Reply(OK, number, 1, (bench.memories.read(BANKS)[1],))


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def noise(dut) -> None:
    """Random bytes and random levels; once the line is quiet, the chip answers again."""
    bench = await Bench(dut).start()
    for _ in range(8):
        for _ in range(bench.rng.randint(1, 40)):
            if bench.rng.random() < 0.5:
                await bench.line.send(bench.rng.randbytes(bench.rng.randint(1, 6)))
            else:
                dut.rx.value = bench.rng.getrandbits(1)
                await Timer(bench.rng.randrange(100, 3 * bench.line.bit_ps), unit="ps")
        dut.rx.value = 1
        await bench.line.bits(4 * TIMEOUT_BITS)
        while not bench.line.received.empty():
            assert (await bench.line.reply()).status >= BAD_CHECKSUM
        await bench.works()
    bench.memories.compare()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def reset(dut) -> None:
    """After a reset, half a request, half a reply or a dropped rest is forgotten."""
    bench = await Bench(dut).start()
    for frame, bits in ((request(1, BANKS, window=True, data=[5, 6])[:-3], 3),
                        (request(2, BANKS, window=True, words=9), 100), (b"noise", 5)):
        await bench.line.send(frame)
        await bench.line.bits(bits)
        await bench.reset()
        await bench.works()
    bench.memories.compare()
