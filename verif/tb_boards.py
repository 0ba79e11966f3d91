"""Boards with links, each with an oscillator of its own: one host at the first reaches all."""

import os
import random
from types import SimpleNamespace

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Timer

from hw.host.memory_map import BANKS_BASE
from hw.host.network_registers import NETWORK_REGISTERS
from hw.host.registers import IDENTITY, OTHER_CHIP, REGISTERS
from hw.link.link import LinkState
from verif.boards_bench import SETUPS
from verif.simulator import CLOCK_PERIOD_NS
from verif.uart_bench import Line
from verif.uart_model import DECERR, OK, request

DIVISOR = int(os.environ["TESSERA_DIVISOR"])
SETUP = SETUPS[os.environ["TESSERA_SETUP"]]
#: Links of the first board.
LINKS = [link for cable in SETUP.cables for board, link in cable if board == 0]
#: Oscillators differ by up to a thousandth of a period, more than real ones.
PERIODS_PS = tuple(1000 * CLOCK_PERIOD_NS + difference for difference in (0, 1, -1))
#: Polls of a link until it must be up.
PATIENCE = 60
#: A word of the weights.
MEMORY = BANKS_BASE + 0x40


class Host:
    """The host at the first board's serial line."""

    def __init__(self, dut) -> None:
        self.line = Line(SimpleNamespace(rx=dut.ftdi_txd, tx=dut.ftdi_rxd), DIVISOR,
                         random.Random(1))
        self.number = 0

    async def read(self, address: int, *, window: bool = False) -> tuple[int, int | None]:
        self.number = (self.number + 1) % 256
        reply = await self.line.ask(request(self.number, address, window=window, words=1))
        return reply.status, reply.data[0] if reply.data else None

    async def write(self, address: int, value: int, *, window: bool = False) -> int:
        self.number = (self.number + 1) % 256
        reply = await self.line.ask(request(self.number, address, window=window, data=[value]))
        return reply.status

    async def target(self, x: int, y: int) -> None:
        offset = NETWORK_REGISTERS["TARGET_CHIP"].offset
        assert await self.write(offset, x | y << 8 | 1 << 31) == OK

    async def until_up(self, link: str) -> None:
        """Wait until a link of the first board is up."""
        for _ in range(PATIENCE):
            status, value = await self.read(NETWORK_REGISTERS[f"LINK_{link.upper()}"].offset)
            assert status == OK and value is not None
            if LinkState(value & 3) == LinkState.UP:
                return
        raise AssertionError(f"link {link} is not up: {value:#x}")


@cocotb.test()
async def torus_of_boards(dut) -> None:
    """Reach registers and memories of each board from the first, and get DECERR from one that is missing."""
    for i, period in enumerate(PERIODS_PS):
        dut[f"btn_{i}"].value = 0
        Clock(dut[f"clk_{i}"], period, unit="ps", period_high=period // 2).start()
        await Timer(300 + 170 * i, unit="ps")
    dut.ftdi_txd.value = 1
    await Timer(60 * CLOCK_PERIOD_NS, unit="ns")
    host = Host(dut)
    cocotb.start_soon(host.line.listen())
    for link in LINKS:
        await host.until_up(link)
    for i, (x, y) in enumerate(SETUP.places):
        await host.target(x, y)
        base = OTHER_CHIP if i else 0
        assert await host.read(base + REGISTERS["ID"].offset) == (OK, IDENTITY)
        columns, rows = SETUP.torus
        wraps = (columns > 2) << 16 | (rows > 2) << 17
        straps = x | y << 4 | (columns - 1) << 8 | (rows - 1) << 12 | wraps
        assert await host.read(base + NETWORK_REGISTERS["NETWORK_ID"].offset) == (OK, straps)
    # A memory of each board, written with another value, and read when all have been.
    for kept in (False, True):
        for i, (x, y) in enumerate(SETUP.places):
            await host.target(x, y)
            for address in (MEMORY, MEMORY + 4):
                if kept:
                    assert await host.read(address, window=True) == (OK, address ^ i << 20)
                else:
                    assert await host.write(address, address ^ i << 20, window=True) == OK
    await host.target(1, 1)
    status, _ = await host.read(OTHER_CHIP + REGISTERS["ID"].offset)
    assert status == DECERR, f"status {status} from a board that is not there"
    # No word was lost between clocks that differ.
    for link in LINKS:
        for counter in ("ERRORS", "REPLAYS"):
            offset = NETWORK_REGISTERS[f"LINK_{link.upper()}_{counter}"].offset
            assert await host.read(offset) == (OK, 0), f"{counter} of link {link}"
