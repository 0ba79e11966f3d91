"""Writes docs/router.md: routing, formats, allocation, deadlock argument, errors of the router."""

import inspect
from collections.abc import Iterable

from amaranth.lib import data, enum

from hw.network.config import MAX_SIDE, NetworkConfig
from hw.network.flit import CHANNELS, ROOM_FLITS, TrafficClass, flit_layout
from hw.network.packet import header_layout
from hw.router.input_port import LOCAL_FLITS, InputPort
from hw.router.port import SOURCES, Port
from hw.router.router import Router

_HEAD = """\
# Router

Made by `make docs` from [hw/router](../hw/router); do not edit.

Every chiplet of a network has a router ([hw/router/router.py](../hw/router/router.py)): four links and the chip's own network
interface. Nodes form a torus or a mesh of up to {side} x {side}. Packets are cut into flits; a head flit finds the way, the others
follow it (wormhole switching), and a packet of one channel never mixes with another on the same channel of the same wire.

## Formats

A flit with {flit_bytes} bytes of data (`flit_bytes` of [NetworkConfig](../hw/network/config.py)):

{flit}
`channel` is class * 2 + virtual channel, {channels} in all. A flit that is `head` and `tail` inside of a packet ends a packet whose
rest was lost (see Errors).

Of a head flit, the lowest 64 bits of `data` are the header; the router reads the destination only:

{header}
Classes:

{classes}
Ports:

{ports}
## Straps

`node_x`, `node_y`: this node; `last_x`, `last_y`: columns and rows, less 1; `wrap_x`, `wrap_y`: the link between the last place and
place 0 exists. A ring has three nodes or more: of one and two, `wrap` is ignored. They are constant while the router works. A mesh
has both `wrap` 0. `link_up` has a bit for each of NORTH, EAST, SOUTH, WEST; a link that does not exist is one that is never up, its
`in_valid` and its other inputs are 0.

## Routing

- A packet travels in x until its column is right, then in y, then leaves through LOCAL. A destination outside of the network
  (x > `last_x` or y > `last_y`) leaves through LOCAL of the node where it was sent.
- In a ring it goes the shorter way round; of two equal ways, to the EAST or SOUTH. In a line there is one way.
- Virtual channel: it enters a dimension (from LOCAL, or from x into y) on
  - 1, if its first link there is the one that closes the ring (between place `last` and place 0);
  - 0, if its way in this dimension takes that link later;
  - the parity of x + y of the node where it enters + x + y of the destination, if it does not take that link at all.
  On the closing link it goes over to 1; otherwise it keeps its channel to the end of the dimension. On LOCAL it is 0.
- All packets of a class between two nodes take the same channels, so they arrive in order. The class never changes.
- A turn that this rule does not make (out of y into x, or back) leaves through LOCAL: no such packet exists while all nodes have the
  same sizes.

golden/router.py has this rule once more, and the tests compare it with the emitted hardware.

### No deadlock

A packet holds channels and waits for the next one of its way. If no ring of channels that wait for each other can form, and LOCAL
takes in what comes, every packet arrives. Channels of x never wait for those of another packet's earlier dimension: the order is x,
then y, then LOCAL. Within a ring of one direction, virtual channel 0 of the closing link is never used, so the channels 0 form a line;
a packet on 1 is either behind the closing link, and will not come to it again, or never takes it, so the channels 1, from the closing
link on, form a line too; and nothing goes from 1 to 0. Classes have channels of their own. `python -m verif.channel_graph` builds the graph
from the netlist of the routing function for every torus and mesh, and looks for a ring; without the dateline it finds one.

LOCAL must take in REPLY and COLLECTIVE packets without waiting for anything that the network has to bring; REQUEST may wait for room
to send replies. Each class has credits of its own at LOCAL; `local_out_ready` must not fall because of one class.

## How a flit passes

| cycle | |
|---|---|
| 0 | `in_valid`: the head is routed; the flit goes into the memory of its input, its entry to registers, and on offer if nothing else is |
| {offer} | offered to its output port: the channel must be free (or its own packet's) and have room; granted; the memory reads |
| {read} | the flit goes through the crossbar |
| {latency} | `out_valid` |

{latency} cycles in an empty router (`Router.LATENCY`). A flit that was not on offer at once takes one more. Each port moves a flit per
cycle in each direction, also of one channel alone.

Each input port has a queue for each channel: `queue_flits` deep for links; the local one has a queue per class (virtual channel 0 only),
at most {local_flits} deep. It offers one flit at a time; if another input's flit is preferred, it stays on offer; if it can not go
(no room, channel held, output not ready), one of another channel is offered that can. Of several, the least recently served goes first, in
each of three choices: which head gets a free channel, which channel of an input is on offer, which input an output serves. So no
packet waits for ever while there is room where it wants to go.

## Ports towards a link

As in [hw/network/flit.py](../hw/network/flit.py). `out_room` of a channel means that {room} credits are left or more: the router decides
two cycles before a flit is offered, so that {room} flits may be on their way before the first has taken its credit. All credits can be
used. `in_freed` comes one cycle after the flit left the queue. A link starts with `queue_flits` credits for each channel, the local
network interface with {local_flits} (or `queue_flits`, if that is less) for each class, and a bit of `local_in_freed` for virtual channel 0.

Outputs that each input can reach (no other path exists in the crossbar):

{targets}
## Errors

Nothing is dropped silently, and nothing that is dropped blocks others.

- *No way*: the destination is outside of the network, or the link that the head needs is not up. The packet leaves through LOCAL; the
  network interface there sees that it is not for this node, and answers a request with an error. `undeliverable` is set (until
  `clear_errors`), and `undeliverable_x`, `undeliverable_y` hold the first such packet's destination.
- *A link goes down* (its bit of `link_up` falls): flits on their way out to it vanish; of packets that have begun to go out there, and of
  those that wait to, all flits are thrown away as they come, and counted in `flits_discarded`. Its channels are free at once. A
  requester notices by its timeout.
- *A packet that was coming in through it* gets an end: when its flits have left the queue, the router adds a flit with `head` and `tail`
  on its channel, data undefined. It travels as the packet's tail, and frees its channels on the whole way. The network interface
  tells it by `head` inside of a packet, and must discard the packet.
- *A link comes up* only while `in_idle` of its port is 1 on both sides: queue empty, no packet open. Credits then start anew; `in_freed` of a
  link that is down means nothing.
- Body flits without a head are thrown away and counted.

## Counters

`<port>_flits_out`: flits that went out; `<port>_cycles_blocked`: cycles in which a flit was on offer for this port and none was granted
(no room, channel held, not ready). 32 bits, which wrap.
"""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def fields(layout: data.StructLayout) -> str:
    rows = []
    for name, field in layout:
        last = field.offset + field.width - 1
        rows.append((f"`{name}`", field.offset if field.width == 1 else f"{last}..{field.offset}",
                     field.width))
    return table(("field", "bits", "width"), rows)


def members(kind: type[enum.Enum]) -> str:
    comments: dict[str, str] = {}
    comment = ""
    for line in inspect.getsource(kind).splitlines():
        text = line.strip()
        if text.startswith("#:"):
            comment = text[2:].strip()
        elif text.split(" ")[0] in kind.__members__:
            comments[text.split(" ")[0]] = comment
    return table(("number", "name", "meaning"), (
        (member.value, f"`{member.name}`", comments[member.name]) for member in kind))


def page() -> str:
    """Return docs/router.md."""
    config = NetworkConfig()
    offer = InputPort.OFFER_LATENCY
    return _HEAD.format(
        side=MAX_SIDE, flit_bytes=config.flit_bytes, flit=fields(flit_layout(config)),
        channels=CHANNELS, header=fields(header_layout()), classes=members(TrafficClass),
        ports=members(Port), offer=offer, read=offer + InputPort.READ_LATENCY,
        latency=Router.LATENCY, local_flits=LOCAL_FLITS, room=ROOM_FLITS,
        targets=table(("output", "inputs"), (
            (target.name, ", ".join(source.name for source in sources))
            for target, sources in SOURCES.items())))


if __name__ == "__main__":
    print(page(), end="")
