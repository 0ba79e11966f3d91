"""From a configuration to a netlist of ECP5 cells."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.fpga.blocks import Block, count_blocks, needs
from flows.fpga.device import LFE5U_85F, check_fits
from flows.fpga.floorplan import constrain, floorplan
from flows.fpga.multipliers import align_operands
from flows.fpga.process import Progress, require_package, run_tool
from hw.config import ChipletConfig
from hw.emit import write_if_changed
from hw.fpga_pll import Pll

#: What the log says at the start of each part of the work, and what to show for it.
_STEPS = (
    (r"^-- Running command `read_verilog", "reading Verilog"),
    (r"Executing FLATTEN pass", "flattening"),
    (r"Executing OPT_DFF pass", "optimizing"),
    (r"Executing MEMORY_LIBMAP pass", "mapping memories"),
    (r"Executing TECHMAP pass", "mapping cells"),
    (r"Executing ABC9 pass", "mapping LUTs"),
    (r"Executing AUTONAME pass", "naming cells"),
)


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """A netlist, and what is in it."""

    netlist: Path
    #: Cells by type, as Yosys counts them.
    cells: dict[str, int]
    blocks: list[Block]
    #: Multiplications: all, those of PEs on hard multipliers, hard multipliers used, made of LUTs.
    multiplications: dict[str, int]
    seconds: float


def require_synthesis() -> None:
    """Refuse if Yosys is not installed."""
    require_package("pyosys", "Yosys")


def synthesize(
    config: ChipletConfig, pll: Pll, divisor: int, torus: tuple[int, int], out: Path,
    progress: Progress,
) -> Synthesis:
    """Write the board's Verilog into `out` and synthesize it; `torus` counts with a network."""
    # Elaboration starts here: nothing else of the command line waits for it.
    from hw.fpga_top import emit_board  # noqa: PLC0415

    start = time.monotonic()
    progress("writing Verilog")
    emitted = emit_board(config, pll, divisor, torus)
    logic, memories = out / f"{emitted.top}.v", out / f"{emitted.top}_memories.v"
    write_if_changed(logic, emitted.logic)
    write_if_changed(memories, emitted.sram_fpga)
    result = run_synthesis(config, [memories, logic], emitted.top, out, progress)
    check_fits(config.name, needs(result.cells))
    return replace(result, seconds=time.monotonic() - start)


def run_synthesis(
    config: ChipletConfig, sources: list[Path], top: str, out: Path, progress: Progress
) -> Synthesis:
    """Synthesize Verilog files; netlist, with places for the array, and log come into `out`."""
    start = time.monotonic()
    netlist, summary, job = out / "netlist.json", out / "multiplications.json", out / "synthesis.json"
    job.write_text(json.dumps({
        "sources": [str(source) for source in sources], "top": top,
        "multipliers": LFE5U_85F.multipliers, "netlist": str(netlist), "summary": str(summary),
    }) + "\n")  # fmt: skip
    run_tool("Yosys", ["-m", "flows.fpga.yosys_worker", str(job)], out / "yosys.log", progress, _STEPS)
    progress("planning")
    design = json.loads(netlist.read_text())
    module = design["modules"][top]
    align_operands(module)
    constrain(module["cells"], floorplan(module["cells"], config))
    netlist.write_text(json.dumps(design))
    return Synthesis(
        netlist=netlist, cells=count_cells(module), blocks=count_blocks(module),
        multiplications=json.loads(summary.read_text()), seconds=time.monotonic() - start,
    )  # fmt: skip


def count_cells(top: dict[str, Any]) -> dict[str, int]:
    """Return the number of cells of each type."""
    counts: dict[str, int] = {}
    for cell in top["cells"].values():
        if not cell["type"].startswith("$"):
            counts[cell["type"]] = counts.get(cell["type"], 0) + 1
    return dict(sorted(counts.items()))
