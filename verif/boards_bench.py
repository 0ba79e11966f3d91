"""Bench top: three boards with links, joined by straight cables from header to header."""

from dataclasses import dataclass, replace

from amaranth.back import verilog
from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flows.fpga.board import GN, GP, header_pins, network_pins
from hw.config import ChipletConfig
from hw.emit import EmittedVerilog
from hw.fpga_pll import Pll
from hw.fpga_top import TOP, Ulx3s, emit_board
from hw.network.config import NetworkConfig

NAME = "boards_bench"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Boards of a torus, of which some may be missing, and the cables between them."""

    torus: tuple[int, int]
    places: tuple[tuple[int, int], ...]
    #: Board and link at the ends of each.
    cables: tuple[tuple[tuple[int, str], tuple[int, str]], ...]


SETUPS = {
    "ring": Setup(torus=(3, 1), places=((0, 0), (1, 0), (2, 0)), cables=(
        ((0, "east"), (1, "west")), ((1, "east"), (2, "west")), ((2, "east"), (0, "west")))),
    "torus": Setup(torus=(2, 2), places=((0, 0), (1, 0), (0, 1)), cables=(
        ((0, "east"), (1, "west")), ((0, "south"), (2, "north")))),
}


class BoardsBench(wiring.Component):
    """The boards of a setup, whose models of the PLL pass their oscillators through.

    Ports: ``clk_<i>``: oscillator of each board; ``btn_<i>``, ``led_<i>``; ``ftdi_txd``,
    ``ftdi_rxd``: serial line of the first board. A cable joins pins of the same number.
    """

    def __init__(self, top: Ulx3s, setup: Setup) -> None:
        self.top, self.setup = top, setup
        each = {"clk": In(1), "btn": In(1), "led": Out(8)}
        super().__init__({
            "ftdi_txd": In(1, init=1), "ftdi_rxd": Out(1),
            **{f"{name}_{i}": member for i in range(len(setup.places))
               for name, member in each.items()}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places, network = self.setup.places, self.top.network
        assert network is not None
        width = 2 if network.dimensions == 2 else 3
        boards = [{name: Signal(member.shape, name=f"{name}_of_{i}")
                   for name, member in self.top.signature.members.items()}
                  for i in range(len(places))]
        for cable in self.setup.cables:
            for header in (GP, GN):
                _join(m, network, *((boards[board], link, header) for board, link in cable))
        for i, (board, (x, y)) in enumerate(zip(boards, places, strict=True)):
            m.d.comb += [
                board["clk_25mhz"].eq(getattr(self, f"clk_{i}")),
                board["btn"].eq(getattr(self, f"btn_{i}")), board["sw"].eq(Cat(Const(x, width), Const(y, 4 - width))),
                board["ftdi_txd"].eq(self.ftdi_txd if i == 0 else 1),
                getattr(self, f"led_{i}").eq(board["led"]),
            ]
            m.submodules[f"board_{i}"] = Instance(TOP, **{
                f"{'i' if member.flow == In else 'o'}_{name}": board[name]
                for name, member in self.top.signature.members.items()})
        m.d.comb += self.ftdi_rxd.eq(boards[0]["ftdi_rxd"])
        return m


def _join(m: Module, network: NetworkConfig,
          *ends: tuple[dict[str, Signal], str, tuple[str, ...]]) -> None:
    """Join the pins that two links have on a header, each with the one in the same place."""
    port_of = {site: port for port, (site, *_) in network_pins(network).items()}
    pins = []
    for board, link, header in ends:
        sites = [header[number] for number in header_pins(network, link)]
        pins.append([(port_of[site], _pin(board, port_of[site])) for site in sites
                     if site in port_of])
    for (name, near), (other_name, far) in zip(*pins, strict=True):
        assert ("_in" in name) != ("_in" in other_name), f"{name} on {other_name}"
        target, source = (near, far) if "_in" in name else (far, near)
        m.d.comb += target.eq(source)


def _pin(board: dict[str, Signal], port: str) -> Value:
    name, _, index = port.removesuffix("]").partition("[")
    return board[name][int(index)] if index else board[name]


def emit_boards(config: ChipletConfig, pll: Pll, divisor: int,
                setup: Setup) -> tuple[BoardsBench, EmittedVerilog]:
    """Convert the bench, with the board's own text below it."""
    emitted = emit_board(config, pll, divisor, setup.torus)
    bench = BoardsBench(Ulx3s(pll, divisor, config.network, setup.torus), setup)
    text = verilog.convert(bench, name=NAME, emit_src=False, strip_internal_attrs=True)
    return bench, replace(emitted, top=NAME, logic=f"{emitted.logic}\n{text}")
