"""Parameters of the network between chiplets."""

import dataclasses
from dataclasses import dataclass

#: Nodes along a dimension at most; coordinates have COORDINATE_BITS.
MAX_SIDE = 8
COORDINATE_BITS = 3


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Sizes of links, router and packets; all chiplets of a network have the same."""

    #: Payload of a flit in bytes: what a link and each port of the router move in a cycle.
    flit_bytes: int = 32
    #: Flits that a receiver's queue of one channel holds: at least a round trip over the link, or
    #: one channel alone cannot use all of its throughput.
    queue_flits: int = 16

    def __post_init__(self) -> None:
        for field, low, high in (("flit_bytes", 8, 64), ("queue_flits", 4, 64)):
            value = getattr(self, field)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not low <= value <= high or value & (value - 1):
                raise ValueError(f"{field} must be a power of two between {low} and {high}, "
                                 f"not {value!r}")

    @property
    def flit_bits(self) -> int:
        """Bits of a flit's payload."""
        return 8 * self.flit_bytes

    def replace(self, **changes: object) -> "NetworkConfig":
        """Return a copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
