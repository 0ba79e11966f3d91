"""Writes docs/link.md: `python -m hw.link.page > docs/link.md`.

Fields and their meanings come from hw/link/wire.py, states and causes from hw/link/training.py.
"""

import enum
import inspect
from collections.abc import Iterable

from amaranth.lib import data

from hw.link import wire
from hw.link.crc import CRC_BITS, INVERTED, POLYNOMIAL
from hw.link.credit_return import REFRESH_WORDS
from hw.link.deserializer import LOST_WORDS
from hw.link.link import COUNTERS, Link
from hw.link.serializer import PACE_PHITS
from hw.link.training import LinkCause, LinkState
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS

_TEXT = """\
# Link

Written by `make docs` from `hw/link/`. A link carries flits between two chips, in both directions,
over wires that make errors. Each chip has one end: between a port of its router and the wires.
[golden/link.py](../golden/link.py) is this page as a program.

## Words

In both directions one word follows the other without a gap. It passes the wires in
`phits_per_word` phits, one in each cycle, its lowest bits first. Every word, with a flit or without,
tells about the other direction too, so that acknowledgements and credits take no time of flits.
With {bytes} bytes to a flit, queues of {queue} flits, {replay} sequence numbers and one phit to a
word it has {bits} bits:

{fields}
Widths: `sequence` and `acknowledge` have log2(`replay_flits`) bits, `credit_count` has
log2(2 `queue_flits`), `data` 8 `flit_bytes`. The padding makes all phits equally
wide, and of up to {crc_bits} bits such that the checksum is whole phits; it is 0.

{kinds}
The checksum is a CRC of 24 bits with the polynomial {polynomial:#x} (all {terms} terms; x**24 is the
highest bit), from a register of 0, over all bits below it, the highest first; the result is XORed with
{inverted:#x}, so that wires that are stuck are no word. It finds every error of up to five bits in a
word of up to 2,024 bits, and every burst of up to 24. What is in a word whose checksum is wrong counts
for nothing.

## Flits in sequence

Flits have numbers, modulo `replay_flits`, that start at 0 when the link comes up. The sender keeps
each flit until it is acknowledged; at most `replay_flits - 1` are.

The receiver expects a number. A flit with this number is delivered, and the next one is
expected; any other is dropped. Every word tells the expected number (`acknowledge`): all flits before
it have arrived. An idle word has the number of the flit that is sent next, so that the loss of the
last flit is noticed at the next good word, and no timer is needed. `negative` is 1 from a word (flit or
idle) with another number than the expected one, to the next with the expected one.

A negative word makes the sender go back to the flit that `acknowledge` names, and send it and all
behind it again, before new ones: a replay. What is on its way meanwhile is out of sequence as well,
and must not cause another. So each replay inverts the sender's `epoch`, words carry it, and the other
end's words echo that of the last good word that was a flit or idle: a negative word counts only if
`echo` is the present epoch.

A flit that was replayed `max_retries` times without an acknowledgement of it takes the link down, and
so does the acknowledgement of a flit that was not sent.

## Credits

A flit of a channel is sent only if the other end's queue of this channel certainly has a place. The
sender counts the flits sent on each of {channels} channels; the receiver counts those that have left
its queue; of the latter each word tells one, `credit_count` of `credit_channel`. Counts are
absolute, modulo 2 `queue_flits`, so that no credit is lost with a word. The difference is at most
`queue_flits`. Which count a word tells is up to its sender; this one tells changed ones first, in turn,
and in every word of {refresh} one of all channels in turn.

## Up and down

{states}
{causes}
In TRAINING and in DOWN an end sends training words. `echo` in them is 1 if the end is in TRAINING, and
has seen a training word since it came there; all other fields before the flit are 0. Their data are
{pattern:#x}, repeated, but for the lowest 16 bits: log2 of `phits_per_word`, `replay_flits` and
`queue_flits`, and the version of this format, {version}; 4 bits each, from bit 0. A training word with
other lowest 16 bits does not count.

An end in TRAINING goes UP at a training word whose `echo` is 1, or, if it has seen a training
word, at a flit or an idle word; that flit is not delivered, and comes again. An end that is UP goes
DOWN at a training word whose `echo` is 0: the other end was reset, went down, or was told to train.
Flits have been lost then. The link stays down, with an interrupt and the cause, until it is told to
train (`retrain`) when the port of the router, with its queues, has been cleared, on both sides.
`retrain` is best held at both ends at once for some time: an end that trains takes down one that is up.
Reset does the same as `retrain`, and clears the counters. A link that goes nowhere stays in TRAINING.

## Where words begin

With several phits to a word, an end looks for words at every phit until the checksum is right; if it
is right again one word later, words are taken from there on. After {lost} bad words in succession it
looks again. With the clock of the wires (`receive_clock` "link") phits pass a FIFO into the chip's
clock. There both ends have an oscillator of their own, and neither can send faster than the other
takes: one phit in {pace} is sent for two cycles with one edge of the clock (`phit_held` in the second),
so that the frequencies may differ by {parts} parts in a million.

## Time

From the transfer of a flit to its arrival at the other router: {latency} cycles with one phit to a word,
`phits_per_word - 1` more with several. Without errors a flit goes out in every word, if
`replay_flits - 1` and `queue_flits` are at least a round trip.

{counters}"""


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [head, ["---"] * len(list(head)), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def meanings(source: object, names: Iterable[str]) -> dict[str, str]:
    """Return the `#:` comment before each name in the source of a function or class."""
    result: dict[str, str] = {}
    comment: list[str] = []
    wanted = set(names)
    for line in inspect.getsource(source).splitlines():
        text = line.strip()
        if text.startswith("#:"):
            comment.append(text[2:].strip())
            continue
        for name in sorted(wanted - set(result)):
            if comment and (text.startswith((f'"{name}"', f"{name} =")) or f'["{name}"]' in text):
                result[name] = " ".join(comment).replace("``", "`")
        comment = []
    return result


def _fields(config: NetworkConfig) -> str:
    message = wire.message_layout(config)
    texts = {**meanings(wire.message_layout, message.members),
             **meanings(wire.status_layout, wire.status_layout(config).members),
             "channel": "channel of the flit", "head": "1: a packet's first flit",
             "tail": "1: a packet's last flit", "data": "payload",
             "crc": "checksum of all bits below"}
    rows = []

    def walk(layout: data.StructLayout, low: int) -> None:
        for name, field in layout:
            if isinstance(field.shape, data.StructLayout):
                walk(field.shape, low + field.offset)
            elif field.width:
                bits = (f"{low + field.offset}" if field.width == 1
                        else f"{low + field.offset + field.width - 1}..{low + field.offset}")
                rows.append((f"`{name}`", bits, texts[name]))

    walk(wire.wire_layout(config), 0)
    return _table(("field", "bits", "meaning"), rows)


def _members(kind: type[enum.Enum], title: str) -> str:
    texts = meanings(kind, kind.__members__)
    return _table(("code", title, "meaning"),
                  [(member.value, f"`{member.name}`", texts[member.name]) for member in kind])


def page() -> str:
    """Return docs/link.md."""
    config = NetworkConfig()
    return _TEXT.format(
        bytes=config.flit_bytes, queue=config.queue_flits, replay=config.replay_flits,
        bits=wire.word_bits(config), fields=_fields(config), kinds=_members(wire.Kind, "kind"),
        polynomial=POLYNOMIAL, terms=POLYNOMIAL.bit_count(), inverted=INVERTED, channels=CHANNELS,
        refresh=REFRESH_WORDS, states=_members(LinkState, "state"),
        causes=_members(LinkCause, "cause"), pattern=wire.TRAINING_PATTERN, version=wire.VERSION,
        lost=LOST_WORDS, latency=Link.LATENCY, pace=PACE_PHITS, crc_bits=CRC_BITS, parts=1_000_000 // PACE_PHITS,
        counters=_table(("counter", "counts"),
                        ((f"`count_{name}`", text) for name, text in COUNTERS.items())))


if __name__ == "__main__":
    print(page(), end="")
