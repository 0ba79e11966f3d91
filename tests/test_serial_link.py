"""The host's end of the line against a chip that loses, damages, delays and repeats."""

import os
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.host import serial_protocol
from tessera import serial_link
from tessera.serial_link import LinkError, SerialLink, encode_request
from verif.uart_model import BAD_CHECKSUM, DECERR, OK, OVERRUN, Reply, parse_request, request

BAUD = 3_000_000  # a pseudo-terminal has none, but the host waits by it


class FakeChip:
    """Answers requests on a pseudo-terminal, with a mishap for each reply, or none.

    ``lost``, ``damaged``: the reply is; ``deaf``: so is the request, which is not carried out;
    ``complaint``: the chip did not understand; ``late``: an old reply comes first;
    ``noise``: bytes that are no reply come first.
    """

    def __init__(self, terminal: int) -> None:
        self.terminal = terminal
        self.mishaps: list[str] = []
        self.memory: dict[tuple[bool, int], int] = {}
        #: Requests that came, and writes that were carried out.
        self.seen = 0
        self.written: list[tuple[int, tuple[int, ...]]] = []
        self.last_write: tuple[int, Reply] | None = None
        self.refuse_from = 1 << 32

    def serve(self) -> None:
        """Answer until the terminal is gone."""
        buffer = b""
        while True:
            try:
                more = os.read(self.terminal, 4096)
            except OSError:
                return
            buffer += more
            while (parsed := parse_request(buffer)) is not None:
                length, number, address, window, words, data = parsed
                buffer = buffer[length:]
                self.answer(number, address, window, words, data)

    def answer(self, number: int, address: int, window: bool, words: int,
               data: tuple[int, ...] | None) -> None:
        self.seen += 1
        mishap = self.mishaps.pop(0) if self.mishaps else ""
        if mishap == "deaf":
            return
        if mishap in ("complaint", "overrun"):
            status = BAD_CHECKSUM if mishap == "complaint" else OVERRUN
            os.write(self.terminal, Reply(status, number ^ 0x55, 0, None).encode())
            return
        if self.last_write is not None and data is not None and self.last_write[0] == number:
            reply = self.last_write[1]
        else:
            reply = self.carry_out(number, address, window, words, data)
            self.last_write = (number, reply) if data is not None else None
        frame = reply.encode()
        if mishap == "damaged":
            frame = frame[:-1] + bytes([frame[-1] ^ 4])
        elif mishap == "late":
            frame = Reply(OK, (number - 1) & 255, 2, (1, 2)).encode() + frame
        elif mishap == "noise":
            frame = b"\x00\xff\x13" + frame
        if mishap != "lost":
            os.write(self.terminal, frame)

    def carry_out(self, number: int, address: int, window: bool, words: int,
                  data: tuple[int, ...] | None) -> Reply:
        places = [(window, address + 4 * i) for i in range(words)]
        good = [place for place in places if place[1] < self.refuse_from]
        status = OK if len(good) == words else DECERR
        if data is None:
            return Reply(status, number, len(good), tuple(self.memory.get(p, 0) for p in good))
        self.written.append((address, data))
        self.memory |= dict(zip(good, data, strict=False))
        return Reply(status, number, len(good), None)


