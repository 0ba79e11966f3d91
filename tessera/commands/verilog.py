"""`tessera verilog`: the chiplet as Verilog."""

from pathlib import Path
from typing import Annotated

import typer

from hw.config import RESET_STYLES, ChipletConfig, find_config
from hw.emit import EmittedVerilog, emit, write_directory
from hw.memory.open_macro import OPEN_MACROS
from tessera.options import ConfigOption, NetworkOption, VerboseOption
from tessera.report import line, step

#: Name of the top module.
TOP = "tessera_chiplet"


def emit_chiplet(config: ChipletConfig) -> EmittedVerilog:
    """Convert a chiplet to Verilog."""
    # Elaboration starts here: nothing else of the command line waits for it.
    from hw.chiplet import Chiplet  # noqa: PLC0415

    return emit(Chiplet(config), TOP, config.memory_macro, async_reset=config.reset == "async")


def verilog(
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write to.")],
    config: ConfigOption = "base",
    network: NetworkOption = False,
    memory_macro: Annotated[str | None, typer.Option(
        "--memory-macro", help=f"Build memories from this macro: {', '.join(OPEN_MACROS)}.",
        show_default=False)] = None,
    reset: Annotated[str | None, typer.Option(
        "--reset", help=f"How the reset acts: {', '.join(RESET_STYLES)} (released with the clock).",
        show_default=False)] = None,
    verbose: VerboseOption = False,
) -> None:
    """Write the chiplet's Verilog.

    Into the directory go the logic; the memories as models for simulation and for FPGAs, black
    boxes, Liberty and abstract; a file list, the list of memories, and the configuration as JSON.
    """
    chiplet = find_config(config)
    if network:
        chiplet = chiplet.with_network()
    if memory_macro is not None:
        chiplet = chiplet.replace(memory_macro=memory_macro)
    if reset is not None:
        chiplet = chiplet.replace(reset=reset)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a directory, not the file {out}")
    with step(f"writing {config}"):
        emitted = emit_chiplet(chiplet)
        paths = write_directory(emitted, out, chiplet.as_dict(), chiplet.memory_technology)
    for path in paths:
        line(str(path), f"{path.stat().st_size:,} bytes")
    modules = sum(text.startswith("module ") for text in emitted.logic.splitlines())
    line("modules", f"{modules}, and {len(emitted.srams)} shapes of memory")
