"""Queues of an input port: one for each channel, all in one memory."""

from collections.abc import Iterable, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import reduce_balanced
from hw.memory.sram import Sram
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS
from hw.router.port import PORTS


def entry_layout() -> data.StructLayout:
    """Return what the allocation has to know of a flit.

    ``port``: a bit for each output port; ``vc``: virtual channel there; body flits have those of
    their packet. ``head``: opens a packet.
    """
    return data.StructLayout({"port": len(PORTS), "vc": 1, "head": 1, "tail": 1})


def stored_layout(config: NetworkConfig) -> data.StructLayout:
    """Return what the memory keeps of a flit: all but its channel."""
    return data.StructLayout({"head": 1, "tail": 1, "data": config.flit_bits})


def choose(select: Value, values: Iterable[ValueLike]) -> Value:
    """Return the OR of the values whose select bits are set: of one bit, that value."""
    terms = [bit.replicate(len(value)) & value
             for bit, value in zip(select, map(Value.cast, values), strict=True)]
    return reduce_balanced(terms, lambda a, b: a | b)


class InputQueue(wiring.Component):
    """FIFOs of the channels ``channels``, ``flits`` deep each (a power of two).

    The flits are in one memory. Their entries, which the allocation looks at, are in registers
    as far as they are the first two of their queue, and behind that in a second, narrow memory.

    Ports: ``write`` with ``write_channel`` (one-hot), ``write_flit`` and ``entry``: a flit comes
    in, for which there must be room; ``occupied``, ``fronts``: of each queue, whether it holds a
    flit and the first one's entry; ``alone``: it holds one flit; ``select`` (one-hot): a queue,
    whose second entry is ``second``, if ``second_valid``; ``pop``: its first flit leaves; ``read``:
    the memory reads its first flit to ``read_data``, which holds until the next read; a flit is
    read not later than it is popped. ``freed``: as of a link, of the last cycle's pop.
    ``empty``: all queues are.

    Latency: 1 cycle from ``write`` to ``fronts``, ``occupied`` and a possible ``read``; 1 from
    ``read`` to ``read_data``, 1 from ``pop`` to ``freed``. Throughput: a write and a pop per cycle,
    of any queues; the same queue can be popped in every cycle.
    """

    def __init__(self, config: NetworkConfig, channels: Sequence[int], flits: int) -> None:
        self.config, self.channels, self.flits = config, tuple(channels), flits
        queues = len(self.channels)
        super().__init__({
            "write": In(1), "write_channel": In(queues), "write_flit": In(stored_layout(config)),
            "entry": In(entry_layout()), "occupied": Out(queues), "alone": Out(queues),
            "fronts": Out(data.ArrayLayout(entry_layout(), queues)),
            "select": In(queues), "pop": In(1), "read": In(1),
            "second_valid": Out(1), "second": Out(entry_layout()),
            "read_data": Out(stored_layout(config)), "freed": Out(CHANNELS), "empty": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        queues, flits, entry_bits = len(self.channels), self.flits, entry_layout().size
        words, bits = queues * flits, self.write_flit.shape().size
        m.submodules.flits = memory = Sram(words=words, bits=bits, granule_bits=bits, ports="1r1w")
        m.submodules.entries = entries = Sram(
            words=words, bits=entry_bits, granule_bits=entry_bits, ports="1r1w")

        counts = [Signal(range(flits + 1), name=f"count_{c}") for c in range(queues)]
        write_at = [Signal(range(flits), name=f"write_at_{c}") for c in range(queues)]
        read_at = [Signal(range(flits), name=f"read_at_{c}") for c in range(queues)]
        many = Cat(count >= 3 for count in counts)
        # The entry behind the two in registers is read with each first flit of a queue, and taken
        # in the next cycle if that flit was popped.
        landing = Signal(queues)
        m.d.sync += landing.eq(Mux(self.pop, self.select & many, 0))

        numbers = [Const(c, (queues - 1).bit_length()) for c in range(queues)]
        number = choose(self.select, numbers)
        place = Signal(range(flits))
        behind = Signal(range(flits))
        write_number = choose(self.write_channel, numbers)
        write_place = choose(self.write_channel, write_at)
        m.d.comb += [
            place.eq(choose(self.select, read_at)), behind.eq(place + 2),
            memory.read_address.eq(Cat(place, number)), memory.read_enable.eq(self.read),
            self.read_data.eq(memory.read_data),
            memory.write_address.eq(Cat(write_place, write_number)),
            memory.write_mask.eq(self.write), memory.write_data.eq(self.write_flit),
            entries.read_address.eq(Cat(behind, number)),
            entries.read_enable.eq((self.select & many).any()),
            entries.write_address.eq(memory.write_address), entries.write_mask.eq(self.write),
            entries.write_data.eq(self.entry), self.empty.eq(~self.occupied.any()),
        ]
        seconds = []
        freed = Signal(CHANNELS)
        m.d.sync += self.freed.eq(freed)
        for c in range(queues):
            come = self.write & self.write_channel[c]
            gone = self.pop & self.select[c]
            m.d.comb += [self.occupied[c].eq(counts[c] != 0), self.alone[c].eq(counts[c] == 1),
                         freed[self.channels[c]].eq(gone)]
            m.d.sync += [counts[c].eq(counts[c] + come - gone), write_at[c].eq(write_at[c] + come),
                         read_at[c].eq(read_at[c] + gone)]
            seconds.append(self._registers(m, c, counts[c], come, gone, landing[c],
                                           entries.read_data))
        m.d.comb += [self.second_valid.eq((self.select & self.occupied & ~self.alone).any()),
                     self.second.eq(choose(self.select, seconds))]
        return m

    def _registers(self, m: Module, c: int, count: Value, come: Value, gone: Value, lands: Value,
                   landed: Value) -> Value:
        """Keep the first two entries of a queue; return the second."""
        first = Signal(entry_layout().size, name=f"first_{c}", reset_less=True)
        kept = Signal(entry_layout().size, name=f"second_{c}", reset_less=True)
        second = Signal(entry_layout().size, name=f"second_now_{c}")
        m.d.comb += [second.eq(Mux(lands, landed, kept)), self.fronts[c].eq(first)]
        m.d.sync += kept.eq(second)
        # An emptied queue keeps its last entry: the way of a packet of which more may come.
        with m.If(gone):
            with m.If(count == 1):
                with m.If(come):
                    m.d.sync += first.eq(self.entry)
            with m.Else():
                m.d.sync += first.eq(second)
            with m.If(come & (count == 2)):
                m.d.sync += kept.eq(self.entry)
        with m.Elif(come):
            with m.If(count == 0):
                m.d.sync += first.eq(self.entry)
            with m.If(count == 1):
                m.d.sync += kept.eq(self.entry)
        return second
