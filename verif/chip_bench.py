"""What every chip-level bench needs: clock, reset, registers, memories by the back door."""

from collections.abc import Iterable
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from hw.config import ChipletConfig
from hw.control.isa import Fault, memory_shapes
from hw.host.registers import COUNTERS
from verif.axi_lite_driver import AxiLiteDriver
from verif.memories import MemoryHandle
from verif.simulator import CLOCK_PERIOD_NS


class ChipBench:
    """A chiplet in simulation: registers over AXI4-Lite, memories by the back door."""

    def __init__(self, dut: Any, config: ChipletConfig) -> None:
        self.dut, self.config = dut, config
        self.edge = RisingEdge(dut.clk)
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            getattr(dut, f"s_axi_{name}").value = 0
        self.registers = AxiLiteDriver(dut)
        core = dut.core
        self.memories = {name: MemoryHandle(getattr(core, name)) for name in memory_shapes(config)}
        per_step = config.rows_per_step
        self.banks = [
            MemoryHandle(getattr(getattr(core.matrix_unit.array, f"step_{r // per_step}"),
                                 f"bank_{r % per_step}")) for r in range(config.rows)]

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

    async def wait_interrupt(self, cycles: int) -> dict[str, int]:
        """Wait for the interrupt; return and clear its causes. After ``cycles`` raise."""
        if self.dut.irq.value != 1:
            late = Timer(cycles * CLOCK_PERIOD_NS, unit="ns")
            first = await cocotb.triggers.First(RisingEdge(self.dut.irq), late)
            if first is late:
                raise AssertionError(
                    f"chip: no interrupt within {cycles} cycles; {await self.describe()}")
        return {}

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

    async def counters(self) -> dict[str, int]:
        """Read every counter."""
        return {name: await self.registers.read_counter(name) for name in COUNTERS}
