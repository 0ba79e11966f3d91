"""The board's top module behind its pins: reset, lamps, and a register over the serial line."""

import os
import random
from types import SimpleNamespace

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from hw.host.registers import IDENTITY, REGISTERS
from verif.simulator import CLOCK_PERIOD_NS
from verif.uart_bench import Line
from verif.uart_model import OK, request

DIVISOR = int(os.environ["TESSERA_DIVISOR"])
FROM_HOST, TO_HOST, RESET = 4, 5, 7


def lamps(dut) -> set[int]:
    """Return the LEDs that are lit."""
    value = dut.led.value.to_unsigned()
    return {i for i in range(8) if value >> i & 1}


async def cycles(dut, count: int) -> None:
    for _ in range(count):
        await RisingEdge(dut.clk_25mhz)
    await Timer(1, unit="ps")


async def read_id(line: Line, number: int) -> None:
    """Read the register that says what chip it is."""
    reply = await line.ask(request(number, REGISTERS["ID"].offset, window=False, words=1))
    assert (reply.status, reply.sequence, reply.data) == (OK, number, (IDENTITY,))


@cocotb.test()
async def pins(dut) -> None:
    """Comes out of reset when the PLL is locked, answers, and does so again after the button."""
    dut.btn.value, dut.ftdi_txd.value = 0, 1
    cocotb.start_soon(Clock(dut.clk_25mhz, CLOCK_PERIOD_NS, unit="ns").start())
    await cycles(dut, 4)
    assert lamps(dut) == {RESET}, "the PLL of the model locks later"
    assert dut.wifi_gpio0.value == 1
    await cycles(dut, 40)
    assert lamps(dut) == set()
    line = Line(SimpleNamespace(rx=dut.ftdi_txd, tx=dut.ftdi_rxd), DIVISOR, random.Random(1))
    cocotb.start_soon(line.listen())
    await read_id(line, 1)
    assert lamps(dut) == {FROM_HOST, TO_HOST}

    # The button's edge may come at any time.
    await Timer(CLOCK_PERIOD_NS * 100 + 300, unit="ps")
    dut.btn.value = 1
    await Timer(100, unit="ps")
    assert RESET in lamps(dut)
    await cycles(dut, 10)
    assert lamps(dut) == {RESET}
    dut.btn.value = 0
    await cycles(dut, 4)
    assert lamps(dut) == set()
    await read_id(line, 2)
