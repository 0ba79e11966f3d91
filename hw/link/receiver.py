"""Receiving end of the link: of good words, it delivers the flits that are in sequence."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.wire import Kind, message_layout, sequence_bits
from hw.network.config import NetworkConfig
from hw.network.flit import flit_layout


class Receiver(wiring.Component):
    """Delivers flits in sequence, drops all else, and says what it expects.

    Ports: ``up``: the link is up, else it expects flit 0; ``good`` with ``message``: a word without
    error, from registers; ``in_valid`` with ``in_flit``: a flit, in the same cycle;
    ``acknowledge``, ``negative``, ``echo``: what the next word to the other side tells
    (hw/link/wire.py), from registers.

    Latency: 0 cycles from ``good`` to ``in_valid``, 1 to ``acknowledge``. Throughput: 1 per cycle.
    A gap is noticed at the first good word behind it: a flit out of sequence, or an idle word that
    names another flit than the expected one. ``negative`` stays until a word is in sequence; the
    echoed epoch tells the sender whether that word came before or after it went back last.
    """

    LATENCY = 0

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({
            "up": In(1), "good": In(1), "message": In(message_layout(config)),
            "in_valid": Out(1), "in_flit": Out(flit_layout(config)),
            "acknowledge": Out(sequence_bits(config)), "negative": Out(1), "echo": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        message = self.message
        usable, in_sequence = Signal(), Signal()
        m.d.comb += [
            usable.eq(self.good & ((message.kind == Kind.DATA) | (message.kind == Kind.IDLE))),
            in_sequence.eq(message.sequence == self.acknowledge),
            self.in_valid.eq(self.up & self.good & (message.kind == Kind.DATA) & in_sequence),
            self.in_flit.eq(message.flit),
        ]
        with m.If(self.in_valid):
            m.d.sync += self.acknowledge.eq(self.acknowledge + 1)
        with m.If(usable):
            m.d.sync += [self.negative.eq(~in_sequence), self.echo.eq(message.epoch)]
        with m.If(~self.up):
            m.d.sync += [self.acknowledge.eq(0), self.negative.eq(0), self.echo.eq(0)]
        return m
