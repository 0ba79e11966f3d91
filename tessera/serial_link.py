"""The host's end of a serial line: requests, their replies, and another try when one is lost.

The frames are described in docs/serial.md; their numbers come from hw/host/serial_protocol.py.
"""

import binascii
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import serial
from serial.tools import list_ports

from hw.host.serial_protocol import (
    COMMAND,
    CRC_BYTES,
    CRC_START,
    FIRST_LINE_STATUS,
    LINE_BITS,
    MAX_WORDS,
    REPLY_SYNC,
    REQUEST_SYNC,
    RESULT,
    RESULT_BYTES,
    TIMEOUT_BITS,
    WORD_BYTES,
    Status,
    reply_bytes,
    request_bytes,
)

#: Times that a request is sent before the host gives up.
TRIES = 4
#: Seconds that a reply may take besides the line's own time: adapters, operating system, simulator.
PATIENCE_SECONDS = 3.0
#: Longest wait in one look at the line, in seconds.
_LOOK_SECONDS = 0.05
#: Seconds of silence after which nothing is under way any more, besides the chip's own timeout.
SETTLE_SECONDS = 0.05


class LinkError(RuntimeError):
    """The line does not work, or the chip refuses; the message is one sentence."""


@dataclass(kw_only=True)
class LinkStatistics:
    """What went over the line."""

    requests: int = 0
    bytes: int = 0
    #: Requests that were sent again because no right reply came.
    retries: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A right reply."""

    status: Status
    sequence: int
    count: int
    data: tuple[int, ...]


def checksum(body: bytes) -> bytes:
    """Return the checksum of a frame's bytes behind SYNC."""
    return binascii.crc_hqx(body, CRC_START).to_bytes(CRC_BYTES, "big")


def encode_request(
    sequence: int, address: int, words: int, *, window: bool, data: Sequence[int] | None = None
) -> bytes:
    """Return the request that writes `data`, or reads `words` words."""
    command = (
        (words - 1) << COMMAND["LAST"].low
        | window << COMMAND["WINDOW"].low
        | (data is not None) << COMMAND["WRITE"].low
    )
    body = bytes([command, sequence]) + address.to_bytes(4, "little")
    for word in data or ():
        body += word.to_bytes(WORD_BYTES, "little")
    return bytes([REQUEST_SYNC]) + body + checksum(body)


