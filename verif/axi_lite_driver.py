"""A small AXI4-Lite manager that sleeps between accesses, for long runs.

cocotbext-axi judges our protocol (tests/test_host_bridge.py) but wakes Python in every cycle.
"""

from typing import Any

from cocotb.triggers import RisingEdge

from hw.host.registers import OFFSETS, REGISTERS


class AxiLiteDriver:
    """Reads and writes registers by name through ``s_axil_*`` of a chiplet."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready", "awaddr", "wdata",
                     "wstrb", "araddr"):
            getattr(dut, f"s_axil_{name}").value = 0

    async def write(self, register: str, value: int | None = None, **fields: int) -> None:
        """Write a register, as a whole or by its fields; an error response is an exception."""
        d = self.dut
        d.s_axil_awaddr.value = OFFSETS[register]
        d.s_axil_wdata.value = REGISTERS[register].pack(**fields) if value is None else value
        d.s_axil_wstrb.value = 0xF
        d.s_axil_awvalid.value = d.s_axil_wvalid.value = 1
        d.s_axil_bready.value = 1
        waiting = {"aw", "w"}
        while True:
            await self.edge
            for channel in list(waiting):
                if getattr(d, f"s_axil_{channel}ready").value == 1:
                    getattr(d, f"s_axil_{channel}valid").value = 0
                    waiting.remove(channel)
            if d.s_axil_bvalid.value == 1:
                break
        response = d.s_axil_bresp.value.to_unsigned()
        d.s_axil_bready.value = 0
        if response:
            raise RuntimeError(f"writing {register}: AXI response {response}")

    async def read(self, register: str) -> int:
        """Read a register."""
        d = self.dut
        d.s_axil_araddr.value = OFFSETS[register]
        d.s_axil_arvalid.value = d.s_axil_rready.value = 1
        while True:
            await self.edge
            if d.s_axil_arready.value == 1:
                d.s_axil_arvalid.value = 0
            if d.s_axil_rvalid.value == 1:
                break
        d.s_axil_rready.value = 0
        response = d.s_axil_rresp.value.to_unsigned()
        if response:
            raise RuntimeError(f"reading {register}: AXI response {response}")
        return d.s_axil_rdata.value.to_unsigned()

    async def read_counter(self, name: str) -> int:
        """Read a counter."""
        low = await self.read(f"{name.upper()}_LO")
        return low | await self.read(f"{name.upper()}_HI") << 32
