"""Where the memories lie in the host's 32-bit window (docs/registers.md).

The banks begin at 0x8000_0000; word w of another memory lies at its base + w * stride.
"""

from dataclasses import dataclass

from hw.config import ChipletConfig
from hw.memory.shapes import memory_shapes

BANKS_BASE = 0x8000_0000
#: Distance of the other memories. The first lies here too: the lowest addresses hold nothing.
REGION_BYTES = 0x0100_0000
#: Memories that the host writes; it reads all.
WRITABLE = ("banks", "program", "tokens", "multipliers", "rope", "row_scales")
#: Memory that the host reaches while the chip runs.
SHARED = "tokens"


@dataclass(frozen=True, kw_only=True)
class Region:
    """One memory in the window."""

    name: str
    base: int
    words: int
    #: Bytes of a word that hold something, and bytes from one word to the next.
    word_bytes: int
    stride: int
    #: Bytes that are written together or not at all.
    granule_bytes: int
    writable: bool

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.base + self.words * self.stride

    def address(self, word: int, byte: int = 0) -> int:
        """Return the address of a byte of a word."""
        if not 0 <= word < self.words or not 0 <= byte < self.word_bytes:
            raise ValueError(f"byte {byte} of word {word} is outside of {self.name} "
                             f"({self.words} words of {self.word_bytes} bytes)")
        return self.base + word * self.stride + byte


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """All regions of a configuration; of ``banks``, a word is a tile (rows x columns bytes)."""

    config: ChipletConfig
    regions: dict[str, Region]

    def bank_address(self, word: int, row: int, column: int) -> int:
        """Return the address of one byte of the banks."""
        config = self.config
        if not 0 <= row < config.rows or not 0 <= column < config.columns:
            raise ValueError(f"row {row}, column {column} is outside of a tile "
                             f"({config.rows} x {config.columns})")
        return self.regions["banks"].address(word, row * config.columns + column)

    def find(self, address: int) -> tuple[Region, int, int] | None:
        """Return region, word and byte of an address, or None where there is nothing."""
        for region in self.regions.values():
            if region.base <= address < region.end:
                word, byte = divmod(address - region.base, region.stride)
                return region, word, byte
        return None


def memory_map(config: ChipletConfig) -> MemoryMap:
    """Return the map of a configuration; refuse one whose memories do not fit the window."""
    tile_bytes = config.rows * config.columns
    regions = {"banks": Region(
        name="banks", base=BANKS_BASE, words=config.bank_words, word_bytes=tile_bytes,
        stride=tile_bytes, granule_bytes=1, writable=True)}
    if regions["banks"].end > 1 << 32:
        raise ValueError(f"bank_words must be at most {(1 << 31) // tile_bytes} for the host's "
                         f"window, not {config.bank_words!r}")
    for i, (name, shape) in enumerate(memory_shapes(config).items(), start=1):
        stride = max(4, 1 << (shape.bits // 8 - 1).bit_length())
        regions[name] = Region(
            name=name, base=REGION_BYTES * i, words=shape.words, word_bytes=shape.bits // 8,
            stride=stride, granule_bytes=shape.granule_bits // 8, writable=name in WRITABLE)
        if shape.words * stride > REGION_BYTES:
            raise ValueError(f"words of {name} must be at most {REGION_BYTES // stride} for the "
                             f"host's window, not {shape.words!r}")
    return MemoryMap(config=config, regions=regions)


def documentation(configs: list[ChipletConfig]) -> str:
    """Return the memory section of docs/registers.md."""
    maps = [memory_map(config) for config in configs]
    names = " | ".join(f"words in `{config.name}`" for config in configs)
    lines = [
        "## Memory window (AXI4, 32-bit data)",
        "",
        "Word w of a memory lies at base + w * stride; bytes of a word in little-endian order. "
        "Byte (w, r, c) of the banks (word w, row r, column c) lies at "
        "base + (w * rows + r) * columns + c.",
        "Lengths in bytes; R rows, C columns, L lanes. An access is at most 32 bits per beat: "
        "bursts FIXED, INCR (up to 256 beats, within 4 KiB) and WRAP (2, 4, 8 or 16 beats), and "
        "narrow sizes.",
        "",
        f"| memory | base | word | stride | granule | host | {names} |",
        "|---|---|---|---|---|---|" + "---|" * len(configs),
    ]
    formulas = {"banks": ("R * C", "R * C", "1"), "activations": ("R", "R", "L"),
                "outputs": ("R", "R", "L"), "results": ("2 L", "2 L", "2 L"),
                "residual": ("4 L", "4 L", "4 L"), "multipliers": ("2 L", "2 L", "2"),
                "rope": ("2 L", "2 L", "4"), "row_scales": ("2", "4", "2"),
                "row_maxima": ("4", "4", "4"), "program": ("8", "8", "4"),
                "tokens": ("4", "4", "4")}
    for memory in maps[0].regions.values():
        for a_map in maps:
            region, sizes = a_map.regions[memory.name], {"R": a_map.config.rows,
                                                         "C": a_map.config.columns,
                                                         "L": a_map.config.lanes}
            for formula, value in zip(formulas[memory.name],
                                      (region.word_bytes, region.stride, region.granule_bytes),
                                      strict=True):
                product = 1
                for factor in formula.replace("*", " ").split():
                    product *= sizes.get(factor, 0) or int(factor)
                assert product == value, (memory.name, formula, value)
        word, stride, granule = formulas[memory.name]
        words = " | ".join(str(a_map.regions[memory.name].words) for a_map in maps)
        access = "read, write" if memory.writable else "read"
        lines.append(f"| `{memory.name}` | 0x{memory.base >> 16:04X}_{memory.base & 0xFFFF:04X} "
                     f"| {word} | {stride} | {granule} | {access} | {words} |")
    lines += [
        "",
        "- While the chip runs, only `tokens` answers; every other memory gives SLVERR: stop or "
        "pause the chip first (STATUS.IDLE).",
        "- A write to a memory that the host only reads gives SLVERR, and so does one that covers "
        "a granule in part. Nothing is written then.",
        "- An address that belongs to no memory gives DECERR; of `row_scales`, bytes 2 and 3 of "
        "each slot read 0 and ignore writes.",
        "- A burst of a reserved type, of a size above 4 bytes, beyond 4 KiB, or a WRAP of another "
        "length or alignment gives SLVERR as a whole, and nothing is written.",
        "- A write burst is answered with its worst error, a read burst beat by beat. A burst "
        "whose WLAST comes too early or not at its last beat ends there, with SLVERR.",
    ]
    return "\n".join(lines) + "\n"
