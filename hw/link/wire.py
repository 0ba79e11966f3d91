"""Words of the link: what a chip sends over the wires, one after the other, without gaps."""

from math import ceil

from amaranth.hdl import Value
from amaranth.lib import data, enum

from hw.link.crc import CRC_BITS
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNEL_BITS, flit_layout

#: Version of the format; both ends must have the same.
VERSION = 1
#: Data of a training word but for its lowest 16 bits: no rotation of it looks like it.
TRAINING_PATTERN = 0xB1E5_D7A3_4C6F_0000


class Kind(enum.Enum, shape=2):
    """What a word is."""

    #: the link is not up: both ends start from nothing
    TRAINING = 1
    #: no flit; its other fields count
    IDLE = 2
    #: carries a flit
    DATA = 3


def sequence_bits(config: NetworkConfig) -> int:
    """Return the width of a sequence number."""
    return (config.replay_flits - 1).bit_length()


def count_bits(config: NetworkConfig) -> int:
    """Return the width of a count of freed places: it counts to twice the places of a queue."""
    return (2 * config.queue_flits - 1).bit_length()


def status_layout(config: NetworkConfig) -> data.StructLayout:
    """Return what every word tells about the direction opposite to its own."""
    return data.StructLayout({
        #: Sequence number of the flit that the sender of this word expects next.
        "acknowledge": sequence_bits(config),
        #: 1: the last good word was not in sequence: flits from ``acknowledge`` on are missing.
        "negative": 1,
        #: ``epoch`` of the last good word; in a training word, 1: training words have come.
        "echo": 1,
        #: Channel of ``credit_count``.
        "credit_channel": CHANNEL_BITS,
        #: Flits that have left this channel's queue since the link came up.
        "credit_count": count_bits(config),
    })


def message_layout(config: NetworkConfig) -> data.StructLayout:
    """Return a word without its checksum."""
    fields = {
        #: What the word is.
        "kind": Kind,
        #: DATA: number of the flit; IDLE: number of the flit that is sent next.
        "sequence": sequence_bits(config),
        #: Changes whenever the sender goes back to send flits again.
        "epoch": 1,
        "status": status_layout(config),
        #: DATA: the flit. IDLE: 0. TRAINING: its data are the signature.
        "flit": flit_layout(config),
    }
    bits = data.StructLayout(fields).size + CRC_BITS
    width = ceil(bits / config.phits_per_word)
    width = min((each for each in range(width, CRC_BITS + 1) if CRC_BITS % each == 0), default=width)
    padding = width * config.phits_per_word - bits
    if padding:
        #: 0: makes all phits of a word equally wide, and the checksum whole phits, if it is as wide.
        fields["padding"] = padding
    return data.StructLayout(fields)


def wire_layout(config: NetworkConfig) -> data.StructLayout:
    """Return a word as it is on the wires: its lowest bits pass first."""
    return data.StructLayout({"message": message_layout(config), "crc": CRC_BITS})


def word_bits(config: NetworkConfig) -> int:
    """Return the bits of a word."""
    return wire_layout(config).size


def phit_bits(config: NetworkConfig) -> int:
    """Return the number of wires of one direction."""
    return word_bits(config) // config.phits_per_word


def signature(config: NetworkConfig) -> int:
    """Return the lowest 16 bits of a training word's data: what both ends must agree on."""
    logs = [size.bit_length() - 1 for size in (
        config.phits_per_word, config.replay_flits, config.queue_flits)]
    return sum(value << 4 * i for i, value in enumerate([*logs, VERSION]))


def training_data(config: NetworkConfig) -> int:
    """Return the data of a training word."""
    repeated = sum(TRAINING_PATTERN << i for i in range(0, config.flit_bits, 64))
    return (repeated | signature(config)) & ((1 << config.flit_bits) - 1)


def is_training(config: NetworkConfig, message: data.View) -> Value:
    """Return whether a good word is a training word of a link with the same parameters."""
    return (message.kind == Kind.TRAINING) & (message.flit.data[:16] == signature(config))
