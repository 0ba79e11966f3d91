"""Routing function: the output port and virtual channel of a packet."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import COORDINATE_BITS
from hw.router.port import PORTS, Port


def strap_members() -> dict[str, wiring.Member]:
    """Return the constant inputs of a node: its place, the last place, and whether rings close.

    ``last_x`` and ``last_y`` are the number of columns and rows, less 1; ``wrap_x`` and ``wrap_y``
    say that the link between the last place and place 0 exists. A ring has three nodes or more.
    """
    coordinates = ("node_x", "node_y", "last_x", "last_y")
    return {**{name: In(COORDINATE_BITS) for name in coordinates}, "wrap_x": In(1), "wrap_y": In(1)}


class Route(wiring.Component):
    """Dimension-ordered routing with a dateline (docs/router.md), of packets from one input port.

    Ports: the straps; ``destination_x``, ``destination_y`` and ``vc`` of the packet that came in
    through ``source``; ``port``: a bit for each output port, one of them set; ``out_vc``.

    Combinational. A destination outside the network, and one that only a turn which the rule
    does not have would reach, gives LOCAL.
    """

    def __init__(self, source: Port) -> None:
        self.source = source
        super().__init__({
            **strap_members(), "destination_x": In(COORDINATE_BITS),
            "destination_y": In(COORDINATE_BITS), "vc": In(1),
            "port": Out(len(PORTS)), "out_vc": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inside = (self.destination_x <= self.last_x) & (self.destination_y <= self.last_y)
        # Which virtual channel a packet takes that will not cross the dateline is free: the parity
        # of its distance spreads them, and is the same for all packets between two nodes.
        parity = (self.destination_x[0] ^ self.destination_y[0]) ^ (self.node_x[0] ^ self.node_y[0])
        same_x, east, out_x, enter_x = self._dimension(m, "x", parity)
        same_y, south, out_y, enter_y = self._dimension(m, "y", parity)
        along_x = inside & ~same_x
        along_y = inside & same_x & ~same_y
        if self.source in (Port.EAST, Port.WEST):  # travelling in x
            go_x = along_x & (east if self.source is Port.WEST else ~east)
            vc_x, vc_y = out_x, enter_y
        elif self.source is Port.LOCAL:
            go_x = along_x
            vc_x, vc_y = enter_x, enter_y
        else:
            go_x = Value.cast(0)
            vc_x, vc_y = Value.cast(0), out_y
        go_y = along_y
        if self.source in (Port.NORTH, Port.SOUTH):
            go_y = along_y & (south if self.source is Port.NORTH else ~south)
        chosen = {Port.NORTH: go_y & ~south, Port.EAST: go_x & east, Port.SOUTH: go_y & south,
                  Port.WEST: go_x & ~east, Port.LOCAL: ~(go_x | go_y)}
        m.d.comb += [
            self.port.eq(Cat(chosen[port] for port in PORTS)),
            self.out_vc.eq((go_x & vc_x) | (go_y & vc_y)),
        ]
        return m

    def _dimension(self, m: Module, axis: str, parity: Value) -> tuple[Value, Value, Value, Value]:
        """Return whether the place is right, the direction, and the vc of going on or entering.

        With the constants of the straps, each comparison is one of the destination alone.
        """
        node, last, wrap, destination = (
            getattr(self, f"{name}_{axis}") for name in ("node", "last", "wrap", "destination"))
        farthest_up = Signal(COORDINATE_BITS + 1, name=f"farthest_up_{axis}")
        farthest_down = Signal(signed(COORDINATE_BITS + 1), name=f"farthest_down_{axis}")
        ring, up, crosses, wraps = (
            Signal(name=f"{name}_{axis}") for name in ("ring", "up", "crosses", "wraps"))
        ahead, behind = destination > node, destination < node
        m.d.comb += [
            ring.eq(wrap & (last >= 2)),
            # Half of the ring's length either way; the middle belongs to the way up.
            farthest_up.eq(node + ((last + 1) >> 1)),
            farthest_down.eq(node - (last >> 1)),
            up.eq(Mux(ahead, ~ring | (destination <= farthest_up),
                      ring & (destination < farthest_down))),
            # Up and behind, or down and ahead: only over the link that closes the ring.
            crosses.eq(Mux(up, behind, ahead)),
            wraps.eq(ring & Mux(up, node == last, node == 0)),
        ]
        return destination == node, up, self.vc | wraps, wraps | (~crosses & parity)
