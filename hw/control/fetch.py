"""Instruction fetch: one instruction a cycle."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import INSTRUCTION_BITS
from hw.control.queue import PC_BITS


class Fetch(wiring.Component):
    """Reads program memory ahead of execution.

    Ports: ``run``: fetch (else nothing is valid); ``instruction`` with ``valid``: stays until
    ``take``; ``pc``: of the instruction that is valid, or will be next; ``redirect`` with
    ``target``: drop what was fetched and continue there; memory port.
    Latency: an instruction is valid three cycles after its redirect. ``instruction`` is a register.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "run": In(1), "take": In(1), "redirect": In(1), "target": In(PC_BITS + 1),
            "instruction": Out(INSTRUCTION_BITS), "pc": Out(PC_BITS + 1), "valid": Out(1),
            "address": Out(range(config.program_words)), "enable": Out(1),
            "data": In(INSTRUCTION_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fetch_pc = Signal(PC_BITS + 1)
        read_valid, stall = Signal(), Signal()
        instruction = Signal(INSTRUCTION_BITS, reset_less=True)
        m.d.comb += [
            stall.eq(self.valid & ~self.take), self.instruction.eq(instruction),
            self.address.eq(fetch_pc), self.enable.eq(self.run & ~stall),
        ]
        with m.If(~stall):
            m.d.sync += [read_valid.eq(self.run), fetch_pc.eq(fetch_pc + 1),
                         self.valid.eq(read_valid), instruction.eq(self.data)]
        with m.If(self.valid & self.take):
            m.d.sync += self.pc.eq(self.pc + 1)
        with m.If(self.redirect | ~self.run):
            m.d.sync += [fetch_pc.eq(self.target), self.pc.eq(self.target),
                         read_valid.eq(0), self.valid.eq(0)]
        return m
