"""One pipeline step of the systolic array: a few rows of PEs, each row with its bank."""

from collections.abc import Sequence

from amaranth.hdl import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import balanced_sum
from hw.config import ChipletConfig
from hw.emit import instantiate
from hw.matmul.processing_element import PRODUCT_BITS, ProcessingElement
from hw.memory.sram import Sram


def address_bits(config: ChipletConfig) -> int:
    """Width of a bank word address."""
    return (config.bank_words - 1).bit_length()


def column_bits(config: ChipletConfig) -> int:
    """Width of a column index."""
    return (config.columns - 1).bit_length()


def partial_sum_bits(config: ChipletConfig) -> int:
    """Width of a sum of ``rows`` products, exact for every operand."""
    return PRODUCT_BITS + (config.rows - 1).bit_length()


def wave_layout(config: ChipletConfig) -> data.StructLayout:
    """Return what moves down the array: read a word, or write the activation into a column."""
    return data.StructLayout({
        "read": 1, "write_column": 1, "address": address_bits(config),
        "column": column_bits(config),
    })


def store_layout(config: ChipletConfig) -> data.StructLayout:
    """Return a direct write to one bank, given to all steps at once."""
    return data.StructLayout({
        "row": config.rows, "address": address_bits(config),
        "mask": config.columns, "data": 8 * config.columns,
    })


def column_sum(products: Sequence[Value], incoming: Value) -> Value:
    """Return what a column of a step hands down: its products and the sum from above."""
    return balanced_sum([*products, incoming])


class ArrayStep(wiring.Component):
    """``rows_per_step`` rows of ``columns`` processing elements and their banks.

    A wave reads the rows' banks (or writes the activation byte of each row into one column of
    its bank); the products join the partial sums that come from the step above.

    Ports: ``wave`` and ``wave_out`` (one cycle later, to the next step); ``activations`` (one
    signed byte per row, two cycles after the wave; at the wave for a column write);
    ``store_*``: direct write, row one-hot within the step, in cycles without a wave;
    ``partial`` and ``partial_out``: C partial sums, entering three cycles after the wave, leaving
    one later; ``column_bytes``: one byte per row, the wave's column, three cycles after the wave.

    Throughput: one wave per cycle. Backpressure: none.
    """

    #: Cycles from the wave at this step to its partial sums at ``partial_out``.
    LATENCY = 4

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        rows, columns, bits = config.rows_per_step, config.columns, partial_sum_bits(config)
        super().__init__({
            "wave": In(wave_layout(config)), "wave_out": Out(wave_layout(config)),
            "activations": In(8 * rows), "store_row": In(rows),
            "store_address": In(address_bits(config)), "store_mask": In(columns),
            "store_data": In(8 * columns), "partial": In(bits * columns),
            "partial_out": Out(bits * columns), "column_bytes": Out(8 * rows),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        rows, columns, bits = config.rows_per_step, config.columns, partial_sum_bits(config)

        wave_out = Signal(wave_layout(config))
        m.d.sync += wave_out.eq(self.wave)
        m.d.comb += self.wave_out.eq(wave_out)
        column_1 = Signal(column_bits(config), reset_less=True)
        column_2 = Signal(column_bits(config), reset_less=True)
        m.d.sync += [column_1.eq(self.wave.column), column_2.eq(column_1)]

        products: list[list[Signal]] = [[] for _ in range(columns)]
        for r in range(rows):
            m.submodules[f"bank_{r}"] = bank = Sram(
                words=config.bank_words, bits=8 * columns, granule_bits=8, ports="1rw")
            activation = self.activations.word_select(r, 8)
            store = self.store_row[r]
            m.d.comb += [
                bank.enable.eq(self.wave.read | self.wave.write_column | store),
                bank.address.eq(Mux(store, self.store_address, self.wave.address)),
                bank.write_data.eq(Mux(store, self.store_data, activation.replicate(columns))),
                bank.write_mask.eq(Mux(
                    store, self.store_mask,
                    Mux(self.wave.write_column, 1 << self.wave.column, 0))),
            ]
            registered = []
            for c in range(columns):
                pe = ProcessingElement()
                instantiate(m, f"pe_{r}_{c}", "tessera_pe", pe, platform)
                m.d.comb += [
                    pe.weight.eq(bank.read_data.word_select(c, 8).as_signed()),
                    pe.activation.eq(activation.as_signed()),
                ]
                products[c].append(pe.product)
                registered.append(pe.weight_out)
            column_byte = Signal(8, name=f"column_byte_{r}", reset_less=True)
            m.d.sync += column_byte.eq(Array(registered)[column_2])
            m.d.comb += self.column_bytes.word_select(r, 8).eq(column_byte)

        for c in range(columns):
            partial = Signal(signed(bits), name=f"partial_{c}", reset_less=True)
            incoming = self.partial.word_select(c, bits).as_signed()
            m.d.sync += partial.eq(column_sum(products[c], incoming))
            m.d.comb += self.partial_out.word_select(c, bits).eq(partial)
        return m


