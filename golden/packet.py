"""Packets between network interfaces: their format and what a chip makes of them (docs/network.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

READ, WRITE, DOORBELL, READ_REPLY, WRITE_REPLY, ERROR_REPLY = range(6)
#: Words of payload of each kind.
WORDS = {READ: 0, WRITE: 2, DOORBELL: 1, READ_REPLY: 1, WRITE_REPLY: 0, ERROR_REPLY: 1}
#: Outcomes of an access.
NONE, REFUSED, NO_ADDRESS = range(3)
#: Lowest bit and width of the header's fields.
_FIELDS = {
    "destination_x": (0, 3), "destination_y": (3, 3), "source_x": (6, 3), "source_y": (9, 3),
    "kind": (12, 4), "tag": (16, 8), "words": (24, 8), "address": (32, 32),
}
HEADER_BYTES, WORD_BYTES = 8, 4


@dataclass(frozen=True, kw_only=True)
class Flit:
    """A flit without its channel."""

    head: bool
    tail: bool
    data: int


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A packet; ``words`` is what its header says of the payload, normally its length."""

    destination: tuple[int, int]
    source: tuple[int, int]
    kind: int
    tag: int = 0
    address: int = 0
    payload: tuple[int, ...] = ()
    words: int = field(default=-1)

    def header(self) -> int:
        """Return the header's 64 bits."""
        values = {
            "destination_x": self.destination[0], "destination_y": self.destination[1],
            "source_x": self.source[0], "source_y": self.source[1], "kind": self.kind,
            "tag": self.tag, "address": self.address,
            "words": len(self.payload) if self.words < 0 else self.words,
        }
        return sum(values[name] << low for name, (low, _) in _FIELDS.items())

    def flits(self, flit_bytes: int) -> list[Flit]:
        """Cut the packet into flits."""
        content = self.header().to_bytes(HEADER_BYTES, "little") + b"".join(
            word.to_bytes(WORD_BYTES, "little") for word in self.payload)
        parts = [content[i:i + flit_bytes] for i in range(0, len(content), flit_bytes)]
        return [Flit(head=i == 0, tail=i == len(parts) - 1, data=int.from_bytes(part, "little"))
                for i, part in enumerate(parts)]


def parse(flits: Sequence[Flit], flit_bytes: int) -> tuple[Packet, bool]:
    """Return the packet that some flits make, from a head to a tail, and whether it is whole."""
    data = b"".join(flit.data.to_bytes(flit_bytes, "little") for flit in flits)
    header = int.from_bytes(data[:HEADER_BYTES], "little")
    values = {name: header >> low & (1 << bits) - 1 for name, (low, bits) in _FIELDS.items()}
    words = values["words"]
    body = data[HEADER_BYTES:HEADER_BYTES + WORD_BYTES * words]
    packet = Packet(
        destination=(values["destination_x"], values["destination_y"]),
        source=(values["source_x"], values["source_y"]), kind=values["kind"], tag=values["tag"],
        address=values["address"], words=words, payload=tuple(
            int.from_bytes(body[i:i + WORD_BYTES], "little")
            for i in range(0, len(body), WORD_BYTES)))
    needs = -(-(HEADER_BYTES + WORD_BYTES * words) // flit_bytes)
    whole = len(flits) == needs and not any(flit.head for flit in flits[1:])
    return packet, whole


def judge(packet: Packet, whole: bool, node: tuple[int, int]) -> int:
    """Return why a chip refuses a request, or NONE if it carries it out."""
    if packet.destination != node:
        return NO_ADDRESS
    if not whole or packet.kind not in (READ, WRITE, DOORBELL) or packet.words != WORDS[packet.kind]:
        return REFUSED
    return NONE


def reply(request: Packet, node: tuple[int, int], error: int, value: int = 0) -> Packet:
    """Return the answer to a request."""
    kind: int
    payload: tuple[int, ...]
    if error != NONE:
        kind, payload = ERROR_REPLY, (error,)
    elif request.kind == READ:
        kind, payload = READ_REPLY, (value,)
    else:
        kind, payload = WRITE_REPLY, ()
    return Packet(destination=request.source, source=node, kind=kind, tag=request.tag,
                  address=request.address, payload=payload)
