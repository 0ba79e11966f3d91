"""One frozen description of a chiplet, and the named configurations.

Every size in the generated hardware is a field here or derived from one.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from hw.memory.open_macro import OPEN_MACROS
from hw.memory.technology import MemoryTechnology
from hw.network.config import NetworkConfig


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


#: Values of ``ChipletConfig.reset``.
RESET_STYLES = ("sync", "async")


@dataclass(frozen=True, kw_only=True)
class ChipletConfig:
    """Parameters of one chiplet.

    A *beat* is one vector of ``lanes`` elements: what the vector path moves in a cycle. A *tile*
    is ``rows`` x ``columns`` int8 weights: one word of every bank.
    """

    name: str
    #: Rows R of the systolic array: elements of the dot product taken per cycle.
    rows: int = 16
    #: Columns C of the systolic array: outputs per cycle.
    columns: int = 16
    #: Array rows that a wave passes per cycle; more shortens the fill, and lengthens the adder path.
    rows_per_step: int = 8
    #: Words of each row's weight/KV bank (a word is ``columns`` bytes); the store holds this many tiles.
    bank_words: int = 8192
    #: Lanes L of the drain and of the vector unit.
    lanes: int = 8
    #: Words (``rows`` bytes) of the activation memory: int8 vectors made by the vector unit.
    activation_words: int = 2048
    #: Words (``rows`` bytes) of the output memory: int8 vectors made by the drain (values, attention).
    output_words: int = 512
    #: Beats of the result memory: int16 results of matmuls that the vector unit reads.
    result_beats: int = 4096
    #: Beats of the residual memory: int32 residual stream and logits.
    residual_beats: int = 2048
    #: Beats of the multiplier memory: 16-bit channel multipliers, key multipliers, token scales.
    multiplier_beats: int = 4096
    #: Beats of the RoPE table: cosine and sine pairs, 16 bits each.
    rope_beats: int = 1024
    #: Slots of the row-scale and of the row-maximum memory.
    row_slots: int = 512
    #: Words (64 bits) of program memory.
    program_words: int = 1024
    #: Largest number of tokens (rows) in one block of the prompt.
    max_rows: int = 16
    #: Largest number of positions of one sequence (tokens in the token memory).
    context: int = 256
    #: Elements of the longest dot product: more inputs of a matrix than this are refused.
    longest_dot: int = 1024
    #: Logits per cycle that pass the sampler: more than ``columns / k_tiles`` of the last matrix
    #: product cannot come, so that one is enough for dimensions from ``rows * columns`` on.
    sampler_lanes: int = 1
    #: Commands that wait in front of each of the two units.
    queue_depth: int = 4
    #: Macro that all memories are built from (docs/memories.md); "": each has a macro of its own.
    memory_macro: str = ""
    #: Products are multiplications for the DSP blocks of an FPGA, not our own trees of gates.
    hard_multipliers: bool = False
    #: How the port ``rst`` acts: with a clock edge ("sync"), or at once, let go of with the clock
    #: ("async").
    reset: str = "sync"
    #: What a memory macro costs in the process of the ASIC flow.
    memory_technology: MemoryTechnology = dataclasses.field(default_factory=MemoryTechnology)
    #: Router and links to other chiplets; None: there are none. A flit carries a beat of int32.
    network: NetworkConfig | None = None

    def __post_init__(self) -> None:
        def require(field: str, holds: bool, rule: str) -> None:
            if not holds:
                raise ValueError(f"{field} must be {rule}, not {getattr(self, field)!r}")

        if isinstance(self.memory_technology, Mapping):  # as read from JSON
            object.__setattr__(self, "memory_technology",
                               MemoryTechnology(**self.memory_technology))
        if isinstance(self.network, Mapping):
            object.__setattr__(self, "network", NetworkConfig(**self.network))
        for field in dataclasses.fields(self):
            if field.name == "name":
                require("name", bool(self.name) and self.name.isidentifier(), "an identifier")
                continue
            if field.name in ("memory_macro", "memory_technology", "reset", "hard_multipliers",
                              "network"):
                continue
            value = getattr(self, field.name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            require(field.name, whole and value > 0, "a positive whole number")
        require("memory_technology", isinstance(self.memory_technology, MemoryTechnology),
                "a MemoryTechnology")
        require("network", self.network is None or isinstance(self.network, NetworkConfig),
                "a NetworkConfig or None")
        require("hard_multipliers", isinstance(self.hard_multipliers, bool), "true or false")
        require("reset", self.reset in RESET_STYLES, f"one of {', '.join(RESET_STYLES)}")
        require("memory_macro", self.memory_macro == "" or self.memory_macro in OPEN_MACROS,
                f"empty or one of {', '.join(OPEN_MACROS)}")
        for field_name in ("rows", "columns", "lanes", "rows_per_step", "sampler_lanes"):
            value = getattr(self, field_name)
            require(field_name, _is_power_of_two(value), "a power of two")
        require("rows", 4 <= self.rows <= 128, "between 4 and 128")
        require("columns", 4 <= self.columns <= 128, "between 4 and 128")
        require("lanes", self.lanes >= 4, "at least 4")
        require(
            "lanes",
            self.lanes <= min(self.rows, self.columns),
            f"at most the smaller of rows and columns ({min(self.rows, self.columns)})",
        )
        if self.network is not None and self.network.flit_bytes != 4 * self.lanes:
            raise ValueError(f"network.flit_bytes must be 4 * lanes ({4 * self.lanes}), "
                             f"not {self.network.flit_bytes!r}")
        require("rows_per_step", self.rows_per_step <= self.rows, f"at most rows ({self.rows})")
        require("sampler_lanes", self.sampler_lanes <= self.lanes, f"at most lanes ({self.lanes})")
        require("max_rows", self.max_rows <= 64, "at most 64")
        require("context", self.context % self.tile_side == 0,
                f"a multiple of the larger of rows and columns ({self.tile_side})")
        require("context", self.context <= 8192, "at most 8192")
        require("longest_dot", self.longest_dot % self.rows == 0, f"a multiple of rows ({self.rows})")
        require("longest_dot", self.context <= self.longest_dot <= 1 << 16,
                f"between context ({self.context}) and 2**16")
        require("bank_words", 16 <= self.bank_words <= 1 << 20, "between 16 and 2**20")
        require("program_words", 16 <= self.program_words <= 4096, "between 16 and 4096")
        require("queue_depth", 2 <= self.queue_depth <= 8, "between 2 and 8")
        for field_name in ("activation_words", "output_words", "result_beats", "residual_beats",
                           "multiplier_beats", "rope_beats"):
            require(field_name, 16 <= getattr(self, field_name) <= 1 << 16,
                    "between 16 and 2**16")
        require("row_slots", 16 <= self.row_slots <= 4096, "between 16 and 4096")

    @property
    def steps(self) -> int:
        """Pipeline steps that a wave takes through the array."""
        return self.rows // self.rows_per_step

    @property
    def tile_side(self) -> int:
        """Heads, groups and model dimension are padded to a multiple of this."""
        return max(self.rows, self.columns)

    @property
    def row_beats(self) -> int:
        """Beats in one activation word (``rows`` elements)."""
        return self.rows // self.lanes

    @property
    def column_beats(self) -> int:
        """Beats in one output vector of the array (``columns`` elements)."""
        return self.columns // self.lanes

    @property
    def weight_bytes(self) -> int:
        """Capacity of the weight and KV store."""
        return self.rows * self.columns * self.bank_words

    @property
    def sum_bits(self) -> int:
        """Bits of a signed number that holds every dot product; -128 * -128 is 2**14."""
        return (self.longest_dot << 14).bit_length() + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates per cycle."""
        return self.rows * self.columns

    def replace(self, **changes: object) -> "ChipletConfig":
        """Return a copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def with_network(self) -> "ChipletConfig":
        """Return a copy with links to neighbours, unless there are some already."""
        if self.network is not None:
            return self
        return self.replace(network=NetworkConfig(flit_bytes=4 * self.lanes))

    def as_dict(self) -> dict[str, object]:
        """Return the fields as JSON-ready values."""
        return dataclasses.asdict(self)


#: The supported configurations, by name.
CONFIGS: dict[str, ChipletConfig] = {
    config.name: config
    for config in (
        ChipletConfig(
            name="tiny", rows=8, columns=8, rows_per_step=2, lanes=8, bank_words=8192,
            activation_words=1024, output_words=512, result_beats=1024, residual_beats=512,
            multiplier_beats=2048, rope_beats=512, row_slots=256, program_words=512, max_rows=8,
            context=128,
        ),
        # Its weights have room for models of dimension 400 or so; with several chiplets, for more.
        ChipletConfig(name="base", longest_dot=768),
        ChipletConfig(
            name="large", rows=32, columns=32, rows_per_step=4, lanes=32, bank_words=4096,
            activation_words=2048, output_words=512, result_beats=2048, residual_beats=1024,
            multiplier_beats=2048, rope_beats=512, row_slots=512, program_words=1024, max_rows=16,
            context=512, longest_dot=2048, sampler_lanes=2,
        ),
        # The LFE5U-85F has 156 multipliers and 208 block RAMs: 128 of each are the array's.
        ChipletConfig(
            name="fpga", rows=8, columns=16, rows_per_step=2, lanes=4, bank_words=2048,
            activation_words=2048,
            output_words=256, result_beats=2048, residual_beats=512, multiplier_beats=2048,
            rope_beats=1024, row_slots=256, program_words=1024, max_rows=8, context=256,
            hard_multipliers=True,
        ),
        # The smallest that places and routes quickly.
        ChipletConfig(
            name="fpga_small", rows=4, columns=4, rows_per_step=4, lanes=4, bank_words=1024,
            activation_words=256, output_words=64, result_beats=512, residual_beats=256,
            multiplier_beats=512, rope_beats=128, row_slots=64, program_words=512, max_rows=4,
            context=64, hard_multipliers=True,
        ),
    )
}


def find_config(name: str) -> ChipletConfig:
    """Return the configuration called ``name``; the error names those that exist."""
    try:
        return CONFIGS[name]
    except KeyError:
        known = ", ".join(CONFIGS)
        raise ValueError(f"config must be one of {known}, not {name!r}") from None
