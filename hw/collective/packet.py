"""What the collective engine sends and receives: beats inside the chip, packets on the network."""

from amaranth.lib import data, enum

from hw.collective.limits import MAX_CHUNK, RING_BEATS
from hw.control.isa import Ring
from hw.network.config import COORDINATE_BITS

#: Bits of a number of beats: of a packet, and of a ring's memory.
LENGTH_BITS = MAX_CHUNK.bit_length()
RING_BITS = RING_BEATS.bit_length()
EPOCH_BITS = 8


def packet_layout() -> data.StructLayout:
    """Return what the engine says of a packet before its beats: where it goes, and how many they are."""
    return data.StructLayout({"ring": Ring, "beats": LENGTH_BITS})


def extent_layout() -> data.StructLayout:
    """Return what the header of a collective packet has in ``address``.

    ``beats``: COLLECTIVE_DATA: flits behind the header; COLLECTIVE_CREDIT: beats that were taken.
    """
    return data.StructLayout({"beats": RING_BITS, "ring": Ring})


def next_layout() -> data.StructLayout:
    """Return a chip's place: the next one of a ring."""
    return data.StructLayout({"x": COORDINATE_BITS, "y": COORDINATE_BITS})


class CollectiveError(enum.Enum, shape=2):
    """What may be wrong with a collective packet that came."""

    NONE = 0
    #: of a run before this one, or after it
    STALE = 1
    #: broken, of no known kind, for another chip, or more than there is room for
    WRONG = 2
