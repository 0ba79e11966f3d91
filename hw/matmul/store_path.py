"""Writes into the banks: keys as tile columns, values (and the host's words) as bank words."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import delay
from hw.config import ChipletConfig
from hw.matmul.array_step import address_bits, column_bits, store_layout, wave_layout


def store_request_layout(config: ChipletConfig) -> data.StructLayout:
    """Return where an activation word goes: a column of a tile, or (part of) a bank word."""
    return data.StructLayout({
        "column_valid": 1, "word_valid": 1, "address": address_bits(config),
        "column": column_bits(config), "row": range(config.rows),
        "part": range(max(value_parts(config), 2)),
    })


def value_parts(config: ChipletConfig) -> int:
    """Return how many activation words fill a bank word, or bank words take an activation word."""
    return max(config.columns // config.rows, config.rows // config.columns)


class StorePath(wiring.Component):
    """Delays a store until its activation word arrives, and lays the word over the bank.

    Ports: ``request``, in the cycle in which the address of its activation word is registered;
    ``activation_word``: three cycles later; ``host_store``: a direct write from the host, used
    when the chip rests; ``column_wave``: to be registered into the wave two cycles after the
    request; ``store``: direct write, three cycles after the request.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "request": In(store_request_layout(config)), "activation_word": In(8 * config.rows),
            "host_store": In(store_layout(config)),
            "column_wave": Out(wave_layout(config)), "store": Out(store_layout(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        rows, columns, parts = config.rows, config.columns, value_parts(config)
        at_2 = Signal(store_request_layout(config))
        at_3 = Signal(store_request_layout(config))
        m.d.comb += at_2.eq(delay(m, self.request, 2, "request"))
        m.d.sync += at_3.eq(at_2)
        m.d.comb += [
            self.column_wave.write_column.eq(at_2.column_valid),
            self.column_wave.address.eq(at_2.address), self.column_wave.column.eq(at_2.column),
        ]
        word = self.activation_word
        if columns >= rows:
            value = word.replicate(parts)
            mask = Cat(*((at_3.part == i).replicate(rows) for i in range(parts)))
        else:
            value = word.word_select(at_3.part, 8 * columns)
            mask = (1 << columns) - 1
        m.d.comb += self.store.eq(self.host_store)
        with m.If(at_3.word_valid):
            m.d.comb += [
                self.store.row.eq(Cat(*(at_3.row == r for r in range(rows)))),
                self.store.address.eq(at_3.address), self.store.mask.eq(mask),
                self.store.data.eq(value),
            ]
        return m


