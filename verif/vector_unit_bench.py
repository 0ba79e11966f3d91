"""Bench top: a vector unit with its memories, and counters of what Python need not watch."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import Fault, vector_command_layout
from hw.memory.shapes import memory_shapes
from hw.memory.sram import Sram
from hw.vector.vector_unit import VectorUnit

#: Control-file lines that open the memories to Python, and that keep the repeated blocks from being
#: compiled once per lane, which would take half as long again.
PUBLIC = (
    'public_flat_rw -module "tessera_sram_*" -var "mem"',
    *(f'no_inline -module "{module}"' for module in (
        "quantize_lane", "transform_pair", "exponential_lane")),
)
#: Read by the unit: memory -> prefix of its ports.
_SOURCES = {"results": "result", "residual": "residual", "row_maxima": "maximum"}


class VectorUnitBench(wiring.Component):
    """A vector unit whose memories (named as in docs/machine.md) are reached by the back door.

    Ports: ``command``, ``epsilon``, ``busy``, ``done``, ``fault`` of the unit;
    ``cycle``: counts; ``accepted_at``: cycle of the last handshake; ``scale_at``: cycle of the last
    row-scale write; ``writes``: of all kinds, ``clipped``: sum of ``saturations``, since reset.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "command": In(stream.Signature(vector_command_layout())), "epsilon": In(32),
            "busy": Out(1), "done": Out(1), "fault": Out(Fault),
            "cycle": Out(32), "accepted_at": Out(32), "scale_at": Out(32), "writes": Out(32),
            "clipped": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = VectorUnit(self.config)
        shapes = memory_shapes(self.config)
        memories = {name: Sram.of(shapes[name])
                    for name in (*_SOURCES, "rope", "activations", "multipliers", "row_scales")}
        for name, memory in memories.items():
            m.submodules[name] = memory
        for name, prefix in _SOURCES.items():
            memory = memories[name]
            m.d.comb += [
                memory.read_address.eq(getattr(unit, f"{prefix}_address")),
                memory.read_enable.eq(getattr(unit, f"{prefix}_enable")),
                getattr(unit, f"{prefix}_data").eq(memory.read_data),
            ]
        rope, activations = memories["rope"], memories["activations"]
        multipliers, row_scales = memories["multipliers"], memories["row_scales"]
        wrote = Signal()
        m.d.comb += [
            rope.address.eq(unit.rope_address), rope.enable.eq(unit.rope_enable),
            unit.rope_data.eq(rope.read_data),
            activations.write_address.eq(unit.activation_address),
            activations.write_mask.eq(unit.activation_mask),
            activations.write_data.eq(unit.activation_data),
            multipliers.write_address.eq(unit.multiplier_address),
            multipliers.write_mask.eq(unit.multiplier_mask),
            multipliers.write_data.eq(unit.multiplier_data),
            row_scales.write_address.eq(unit.row_scale_address),
            row_scales.write_mask.eq(unit.row_scale_enable),
            row_scales.write_data.eq(unit.row_scale_data),
            wrote.eq(unit.activation_mask.any() | unit.multiplier_mask.any()
                     | unit.row_scale_enable),
            unit.command.payload.eq(self.command.payload),
            unit.command.valid.eq(self.command.valid),
            self.command.ready.eq(unit.command.ready),
            unit.epsilon.eq(self.epsilon), self.busy.eq(unit.busy), self.done.eq(unit.done),
            self.fault.eq(unit.fault),
        ]
        m.d.sync += [self.cycle.eq(self.cycle + 1), self.writes.eq(self.writes + wrote),
                     self.clipped.eq(self.clipped + unit.saturations)]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += self.accepted_at.eq(self.cycle)
        with m.If(unit.row_scale_enable):
            m.d.sync += self.scale_at.eq(self.cycle)
        return m
