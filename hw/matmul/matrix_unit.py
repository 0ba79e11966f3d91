"""The matrix unit: issue, systolic array with its banks, drain."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import delay
from hw.config import ChipletConfig
from hw.control.isa import SHARE_UNITS, Fault, row_scale_layout
from hw.control.queue import command_in_flight_layout
from hw.emit import instantiate
from hw.matmul.array_step import address_bits
from hw.matmul.drain import Drain
from hw.matmul.issue import MatrixIssue
from hw.matmul.store_path import StorePath
from hw.matmul.systolic_array import SystolicArray


class MatrixUnit(wiring.Component):
    """Runs matrix commands: ``y = drain(W x)``, embedding, and stores of keys and values.

    Ports: ``head`` with ``head_ready`` and ``pop`` (command queue); memory ports with the names
    and timing of :class:`hw.matmul.drain.Drain` and :class:`hw.matmul.issue.MatrixIssue`;
    ``activation_data``/``output_data_in``: SRAM outputs; ``host_*``: bank access while the unit
    rests: a write takes one cycle, a read returns ``host_data`` after ``SystolicArray.sums_latency``.

    Latency: from a command's first wave to the first write: see ``SystolicArray`` and ``Drain``.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__({
            "head": In(command_in_flight_layout()), "head_ready": In(1), "pop": Out(1),
            "activation_address": Out(range(config.activation_words)), "activation_enable": Out(1),
            "activation_data": In(8 * config.rows),
            "output_read_address": Out(range(config.output_words)), "output_enable": Out(1),
            "output_read_data": In(8 * config.rows),
            "token_address": Out(range(config.context)), "token_enable": Out(1),
            "token_data": In(32),
            "multiplier_address": Out(range(config.multiplier_beats)), "multiplier_enable": Out(1),
            "multiplier_data": In(16 * lanes),
            "row_scale_address": Out(range(config.row_slots)), "row_scale_enable": Out(1),
            "row_scale_data": In(row_scale_layout()),
            "residual_address": Out(range(config.residual_beats)), "residual_enable": Out(1),
            "residual_data": In(32 * lanes),
            "residual_write_address": Out(range(config.residual_beats)), "residual_write": Out(1),
            "residual_write_data": Out(32 * lanes),
            "result_address": Out(range(config.result_beats)), "result_write": Out(1),
            "result_data": Out(16 * lanes),
            "output_address": Out(range(config.output_words)),
            "output_mask": Out(config.row_beats), "output_data": Out(8 * config.rows),
            "maximum_address": Out(range(config.row_slots)), "maximum_write": Out(1),
            "maximum_data": Out(signed(32)),
            "sampler_valid": Out(1), "sampler_first": Out(1), "sampler_last": Out(1),
            "sampler_live": Out(range(lanes + 1)), "sampler_logits": Out(32 * lanes),
            **({} if config.network is None else {"sampler_base": Out(range(SHARE_UNITS))}),
            "host_read": In(1), "host_write": In(1), "host_write_mask": In(config.columns),
            "host_row": In(range(config.rows)), "host_address": In(address_bits(config)),
            "host_write_data": In(8 * config.columns),
            "host_data": Out(8 * config.columns),
            "done": Out(1), "clipped": Out(range(lanes + 1)),
            "idle": Out(1), "issuing": Out(1), "paced": Out(1), "storing": Out(1),
            "fault": Out(Fault), "fault_pc": Out(12),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        issue, array, drain = MatrixIssue(config), SystolicArray(config), Drain(config)
        for name, part in (("issue", issue), ("array", array), ("drain", drain)):
            instantiate(m, name, f"tessera_{name}", part, platform)
        m.submodules.store_path = store_path = StorePath(config)

        m.d.comb += [
            issue.head.eq(self.head), issue.head_ready.eq(self.head_ready), self.pop.eq(issue.pop),
            drain.command.eq(issue.drain_command), drain.command_valid.eq(issue.drain_valid),
            issue.drain_ready.eq(drain.command_ready), issue.drain_alone.eq(drain.alone),
            drain.stored.eq(issue.stored), drain.token.eq(issue.token),
            drain.token_valid.eq(issue.token_valid),
            self.activation_address.eq(issue.activation_address),
            self.activation_enable.eq(issue.activation_enable),
            self.output_read_address.eq(issue.output_address),
            self.output_enable.eq(issue.output_enable),
            self.token_address.eq(issue.token_address), self.token_enable.eq(issue.token_enable),
            issue.token_data.eq(self.token_data),
            store_path.request.eq(issue.store_request),
            issue.column_wave.eq(store_path.column_wave),
            array.wave.eq(issue.wave), array.tag.eq(issue.tag),
            drain.sums.eq(array.sums), drain.column_bytes.eq(array.column_bytes),
            drain.sums_soon.eq(array.sums_soon), drain.sums_valid.eq(array.sums_valid),
            drain.column_soon.eq(array.column_soon), drain.column_valid.eq(array.column_valid),
            self.issuing.eq(issue.issuing), self.paced.eq(issue.paced),
            self.storing.eq(issue.storing), self.idle.eq(drain.idle & ~issue.busy),
        ]
        for name in self.signature.members:
            if hasattr(drain, name) and name not in ("idle", "fault", "fault_pc"):
                if self.signature.members[name].flow == Out:
                    m.d.comb += getattr(self, name).eq(getattr(drain, name))
                else:
                    m.d.comb += getattr(drain, name).eq(getattr(self, name))

        if config.network is not None:
            m.d.comb += drain.token_absent.eq(issue.token_absent)

        # The host reads a bank word as a wave whose activation is 1 in one row.
        probe_row = Signal(range(config.rows))
        probe = delay(m, self.host_read, 1, "probe")
        with m.If(self.host_read):
            m.d.sync += probe_row.eq(self.host_row)
            m.d.comb += [array.wave.read.eq(1), array.wave.address.eq(self.host_address),
                         array.tag.valid.eq(1), array.tag.first.eq(1)]
        word = Signal(8 * config.rows, reset_less=True)
        one_hot = Cat(*(Cat(probe_row == r, Const(0, 7)) for r in range(config.rows)))
        m.d.sync += word.eq(Mux(probe, one_hot, Mux(
            issue.use_outputs, self.output_read_data, self.activation_data)))
        m.d.comb += [
            array.activations.eq(word),
            store_path.activation_word.eq(word), array.store.eq(store_path.store),
            store_path.host_store.row.eq(Mux(
                self.host_write,
                Cat(*(self.host_row == r for r in range(config.rows))), 0)),
            store_path.host_store.address.eq(self.host_address),
            store_path.host_store.mask.eq(self.host_write_mask),
            store_path.host_store.data.eq(self.host_write_data),
            self.host_data.eq(Cat(*(array.sums.word_select(c, 32)[:8]
                                    for c in range(config.columns)))),
        ]
        m.d.comb += [self.fault.eq(issue.fault), self.fault_pc.eq(issue.fault_pc)]
        with m.If(issue.fault == Fault.NONE):
            m.d.comb += [self.fault.eq(drain.fault), self.fault_pc.eq(drain.fault_pc)]
        return m
