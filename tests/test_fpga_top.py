"""The board's top module in Verilator, with models of the PLL and of the cells at the pins."""

from dataclasses import replace

import pytest

from hw.config import CONFIGS
from hw.fpga_links import board_network
from hw.fpga_pll import find_pll
from hw.fpga_top import TOP, Ulx3s, emit_board
from verif.boards_bench import SETUPS, emit_boards
from verif.simulator import build_emitted

DIVISOR = 8
#: Passes the oscillator through, and is locked after 16 cycles.
PLL = """
module EHXPLLL #(
  parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 1, CLKOP_CPHASE = 0, CLKOP_FPHASE = 0,
  parameter CLKOP_ENABLE = "", FEEDBK_PATH = "", PLLRST_ENA = "", INTFB_WAKE = "",
  parameter STDBY_ENABLE = "", DPHASE_SOURCE = "", OUTDIVIDER_MUXA = "", OUTDIVIDER_MUXB = "",
  parameter OUTDIVIDER_MUXC = "", OUTDIVIDER_MUXD = ""
) (
  input RST, STDBY, CLKI, CLKFB, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG,
  input PLLWAKESYNC, ENCLKOP, output CLKOP, LOCK
);
  reg [4:0] count = 0;
  always @(posedge CLKI) if (!LOCK) count <= count + 1;
  assign CLKOP = CLKI;
  assign LOCK = count[4];
endmodule
"""
#: Sends one bit in each half of the cycle after.
OUTPUT_CELL = """
module ODDRX1F (input SCLK, RST, D0, D1, output Q);
  reg first, second;
  always @(posedge SCLK) begin first <= D0; second <= D1; end
  assign Q = SCLK ? first : second;
endmodule
"""


@pytest.mark.sim
def test_board() -> None:
    """Reset, lamps, and a register over the serial line."""
    pll = find_pll(65)
    emitted = emit_board(CONFIGS["fpga_small"], pll, DIVISOR)
    simulation = build_emitted(
        Ulx3s(pll, DIVISOR), replace(emitted, logic=emitted.logic + PLL), TOP, short=True)
    simulation.run("verif.tb_ulx3s", environment={"TESSERA_DIVISOR": str(DIVISOR)})


@pytest.mark.sim
@pytest.mark.parametrize("name", ["ring", pytest.param("torus", marks=pytest.mark.slow)])
def test_boards(name: str) -> None:
    """Three boards with oscillators of their own and cables as the constraints have the pins."""
    setup, config = SETUPS[name], CONFIGS["fpga_small"]
    config = config.replace(network=board_network(config.lanes, setup.torus))
    bench, emitted = emit_boards(config, find_pll(65), DIVISOR, setup)
    simulation = build_emitted(
        bench, replace(emitted, logic=emitted.logic + PLL + OUTPUT_CELL), emitted.top,
        public=[f'no_inline -module "{TOP}"'], short=True)  # one text for all three boards
    simulation.run("verif.tb_boards", environment={
        "TESSERA_DIVISOR": str(DIVISOR), "TESSERA_SETUP": name})


@pytest.mark.parametrize("boards", [(5, 2), (1, 5)])
def test_more_boards_than_switches_tell(boards: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="--torus must be up to 8x1 boards, or up to 4x4, not "):
        board_network(4, boards)


def test_emission_is_repeatable() -> None:
    """The same text each time, and every module is there."""
    emitted = [emit_board(CONFIGS["fpga_small"], find_pll(65), DIVISOR) for _ in range(2)]
    assert emitted[0].logic == emitted[1].logic
    assert emitted[0].top == TOP
    assert f"module {TOP}(" in emitted[0].logic
    assert "module tessera_serial_chiplet(" in emitted[0].logic
