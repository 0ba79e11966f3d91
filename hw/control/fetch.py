"""Instruction fetch: one instruction a cycle."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import INSTRUCTION_BITS
from hw.control.queue import PC_BITS


class Fetch(wiring.Component):
    """Reads program memory ahead of execution.

    Ports: ``run``: fetch (else nothing is valid); ``stall``: the instruction stays;
    ``redirect`` with ``target``: drop what was fetched and continue there; ``instruction`` with
    ``pc`` and ``valid``; ``past_end``: ``pc`` lies beyond program memory; memory port.
    Latency: an instruction is valid ``LATENCY`` cycles after its redirect.
    """

    LATENCY = 3

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "run": In(1), "stall": In(1), "redirect": In(1), "target": In(PC_BITS + 1),
            "instruction": Out(INSTRUCTION_BITS), "pc": Out(PC_BITS + 1), "valid": Out(1),
            "past_end": Out(1), "address": Out(range(config.program_words)), "enable": Out(1),
            "data": In(INSTRUCTION_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fetch_pc, read_pc = Signal(PC_BITS + 1), Signal(PC_BITS + 1)
        read_valid = Signal()
        m.d.comb += [
            self.address.eq(fetch_pc), self.enable.eq(self.run & ~self.stall),
            self.past_end.eq(self.pc >= self.config.program_words),
        ]
        with m.If(~self.stall):
            m.d.sync += [
                read_valid.eq(self.run), read_pc.eq(fetch_pc),
                fetch_pc.eq(fetch_pc + 1),
                self.valid.eq(read_valid), self.pc.eq(read_pc), self.instruction.eq(self.data),
            ]
        with m.If(self.redirect | ~self.run):
            m.d.sync += [fetch_pc.eq(self.target), read_valid.eq(0), self.valid.eq(0)]
        return m
