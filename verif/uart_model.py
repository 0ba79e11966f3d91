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
