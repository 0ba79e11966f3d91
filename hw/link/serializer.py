"""Words onto the wires: the checksum is added, and a word passes in phits."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.crc import checksum
from hw.link.wire import message_layout, phit_bits, word_bits
from hw.network.config import NetworkConfig

#: With a clock on the wires, one phit in so many is sent twice and clocked once: the receiver's clock
#: may be slower than the sender's by nearly so large a part, and its FIFO still does not run over.
PACE_PHITS = 1024


class Serializer(wiring.Component):
    """Sends words, lowest bits first, without a gap.

    Ports: ``slot``: ``message`` is loaded at the end of this cycle; ``message``: a word, a register
    that holds from one cycle with ``slot`` to the next; ``phit``: the wires, registers; with a
    ``receive_clock`` of "link" also ``held``, a register: ``phit`` is the one before it again, and
    the receiver must not take it.
    Latency: 1 cycle from a new ``message`` to its first phit. Throughput: a word in
    ``phits_per_word`` cycles, but for the phits that are held.
    """

    LATENCY = 1

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        held = {"held": Out(1)} if config.receive_clock == "link" else {}
        super().__init__({"slot": Out(1), "message": In(message_layout(config)),
                          "phit": Out(phit_bits(config)), **held})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phits, width = self.config.phits_per_word, len(self.phit)
        word = Signal(word_bits(self.config), reset_less=True)
        load = Signal()
        m.d.comb += self.phit.eq(word[:width])
        hold = self._hold(m) if self.config.receive_clock == "link" else None
        if phits == 1:
            m.d.comb += [self.slot.eq(1), load.eq(1)]
        else:
            # In reset the message is loaded, so that what follows reset is a word.
            phase = Signal(range(phits), init=phits - 2)
            m.d.comb += [self.slot.eq(phase == phits - 2), load.eq(phase == phits - 1)]
            m.d.sync += phase.eq(phase + 1)
            if hold is not None:
                with m.If(hold):
                    m.d.sync += phase.eq(phase)
        message = self.message.as_value()
        with m.If(load):
            m.d.sync += word.eq(Cat(message, checksum(m, message, "crc")))
        with m.Else():
            m.d.sync += word.eq(word[width:])
        if hold is not None:
            with m.If(hold):
                m.d.comb += [self.slot.eq(0), load.eq(0)]
                m.d.sync += word.eq(word)
        return m

    def _hold(self, m: Module) -> Signal:
        """Return whether the phit stays for one more cycle."""
        count = Signal(range(PACE_PHITS))
        hold = Signal()
        m.d.sync += [count.eq(count + 1), hold.eq(count == 0), self.held.eq(hold)]
        return hold
