"""Parameters of the network between chiplets."""

import dataclasses
from dataclasses import dataclass

#: Nodes along a dimension at most; coordinates have COORDINATE_BITS.
MAX_SIDE = 8
COORDINATE_BITS = 3
#: Values of ``NetworkConfig.receive_clock``.
RECEIVE_CLOCKS = ("core", "link")
#: Bits of the flip-flops at a change of clocks at most.
MAX_CROSSING_BITS = 1024


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Sizes of links, router and packets; all chiplets of a network have the same."""

    #: Payload of a flit in bytes: what a link and each port of the router move in a cycle.
    flit_bytes: int = 32
    #: Flits that a receiver's queue of one channel holds: at least a round trip over the link, or
    #: one channel alone cannot use all of its throughput.
    queue_flits: int = 16
    #: Words of a link's replay buffer, and sequence numbers; one less may be on their way. At least
    #: a round trip, or the link waits for acknowledgements.
    replay_flits: int = 16
    #: Cycles (phits) in which a word passes the wires: more take fewer wires and give less throughput.
    phits_per_word: int = 1
    #: Clock of a link's incoming wires: the chip's own ("core"), or one that comes with them ("link"),
    #: from a chip whose oscillator is another.
    receive_clock: str = "core"
    #: 2: links on all four sides; 1: only east and west, for chips in a row or a ring.
    dimensions: int = 2
    #: A link goes down after so many cycles without one good word.
    silence_cycles: int = 1024
    #: A link goes down after so many replays of one flit.
    max_retries: int = 31

    def __post_init__(self) -> None:
        for field, low, high in (
            ("flit_bytes", 8, 64), ("queue_flits", 4, 64), ("replay_flits", 4, 64),
            ("phits_per_word", 1, 32), ("silence_cycles", 64, 1 << 20),
        ):
            value = getattr(self, field)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not low <= value <= high or value & (value - 1):
                raise ValueError(f"{field} must be a power of two between {low} and {high}, "
                                 f"not {value!r}")
        retries = self.max_retries
        if not isinstance(retries, int) or isinstance(retries, bool) or not 1 <= retries <= 255:
            raise ValueError(f"max_retries must be between 1 and 255, not {retries!r}")
        if self.dimensions not in (1, 2):
            raise ValueError(f"dimensions must be 1 or 2, not {self.dimensions!r}")
        if self.receive_clock not in RECEIVE_CLOCKS:
            raise ValueError(f"receive_clock must be one of {', '.join(RECEIVE_CLOCKS)}, "
                             f"not {self.receive_clock!r}")

    @property
    def flit_bits(self) -> int:
        """Bits of a flit's payload."""
        return 8 * self.flit_bytes

    def replace(self, **changes: object) -> "NetworkConfig":
        """Return a copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
