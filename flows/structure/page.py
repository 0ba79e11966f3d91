"""Writes docs/ports.md: every port of the chiplet, as the emitted design has it."""

import tempfile
from pathlib import Path

from flows.structure.clock_domains import crossings, unsafe
from flows.structure.netlist import FlatDesign, flat_design
from flows.structure.ports import port_paths
from hw.chiplet import Chiplet
from hw.config import CONFIGS
from hw.emit import emit


def chiplet_design(place: Path) -> FlatDesign:
    """Flatten the smallest chiplet: the ports of all are built alike."""
    return flat_design(emit(Chiplet(CONFIGS["tiny"]), "tessera_chiplet"), place)


def documentation(design: FlatDesign) -> str:
    """Return the page."""
    lines = [
        "# Ports of the chiplet", "",
        "Written by `python -m flows.structure.page > docs/ports.md` from the emitted design of "
        "`tiny`; the table of the others differs in nothing.", "",
        "No logic leads from an input to an output: every path begins or ends at a register inside. "
        "An output marked *register* is one; behind the others lies the decoding of a state or of "
        "an error code, one or two gates. Inputs other than `rst` are taken with the rising edge "
        "of `clk`.", "",
        f"Clock domains: {len({s.clock for s in design.storage})}. Crossings between clocks that "
        f"are neither synchronized nor listed: {len(unsafe(crossings(design)))}.", "",
        "| port | bits | direction | output comes from |", "|---|---|---|---|",
    ]
    for path in port_paths(design):
        bits = len((design.outputs if path.is_output else design.inputs)[path.name])
        driven = ("a register" if path.registered else "logic behind registers")
        lines.append(f"| `{path.name}` | {bits} | {'output' if path.is_output else 'input'} | "
                     f"{driven if path.is_output else ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(documentation(chiplet_design(Path(place))), end="")
