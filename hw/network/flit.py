"""Flits and channels: what moves between router and links."""

from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig


class TrafficClass(enum.Enum, shape=2):
    """Kinds of packets that must never wait for each other for ever."""

    #: asks for something at another chip
    REQUEST = 0
    #: answers a request; always taken in
    REPLY = 1
    #: partial results of all-reduce, all-gather and broadcast
    COLLECTIVE = 2


#: Virtual channels of each class: 0 before a ring's dateline, 1 behind it.
VIRTUAL_CHANNELS = 2
#: A channel's number is ``class * VIRTUAL_CHANNELS + virtual channel``.
CHANNELS = len(TrafficClass) * VIRTUAL_CHANNELS
CHANNEL_BITS = (CHANNELS - 1).bit_length()
#: Credits that a channel must have left for its bit of ``out_room``: so many flits may have been
#: granted for it before the bit shows the first one's transfer.
ROOM_FLITS = 3


def flit_layout(config: NetworkConfig) -> data.StructLayout:
    """Return a flit; a packet's first has ``head`` and the header in its lowest bits, its last ``tail``."""
    return data.StructLayout({
        "channel": CHANNEL_BITS, "head": 1, "tail": 1, "data": config.flit_bits,
    })


def departure_members(config: NetworkConfig) -> dict[str, wiring.Member]:
    """Return the ports of a router's output, as the router sees them.

    ``out_valid``, ``out_flit``, ``out_ready``: a stream of flits; ``out_room``: a bit for each
    channel that has ROOM_FLITS credits or more, from registers. While it is set, so many flits may
    be granted, and be offered later; the transfer of each takes a credit.
    """
    return {"out_valid": Out(1), "out_flit": Out(flit_layout(config)), "out_ready": In(1),
            "out_room": In(CHANNELS)}


def arrival_members(config: NetworkConfig) -> dict[str, wiring.Member]:
    """Return the ports of a router's input, as the router sees them.

    ``in_valid``, ``in_flit``: a flit that is taken in this cycle (its credit says that there is
    room); ``in_freed``: a bit for each channel of which a flit left the queue: a credit goes back.
    """
    return {"in_valid": In(1), "in_flit": In(flit_layout(config)), "in_freed": Out(CHANNELS)}