@contextmanager
def fake_chip() -> Iterator[tuple[FakeChip, str]]:
    """Run a fake chip; yields it and the name of its terminal."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    chip = FakeChip(ours)
    thread = threading.Thread(target=chip.serve, daemon=True)
    thread.start()
    try:
        yield chip, os.ttyname(theirs)
    finally:
        os.close(theirs)  # the last one that is open: reading ours fails now
        thread.join(5)
        os.close(ours)
        assert not thread.is_alive()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_link, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(serial_link, "SETTLE_SECONDS", 0.02)


@pytest.fixture
def chip(quick: None) -> Iterator[tuple[FakeChip, SerialLink]]:
    with fake_chip() as (fake, name):
        link = SerialLink(name, BAUD)
        yield fake, link
        link.close()


@given(sequence=st.integers(0, 255), address=st.integers(0, (1 << 30) - 1), window=st.booleans(),
       data=st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=64), write=st.booleans())
def test_requests_are_the_models(sequence: int, address: int, window: bool, data: list[int],
                                 write: bool) -> None:
    """The driver and the model, which was written from the page alone, make the same frames."""
    want = request(sequence, 4 * address, window=window, words=len(data),
                   data=data if write else None)
    got = encode_request(sequence, 4 * address, len(data), window=window,
                         data=data if write else None)
    assert got == want
    assert len(got) == serial_protocol.request_bytes(len(data), write)


def test_known_checksum() -> None:
    """The check value of CRC-16/IBM-3740, as catalogues of checksums give it."""
    assert serial_link.checksum(b"123456789") == b"\x29\xb1"


def test_words_come_back(chip: tuple[FakeChip, SerialLink]) -> None:
    """Longer reads than a request holds are split; register and window are apart."""
    fake, link = chip
    data = [7 * i + 0x80000000 for i in range(150)]
    for i in range(0, 150, 64):
        link.write(0x100 + 4 * i, data[i:i + 64], window=True)
    link.write(0x100, [5], window=False)
    assert link.read(0x100, 150, window=True) == data
    assert link.read(0x100, 1, window=False) == [5]
    assert link.statistics.retries == 0
    assert fake.seen == link.statistics.requests == 3 + 1 + 3 + 1


@pytest.mark.parametrize(
    ("mishaps", "retries"),
    [(["late"], 0), (["noise"], 0), (["lost"], 1), (["damaged"], 1), (["deaf"], 1),
     (["complaint"], 1), (["overrun", "lost", "damaged"], 3), (["lost", "late"], 1)],
)
def test_mishaps(chip: tuple[FakeChip, SerialLink], mishaps: Sequence[str], retries: int) -> None:
    """Each is made good by sending again, and nothing is written twice."""
    fake, link = chip
    for i in range(3):
        fake.mishaps = list(mishaps)
        link.write(0x40 + 4 * i, [i, i + 1], window=True)
        fake.mishaps = list(mishaps)
        assert link.read(0x40 + 4 * i, 2, window=True) == [i, i + 1]
    assert fake.written == [(0x40 + 4 * i, (i, i + 1)) for i in range(3)]
    assert link.statistics.retries == 3 * 2 * retries


def test_silence(chip: tuple[FakeChip, SerialLink]) -> None:
    fake, link = chip
    fake.mishaps = ["deaf"] * serial_link.TRIES
    with pytest.raises(LinkError, match=r"^no answer on serial:/dev/pts/\d+ at 3000000 baud after 4"):
        link.read(0, 1, window=False)
    assert fake.seen == serial_link.TRIES
    assert link.read(0, 1, window=False) == [0]


def test_a_line_that_loses_everything(chip: tuple[FakeChip, SerialLink]) -> None:
    fake, link = chip
    fake.mishaps = ["complaint"] * serial_link.TRIES
    with pytest.raises(LinkError, match=r"loses bytes: 4 times .* \(BAD_CHECKSUM\); try a lower"):
        link.read(0, 1, window=False)


def test_refusal(chip: tuple[FakeChip, SerialLink]) -> None:
    """An error of the chip is not sent again; it names the address that failed."""
    fake, link = chip
    fake.refuse_from = 0x48
    with pytest.raises(LinkError, match=r"refuses to write address 0x48: DECERR$"):
        link.write(0x40, [1, 2, 3], window=True)
    with pytest.raises(LinkError, match=r"refuses to read register 0x4C: DECERR$"):
        link.read(0x4C, 2, window=False)
    assert fake.seen == 2


def test_ports(quick: None, tmp_path: Path) -> None:
    """A port that is not there, is in use, is no port, or goes away."""
    with pytest.raises(ValueError, match=r"^serial:/dev/none-such: there is no such port"):
        SerialLink("/dev/none-such", BAUD)
    with pytest.raises(ValueError, match=f"^serial:{tmp_path}: "):
        SerialLink(str(tmp_path), BAUD)
    with fake_chip() as (_, name):
        first = SerialLink(name, BAUD)
        with pytest.raises(ValueError, match=f"^serial:{name}: it is in use"):
            SerialLink(name, BAUD)
        first.close()
        SerialLink(name, BAUD).close()
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    link = SerialLink(os.ttyname(theirs), BAUD)
    os.close(theirs)
    os.close(ours)
    with pytest.raises(LinkError, match="broke off"):
        link.read(0, 1, window=False)
    link.close()


def test_page_is_current() -> None:
    """docs/serial.md has the tables that the RTL is made from."""
    page = (Path(__file__).parent.parent / "docs" / "serial.md").read_text()
    assert serial_protocol.documentation() in page, "python -m hw.host.serial_protocol prints them"
