"""The network's part of collective operations: it goes on when the engine's core is reset."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.collective.packet import EPOCH_BITS, next_layout, packet_layout
from hw.collective.receiver import RINGS, CollectiveReceiver
from hw.collective.sender import CollectiveSender
from hw.control.isa import Ring
from hw.network.config import NetworkConfig
from hw.network.flit import flit_layout
from hw.network.sender import content_layout

#: Packets that were not taken, or not as they came, and what they were.
ERRORS = {
    "collective_wrong": "collective packets that came broken, of no known kind, too long, or for "
                        "another chip",
    "collective_stale": "collective packets of another epoch",
}
ERROR_BITS = 16
#: Cycles, without end, in which the engine ...
CYCLES = {
    "collective_working": "had a network command",
    "collective_waiting": "waited in one for a beat of the chip before",
    "collective_starved": "waited in one for the network, or for room at the next chip",
}


class CollectiveTransport(wiring.Component):
    """Between the collective engine and the network interface.

    Ports: the engine's (:func:`hw.collective.engine.network_members`), seen from the other side;
    ``abandon``: the engine is being reset; ``node``, ``next``: places; ``epoch``: a change forgets
    all beats and credits, and packets of other epochs are not taken; ``send``: a stream of flits;
    ``receive_valid``, ``receive_flit``; counters of ERRORS and CYCLES; ``error``: one of ERRORS.
    """

    packet: stream.Interface
    beat: stream.Interface
    send: stream.Interface

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({
            "arrived": Out(RINGS), "take": In(1), "take_ring": In(Ring),
            "data": Out(config.flit_bits), "packet": In(stream.Signature(packet_layout())),
            "beat": In(stream.Signature(config.flit_bits)),
            "working": In(1), "waiting": In(1), "starved": In(1), "abandon": In(1),
            "node": In(next_layout()), "next": In(data.ArrayLayout(next_layout(), RINGS)),
            "epoch": In(EPOCH_BITS),
            "send": Out(stream.Signature(content_layout(config))),
            "receive_valid": In(1), "receive_flit": In(flit_layout(config)),
            **{name: Out(ERROR_BITS) for name in ERRORS}, **{name: Out(32) for name in CYCLES},
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = CollectiveReceiver(self.config)
        m.submodules.sender = sender = CollectiveSender(self.config)
        before, clear = Signal(EPOCH_BITS), Signal()
        m.d.sync += [before.eq(self.epoch), clear.eq(before != self.epoch)]
        wiring.connect(m, wiring.flipped(self.packet), sender.packet)
        wiring.connect(m, wiring.flipped(self.beat), sender.beat)
        wiring.connect(m, sender.flits, wiring.flipped(self.send))
        m.d.comb += [
            receiver.valid.eq(self.receive_valid), receiver.flit.eq(self.receive_flit),
            self.arrived.eq(receiver.arrived), self.data.eq(receiver.data),
            sender.abandon.eq(self.abandon), sender.next.eq(self.next),
            sender.source.eq(receiver.source),
            *(getattr(sender, name).eq(getattr(receiver, name))
              for name in ("credit_valid", "credit_ring", "credit_beats")),
            *(getattr(part, name).eq(getattr(self, name)) for part in (receiver, sender)
              for name in ("node", "epoch", "take", "take_ring")),
            receiver.clear.eq(clear), sender.clear.eq(clear),
            self.error.eq(receiver.wrong | receiver.stale),
        ]
        for name, event in zip((*ERRORS, *CYCLES), (
                receiver.wrong, receiver.stale, self.working, self.waiting, self.starved), strict=True):
            counter = getattr(self, name)
            happened = Signal(name=f"{name}_now")
            m.d.sync += happened.eq(Cat(event))
            with m.If(happened):
                m.d.sync += counter.eq(counter + 1)
        return m
