"""Synthesis for ECP5, run in a process of its own: ``python -m flows.fpga.yosys_worker JOB``.

JOB is a JSON file: ``sources``, ``top``, ``multipliers`` (hard ones that there are), ``netlist`` and
``summary`` (files to write). The log goes to stdout. The summary counts the multiplications.
"""

import json
import re
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from pyosys import libyosys as yosys

#: Operand width of an ECP5 multiplier.
OPERAND_BITS = 18
#: A multiplication inside of a processing element.
PE = re.compile(r"\.\\?pe_\d+_\d+\.")
#: Attribute of the multiplications that get no hard multiplier.
SOFT = "tessera_soft_multiplier"
#: What `synth_ecp5` does before it looks at multiplications, but for the order.
PREPARE = (
    "proc", "flatten", "opt_expr", "opt_clean", "opt -nodffe -nosdff", "wreduce", "peepopt",
    "opt_clean",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Multiplication:
    """A `$mul` cell."""

    cell: object
    widths: tuple[int, int]
    constant: bool

    @property
    def in_pe(self) -> bool:
        """Whether it belongs to the array."""
        return PE.search(self.cell.name.str()) is not None  # type: ignore[attr-defined]

    @property
    def hard_multipliers(self) -> int:
        """How many it takes."""
        return ceil(self.widths[0] / OPERAND_BITS) * ceil(self.widths[1] / OPERAND_BITS)

    @property
    def gain(self) -> float:
        """Adder bits that each hard multiplier saves."""
        return self.widths[0] * self.widths[1] / self.hard_multipliers


def find_multiplications(design: object) -> list[Multiplication]:
    """Return the `$mul` cells of the flattened design."""
    found = []
    for cell in design.top_module().cells_.values():  # type: ignore[attr-defined]
        if cell.type.str() != "$mul":
            continue
        ports = [cell.connections_[yosys.IdString(port)] for port in ("\\A", "\\B")]
        found.append(Multiplication(
            cell=cell, widths=(ports[0].size(), ports[1].size()),
            constant=any(port.is_fully_const() for port in ports),
        ))  # fmt: skip
    return found


def assign(found: list[Multiplication], available: int) -> dict[str, int]:
    """Give out the hard multipliers: first to the PEs, then where they save most.

    The others are marked. A multiplication by a constant is but a few additions.
    """
    counts = {"multiplications": len(found), "pes": 0, "hard": 0, "soft": 0}
    order = sorted(found, key=lambda each: (not each.in_pe, -each.gain, each.cell.name.str()))  # type: ignore[attr-defined]
    for each in order:
        if not each.constant and each.hard_multipliers <= available:
            available -= each.hard_multipliers
            counts["hard"] += each.hard_multipliers
            counts["pes"] += each.in_pe
        else:
            each.cell.set_bool_attribute(yosys.IdString(f"\\{SOFT}"), True)  # type: ignore[attr-defined]
            counts["soft"] += 1
    return counts


def main(job_file: str) -> None:
    """Synthesize what the job file says."""
    job = json.loads(Path(job_file).read_text())
    design = yosys.Design()

    def run(command: str) -> None:
        yosys.run_pass(command, design)

    for source in job["sources"]:
        run(f"read_verilog -defer {source}")
    run(f"synth_ecp5 -top {job['top']} -run begin:coarse")
    for command in PREPARE:
        run(command)
    counts = assign(find_multiplications(design), job["multipliers"])
    # As sums of partial products they are no multiplications to `synth_ecp5` any more.
    run(f"alumacc a:{SOFT}")
    run(f"synth_ecp5 -top {job['top']} -run coarse:json")
    run(f"write_json {job['netlist']}")
    Path(job["summary"]).write_text(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
