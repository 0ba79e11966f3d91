"""Places for multipliers and block RAMs: all there are, none twice, the array's on its arch."""

import re
from collections import defaultdict
from typing import Any

import pytest

from flows.fpga.device import LFE5U_85F
from flows.fpga.floorplan import constrain, floorplan
from hw.config import CONFIGS, ChipletConfig

ARRAY = "chiplet.chiplet.core.matrix_unit.array"
SITE = re.compile(r"X(\d+)/Y(\d+)/(\w+)")


def netlist(config: ChipletConfig, rams_per_element: int = 1) -> dict[str, dict[str, Any]]:
    """Return cells as synthesis names them: the array's, and some others'."""
    multipliers, rams = [], []
    for step in range(config.steps):
        for row in range(config.rows_per_step):
            for column in range(config.columns):
                multipliers.append(f"{ARRAY}.step_{step}.pe_{row}_{column}.$1_MULT18X18D_P9")
                rams += [f"{ARRAY}.step_{step}.bank_{row}.memory.mem.{part}.{column}"
                         for part in range(rams_per_element)]
    multipliers += [f"chiplet.chiplet.core.matrix_unit.drain.lane_{i}.$1_MULT18X18D_P9"
                    for i in range(4)]
    rams += [f"chiplet.chiplet.core.{name}.memory.mem.0.{i}"
             for name in ("tokens", "results", "activations") for i in range(4)]
    rams.append("chiplet.bridge.buffer.memory.mem.0.0")
    return {**{name: {"type": "MULT18X18D"} for name in multipliers},
            **{name: {"type": "DP16KD"} for name in rams},
            "lut": {"type": "LUT4"}}


def place(site: str) -> tuple[int, int, str]:
    match = SITE.fullmatch(site)
    assert match is not None, site
    return int(match[1]), int(match[2]), match[3]


@pytest.fixture(scope="module")
def plan() -> dict[str, str]:
    return floorplan(netlist(CONFIGS["fpga"]), CONFIGS["fpga"])


def test_each_has_a_site_of_its_own(plan: dict[str, str]) -> None:
    """All multipliers and block RAMs, on sites that the device has."""
    cells = netlist(CONFIGS["fpga"])
    assert set(plan) == set(cells) - {"lut"}
    assert len(set(plan.values())) == len(plan)
    rows = {"MULT18X18D": LFE5U_85F.multiplier_rows, "DP16KD": LFE5U_85F.block_ram_rows}
    sites = {"MULT18X18D": LFE5U_85F.multiplier_sites, "DP16KD": LFE5U_85F.block_ram_sites}
    for name, site in plan.items():
        x, y, bel = place(site)
        kind = cells[name]["type"]
        assert y in rows[kind], (name, site)
        assert any(bel == known and x - offset in LFE5U_85F.macro_columns
                   for offset, known in sites[kind]), (name, site)


def test_the_device_has_as_many_sites() -> None:
    groups = len(LFE5U_85F.macro_columns)
    assert (len(LFE5U_85F.multiplier_rows) * groups * len(LFE5U_85F.multiplier_sites)
            == LFE5U_85F.multipliers)
    assert (len(LFE5U_85F.block_ram_rows) * groups * len(LFE5U_85F.block_ram_sites)
            == LFE5U_85F.block_rams)


def test_weights_stand_beside_their_multiplier(plan: dict[str, str]) -> None:
    """In the next row of block RAMs, as far from the left within two columns."""
    config = CONFIGS["fpga"]
    for step in range(config.steps):
        for row in range(config.rows_per_step):
            for column in range(config.columns):
                x, y, _ = place(plan[f"{ARRAY}.step_{step}.pe_{row}_{column}.$1_MULT18X18D_P9"])
                ram = place(plan[f"{ARRAY}.step_{step}.bank_{row}.memory.mem.0.{column}"])
                assert abs(ram[0] - x) <= 2, (step, row, column)
                assert ram[1] == min(r for r in LFE5U_85F.block_ram_rows if r > y)


def test_steps_follow_each_other_on_an_arch(plan: dict[str, str]) -> None:
    """From the lowest row on the right over the top to the lowest on the left."""
    spots = defaultdict(list)
    for name, site in plan.items():
        if match := re.search(r"\.step_(\d+)\.pe", name):
            spots[int(match[1])].append(place(site)[:2])
    middle = [(sum(x for x, _ in each) / len(each), sum(y for _, y in each) / len(each))
              for _, each in sorted(spots.items())]
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = middle
    assert x0 > x1 > x2 > x3 or (x0 > x2 and x1 > x3)
    assert y0 > y1
    assert y3 > y2
    assert max(y for _, y in spots[0]) == max(LFE5U_85F.multiplier_rows)
    # A column's elements have the same height on both sides.
    for column in range(16):
        heights = [{place(plan[f"{ARRAY}.step_{step}.pe_{row}_{column}.$1_MULT18X18D_P9"])[1]
                    for row in range(2)} for step in range(4)]
        assert heights[0] == heights[3], column
        assert heights[1] == heights[2], column


def test_the_rest_stands_below_the_arch(plan: dict[str, str]) -> None:
    """In the middle of the lower rows, drain on the left, activations on the right."""
    rest = {name: place(site) for name, site in plan.items() if ARRAY not in name}
    assert all(25 < x < 100 for x, _, _ in rest.values()), rest
    assert all(y >= max(LFE5U_85F.multiplier_rows) for _, y, _ in rest.values()), rest
    xs = {name: [x for cell, (x, _, _) in rest.items() if name in cell]
          for name in ("results", "activations", "tokens")}
    assert max(xs["results"]) <= min(xs["activations"])
    assert max(xs["activations"]) <= min(xs["tokens"])


def test_a_small_array_is_left_to_nextpnr() -> None:
    assert floorplan(netlist(CONFIGS["fpga_small"]), CONFIGS["fpga_small"]) == {}


def test_banks_of_several_block_rams_are_left_to_nextpnr() -> None:
    """The plan has a place beside a multiplier for one."""
    plan = floorplan(netlist(CONFIGS["fpga"], rams_per_element=2), CONFIGS["fpga"])
    assert not [name for name in plan if ".bank_" in name]
    assert len([name for name in plan if ".pe_" in name]) == 128


def test_constrain() -> None:
    cells: dict[str, dict[str, Any]] = {
        "a": {"type": "MULT18X18D", "attributes": {"src": "x.v:1"}}, "b": {"type": "DP16KD"}}
    constrain(cells, {"a": "X4/Y10/MULT18_0", "b": "X4/Y22/EBR0"})
    assert cells["a"]["attributes"] == {"src": "x.v:1", "BEL": "X4/Y10/MULT18_0"}
    assert cells["b"]["attributes"] == {"BEL": "X4/Y22/EBR0"}
