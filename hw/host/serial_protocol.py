"""Frames on the serial line: one table for the RTL, the host's driver and docs/serial.md.

``python -m hw.host.serial_protocol`` prints the tables of that page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.lib import enum

#: First byte of a request and of a reply.
REQUEST_SYNC, REPLY_SYNC = 0xA5, 0x5A
#: Words that one request writes or reads at most.
MAX_WORDS = 64
WORD_BYTES = 4
#: Bits of a byte on the line: start bit, eight data bits lowest first, stop bit.
LINE_BITS = 10
#: Bit rate of host and boards unless both are told another.
DEFAULT_BAUD = 1_000_000
#: Silence, in bit times, that ends an unfinished request.
TIMEOUT_BITS = 4096

#: CRC-16-CCITT: polynomial without its x^16, first state; no reflection, no final inversion.
CRC_POLYNOMIAL, CRC_START, CRC_BITS = 0x1021, 0xFFFF, 16


class Status(enum.Enum, shape=3):
    """What a reply says of its request."""

    #: done
    OK = 0
    #: refused: AXI answered SLVERR
    SLVERR = 2
    #: there is no such address: AXI answered DECERR
    DECERR = 3
    #: the checksum is wrong
    BAD_CHECKSUM = 4
    #: the first byte is not the sync byte, or a stop bit is missing
    BAD_FRAME = 5
    #: the request ended before its last byte
    TRUNCATED = 6
    #: bytes came before the reply to the request before them
    OVERRUN = 7


#: From here on, the request was not understood: nothing was done, and it may be sent again.
FIRST_LINE_STATUS = Status.BAD_CHECKSUM

_MEANINGS = {
    Status.OK: "done",
    Status.SLVERR: "refused, as AXI's SLVERR; COUNT words before it are done",
    Status.DECERR: "no such address, as AXI's DECERR; COUNT words before it are done",
    Status.BAD_CHECKSUM: "the checksum is wrong; nothing is done",
    Status.BAD_FRAME: "the first byte is not SYNC, or a stop bit is missing; nothing is done",
    Status.TRUNCATED: "the request ended before its last byte; nothing is done",
    Status.OVERRUN: "bytes came before the reply to the request before them; they are dropped",
}


@dataclass(frozen=True, kw_only=True)
class BitField:
    """Some bits of a byte."""

    name: str
    low: int
    bits: int
    description: str


#: The second byte of a request.
COMMAND: dict[str, BitField] = {field.name: field for field in (
    BitField(name="LAST", low=0, bits=6, description="number of words, less one"),
    BitField(name="WINDOW", low=6, bits=1, description="1 the memory window, 0 the registers"),
    BitField(name="WRITE", low=7, bits=1, description="1 a write, 0 a read"),
)}
#: The second byte of a reply.
RESULT: dict[str, BitField] = {field.name: field for field in (
    BitField(name="STATUS", low=0, bits=3, description="what became of the request (table below)"),
    BitField(name="DATA", low=7, bits=1, description="1 if words follow: the reply to a read"),
)}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some bytes of a frame."""

    name: str
    length: str
    description: str
    fields: Sequence[BitField] = ()


REQUEST: Sequence[Part] = (
    Part(name="SYNC", length="1", description=f"0x{REQUEST_SYNC:02X}"),
    Part(name="COMMAND", length="1", description="what to do", fields=tuple(COMMAND.values())),
    Part(name="SEQUENCE", length="1", description="number of the request, which the reply repeats"),
    Part(name="ADDRESS", length="4", description="byte address of the first word, lowest byte "
         "first; a multiple of 4; each further word lies 4 higher"),
    Part(name="DATA", length="0 or 4 N", description="of a write: N words, lowest byte first"),
    Part(name="CRC", length="2", description="checksum of COMMAND to DATA, highest byte first"),
)
REPLY: Sequence[Part] = (
    Part(name="SYNC", length="1", description=f"0x{REPLY_SYNC:02X}"),
    Part(name="RESULT", length="1", description="how it went", fields=tuple(RESULT.values())),
    Part(name="SEQUENCE", length="1", description="that of the request"),
    Part(name="COUNT", length="1", description="words that were written or read"),
    Part(name="DATA", length="0 or 4 COUNT", description="of a read: the words, lowest byte first"),
    Part(name="CRC", length="2", description="checksum of RESULT to DATA, highest byte first"),
)
#: Bytes from COMMAND to ADDRESS, and from RESULT to COUNT.
HEADER_BYTES, RESULT_BYTES = 6, 3
CRC_BYTES = CRC_BITS // 8


def request_bytes(words: int, write: bool) -> int:
    """Return the length of a request."""
    return 1 + HEADER_BYTES + (WORD_BYTES * words if write else 0) + CRC_BYTES


def reply_bytes(words: int, write: bool) -> int:
    """Return the length of the reply to a request that succeeds."""
    return 1 + RESULT_BYTES + (0 if write else WORD_BYTES * words) + CRC_BYTES


def _rows(parts: Sequence[Part]) -> list[str]:
    lines = ["| part | bytes | bits | field | what |", "|---|---|---|---|---|"]
    for part in parts:
        lines.append(f"| {part.name} | {part.length} | | | {part.description} |")
        for field in part.fields:
            last = field.low + field.bits - 1
            bits = f"{last}..{field.low}" if field.bits > 1 else str(field.low)
            lines.append(f"| | | {bits} | {field.name} | {field.description} |")
    return lines


def documentation() -> str:
    """Return the tables of docs/serial.md."""
    statuses = [f"| {status.value} | {status.name} | {_MEANINGS[status]} |" for status in Status]
    return "\n".join([
        f"A request, from the host; N is LAST + 1, at most {MAX_WORDS}:", "", *_rows(REQUEST), "",
        "A reply, from the chip:", "", *_rows(REPLY), "",
        "| STATUS | name | what |", "|---|---|---|", *statuses, "",
        f"The checksum is CRC-16-CCITT: polynomial 0x{CRC_POLYNOMIAL:04X}, first state "
        f"0x{CRC_START:04X}, highest bit of each byte first, no final inversion. "
        f"An unfinished request ends after {TIMEOUT_BITS} bit times of silence.",
    ]) + "\n"


if __name__ == "__main__":
    print(documentation(), end="")
