"""Bench top: the sequencer with its program memory."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.sequencer import Sequencer
from hw.memory.shapes import memory_shapes
from hw.memory.sram import Sram


class SequencerBench(wiring.Component):
    """A Sequencer whose program memory the bench fills by the back door; other ports as they are."""

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        self.sequencer = Sequencer(config)
        super().__init__({
            name: member for name, member in self.sequencer.signature.members.items()
            if not name.startswith("program_")})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sequencer = sequencer = self.sequencer
        m.submodules.program = program = Sram.of(memory_shapes(self.config)["program"])
        m.d.comb += [
            program.address.eq(sequencer.program_address),
            program.enable.eq(sequencer.program_enable),
            sequencer.program_data.eq(program.read_data),
        ]
        for name, member in self.signature.members.items():
            assert member.flow in (In, Out)
            outer, inner = getattr(self, name), getattr(sequencer, name)
            target, source = (inner, outer) if member.flow == In else (outer, inner)
            m.d.comb += target.eq(source)
        return m
