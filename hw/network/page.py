"""Writes docs/network.md: how a host reaches other chips, packets, links, errors."""

from hw.host.access import AccessError
from hw.host.network_registers import NETWORK_REGISTERS
from hw.host.registers import OTHER_CHIP
from hw.network.initiator import MEMORY_BITS
from hw.network.interface import ERRORS
from hw.network.link_control import IDLE_CYCLES
from hw.network.packet import PAYLOADS, PacketKind, header_layout
from hw.router.page import fields, members, table

_PAGE = """\
# Network

Made by `make docs` from [hw/network](../hw/network); do not edit.

Chips with a network (`network` of [ChipletConfig](../hw/config.py)) form a torus or a mesh of [routers](router.md) and
[links](link.md). One host, at any chip, reaches the registers and memories of all of them; hosts at several chips can work at the
same time. All chips of a network have the same configuration; a flit carries 4 * `lanes` bytes.

## What the host does

It writes TARGET_CHIP ([registers](registers.md)): X, Y and REMOTE = 1. From then on

- offsets from 0x{other:03X} on are the registers of that chip: register r at 0x{other:03X} + r. Those of its own chip stay where they are;
- the memory window is that chip's;
- a write to DOORBELL rings there: the value comes into its DOORBELL_VALUE, and NETWORK_IRQ_STATUS.DOORBELL is set there.

An access ends when the other chip has carried it out, or with an error. With REMOTE = 0, as after reset, or X and Y of its own, the
host works at its own chip, and no packet is made. TARGET_CHIP counts when an access, or a beat of a burst, begins. The same holds for
a host at the serial line.

A chip without a network answers NETWORK_ID with DECERR. HOST_ERRORS counts at the chip whose host asked. REPLY_TIMEOUT is that
of the asking chip; it must be longer than the network takes when it is full.

A host that starts, stops or configures a chip through the network does so as the chip's own host would; both take turns, access by
access. Counters of two registers are read whole only if no other host reads them at that moment.

## Interface

[hw/network/interface.py](../hw/network/interface.py) stands at the router's local port:

- `Initiator`: accesses of the own host become packets; one at a time. Each has another `tag`, which the reply brings back.
- `Target`: carries out the requests of other chips' hosts, one after the other, and answers each with one reply. Requests wait in
  a short queue, and behind that in the network.
- `Sender`: a flit per cycle; COLLECTIVE before REPLY before REQUEST, but of eight flits the seventh is preferably a REPLY, and
  the eighth a REQUEST. Flits of different classes mix.
- Flits of class COLLECTIVE come from and go to the collective engine's [transport](collective.md).

Replies and collective flits are taken in at once. Only requests may wait, and only for replies: so nothing waits in a ring
(see [router](router.md)).

## Packets

The header is the lowest 64 bits of the head flit; payload follows behind it, 32 bits a word, through as many flits as it needs:

{header}
`words` are those of the payload. `address` is one of the chip's address space: below 2^{memory_bits} the offset of a register,
above an address of the memory window.

{kinds}
Words of payload: {words}. A request has the class REQUEST, an answer the class REPLY.

Error codes of ERROR_REPLY, and how the host sees them:

{codes}
## Errors

No packet is dropped silently. Interfaces count ({registers}), and NETWORK_IRQ_STATUS.ERROR is set with each:

{errors}
- A request that did not come whole (its tail too early or too late, or a head inside of it, which is how the router ends what a
  failed link cut off), of a kind that is no request, or of another length than its kind has, is not carried out. ERROR_REPLY
  (REFUSED) goes to its source.
- A packet to a chip that does not exist, or whose way takes a link that is not up, leaves the network where that shows, and the
  interface there answers it with ERROR_REPLY (NO_ADDRESS): DECERR. A reply to such a chip is dropped and counted.
- If no reply comes within REPLY_TIMEOUT cycles, or the request cannot be sent for so long, the access ends with SLVERR. It may have
  been carried out all the same, or be yet. A reply that comes later has the tag of an access that is over.
- After the reset of one chip, links to it go down at its neighbours and are trained anew; accesses under way end by timeout.

## Links

A link that went down stays so until it is trained anew: by NETWORK_CONTROL, or by itself, with NETWORK_OPTIONS.AUTO_RETRAIN, as
after reset. It is held in training until the queues of the router's port have been empty for {idle} cycles, and comes up only when
that is so at both ends. LINK_<side> keeps how often and why it went down last. Without AUTO_RETRAIN both ends must be told: an end
that trains takes down one that is up. A host that reaches the other end only through this link needs AUTO_RETRAIN there.
RESET_SEQUENCER leaves interface, router and links alone.
"""


def page() -> str:
    """Return docs/network.md."""
    answers = {AccessError.NONE: "", AccessError.REFUSED: "SLVERR", AccessError.NO_ADDRESS: "DECERR"}
    return _PAGE.format(
        other=OTHER_CHIP, header=fields(header_layout()), memory_bits=MEMORY_BITS,
        kinds=members(PacketKind), words=", ".join(f"{k.name} {n}" for k, n in PAYLOADS.items()),
        codes=table(("code", "name", "AXI"), (
            (error.value, f"`{error.name}`", answers[error])
            for error in AccessError if error is not AccessError.NONE)),
        errors=table(("register", "counts"), (
            (name.upper(), text) for name, text in ERRORS.items())),
        registers=f"from 0x{NETWORK_REGISTERS[next(iter(ERRORS)).upper()].offset:03X} on",
        idle=IDLE_CYCLES)


if __name__ == "__main__":
    print(page(), end="")
