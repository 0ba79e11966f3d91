"""Packets: the header in the lowest 64 bits of the head flit, and what follows it."""

from amaranth.hdl import Value
from amaranth.lib import data, enum

from hw.network.config import COORDINATE_BITS, NetworkConfig

HEADER_BYTES = 8
WORD_BYTES = 4
#: Words of payload that a packet between network interfaces has at most.
PAYLOAD_WORDS = 2


class PacketKind(enum.Enum, shape=4):
    """What a packet is."""

    #: reads the word at ``address``; no payload
    READ = 0
    #: writes the word at ``address``; payload: the word, then its byte strobes
    WRITE = 1
    #: rings the destination's doorbell; payload: the value
    DOORBELL = 2
    #: answers READ; payload: the word
    READ_REPLY = 3
    #: answers WRITE and DOORBELL; no payload
    WRITE_REPLY = 4
    #: answers anything that was not carried out; payload: an AccessError
    ERROR_REPLY = 5
    #: beats between collective engines (docs/collective.md)
    COLLECTIVE_DATA = 8
    #: room for more beats
    COLLECTIVE_CREDIT = 9


#: Words of payload of the kinds that network interfaces send each other.
PAYLOADS = {
    PacketKind.READ: 0, PacketKind.WRITE: 2, PacketKind.DOORBELL: 1,
    PacketKind.READ_REPLY: 1, PacketKind.WRITE_REPLY: 0, PacketKind.ERROR_REPLY: 1,
}
REQUESTS = (PacketKind.READ, PacketKind.WRITE, PacketKind.DOORBELL)


def header_layout() -> data.StructLayout:
    """Return the header. ``words``: payload in units of 32 bits; ``tag`` comes back in the reply."""
    return data.StructLayout({
        "destination_x": COORDINATE_BITS, "destination_y": COORDINATE_BITS,
        "source_x": COORDINATE_BITS, "source_y": COORDINATE_BITS,
        "kind": PacketKind.as_shape().width, "tag": 8, "words": 8, "address": 32,
    })


def packet_layout() -> data.StructLayout:
    """Return a packet between network interfaces, without its cuts into flits."""
    return data.StructLayout({
        "header": header_layout(), "payload": data.ArrayLayout(8 * WORD_BYTES, PAYLOAD_WORDS)})


def part_layout(config: NetworkConfig) -> data.StructLayout:
    """Return what a packet between network interfaces uses of a flit."""
    return data.StructLayout({
        "head": 1, "tail": 1, "data": min(config.flit_bits, packet_layout().size)})


def later_flits(config: NetworkConfig, words: Value) -> Value:
    """Return the flits of a packet behind its head, by its words of payload."""
    per_flit = config.flit_bytes // WORD_BYTES
    total = words + (HEADER_BYTES // WORD_BYTES - 1)
    return total >> (per_flit - 1).bit_length()
