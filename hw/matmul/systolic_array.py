"""The systolic array: steps in a column, the skew of its inputs, the accumulators below."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import delay
from hw.config import ChipletConfig
from hw.emit import instantiate
from hw.matmul.array_step import ArrayStep, partial_sum_bits, store_layout, wave_layout

ACCUMULATOR_BITS = 32


def tag_layout() -> data.StructLayout:
    """Return what the accumulators must know of a wave; all 0 in a cycle without one."""
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "column": 1})


class SystolicArray(wiring.Component):
    """R rows by C columns of PEs, fed by one wave per cycle, with C accumulators.

    Ports: ``wave``: read or column write, entering step 0; ``tag``: with the wave: adds its tile
    (``valid``) to accumulators that start anew (``first``), and reports them (``last``), or reads
    one column (``column``); ``activations``: R signed bytes, two cycles after a read wave, with a
    column-write wave; ``store``: direct write to one bank while no wave is in the array.
    ``sums`` with ``sums_valid``: C accumulators (INT32) of a vector whose last tile is in, valid
    for one cycle; ``column_bytes`` with ``column_valid``: R bytes. Each is announced ``NOTICE``
    cycles before, by ``sums_soon`` and ``column_soon``.

    Latency: ``steps + 4`` cycles from the last wave to ``sums_valid``; ``steps + 2`` from a column
    read to ``column_valid``. Throughput: one wave per cycle. Backpressure: none.
    Numerics: exact while |sum| < 2**31 (the compiler checks K * 127 * 127).
    """

    #: Cycles from ``sums_soon`` to ``sums_valid``, and from ``column_soon`` to ``column_valid``.
    NOTICE = 3

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "wave": In(wave_layout(config)), "tag": In(tag_layout()),
            "activations": In(8 * config.rows), "store": In(store_layout(config)),
            "sums": Out(ACCUMULATOR_BITS * config.columns), "sums_valid": Out(1),
            "sums_soon": Out(1), "column_bytes": Out(8 * config.rows), "column_valid": Out(1),
            "column_soon": Out(1),
        })

    @staticmethod
    def sums_latency(config: ChipletConfig) -> int:
        """Cycles from the last wave at ``wave`` to ``sums_valid``."""
        return config.steps + ArrayStep.LATENCY

    @staticmethod
    def column_latency(config: ChipletConfig) -> int:
        """Cycles from a column-read wave to ``column_valid``."""
        return config.steps + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        per_step, bits = config.rows_per_step, partial_sum_bits(config)

        # Step i sees the wave i cycles late, so its activations wait i cycles, and the column
        # bytes of upper steps wait for the last one.
        wave: Value = self.wave
        partial: Value = Const(0, bits * config.columns)
        deskewed = []
        for i in range(config.steps):
            step = ArrayStep(config)
            instantiate(m, f"step_{i}", "tessera_array_step", step, platform)
            activations = self.activations.word_select(i, 8 * per_step)
            m.d.comb += [
                step.wave.eq(wave),
                step.activations.eq(
                    delay(m, activations, i, f"skew_{i}", reset_less=True) if i else activations),
                step.partial.eq(partial),
                step.store_row.eq(self.store.row.word_select(i, per_step)),
                step.store_address.eq(self.store.address),
                step.store_mask.eq(self.store.mask),
                step.store_data.eq(self.store.data),
            ]
            wave, partial = step.wave_out, step.partial_out
            wait = config.steps - 1 - i
            deskewed.append(delay(m, step.column_bytes, wait, f"deskew_{i}", reset_less=True)
                            if wait else step.column_bytes)
        m.d.comb += self.column_bytes.eq(Cat(*deskewed))

        tags = [self.tag]
        for i in range(config.steps + ArrayStep.LATENCY):
            tag = Signal(tag_layout(), name=f"tag_{i + 1}")
            m.d.sync += tag.eq(tags[-1])
            tags.append(tag)
        column, sums = self.column_latency(config), self.sums_latency(config)
        m.d.comb += [
            self.column_valid.eq(tags[column].column),
            self.column_soon.eq(tags[column - self.NOTICE].column),
            self.sums_soon.eq(tags[sums - self.NOTICE].valid & tags[sums - self.NOTICE].last),
            self.sums_valid.eq(tags[sums].valid & tags[sums].last),
        ]
        tag = tags[-2]
        for c in range(config.columns):
            total = Signal(signed(ACCUMULATOR_BITS), name=f"accumulator_{c}", reset_less=True)
            with m.If(tag.valid):
                m.d.sync += total.eq(
                    Mux(tag.first, 0, total) + partial.word_select(c, bits).as_signed())
            m.d.comb += self.sums.word_select(c, ACCUMULATOR_BITS).eq(total)
        return m

