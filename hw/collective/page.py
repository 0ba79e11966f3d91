"""Writes docs/collective.md: what the collective engine does, its packets, and models on several chips."""

from hw.collective.limits import MAX_CHUNK, RING_BEATS
from hw.collective.packet import extent_layout
from hw.collective.sender import URGENT_BEATS
from hw.collective.transport import CYCLES, ERRORS
from hw.router.page import fields, table

_PAGE = """\
# Collectives: one model on several chips

Made by `make docs` from [hw/collective](../hw/collective); do not edit.

Several chips share a model by adding up what each made of it. [engine.py](../hw/collective/engine.py), in the core, takes rows of the
residual memory around a ring of chips; [transport.py](../hw/collective/transport.py), in the network, makes packets of them. Sums
are integers modulo 2^32, the same in any order, so that any number of chips makes the bits of one
([numerics.md](numerics.md), section 9).

## Rings

The host tells each chip the next one of up to four rings: RING_ROW, RING_COLUMN, RING_TORUS, RING_PIPE
([registers.md](registers.md)). An instruction names one by its field `ring`. Any order of chips works; one in which each is the
next one's neighbour is the fastest. [compiler/torus.py](../compiler/torus.py) lays a model out so.

## Commands

The commands are in [isa.md](isa.md). They take turns with the vector unit's, in the same queue and with the same events. A row has
`beats` beats in the residual memory, rows are `src_row_stride` apart, and each is cut into `segments` chunks: all have
`src_segment_stride` beats but the last, which begins at `dst_segment_stride` and has the rest. A chunk has 1 to {chunk} beats.

| | chunks | what a chip does |
|---|---|---|
| ALL_REDUCE | one for each chip of the ring; `src_up` is where the chip's own begins | sends its own; adds each that comes to what it has, and sends that on, until a chunk is whole; then keeps and sends on the whole ones that come: 2(p - 1) chunks are sent and as many come |
| ALL_GATHER | the same | sends its own, keeps the others that come and sends them on |
| SEND | any | sends rows to the next chip |
| RELAY | any | keeps rows that come, and sends them on |
| RECEIVE | any | keeps rows that come |
| CHOOSE | `segments` chips, `rows` and `beats` 1 | passes all chips' sampled tokens round; the one with the largest noisy logit, of equal ones the lowest, becomes the token of each. A chip that sampled nothing since its last CHOOSE offers none |

A broadcast is SEND at its root, RELAY at the chips between, RECEIVE at the last. `reduction` of ALL_REDUCE is SUM or MAXIMUM.
With `statistic` MAGNITUDE the largest magnitude of what was kept of row t goes to `row_maxima[maximum + t]`, as NORM needs it. All chips of
a ring must give the same command in the same order; the watchdog ends the wait for one that does not.

EMBED_SHARE embeds the tokens of this chip's share, `limit` tokens from 16 * `x` on, and makes zeros of others, so that an ALL_REDUCE brings
the embedding to all; a token above `x_row_stride` is the fault TOKEN_ADDRESS. LOGITS of a chip with a network are those of tokens from
16 * `position` on, for the sampler's noise and its token.

## Packets

A packet of class COLLECTIVE has a flit with the header ([network.md](network.md)), and COLLECTIVE_DATA behind it a flit for each beat. The
header's `tag` is COLLECTIVE_EPOCH, `words` is 0, and `address` has

{extent}
COLLECTIVE_DATA: `beats` that follow. COLLECTIVE_CREDIT: `beats` that the chip has taken of the ring. Each chip keeps {ring} beats of each
ring until its engine takes them. A sender begins with as many credits, and a packet only when it has one for each of its beats, so that
what comes is always taken in. Credits go back between packets: at once if none waits, else from {urgent} beats on.

**No packet waits for ever.** A packet begins only when its first beat is there. Its later beats come from a packet that has its way through
the network, its credits and its own first beat, and so on back to a chip that reads all of them from its memory. So an
open packet waits for nothing but flits that are on their way.

## Cycles

A hop is the router of one chip, the link, and the router of the next. ALL_REDUCE of n beats over p chips that come at the same time takes
about 2(p - 1) times the longer of n / p + 1 cycles and the way of a beat from one engine through the next (16 cycles for neighbours),
and n / p + 10 more; `tessera bench` measures it. Rows follow each other.

The engine counts cycles, from run to run:

{cycles}
## Errors

What comes broken is not taken, and counted; the chip that waits for it is stopped by the watchdog:

{errors}
CONTROL.RESET_SEQUENCER resets the engine; a packet that it had begun is ended by one more flit. Then beats may still be on their way, and
chips may be at different places of the program. So a host that starts a model on several chips, for the first time or again:

1. RESET_SEQUENCER on all chips, if one stopped with a fault;
2. a new COLLECTIVE_EPOCH, the same on all chips: what they keep is forgotten, all credits are back, and packets of another epoch are
   not taken;
3. CONTROL.START on all chips, in any order: who comes first, waits.

A link that goes down for good stops every chip that waits for it, by the watchdog, with the fault WATCHDOG, and raises the interrupts of
the chips at its ends. Chips must wait for each other longer than for their own commands: WATCHDOG_CYCLES must cover the longest time
for which one of them works alone, such as a stage of a pipeline, and the delay from the first START to the last.
"""


def page() -> str:
    """Return docs/collective.md."""
    return _PAGE.format(
        chunk=MAX_CHUNK, ring=RING_BEATS, urgent=URGENT_BEATS, extent=fields(extent_layout()),
        cycles=table(("register", "cycles in which the engine"),
                     ((name.upper(), text) for name, text in CYCLES.items())),
        errors=table(("register", "counts"), ((name.upper(), text) for name, text in ERRORS.items())))


if __name__ == "__main__":
    print(page(), end="")
