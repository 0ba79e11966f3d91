"""Words onto the wires: the checksum is added, and a word passes in phits."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.crc import CRC_BITS, INVERTED, checksum, goes_by_phits, next_sum
from hw.link.wire import message_layout, phit_bits
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
    The checksum is made in one step, or phit by phit as they leave (hw/link/crc.py).
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
        message = self.message.as_value()
        by_phits = goes_by_phits(width, phits)
        word = Signal(len(message) + (0 if by_phits else CRC_BITS), reset_less=True)
        m.d.comb += self.phit.eq(word[:width])
        hold, load = Signal(), Signal()
        soon = self._pace(m, hold) if self.config.receive_clock == "link" else hold
        phase = self._phases(m, hold, soon) if phits > 1 else None
        if phase is None:
            m.d.comb += [self.slot.eq(~hold), load.eq(1)]
        else:
            m.d.comb += load.eq(phase == phits - 1)
        following = message if by_phits else Cat(message, checksum(m, message, "crc"))
        with m.If(~hold):
            with m.If(load):
                m.d.sync += word.eq(following)
            with m.Else():
                m.d.sync += word.eq(word[width:])
            if by_phits:
                self._check(m, word, phase, load)
        return m

    def _pace(self, m: Module, hold: Signal) -> Value:
        """Set ``hold`` now and then: this phit stays for one more cycle; return its next value."""
        count = Signal(range(PACE_PHITS))
        soon = count == 0
        m.d.sync += [count.eq(count + 1), hold.eq(soon), self.held.eq(hold)]
        return soon

    def _phases(self, m: Module, hold: Value, soon: Value) -> Signal:
        """Count the phits of a word; ``slot`` comes with the last but one."""
        phits = self.config.phits_per_word
        # In reset the message is loaded, so that what follows reset is a word.
        phase = Signal(range(phits), init=phits - 2)
        following = Signal(range(phits))
        slot = Signal(init=1)
        m.d.comb += [following.eq(Mux(hold, phase, phase + 1)), self.slot.eq(slot)]
        m.d.sync += [phase.eq(following), slot.eq((following == phits - 2) & ~soon)]
        return phase

    def _check(self, m: Module, word: Signal, phase: Value, load: Value) -> None:
        """Sum up the phits that leave; behind the last, the checksum follows."""
        width = len(self.phit)
        total, added = Signal(CRC_BITS, reset_less=True), Signal(CRC_BITS)
        m.d.comb += added.eq(next_sum(m, total, word[:width], len(word), "crc"))
        m.d.sync += total.eq(Mux(load, 0, added))
        with m.If(phase == len(word) // width - 1):
            m.d.sync += word.eq(added ^ INVERTED)
