"""Channel-dependence graph of the routing function, as it is in the emitted hardware.

``python -m verif.channel_graph`` walks every packet's way through every torus and mesh and says
whether the channels that packets hold and wait for can form a ring. The routing function is
that of the netlist which Yosys makes of :class:`hw.router.route.Route`, evaluated for all values of
its inputs at once.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flows import yosys
from golden import router as golden
from hw.emit import emit
from hw.network.config import COORDINATE_BITS, MAX_SIDE
from hw.router.port import LINKS, OPPOSITE, PORTS, Port
from hw.router.route import Route, strap_members

#: Inputs of the routing function, from the lowest bit of a table's index.
INPUTS = {**dict.fromkeys(("node_x", "node_y", "last_x", "last_y", "destination_x", "destination_y"), COORDINATE_BITS),
    "wrap_x": 1, "wrap_y": 1, "vc": 1}
_PLACES = {name: sum(list(INPUTS.values())[:i]) for i, name in enumerate(INPUTS)}
_BITS = sum(INPUTS.values())


class _Routes(wiring.Component):
    """The routing functions of all input ports side by side."""

    def __init__(self) -> None:
        super().__init__({**{name: In(bits) for name, bits in INPUTS.items()},
                          **{f"way_{port.value}": Out(len(PORTS) + 1) for port in PORTS}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for port in PORTS:
            m.submodules[port.name.lower()] = route = Route(port)
            for name in (*strap_members(), "destination_x", "destination_y", "vc"):
                m.d.comb += getattr(route, name).eq(getattr(self, name))
            m.d.comb += getattr(self, f"way_{port.value}").eq(route.port | route.out_vc << len(PORTS))
        return m


def _netlist(place: Path) -> dict[str, Any]:
    """Return the gates of ``_Routes``."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "routes.v").write_text(emit(_Routes(), "routes").logic)
    yosys.run(place, "read_verilog routes.v\nsynth -flatten -noabc -top routes\n"
                     "abc -g AND,OR,XOR,MUX\nopt_clean -purge\n"
                     "write_json routes.json\n")
    modules: dict[str, Any] = json.loads((place / "routes.json").read_text())["modules"]
    return modules["routes"]


