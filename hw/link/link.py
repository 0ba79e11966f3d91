"""One side of a link: what stands between a router's port and the wires to the next chip."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.credit_return import CreditReturn
from hw.link.crossing import Crossing
from hw.link.deserializer import Deserializer
from hw.link.receiver import Receiver
from hw.link.serializer import Serializer
from hw.link.training import LinkCause, LinkState, Training
from hw.link.transmitter import Transmitter
from hw.link.wire import Kind, is_training, phit_bits
from hw.network.config import NetworkConfig
from hw.network.flit import arrival_members, departure_members

#: Events that a link counts, and what each means.
COUNTERS = {
    "sent": "flits sent, each once",
    "received": "flits received in sequence",
    "replays": "times that flits were sent again from a missing one on",
    "errors": "words with an error",
    "starved": "cycles in which no flit was offered while a channel had no credit",
}
COUNTER_BITS = 32


def clock_members(config: NetworkConfig) -> dict[str, wiring.Member]:
    """Return the ports of a link that go with a clock on the wires."""
    if config.receive_clock != "link":
        return {}
    return {"link_clk": In(1), "phit_held": Out(1)}


class Link(wiring.Component):
    """Carries flits in both directions between two chips, each of which has one (docs/link.md).

    Ports: ``out_*``, ``in_*``: of a port of the router (hw/network/flit.py), seen from here;
    ``phit_out``, ``phit_in``: the wires, a phit in every cycle; with a ``receive_clock`` of "link"
    also ``link_clk``, that of ``phit_in``, and ``phit_held``: ``phit_out`` gets no clock edge in this
    cycle (hw/link/serializer.py); ``retrain``: start again from nothing (1 for a cycle or
    more); ``state``, ``cause``: LinkState, LinkCause; ``is_down``: the state is DOWN;
    ``count_*``: events since reset, modulo 2**32 (COUNTERS).

    Latency: ``latency(config)`` cycles from the transfer of a flit here to ``in_valid`` at the other
    side, without errors and with wires that take no cycle. Throughput: a flit in
    ``phits_per_word`` cycles, on one channel or on many.
    Backpressure: ``out_ready`` and ``out_room`` come from registers. In no state but UP is
    ``out_ready`` 1.
    Errors: words with errors are dropped, and flits sent again. A link that is down stays so until
    ``retrain``; flits on their way were lost, so that the router's port, with all its queues, must
    be cleared with it, on both sides.
    """

    #: Cycles from transfer to delivery, with a phit per word and the core's clock.
    LATENCY = (Transmitter.LATENCY + Serializer.LATENCY + Deserializer.LATENCY
               + Receiver.LATENCY)

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        clock = clock_members(config)
        super().__init__({
            **{name: member.flip() for name, member in
               (departure_members(config) | arrival_members(config)).items()},
            "phit_out": Out(phit_bits(config)), "phit_in": In(phit_bits(config)), **clock,
            "retrain": In(1), "state": Out(LinkState), "cause": Out(LinkCause),
            "is_down": Out(1), **{f"count_{name}": Out(COUNTER_BITS) for name in COUNTERS},
        })

    @staticmethod
    def latency(config: NetworkConfig) -> int:
        """Return the cycles from transfer to delivery, with the core's clock."""
        return Link.LATENCY + config.phits_per_word - 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.transmitter = transmitter = Transmitter(config)
        m.submodules.serializer = serializer = Serializer(config)
        m.submodules.deserializer = deserializer = Deserializer(config)
        m.submodules.receiver = receiver = Receiver(config)
        m.submodules.credit_return = credit_return = CreditReturn(config)
        m.submodules.training = training = Training(config)

        m.d.comb += [
            transmitter.out_valid.eq(self.out_valid), transmitter.out_flit.eq(self.out_flit),
            self.out_ready.eq(transmitter.out_ready), self.out_room.eq(transmitter.out_room),
            self.in_valid.eq(receiver.in_valid), self.in_flit.eq(receiver.in_flit),
            credit_return.freed.eq(self.in_freed),
            self.phit_out.eq(serializer.phit), serializer.message.eq(transmitter.message),
        ]
        if config.receive_clock == "link":
            m.submodules.crossing = crossing = Crossing(config)
            m.d.comb += [
                crossing.link_clk.eq(self.link_clk), crossing.link_phit.eq(self.phit_in),
                self.phit_held.eq(serializer.held),
                deserializer.phit.eq(crossing.phit), deserializer.phit_valid.eq(crossing.valid),
            ]
        else:
            m.d.comb += [deserializer.phit.eq(self.phit_in), deserializer.phit_valid.eq(1)]

        # What this side's words tell the other, and what the other's tell this one.
        up, good, message = training.up, deserializer.good, deserializer.message
        traffic = Signal()
        status = transmitter.status
        m.d.comb += [
            traffic.eq(good & ((message.kind == Kind.DATA) | (message.kind == Kind.IDLE))),
            receiver.good.eq(good), receiver.message.eq(message),
            status.acknowledge.eq(receiver.acknowledge), status.negative.eq(receiver.negative),
            status.echo.eq(receiver.echo), status.credit_channel.eq(credit_return.channel),
            status.credit_count.eq(credit_return.count),
            credit_return.take.eq(serializer.slot), transmitter.slot.eq(serializer.slot),
            transmitter.peer_valid.eq(traffic & up), transmitter.peer.eq(message.status),
            transmitter.seen.eq(training.seen),
            *(part.up.eq(up) for part in (transmitter, receiver, credit_return)),
        ]
        m.d.comb += [
            training.retrain.eq(self.retrain), training.good.eq(good),
            training.traffic.eq(traffic), training.training.eq(good & is_training(config, message)),
            training.training_echo.eq(message.status.echo),
            training.retries_exceeded.eq(transmitter.retries_exceeded),
            training.bad_acknowledge.eq(transmitter.bad_acknowledge),
            self.state.eq(training.state), self.cause.eq(training.cause),
            self.is_down.eq(training.state == LinkState.DOWN),
        ]
        events = {
            "sent": transmitter.sent, "received": receiver.in_valid, "replays": transmitter.replay,
            "errors": deserializer.bad & up, "starved": transmitter.starved,
        }
        for name, event in events.items():
            counter = getattr(self, f"count_{name}")
            happened = Signal(name=f"happened_{name}")
            m.d.sync += happened.eq(event)
            # A carry passes over whole bytes.
            for low in range(0, COUNTER_BITS, 8):
                byte, carry = counter[low:low + 8], Signal(name=f"carry_{name}_{low}")
                m.d.comb += carry.eq(happened & counter[:low].all())
                m.d.sync += byte.eq(byte + carry)
        return m
