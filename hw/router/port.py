"""Ports of the router, and which turns between them exist."""

from amaranth.lib import enum

from hw.network.config import NetworkConfig


class Port(enum.Enum, shape=3):
    """A side of the router; x grows to the east, y to the south."""

    #: this chip's network interface
    LOCAL = 0
    #: the link to the node with the next smaller y
    NORTH = 1
    #: the link to the node with the next larger x
    EAST = 2
    #: the link to the node with the next larger y
    SOUTH = 3
    #: the link to the node with the next smaller x
    WEST = 4


PORTS = tuple(Port)
LINKS = PORTS[1:]
#: Sides that chips in a row have links on.
ROW_LINKS = (Port.EAST, Port.WEST)
OPPOSITE = {Port.NORTH: Port.SOUTH, Port.SOUTH: Port.NORTH,
            Port.EAST: Port.WEST, Port.WEST: Port.EAST}
#: Inputs that each output can have a flit from: x is travelled before y, and nothing turns back.
SOURCES = {
    Port.LOCAL: PORTS,
    Port.NORTH: (Port.LOCAL, Port.EAST, Port.SOUTH, Port.WEST),
    Port.EAST: (Port.LOCAL, Port.WEST),
    Port.SOUTH: (Port.LOCAL, Port.NORTH, Port.EAST, Port.WEST),
    Port.WEST: (Port.LOCAL, Port.EAST),
}
#: The same from the other side: outputs that each input's flits can take.
TARGETS = {source: tuple(target for target in PORTS if source in SOURCES[target])
           for source in PORTS}


def links_of(config: NetworkConfig) -> tuple[Port, ...]:
    """Return the sides on which a chip has links."""
    return LINKS if config.dimensions == 2 else ROW_LINKS
