"""Header of a packet: the lowest 64 bits of its head flit."""

from amaranth.lib import data

from hw.network.config import COORDINATE_BITS


def header_layout() -> data.StructLayout:
    """Return the header. ``words``: payload in units of 32 bits; ``tag`` comes back in the reply."""
    return data.StructLayout({
        "destination_x": COORDINATE_BITS, "destination_y": COORDINATE_BITS,
        "source_x": COORDINATE_BITS, "source_y": COORDINATE_BITS,
        "kind": 4, "tag": 8, "words": 8, "address": 32,
    })
