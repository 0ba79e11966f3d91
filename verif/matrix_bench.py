"""Bench top: the matrix unit with its memories, for tb_matrix_unit."""

from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import Fault
from hw.control.queue import command_in_flight_layout
from hw.matmul.matrix_unit import MatrixUnit
from hw.memory.shapes import memory_shapes
from hw.memory.sram import Sram

_OWN_PORTS = ("head", "head_ready", "pop", "done", "clipped", "idle", "issuing", "paced",
              "storing", "fault", "fault_pc", "sampler_valid", "sampler_logits",
              "sampler_first", "sampler_last", "sampler_live")


class MatrixBench(wiring.Component):
    """A MatrixUnit whose memory ports are wired to SRAMs that the bench fills by the back door."""

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__({
            "head": In(command_in_flight_layout()), "head_ready": In(1), "pop": Out(1),
            "done": Out(1), "clipped": Out(range(2 * lanes + 1)), "idle": Out(1),
            "issuing": Out(1), "paced": Out(1), "storing": Out(1), "fault": Out(Fault),
            "fault_pc": Out(12), "sampler_valid": Out(1), "sampler_first": Out(1),
            "sampler_last": Out(1), "sampler_live": Out(range(lanes + 1)),
            "sampler_logits": Out(signed(32 * lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = MatrixUnit(self.config)
        memory = {}
        for name, shape in memory_shapes(self.config).items():
            if name not in ("rope", "program"):
                memory[name] = Sram.of(shape)
                m.submodules[name] = memory[name]
        for name in _OWN_PORTS:
            if self.signature.members[name].flow == In:
                m.d.comb += getattr(unit, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(unit, name))
        for name, prefix, data in (("activations", "activation", "activation_data"),
                                   ("multipliers", "multiplier", "multiplier_data"),
                                   ("row_scales", "row_scale", "row_scale_data"),
                                   ("residual", "residual", "residual_data")):
            m.d.comb += [
                memory[name].read_address.eq(getattr(unit, f"{prefix}_address")),
                memory[name].read_enable.eq(getattr(unit, f"{prefix}_enable")),
                getattr(unit, data).eq(memory[name].read_data),
            ]
        m.d.comb += [
            memory["outputs"].read_address.eq(unit.output_read_address),
            memory["outputs"].read_enable.eq(unit.output_enable),
            unit.output_read_data.eq(memory["outputs"].read_data),
            memory["outputs"].write_address.eq(unit.output_address),
            memory["outputs"].write_mask.eq(unit.output_mask),
            memory["outputs"].write_data.eq(unit.output_data),
            memory["results"].write_address.eq(unit.result_address),
            memory["results"].write_mask.eq(unit.result_write),
            memory["results"].write_data.eq(unit.result_data),
            memory["residual"].write_address.eq(unit.residual_write_address),
            memory["residual"].write_mask.eq(unit.residual_write),
            memory["residual"].write_data.eq(unit.residual_write_data),
            memory["row_maxima"].write_address.eq(unit.maximum_address),
            memory["row_maxima"].write_mask.eq(unit.maximum_write),
            memory["row_maxima"].write_data.eq(unit.maximum_data),
            memory["tokens"].address.eq(unit.token_address),
            memory["tokens"].enable.eq(unit.token_enable),
            unit.token_data.eq(memory["tokens"].read_data),
        ]
        return m
