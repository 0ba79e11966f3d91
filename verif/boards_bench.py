"""Bench top: three boards with links, joined by straight cables from header to header."""

from dataclasses import replace

from amaranth.back import verilog
from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flows.fpga.board import GN, GP, HEADER_ORDER, LINK_PINS, network_pins
from hw.config import ChipletConfig
from hw.emit import EmittedVerilog
from hw.fpga_pll import Pll
from hw.fpga_top import TOP, Ulx3s, emit_board

NAME = "boards_bench"
TORUS = (2, 2)
#: Places of the boards; the fourth is missing.
PLACES = ((0, 0), (1, 0), (0, 1))
#: Board and link at the ends of each cable.
CABLES = (((0, "east"), (1, "west")), ((0, "south"), (2, "north")))


class BoardsBench(wiring.Component):
    """The boards of ``PLACES``, whose models of the PLL pass their oscillators through.

    Ports: ``clk_<i>``: oscillator of each board; ``btn_<i>``, ``led_<i>``; ``ftdi_txd``,
    ``ftdi_rxd``: serial line of the first board. A cable joins pins of the same number.
    """

    def __init__(self, top: Ulx3s) -> None:
        self.top = top
        each = {"clk": In(1), "btn": In(1), "led": Out(8)}
        super().__init__({
            "ftdi_txd": In(1, init=1), "ftdi_rxd": Out(1),
            **{f"{name}_{i}": member for i in range(len(PLACES)) for name, member in each.items()}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        boards = [{name: Signal(member.shape, name=f"{name}_of_{i}")
                   for name, member in self.top.signature.members.items()}
                  for i in range(len(PLACES))]
        for cable in CABLES:
            for header in (GP, GN):
                _join(m, *((boards[board], link, header) for board, link in cable))
        for i, (board, (x, y)) in enumerate(zip(boards, PLACES, strict=True)):
            m.d.comb += [
                board["clk_25mhz"].eq(getattr(self, f"clk_{i}")),
                board["btn"].eq(getattr(self, f"btn_{i}")), board["sw"].eq(Cat(Const(x, 2), Const(y, 2))),
                board["ftdi_txd"].eq(self.ftdi_txd if i == 0 else 1),
                getattr(self, f"led_{i}").eq(board["led"]),
            ]
            m.submodules[f"board_{i}"] = Instance(TOP, **{
                f"{'i' if member.flow == In else 'o'}_{name}": board[name]
                for name, member in self.top.signature.members.items()})
        m.d.comb += self.ftdi_rxd.eq(boards[0]["ftdi_rxd"])
        return m


def _join(m: Module, *ends: tuple[dict[str, Signal], str, tuple[str, ...]]) -> None:
    """Join the pins that two links have on a header, each with the one in the same place."""
    port_of = {site: port for port, (site, *_) in network_pins().items()}
    pins = []
    for board, link, header in ends:
        first = HEADER_ORDER.index(link) * LINK_PINS
        pins.append([(port_of[site], _pin(board, port_of[site]))
                     for site in header[first:first + LINK_PINS]])
    for (name, near), (other_name, far) in zip(*pins, strict=True):
        assert ("_in" in name) != ("_in" in other_name), f"{name} on {other_name}"
        target, source = (near, far) if "_in" in name else (far, near)
        m.d.comb += target.eq(source)


def _pin(board: dict[str, Signal], port: str) -> Value:
    name, _, index = port.removesuffix("]").partition("[")
    return board[name][int(index)] if index else board[name]


def emit_boards(config: ChipletConfig, pll: Pll, divisor: int) -> tuple[BoardsBench, EmittedVerilog]:
    """Convert the bench, with the board's own text below it."""
    emitted = emit_board(config, pll, divisor, TORUS)
    bench = BoardsBench(Ulx3s(pll, divisor, config.network, TORUS))
    text = verilog.convert(bench, name=NAME, emit_src=False, strip_internal_attrs=True)
    return bench, replace(emitted, top=NAME, logic=f"{emitted.logic}\n{text}")
