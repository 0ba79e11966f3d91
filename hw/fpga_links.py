"""Links of the chiplet on the board's headers: wires with a clock beside them, and its place."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hw.link.wire import phit_bits
from hw.network.chip_network import link_names, wire_members
from hw.network.config import COORDINATE_BITS, MAX_SIDE, NetworkConfig

#: DIP switches: the lower ones give a board's column, the others its row.
SWITCHES = 4
#: Boards in a row, and in a column of a torus, that the switches tell apart.
MOST_IN_ROW, MOST_IN_COLUMN = MAX_SIDE, 1 << SWITCHES // 2
#: Phits of a word, so that the links of all sides fit the headers' pins: 12 wires and a clock each way,
#: or 6 and a clock.
ROW_PHITS, TORUS_PHITS = 16, 32
#: Prefix of the ports that the chiplet has under the same name without it.
CHIP = "chip_"


def board_network(lanes: int, boards: tuple[int, int]) -> NetworkConfig:
    """Return the network of a chiplet on one of so many columns and rows of boards."""
    columns, rows = boards
    if rows > 1 and max(boards) > MOST_IN_COLUMN:
        raise ValueError(f"--torus must be up to {MOST_IN_ROW}x1 boards, or up to "
                         f"{MOST_IN_COLUMN}x{MOST_IN_COLUMN}, not {columns}x{rows}: their switches "
                         "tell no more places apart")
    in_row = rows == 1
    return NetworkConfig(
        flit_bytes=4 * lanes, queue_flits=4, replay_flits=8, receive_clock="link",
        dimensions=1 if in_row else 2, phits_per_word=ROW_PHITS if in_row else TORUS_PHITS)


def pin_members(config: NetworkConfig) -> dict[str, wiring.Member]:
    """Return the ports on the headers, ``<link>_in``, ``<link>_clk_in`` and so on, and the switches."""
    bits = phit_bits(config)
    each = {"in": In(bits), "clk_in": In(1), "out": Out(bits), "clk_out": Out(1)}
    return {**{f"{link}_{name}": member for link in link_names(config)
               for name, member in each.items()}, "sw": In(SWITCHES)}


class LinkPins(wiring.Component):
    """What stands between the chiplet's links and the pins.

    Ports: ``<link>_in``, ``<link>_out``: a phit; ``<link>_clk_in``, ``<link>_clk_out``: its clock,
    which rises in the middle of the phit and stays low for one that the receiver shall not take;
    ``sw``: the board's column in the lower switches (of boards in a row in three of them), its row in
    the upper ones; towards the chiplet its wires and straps (:func:`hw.network.chip_network.wire_members`), with the prefix ``CHIP``.

    Phits and clock leave from the same kind of cell at the pin, so that they arrive together;
    latency: 1 cycle. What comes in goes straight to the first registers of the link's clock.
    Parameter: ``torus``: columns and rows of boards; a side of three boards or more closes to a ring.
    """

    def __init__(self, config: NetworkConfig, torus: tuple[int, int]) -> None:
        self.config, self.torus = config, torus
        super().__init__({
            **pin_members(config),
            **{f"{CHIP}{name}": member.flip() for name, member in wire_members(config).items()}})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def chip(name: str) -> Value:
            return getattr(self, f"{CHIP}{name}")

        for link in link_names(self.config):
            m.d.comb += [chip(f"{link}_phit_in").eq(getattr(self, f"{link}_in")),
                         chip(f"{link}_link_clk").eq(getattr(self, f"{link}_clk_in"))]
            phit, out = chip(f"{link}_phit_out"), getattr(self, f"{link}_out")
            for i in range(len(phit)):
                self._output(m, f"{link}_out_{i}", out[i], phit[i], phit[i])
            self._output(m, f"{link}_clk_out", getattr(self, f"{link}_clk_out"),
                         Const(0, 1), ~chip(f"{link}_phit_held"))
        place = Signal(SWITCHES)
        m.submodules.switches = FFSynchronizer(self.sw, place)
        of_column = SWITCHES // 2 if self.config.dimensions == 2 else COORDINATE_BITS
        nodes = {"x": place[:of_column], "y": place[of_column:]}
        if self.config.dimensions == 1:
            nodes["y"] = Const(0, 1)
        for (axis, node), side in zip(nodes.items(), self.torus, strict=True):
            m.d.comb += [chip(f"node_{axis}").eq(node), chip(f"last_{axis}").eq(side - 1),
                         chip(f"wrap_{axis}").eq(side > 2)]
        return m

    @staticmethod
    def _output(m: Module, name: str, pin: Value, first: Value, second: Value) -> None:
        """Drive a pin with one level in the first half of the cycle, and another in the second."""
        m.submodules[name] = Instance("ODDRX1F", i_SCLK=ClockSignal(), i_RST=Const(0, 1),
                                      i_D0=first, i_D1=second, o_Q=pin)