def _evaluate(module: dict[str, Any]) -> np.ndarray:
    """Return by input port the ways, of all values of the inputs: bits of ports, then the vc."""
    index = np.arange(1 << _BITS, dtype=np.uint32)
    values: dict[int | str, np.ndarray] = {
        "0": np.zeros(len(index) // 8, np.uint8), "1": np.full(len(index) // 8, 255, np.uint8)}
    for name, first in _PLACES.items():
        for i, net in enumerate(module["ports"][name]["bits"]):
            values[net] = np.packbits((index >> (first + i) & 1).astype(bool))
    gates = list(module["cells"].values())
    while gates:
        later = []
        for gate in gates:
            nets = {pin: bits[0] for pin, bits in gate["connections"].items()}
            if any(net not in values for pin, net in nets.items() if pin != "Y"):
                later.append(gate)
                continue
            a, b = values[nets["A"]], values[nets.get("B", nets["A"])]
            match gate["type"]:
                case "$_AND_":
                    result = a & b
                case "$_OR_":
                    result = a | b
                case "$_XOR_":
                    result = a ^ b
                case "$_NOT_":
                    result = ~a
                case "$_MUX_":
                    s = values[nets["S"]]
                    result = (a & ~s) | (b & s)
                case other:
                    raise ValueError(f"unknown gate {other}")
            values[nets["Y"]] = result
        assert len(later) < len(gates), "the netlist has a loop"
        gates = later
    ways = np.zeros((len(PORTS), len(index)), np.uint8)
    for port in PORTS:
        for i, net in enumerate(module["ports"][f"way_{port.value}"]["bits"]):
            ways[port.value] |= np.unpackbits(values[net]) << i
    return ways


def hardware_ways() -> np.ndarray:
    """Return the table of the emitted routing functions, see :func:`look_up`."""
    with tempfile.TemporaryDirectory() as place:
        return _evaluate(_netlist(Path(place)))


def look_up(ways: np.ndarray, source: np.ndarray, **inputs: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Return output port (-1: not just one bit is set) and vc, for arrays of inputs."""
    index = sum((np.asarray(value).astype(np.int64) << _PLACES[name] for name, value in inputs.items()),
                start=np.int64(0))
    way = ways[source, index]
    port = np.full(1 << len(PORTS), -1)
    for p in PORTS:
        port[1 << p.value] = p.value
    return port[way & (1 << len(PORTS)) - 1], way >> len(PORTS)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Channels are (node * links + link) * 2 + vc; an edge: held while waiting for the other."""

    network: golden.Network
    edges: np.ndarray
    #: Hops of each pair of nodes: ``hops[source, destination]``, the last into LOCAL not counted.
    hops: np.ndarray

    def name(self, channel: int) -> str:
        """Return a channel in words."""
        node, link = divmod(channel >> 1, len(LINKS))
        y, x = divmod(node, self.network.columns)
        return f"({x}, {y}) {LINKS[link].name} vc {channel & 1}"

    def ring(self) -> list[int]:
        """Return channels that wait for each other in a ring; [] if there are none.

        Takes away channels that nothing left waits for, in time linear in edges; what stays
        has a ring.
        """
        followers = [np.flatnonzero(row) for row in self.edges]
        waiting = self.edges.sum(axis=0)
        ready = [int(c) for c in np.flatnonzero(waiting == 0)]
        left = len(waiting)
        while ready:
            left -= 1
            for following in followers[ready.pop()]:
                waiting[following] -= 1
                if waiting[following] == 0:
                    ready.append(int(following))
        if left == 0:
            return []
        # Backwards along what is left, every channel has a predecessor that is left.
        walk, place = [int(np.flatnonzero(waiting)[0])], {}
        while walk[-1] not in place:
            place[walk[-1]] = len(walk) - 1
            before = np.flatnonzero(self.edges[:, walk[-1]] & (waiting > 0))
            walk.append(int(before[0]))
        return walk[place[walk[-1]]:-1][::-1]


def build(ways: np.ndarray, network: golden.Network) -> Graph:
    """Send a packet from every node to every other, and note which channel follows which."""
    columns, rows = network.columns, network.rows
    nodes = columns * rows
    channels = nodes * len(LINKS) * 2
    edges = np.zeros((channels, channels), bool)
    source, destination = (grid.ravel() for grid in np.meshgrid(
        np.arange(nodes), np.arange(nodes), indexing="ij"))
    neighbour = np.full((nodes, len(PORTS)), -1)
    for x, y in network.nodes():
        for link in LINKS:
            following = network.neighbour((x, y), link.value)
            if following is not None:
                neighbour[y * columns + x, link.value] = following[1] * columns + following[0]
    opposite = np.array([0, *(OPPOSITE[link].value for link in LINKS)])
    hops = np.zeros((nodes, nodes), int)
    at, came, vc = source.copy(), np.zeros(nodes * nodes, int), np.zeros(nodes * nodes, int)
    held = np.full(nodes * nodes, -1)
    first, last = source, destination
    while len(at):
        port, vc = look_up(
            ways, came, node_x=at % columns, node_y=at // columns, last_x=columns - 1,
            last_y=rows - 1, destination_x=last % columns, destination_y=last // columns,
            wrap_x=int(network.wrap_x), wrap_y=int(network.wrap_y), vc=vc)
        there = port == Port.LOCAL.value
        wrong = (port < 0) | (there != (at == last)) | (~there & (neighbour[at, port] < 0))
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"from {first[i]} to {last[i]} in {network}: port {port[i]} at {at[i]}")
        moves = ~there
        at, port, vc, held, first, last = (
            array[moves] for array in (at, port, vc, held, first, last))
        channel = (at * len(LINKS) + port - 1) * 2 + vc
        waits = held >= 0
        edges[held[waits], channel[waits]] = True
        hops[first, last] += 1
        if hops.max() > columns + rows:
            raise ValueError(f"a packet goes round for ever in {network}")
        at, came, held = neighbour[at, port], opposite[port], channel
    return Graph(network=network, edges=edges, hops=hops)


def networks(sides: range = range(1, MAX_SIDE + 1)) -> Iterator[golden.Network]:
    """Return every torus and mesh, and what is closed in one dimension only."""
    for rows in sides:
        for columns in sides:
            for wrap_x in (False, True) if columns >= 3 else (False,):
                for wrap_y in (False, True) if rows >= 3 else (False,):
                    yield golden.Network(columns=columns, rows=rows, wrap_x=wrap_x, wrap_y=wrap_y)


def without_dateline(ways: np.ndarray) -> np.ndarray:
    """Return a planted error: the table with every packet on virtual channel 0."""
    return ways & (1 << len(PORTS)) - 1


def main() -> int:
    """Check all networks; return 1 if one has a ring."""
    ways, count, edges = hardware_ways(), 0, 0
    for network in networks():
        graph = build(ways, network)
        count, edges = count + 1, edges + int(graph.edges.sum())
        if ring := graph.ring():
            print(f"{network}: {' -> '.join(map(graph.name, ring))}")
            return 1
    print(f"{count} networks, {edges} dependences, no ring")
    return 0


if __name__ == "__main__":
    sys.exit(main())
