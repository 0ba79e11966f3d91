"""What every chip-level bench needs: clock, reset, registers, memories by the back door."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import numpy as np
from amaranth.lib.wiring import In
from cocotb.clock import Clock
from cocotb.triggers import First, RisingEdge, Timer
from numpy.typing import NDArray

from compiler.image import ChipImage
from hw.config import ChipletConfig
from hw.control.isa import Fault
from hw.host.host_bridge import bus_members
from hw.host.registers import COUNTERS
from hw.memory.adapter import tiling
from hw.memory.shapes import bank_shape, memory_shapes
from verif.axi_lite_driver import AxiLiteDriver
from verif.memories import MemoryHandle, join
from verif.simulator import CLOCK_PERIOD_NS


class ChipBench:
    """A chiplet in simulation: registers over AXI4-Lite, memories by the back door."""

    def __init__(self, dut: Any, config: ChipletConfig) -> None:
        self.dut, self.config = dut, config
        self.edge = RisingEdge(dut.clk)
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            getattr(dut, f"s_axi_{name}").value = 0
        self.registers = AxiLiteDriver(dut)
        macro = config.memory_macro
        self.memories = {name: MemoryHandle(dut, tiling(shape, macro), ("core", name))
                         for name, shape in memory_shapes(config).items()}
        per_step = config.rows_per_step
        self.banks = [
            MemoryHandle(dut, tiling(bank_shape(config), macro), (
                "core", "matrix_unit", "array", f"step_{r // per_step}", f"bank_{r % per_step}"))
            for r in range(config.rows)]

    def settle(self) -> None:
        """For simulators with X: drive every input, put random words into the memories.

        As X they would show what is no fault: a simulator takes 0 times X for X, and the array
        multiplies padding that nobody wrote by weights of 0.
        """
        for name, member in bus_members().items():
            if member.flow is In:
                getattr(self.dut, name).value = 0
        random = Random(1)
        shapes = memory_shapes(self.config)
        for memory, shape in [*((self.memories[name], shape) for name, shape in shapes.items()),
                              *((bank, bank_shape(self.config)) for bank in self.banks)]:
            for word in range(shape.words):
                memory.write(word, random.getrandbits(shape.bits))

    async def start_clock(self) -> None:
        """Start the simulator's clock and reset the chip."""
        self.dut.rst.value = 1
        Clock(self.dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
        for _ in range(4):
            await self.edge
        self.dut.rst.value = 0
        await self.edge

    async def configure(self, registers: dict[str, int]) -> None:
        """Write whole registers by name."""
        for name, value in registers.items():
            await self.registers.write(name, value)

    def write_tokens(self, position: int, tokens: Iterable[int]) -> None:
        """Put tokens into the token memory."""
        for i, token in enumerate(tokens):
            self.memories["tokens"].write(position + i, token)

    def fill(self, image: ChipImage) -> None:
        """Put an image into the memories."""
        contents, lanes = image.contents, self.config.lanes
        used = image.info["needs"]["bank_words"]
        for row, bank in enumerate(self.banks):
            for word in range(used):
                bank.write(word, join(contents["banks"][word, row], 8))
        for name in ("multipliers", "rope"):
            for beat, values in enumerate(contents[name]):
                if values.any():
                    self.memories[name].write(beat, join(values, 16))
        for name in ("row_scales", "program"):
            for word, value in enumerate(contents[name]):
                self.memories[name].write(word, int(value))
        assert lanes == contents["rope"].shape[1]

    def elements(self, name: str) -> NDArray[np.int64]:
        """Return a memory as the flat array of its elements."""
        shape = memory_shapes(self.config)[name]
        bits = {"activations": 8, "outputs": 8, "results": 16, "residual": 32, "multipliers": 16,
                "rope": 16, "row_scales": 16, "row_maxima": 32, "tokens": 32}[name]
        values = self.memories[name].read_elements(range(shape.words), shape.bits // bits, bits)
        unsigned = name in ("multipliers", "row_scales")
        return values.reshape(-1) & 0xFFFF if unsigned else values.reshape(-1)

    async def wait_interrupt(self, cycles: int) -> None:
        """Wait for the interrupt; raise after so many cycles."""
        if self.dut.irq.value != 1:
            late = Timer(cycles * CLOCK_PERIOD_NS, unit="ns")
            first = await First(RisingEdge(self.dut.irq), late)
            if first is late:
                raise AssertionError(
                    f"chip: no interrupt within {cycles} cycles; {await self.describe()}")

    async def take_interrupts(self) -> dict[str, int]:
        """Read the pending interrupts, clear them, and wait until the line shows it."""
        pending = await self.registers.read("IRQ_STATUS")
        await self.registers.write("IRQ_STATUS", pending)
        for _ in range(3):
            await self.edge
        names = ("done", "fault", "token", "paused")
        return {name: pending >> i & 1 for i, name in enumerate(names)}

    async def describe(self) -> str:
        """Return the chip's state in words."""
        status = await self.registers.read("STATUS")
        cause = Fault(await self.registers.read("FAULT_CAUSE"))
        pc = await self.registers.read("FAULT_PC")
        return f"status {status:#x}, fault {cause.name} at instruction {pc}"

    async def run(self, prompt: Sequence[int], count: int, epsilon: int, cycles: int = 400_000,
                  **registers: int) -> dict[str, int]:
        """Generate from a prompt; return the interrupts that ended the run."""
        self.write_tokens(0, prompt)
        await self.configure({
            "PROMPT_LENGTH": len(prompt), "TOKEN_LIMIT": count, "EPSILON": epsilon,
            "IRQ_ENABLE": 0b1011, **registers})
        await self.registers.write("CONTROL", START=1)
        await self.wait_interrupt(cycles)
        return await self.take_interrupts()

    async def reset_sequencer(self) -> None:
        """Reset sequencer and units, as after a fault."""
        await self.registers.write("CONTROL", RESET_SEQUENCER=1)
        for _ in range(4):
            await self.edge

    def generated(self, prompt: Sequence[int], count: int) -> list[int]:
        """Return the tokens behind a prompt in the token memory."""
        return [self.memories["tokens"].read(len(prompt) + i) for i in range(count)]

    async def counters(self) -> dict[str, int]:
        """Read every counter."""
        return {name: await self.registers.read_counter(name) for name in COUNTERS}
