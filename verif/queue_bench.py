"""Bench top: a command queue of a configuration."""

from amaranth.hdl import Module
from amaranth.lib import wiring

from hw.config import ChipletConfig
from hw.control.isa import MATRIX_DESCRIPTORS, matrix_command_layout
from hw.control.queue import CommandQueue
from hw.host.access import forward


class QueueBench(wiring.Component):
    """The matrix unit's CommandQueue, ports as they are."""

    def __init__(self, config: ChipletConfig) -> None:
        self.queue = CommandQueue(matrix_command_layout(), config, MATRIX_DESCRIPTORS)
        super().__init__(dict(self.queue.signature.members))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = self.queue
        forward(m, self, self.queue, dict(self.signature.members))
        return m
