"""Frames of the serial line, written from docs/serial.md alone: what the RTL and the driver must do.

Nothing here comes from the tables that the hardware and the host's driver are made from.
"""

import binascii
from dataclasses import dataclass

OK, SLVERR, DECERR, BAD_CHECKSUM, BAD_FRAME, TRUNCATED, OVERRUN = 0, 2, 3, 4, 5, 6, 7


def checked(body: bytes) -> bytes:
    """Return bytes and their checksum."""
    return body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")


def request(sequence: int, address: int, *, window: bool, words: int = 0,
            data: list[int] | None = None) -> bytes:
    """Return the request that writes ``data``, or reads ``words`` words."""
    count = words if data is None else len(data)
    command = (data is not None) << 7 | window << 6 | (count - 1)
    body = bytes([command, sequence]) + address.to_bytes(4, "little")
    for word in data or []:
        body += word.to_bytes(4, "little")
    return b"\xA5" + checked(body)


@dataclass(frozen=True)
class Reply:
    """What a reply says."""

    status: int
    sequence: int
    count: int
    #: Words of a read; of a write, and of anything that was no request, None.
    data: tuple[int, ...] | None

    def encode(self) -> bytes:
        """Return the frame."""
        body = bytes([self.status | (self.data is not None) << 7, self.sequence, self.count])
        for word in self.data or ():
            body += word.to_bytes(4, "little")
        return b"\x5A" + checked(body)


def parse_reply(frame: bytes) -> Reply:
    """Read a frame; an AssertionError says what is wrong with it."""
    assert len(frame) >= 6 and frame[0] == 0x5A, f"no reply: {frame.hex()}"
    body, crc = frame[1:-2], frame[-2:]
    assert checked(body)[-2:] == crc, f"wrong checksum: {frame.hex()}"
    result, sequence, count = body[:3]
    assert result & 0x78 == 0, f"bits that mean nothing are set: {frame.hex()}"
    raw = body[3:]
    data = None
    if result & 0x80:
        data = tuple(int.from_bytes(raw[i:i + 4], "little") for i in range(0, len(raw), 4))
    assert len(raw) == (4 * count if data is not None else 0), f"wrong length: {frame.hex()}"
    return Reply(result & 7, sequence, count, data)


def reply_length(head: bytes) -> int:
    """Return the length of the reply that begins with these four bytes."""
    return 6 + (4 * head[3] if head[1] & 0x80 else 0)


def parse_request(
    frame: bytes,
) -> tuple[int, int, int, bool, int, tuple[int, ...] | None] | None:
    """Read the request that a buffer begins with, once it is whole.

    Returns its length, sequence, address, whether it is for the window, words, and data of a write.
    """
    if len(frame) < 7:
        return None
    assert frame[0] == 0xA5, f"no request: {frame.hex()}"
    words, write = (frame[1] & 63) + 1, bool(frame[1] & 0x80)
    length = 9 + (4 * words if write else 0)
    if len(frame) < length:
        return None
    body = frame[1:length - 2]
    assert checked(body) == frame[1:length], f"wrong checksum: {frame.hex()}"
    raw = body[6:]
    data = tuple(int.from_bytes(raw[i:i + 4], "little") for i in range(0, len(raw), 4))
    return (length, body[1], int.from_bytes(body[2:6], "little"), bool(frame[1] & 0x40), words,
            data if write else None)
