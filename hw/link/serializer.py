"""Words onto the wires: the checksum is added, and a word passes in phits."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.crc import checksum
from hw.link.wire import message_layout, phit_bits, word_bits
from hw.network.config import NetworkConfig


class Serializer(wiring.Component):
    """Sends words, lowest bits first, without a gap.

    Ports: ``slot``: ``message`` is loaded at the end of this cycle; ``message``: a word, a register
    that holds from one cycle with ``slot`` to the next; ``phit``: the wires, registers.
    Latency: 1 cycle from a new ``message`` to its first phit. Throughput: a word in
    ``phits_per_word`` cycles.
    """

    LATENCY = 1

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({"slot": Out(1), "message": In(message_layout(config)),
                          "phit": Out(phit_bits(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phits, width = self.config.phits_per_word, len(self.phit)
        word = Signal(word_bits(self.config), reset_less=True)
        load = Signal()
        m.d.comb += self.phit.eq(word[:width])
        if phits == 1:
            m.d.comb += [self.slot.eq(1), load.eq(1)]
        else:
            # In reset the message is loaded, so that what follows reset is a word.
            phase = Signal(range(phits), init=phits - 2)
            m.d.comb += [self.slot.eq(phase == phits - 2), load.eq(phase == phits - 1)]
            m.d.sync += phase.eq(phase + 1)
        message = self.message.as_value()
        with m.If(load):
            m.d.sync += word.eq(Cat(message, checksum(m, message, "crc")))
        with m.Else():
            m.d.sync += word.eq(word[width:])
        return m
