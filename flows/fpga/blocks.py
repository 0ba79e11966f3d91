"""Which block of the chiplet a cell belongs to, by its hierarchical name."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

#: Blocks by the start of a cell's name; the first that matches counts. Cells that no register or
#: port names are called after a net beside them, so that a few count for a neighbour.
BLOCKS: tuple[tuple[str, str], ...] = (
    ("array", r"chiplet\.chiplet\.core\.matrix_unit\.array"),
    ("drain", r"chiplet\.chiplet\.core\.matrix_unit\.drain"),
    ("issue and store path", r"chiplet\.chiplet\.core\.matrix_unit"),
    ("vector unit", r"chiplet\.chiplet\.core\.vector_unit"),
    ("sampler", r"chiplet\.chiplet\.core\.sampler"),
    ("sequencer and queues", r"chiplet\.chiplet\.core\.(?:sequencer|matrix_queue|vector_queue)"),
    ("memories", r"chiplet\.chiplet\.core\.(?:activations|outputs|results|residual|multipliers|"
                 r"rope|row_scales|row_maxima|program|tokens)"),
    ("collective engine", r"chiplet\.chiplet\.core\.(?:engine|network_queue)"),
    ("links", r"(?:chiplet\.chiplet\.network\.(?:link|control)_(?:north|east|south|west)|links)"),
    ("router", r"chiplet\.chiplet\.network\.router"),
    ("network interface", r"chiplet\.chiplet\.network"),
    ("host bridge", r"chiplet\.chiplet\.bridge"),
    ("serial line", r"chiplet\.bridge"),
)  # fmt: skip
#: Blocks that only a chiplet with a network has.
OF_NETWORK = ("collective engine", "links", "router", "network interface")
#: The rest of the core, and the board's top module.
OTHER = "other"
#: The blocks in the order of the report.
NAMES = (*(name for name, _ in BLOCKS), OTHER)

_PATTERNS = tuple((name, re.compile(pattern + r"(?![a-z])")) for name, pattern in BLOCKS)

#: LUT sites that a cell takes.
LUT_SITES = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}
#: Resources of the other cells.
CELL_RESOURCES = {"TRELLIS_FF": "flip_flops", "MULT18X18D": "multipliers", "DP16KD": "block_rams"}


@dataclass(kw_only=True)
class Block:
    """What a block takes of the device."""

    name: str
    luts: int = 0
    flip_flops: int = 0
    multipliers: int = 0
    block_rams: int = 0


def block_of(cell: str) -> str:
    """Return the block of a cell or net."""
    return next((name for name, pattern in _PATTERNS if pattern.match(cell)), OTHER)


def count_blocks(top: dict[str, Any]) -> list[Block]:
    """Count the cells of a netlist (a module as Yosys' JSON has it) by block."""
    blocks = {name: Block(name=name) for name in NAMES}
    counts = Counter((block_of(name), cell["type"]) for name, cell in top["cells"].items())
    for (name, kind), number in counts.items():
        block = blocks[name]
        block.luts += number * LUT_SITES.get(kind, 0)
        resource = CELL_RESOURCES.get(kind)
        if resource:
            setattr(block, resource, getattr(block, resource) + number)
    return list(blocks.values())


def needs(cells: dict[str, int]) -> dict[str, int]:
    """Return the device's resources that cells (number by type) take."""
    return {
        "LUT4": sum(number * LUT_SITES.get(kind, 0) for kind, number in cells.items()),
        "flip-flops": cells.get("TRELLIS_FF", 0),
        "MULT18X18D": cells.get("MULT18X18D", 0),
        "DP16KD": cells.get("DP16KD", 0),
    }
