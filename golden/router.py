"""Where a packet goes in the network: the routing rule of docs/router.md, written down by itself."""

from dataclasses import dataclass
from itertools import pairwise

LOCAL, NORTH, EAST, SOUTH, WEST = range(5)
#: The side of the next node at which a packet that leaves through a side comes in.
ARRIVES_AT = {NORTH: SOUTH, EAST: WEST, SOUTH: NORTH, WEST: EAST}
#: Steps in x and y.
_STEP = {NORTH: (0, -1), EAST: (1, 0), SOUTH: (0, 1), WEST: (-1, 0)}


@dataclass(frozen=True, kw_only=True)
class Network:
    """A torus, a mesh, or one of each: columns, rows, and whether the rings are closed."""

    columns: int
    rows: int
    wrap_x: bool
    wrap_y: bool

    def nodes(self) -> list[tuple[int, int]]:
        """Return all nodes, (x, y)."""
        return [(x, y) for y in range(self.rows) for x in range(self.columns)]

    def contains(self, node: tuple[int, int]) -> bool:
        """Tell whether there is such a node."""
        return 0 <= node[0] < self.columns and 0 <= node[1] < self.rows

    def neighbour(self, node: tuple[int, int], port: int) -> tuple[int, int] | None:
        """Return the node behind a link, or None if there is no link."""
        x, y = node[0] + _STEP[port][0], node[1] + _STEP[port][1]
        if self.contains((x, y)):
            return x, y
        size, wrap = (self.columns, self.wrap_x) if port in (EAST, WEST) else (self.rows, self.wrap_y)
        return (x % self.columns, y % self.rows) if wrap and size >= 3 else None


def _dimension(here: int, there: int, size: int, wrap: bool) -> tuple[int, list[int]]:
    """Return the direction (1 up, -1 down) and the places that a packet passes, the last included."""
    if wrap and size >= 3:
        direction = 1 if (there - here) % size <= (here - there) % size else -1
    else:
        direction = 1 if there > here else -1
    places, place = [], here
    while place != there:
        place = (place + direction) % size
        places.append(place)
    return direction, places


def _enter(here: int, there: int, size: int, wrap: bool, parity: int) -> int:
    """Return the virtual channel of the first link in a dimension."""
    passed = [here, *_dimension(here, there, size, wrap)[1]]
    wraps = [abs(b - a) != 1 for a, b in pairwise(passed)]
    if not any(wraps):
        return parity
    return 1 if wraps[0] else 0


def step(
    network: Network, node: tuple[int, int], destination: tuple[int, int], source: int, vc: int,
) -> tuple[int, int]:
    """Return output port and virtual channel of a packet that came in through port ``source``."""
    (x, y), (to_x, to_y) = node, destination
    if not network.contains(destination) or node == destination:
        return LOCAL, 0
    parity = (x + y + to_x + to_y) & 1
    if x != to_x:
        here, there, size, wrap = x, to_x, network.columns, network.wrap_x
        ways, along = {1: EAST, -1: WEST}, (EAST, WEST)
    else:
        here, there, size, wrap = y, to_y, network.rows, network.wrap_y
        ways, along = {1: SOUTH, -1: NORTH}, (NORTH, SOUTH)
    direction, places = _dimension(here, there, size, wrap)
    port = ways[direction]
    if source == LOCAL or (source in (EAST, WEST) and port in (NORTH, SOUTH)):
        return port, _enter(here, there, size, wrap, parity)
    if source not in along or ARRIVES_AT[port] != source:
        return LOCAL, 0  # a turn that no packet takes
    return port, 1 if abs(places[0] - here) != 1 else vc


def route(
    network: Network, source: tuple[int, int], destination: tuple[int, int],
) -> list[tuple[tuple[int, int], int, int]]:
    """Return the way of a packet: node, output port and virtual channel of each hop, LOCAL last."""
    node, port, vc, way = source, LOCAL, 0, []
    while True:
        out, vc = step(network, node, destination, port, vc)
        way.append((node, out, vc))
        if out == LOCAL:
            return way
        following = network.neighbour(node, out)
        assert following is not None
        node, port = following, ARRIVES_AT[out]
