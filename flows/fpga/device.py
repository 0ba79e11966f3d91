"""What an LFE5U-85F has, and whether a configuration can fit it at all."""

from dataclasses import dataclass
from math import ceil

from hw.config import ChipletConfig
from hw.memory.shapes import memory_shapes


@dataclass(frozen=True, kw_only=True)
class Device:
    """Resources of an FPGA, by the names that the tools use."""

    name: str
    #: Options by which nextpnr-ecp5 knows the part.
    options: tuple[str, ...]
    luts: int
    flip_flops: int
    multipliers: int
    block_rams: int
    #: Where multipliers and block RAMs stand: rows, from the top; in each the same groups of
    #: sites at these columns; in a group their distance from it, and nextpnr's name.
    macro_columns: tuple[int, ...]
    multiplier_rows: tuple[int, ...]
    multiplier_sites: tuple[tuple[int, str], ...]
    block_ram_rows: tuple[int, ...]
    block_ram_sites: tuple[tuple[int, str], ...]

    def available(self) -> dict[str, int]:
        """Return the number of each resource."""
        return {
            "LUT4": self.luts, "flip-flops": self.flip_flops, "MULT18X18D": self.multipliers,
            "DP16KD": self.block_rams,
        }  # fmt: skip


#: Lattice ECP5 family data sheet FPGA-DS-02012, table 1.1; speed grade 6 is the slowest.
LFE5U_85F = Device(
    name="LFE5U-85F-6BG381C", options=("--85k", "--package", "CABGA381", "--speed", "6"),
    luts=83_640, flip_flops=83_640, multipliers=156, block_rams=208,
    macro_columns=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
    multiplier_rows=(10, 34, 58),
    multiplier_sites=((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5")),
    block_ram_rows=(22, 46, 70, 82),
    block_ram_sites=((0, "EBR0"), (2, "EBR1"), (4, "EBR2"), (6, "EBR3")),
)  # fmt: skip

#: Bits of a DP16KD; its widths are 1, 2, 4, 9, 18 and, with one port of each kind, 36.
BLOCK_RAM_BITS = 18 * 1024
BLOCK_RAM_WIDTH = 36


def least_needs(config: ChipletConfig) -> dict[str, int]:
    """Return what a configuration needs in any case: a multiplier per PE, and its memories."""
    shapes = [(config.bank_words, 8 * config.columns)] * config.rows
    shapes += [(shape.words, shape.bits) for shape in memory_shapes(config).values()]
    blocks = sum(
        max(ceil(words * bits / BLOCK_RAM_BITS), ceil(bits / BLOCK_RAM_WIDTH))
        for words, bits in shapes
        if words * bits > BLOCK_RAM_BITS  # a smaller one can be made of LUTs
    )
    return {"MULT18X18D": config.macs, "DP16KD": blocks}


def check_fits(config_name: str, needs: dict[str, int], device: Device = LFE5U_85F) -> None:
    """Refuse what the device does not have; the error names the resource."""
    available = device.available()
    short = [
        f"{need:,} {name} of {available[name]:,}"
        for name, need in needs.items()
        if need > available[name]
    ]
    if short:
        raise ValueError(
            f"configuration {config_name} does not fit the {device.name}: "
            f"it needs {' and '.join(short)}"
        )
