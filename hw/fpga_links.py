"""Links of the chiplet on the board's headers: wires with a clock beside them, and its place."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hw.host.network_registers import LINK_NAMES
from hw.link.wire import phit_bits
from hw.network.chip_network import wire_members
from hw.network.config import NetworkConfig

#: DIP switches that give each coordinate of a board.
SWITCHES = {"x": 2, "y": 2}
#: Boards along a side of a torus at most.
MOST_BOARDS = 1 << min(SWITCHES.values())
#: Prefix of the ports that the chiplet has under the same name without it.
CHIP = "chip_"


def board_network(lanes: int) -> NetworkConfig:
    """Return the network of a board: all four links on the 56 pins of its headers."""
    return NetworkConfig(flit_bytes=4 * lanes, queue_flits=4, replay_flits=8, phits_per_word=32,
                         receive_clock="link")


def check_boards(torus: tuple[int, int]) -> None:
    """Refuse a torus in which the switches cannot say a board's place."""
    if max(torus) > MOST_BOARDS:
        raise ValueError(f"--torus must be at most {MOST_BOARDS}x{MOST_BOARDS} boards, not "
                         f"{torus[0]}x{torus[1]}: their switches tell no more places apart")


def pin_members(config: NetworkConfig) -> dict[str, wiring.Member]:
    """Return the ports on the headers, ``<link>_in``, ``<link>_clk_in`` and so on, and the switches."""
    bits = phit_bits(config)
    each = {"in": In(bits), "clk_in": In(1), "out": Out(bits), "clk_out": Out(1)}
    return {**{f"{link}_{name}": member for link in LINK_NAMES for name, member in each.items()},
            "sw": In(sum(SWITCHES.values()))}


class LinkPins(wiring.Component):
    """What stands between the chiplet's links and the pins.

    Ports: ``<link>_in``, ``<link>_out``: a phit; ``<link>_clk_in``, ``<link>_clk_out``: its clock,
    which rises in the middle of the phit and stays low for one that the receiver shall not take;
    ``sw``: the board's column in the lower switches, its row in the upper ones; towards the chiplet
    its wires and straps (:func:`hw.network.chip_network.wire_members`), with the prefix ``CHIP``.

    Phits and clock leave from the same kind of cell at the pin, so that they arrive together;
    latency: 1 cycle. What comes in goes straight to the first registers of the link's clock.
    Parameter: ``torus``: columns and rows of boards, 4 at most; a side of three boards or more
    closes to a ring.
    """

    def __init__(self, config: NetworkConfig, torus: tuple[int, int]) -> None:
        check_boards(torus)
        self.config, self.torus = config, torus
        super().__init__({
            **pin_members(config),
            **{f"{CHIP}{name}": member.flip() for name, member in wire_members(config).items()}})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def chip(name: str) -> Value:
            return getattr(self, f"{CHIP}{name}")

        for link in LINK_NAMES:
            m.d.comb += [chip(f"{link}_phit_in").eq(getattr(self, f"{link}_in")),
                         chip(f"{link}_link_clk").eq(getattr(self, f"{link}_clk_in"))]
            phit, out = chip(f"{link}_phit_out"), getattr(self, f"{link}_out")
            for i in range(len(phit)):
                self._output(m, f"{link}_out_{i}", out[i], phit[i], phit[i])
            self._output(m, f"{link}_clk_out", getattr(self, f"{link}_clk_out"),
                         Const(0, 1), ~chip(f"{link}_phit_held"))
        first = 0
        for (axis, count), side in zip(SWITCHES.items(), self.torus, strict=True):
            place = Signal(count, name=f"place_{axis}")
            m.submodules[f"switches_{axis}"] = FFSynchronizer(self.sw[first:first + count], place)
            first += count
            m.d.comb += [chip(f"node_{axis}").eq(place), chip(f"last_{axis}").eq(side - 1),
                         chip(f"wrap_{axis}").eq(side > 2)]
        return m

    @staticmethod
    def _output(m: Module, name: str, pin: Value, first: Value, second: Value) -> None:
        """Drive a pin with one level in the first half of the cycle, and another in the second."""
        m.submodules[name] = Instance("ODDRX1F", i_SCLK=ClockSignal(), i_RST=Const(0, 1),
                                      i_D0=first, i_D1=second, o_Q=pin)