class SerialLink:
    """Reads and writes words of the registers and of the memory window of a chip."""

    def __init__(self, port: str, baud: int) -> None:
        self.port, self.baud = port, baud
        self.statistics = LinkStatistics()
        self._sequence = 0
        try:
            self._line = serial.Serial(port, baud, timeout=_LOOK_SECONDS, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise ValueError(_cannot_open(port, baud, error)) from None
        # USB adapters otherwise keep what comes for up to 16 ms; not every port knows of it.
        with suppress(AttributeError, NotImplementedError, OSError, ValueError):
            self._line.set_low_latency_mode(True)
        self._line.reset_input_buffer()

    def close(self) -> None:
        """Give the port back."""
        self._line.close()

    def read(self, address: int, words: int, *, window: bool) -> list[int]:
        """Return consecutive words."""
        result: list[int] = []
        while len(result) < words:
            count = min(MAX_WORDS, words - len(result))
            at = address + WORD_BYTES * len(result)
            result += self._ask(at, count, window, None).data
        return result

    def write(self, address: int, data: Sequence[int], *, window: bool) -> None:
        """Write consecutive words, at most as many as a request holds."""
        self._ask(address, len(data), window, data)

    def _ask(
        self, address: int, words: int, window: bool, data: Sequence[int] | None
    ) -> Answer:
        """Send a request until it is answered; return the answer, or raise LinkError."""
        # The chip recognizes a write that comes again by its number.
        self._sequence = (self._sequence + 1) & 0xFF
        frame = encode_request(self._sequence, address, words, window=window, data=data)
        line_bytes = request_bytes(words, data is not None) + reply_bytes(words, data is not None)
        patience = PATIENCE_SECONDS + line_bytes * LINE_BITS / self.baud
        complaint: Status | None = None
        self.statistics.requests += 1
        try:
            for attempt in range(TRIES):
                if attempt:
                    self.statistics.retries += 1
                    self._settle()
                self._line.write(frame)
                self.statistics.bytes += len(frame)
                answer = self._receive(time.monotonic() + patience)
                if answer is None:
                    continue
                if answer.status.value >= FIRST_LINE_STATUS.value:
                    complaint = answer.status
                    continue
                break
            else:
                raise LinkError(self._no_answer(complaint))
        except OSError as error:
            raise LinkError(f"serial:{self.port} broke off: {error}") from None
        if answer.status is not Status.OK:
            place = f"{'address' if window else 'register'} 0x{address + WORD_BYTES * answer.count:X}"
            what = f"{'read' if data is None else 'write'} {place}"
            raise LinkError(f"the chip on serial:{self.port} refuses to {what}: {answer.status.name}")
        return answer

    def _no_answer(self, complaint: Status | None) -> str:
        if complaint is not None:
            return (
                f"serial:{self.port} loses bytes: {TRIES} times the chip understood no request "
                f"({complaint.name}); try a lower --baud, which the board must have too"
            )
        return (
            f"no answer on serial:{self.port} at {self.baud} baud after {TRIES} tries: is the "
            "board configured, and its bit rate the same?"
        )

    def _settle(self) -> None:
        """Wait until nothing comes any more: neither bytes nor the chip's word on lost ones."""
        silence = SETTLE_SECONDS + 2 * TIMEOUT_BITS / self.baud
        end = time.monotonic() + silence
        while time.monotonic() < end:
            if self._read(1 << 16, end):
                end = time.monotonic() + silence

    def _read(self, count: int, deadline: float) -> bytes:
        """Return up to `count` bytes, or none at the deadline."""
        data = b""
        while not data and time.monotonic() < deadline:
            data = bytes(self._line.read(1))
        if data and count > 1:
            data += bytes(self._line.read(min(count - 1, self._line.in_waiting)))
        self.statistics.bytes += len(data)
        return data

    def _receive(self, deadline: float) -> Answer | None:
        """Return the next reply to the last request, or to no request; None if none comes."""
        frame = b""
        while True:
            start = frame.find(REPLY_SYNC)
            frame = frame[start:] if start >= 0 else b""
            length = _reply_length(frame)
            if len(frame) >= length:
                answer = _decode(frame[:length])
                if answer is None:
                    return None
                if answer.sequence == self._sequence or answer.status.value >= FIRST_LINE_STATUS.value:
                    return answer
                frame = frame[length:]  # the late reply to an earlier try
                continue
            more = self._read(length - len(frame), deadline)
            if not more:
                return None
            frame += more


def _reply_length(frame: bytes) -> int:
    """Return the length of the reply that begins so, or of what is needed to know it."""
    if len(frame) < 1 + RESULT_BYTES:
        return 1 + RESULT_BYTES
    has_data = frame[1] >> RESULT["DATA"].low & 1
    return reply_bytes(frame[RESULT_BYTES], write=not has_data)


def _decode(frame: bytes) -> Answer | None:
    """Return what a whole reply says, or None if it is damaged."""
    body, received = frame[1:-CRC_BYTES], frame[-CRC_BYTES:]
    if checksum(body) != received:
        return None
    status = RESULT["STATUS"]
    code = body[0] >> status.low & ((1 << status.bits) - 1)
    if code not in {each.value for each in Status}:
        return None
    raw = body[RESULT_BYTES:]
    words = (raw[i : i + WORD_BYTES] for i in range(0, len(raw), WORD_BYTES))
    return Answer(
        status=Status(code), sequence=body[1], count=body[2],
        data=tuple(int.from_bytes(word, "little") for word in words),
    )  # fmt: skip


def _cannot_open(port: str, baud: int, error: Exception) -> str:
    """Say why a port does not open, and which ones there are."""
    if isinstance(error, ValueError):
        return f"--baud must be a rate that serial:{port} can make, not {baud}"
    reason = {2: "there is no such port", 13: "you may not open it", 11: "it is in use",
              16: "it is in use"}.get(getattr(error, "errno", None) or 0, str(error))  # fmt: skip
    known = [each.device for each in list_ports.comports()]
    there = f" (there are: {', '.join(sorted(known))})" if known else ""
    return f"serial:{port}: {reason}{there}"
