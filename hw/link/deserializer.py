"""Phits back to words: finds where words begin, and judges each by its checksum."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from hw.link.crc import CRC_BITS, INVERTED, goes_by_phits, is_good, next_sum
from hw.link.wire import message_layout, phit_bits, word_bits
from hw.network.config import NetworkConfig

#: Bad words in succession after which words are looked for anywhere.
LOST_WORDS = 8


class Alignment(enum.Enum, shape=2):
    """Whether it is known where words begin."""

    #: every phit may be the last of a word
    SEARCH = 0
    #: one good word was found; the next must be good as well, or it was chance
    CONFIRM = 1
    #: words begin where the last good ones did
    ALIGNED = 2


class Deserializer(wiring.Component):
    """Puts words together, and lets only those count whose checksum is right.

    Ports: ``phit`` while ``phit_valid``; ``message`` with ``good``: a word without error, both
    registers; ``bad``: a word with an error.
    Latency: 2 cycles from a word's last phit to ``good``.
    Of several phits to a word, the first good word found only tells where words begin, and is not
    delivered; after ``LOST_WORDS`` bad words that is looked for again.
    """

    LATENCY = 2

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({
            "phit": In(phit_bits(config)), "phit_valid": In(1),
            "message": Out(message_layout(config)), "good": Out(1), "bad": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phits, width = self.config.phits_per_word, phit_bits(self.config)
        word = Signal(word_bits(self.config), reset_less=not goes_by_phits(width, phits))
        message = Signal(message_layout(self.config), reset_less=True)
        fresh, right, complete = Signal(), Signal(), Signal()
        with m.If(self.phit_valid):
            m.d.sync += word.eq(Cat(word, self.phit)[width:])
        # Judged in any case; what is made of it, in the next cycle.
        correct, judged = Signal(), Signal()
        if goes_by_phits(width, phits):
            m.d.comb += correct.eq(self._slide(m, word))
        else:
            m.d.comb += correct.eq(is_good(m, word, "syndrome"))
        m.d.sync += [fresh.eq(self.phit_valid), right.eq(correct & complete), judged.eq(complete)]
        with m.If(complete):
            m.d.sync += Value.cast(message).eq(word)
        m.d.comb += Value.cast(self.message).eq(message)
        if phits == 1:
            m.d.comb += [complete.eq(fresh), self.good.eq(right), self.bad.eq(judged & ~right)]
        else:
            self._align(m, fresh, complete, judged, right)
        return m

    def _slide(self, m: Module, word: Value) -> Value:
        """Return whether the last phits are a word: its checksum slides along, from a word of zeros."""
        width, bits = len(self.phit), len(word) - CRC_BITS
        total = Signal(CRC_BITS)
        with m.If(self.phit_valid):
            m.d.sync += total.eq(next_sum(m, total, word[bits:bits + width], bits, "syndrome",
                                          gone=word[:width]))
        return (total ^ word[bits:]) == INVERTED

    def _align(self, m: Module, fresh: Value, complete: Value, judged: Value,
               right: Value) -> None:
        """Decide at which phits a word is complete."""
        phits = self.config.phits_per_word
        state = Signal(Alignment)
        phase, judged_phase, last = (Signal(range(phits), name=name)
                                     for name in ("phase", "judged_phase", "last"))
        lost = Signal(range(LOST_WORDS))
        with m.If(self.phit_valid):
            m.d.sync += phase.eq(phase + 1)
        searching = state == Alignment.SEARCH
        m.d.comb += [
            complete.eq(fresh & (searching | (phase == last))),
            self.good.eq(right & (state == Alignment.ALIGNED)),
            self.bad.eq(judged & ~right & (state == Alignment.ALIGNED)),
        ]
        m.d.sync += judged_phase.eq(phase)
        # A phit that was judged as the end of a word while searching no longer is, once one is found.
        with m.If(judged & (searching | (judged_phase == last))):
            m.d.sync += lost.eq(0)
            with m.If(right & searching):
                m.d.sync += [state.eq(Alignment.CONFIRM), last.eq(judged_phase)]
            with m.Elif(right):
                m.d.sync += state.eq(Alignment.ALIGNED)
            with m.Elif(state == Alignment.CONFIRM):
                m.d.sync += state.eq(Alignment.SEARCH)
            with m.Elif(state == Alignment.ALIGNED):
                m.d.sync += lost.eq(lost + 1)
                with m.If(lost == LOST_WORDS - 1):
                    m.d.sync += state.eq(Alignment.SEARCH)
