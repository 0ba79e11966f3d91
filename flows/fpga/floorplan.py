"""Places for multipliers and block RAMs, chosen before nextpnr places the rest.

They stand in a few rows across the device. Where an array fills these rows, nextpnr's own legal
placement of them has several times the wire length of a good one, and cannot be routed. Here the
array's steps follow each other on an arch: up from the right end of the lowest row of multipliers
that it needs, along the top row, and down to the left end; each element's block RAM stands in the
row below its multiplier. Below the arch, between the first step, which takes waves and activations,
and the last, which hands sums to the drain, is room for all else.
"""

import re
from collections.abc import Sequence
from typing import Any

from flows.fpga.device import LFE5U_85F, Device
from hw.config import ChipletConfig

_PE = re.compile(r"\.array\.step_(\d+)\.pe_(\d+)_(\d+)\.")
_BANK = re.compile(r"\.array\.step_(\d+)\.bank_(\d+)\..*?(\d+)$")
#: What else has multipliers or block RAMs, from left to right: from the drain to the activations.
_ORDER = (
    ".drain.", ".pair_", ".results.", ".residual.", ".multipliers.", ".row_maxima.", ".row_scales.",
    ".outputs.", ".temporary.", ".rope.", ".activations.", ".program.", ".tokens.",
)  # fmt: skip
_NUMBER = re.compile(r"\d+")

Element = tuple[int, int, int]  #: step, row within it, column


def floorplan(
    cells: dict[str, dict[str, Any]], config: ChipletConfig, device: Device = LFE5U_85F
) -> dict[str, str]:
    """Return the site (nextpnr's BEL) of each multiplier and block RAM of a netlist, by cell name.

    Empty where nextpnr does well alone: for an array that does not fill a row of multipliers.
    """
    multipliers = _sites_by_row(device, device.multiplier_rows, device.multiplier_sites)
    rams = _sites_by_row(device, device.block_ram_rows, device.block_ram_sites)
    if config.macs <= len(multipliers[0]):
        return {}
    names = {kind: [name for name, cell in cells.items() if cell["type"] == kind]
             for kind in ("MULT18X18D", "DP16KD")}  # fmt: skip
    elements = {_element(_PE, name): name for name in names["MULT18X18D"] if _PE.search(name)}
    weights = [name for name in names["DP16KD"] if _BANK.search(name)]
    banks = {_element(_BANK, name): name for name in weights}
    arch = _arch([len(row) for row in multipliers], config.macs)
    plan = {}
    for element, (row, site) in zip(_along_the_array(config), arch, strict=True):
        plan[elements[element]] = multipliers[row][site]
        # Where banks are deeper or shallower than one RAM for each element, nextpnr places them.
        if len(banks) == len(weights) == config.macs:
            plan[banks[element]] = rams[row][site]
    for kind, rows in (("MULT18X18D", multipliers), ("DP16KD", rams)):
        rest = [name for name in names[kind] if name not in plan and not _BANK.search(name)]
        free = _from_the_middle(rows, len(rest), set(plan.values()))
        plan |= dict(zip(sorted(rest, key=_rank), free, strict=True))
    return plan


def constrain(cells: dict[str, dict[str, Any]], plan: dict[str, str]) -> None:
    """Write the sites into a netlist, as nextpnr reads them."""
    for name, site in plan.items():
        cells[name].setdefault("attributes", {})["BEL"] = site


def _sites_by_row(
    device: Device, rows: Sequence[int], kinds: Sequence[tuple[int, str]]
) -> list[list[str]]:
    """Return the sites of each row, from left to right."""
    return [[f"X{x + offset}/Y{y}/{kind}" for x in device.macro_columns for offset, kind in kinds]
            for y in rows]  # fmt: skip


def _element(pattern: re.Pattern[str], name: str) -> Element:
    match = pattern.search(name)
    assert match is not None
    step, row, column = map(int, match.groups())
    return step, row, column


def _along_the_array(config: ChipletConfig) -> list[Element]:
    """Return the array's elements, first step to last.

    Columns that go to the same lane of the drain stand together. The second half of the steps has
    them in opposite order, so that on the two sides of the arch a column has the same height.
    """
    columns = sorted(range(config.columns), key=lambda column: (column % config.lanes, column))
    return [
        (step, row, column)
        for step in range(config.steps)
        for column in (columns if 2 * step < config.steps else reversed(columns))
        for row in range(config.rows_per_step)
    ]


def _arch(widths: Sequence[int], number: int) -> list[tuple[int, int]]:
    """Return row (0 is the top one) and place in the row of each element on the arch."""
    rows: list[int] = []  # how many elements each row has, from the top
    for width in widths:
        rows.append(min(width, number - sum(rows)))
    left: list[tuple[int, int]] = []
    right: list[tuple[int, int]] = []
    for row, (width, used) in enumerate(zip(widths, rows, strict=True)):
        left += [(row, site) for site in range((used + 1) // 2)][::-1]
        right = [(row, width - 1 - site) for site in range(used // 2)] + right
    return right + left


def _rank(name: str) -> tuple[int, list[int]]:
    place = next((i for i, part in enumerate(_ORDER) if part in name), len(_ORDER))
    return place, [int(number) for number in _NUMBER.findall(name)]


def _from_the_middle(rows: Sequence[Sequence[str]], number: int, taken: set[str]) -> list[str]:
    """Return free sites as near the middle as can be, from left to right, row beside row."""
    middle = (len(rows[0]) - 1) / 2
    free = sorted(
        (abs(site - middle), -row, site, name)
        for row, sites in enumerate(rows)
        for site, name in enumerate(sites)
        if name not in taken
    )
    chosen = sorted((site, row, name) for _, row, site, name in free[:number])
    return [name for _, _, name in chosen]
