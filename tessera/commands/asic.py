"""`tessera asic`: a configuration to a netlist of library cells, its timing and its area."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from hw.config import find_config
from tessera.commands.verilog import emit_chiplet
from tessera.options import ConfigOption, JsonOption, NetworkOption, VerboseOption
from tessera.report import (
    RunFailedError,
    check_writable,
    errors,
    line,
    log,
    output,
    write_json,
)

if TYPE_CHECKING:
    from flows.asic.report import AsicReport
    from flows.asic.timing import NamedPath

#: The library that is taken without --liberty, and the Debian package that it comes from.
DEFAULT_LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
DEFAULT_LIBERTY_PACKAGE = "qflow-tech-osu018"
#: Clock period that is aimed at.
DEFAULT_PERIOD_NS = 5.0
#: Groups of paths in the table.
_SHOWN_GROUPS = 10
#: Columns of the widest table.
_MOST_COLUMNS = 400
_VERDICTS = {True: "[green]pass[/green]", False: "[red]FAIL[/red]", None: "only of base"}


def asic(
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write to.")],
    config: ConfigOption = "base",
    network: NetworkOption = False,
    liberty: Annotated[
        Path | None,
        typer.Option(help=f"Cell library; {DEFAULT_LIBERTY} without it.", show_default=False),
    ] = None,
    period: Annotated[float, typer.Option(help="Clock period in ns.")] = DEFAULT_PERIOD_NS,
    module: Annotated[
        str | None,
        typer.Option(help="Only this Verilog module and what is below it.", show_default=False),
    ] = None,
    json: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Synthesize a configuration for a cell library and time it.

    Into the directory go the netlist, constraints, Liberty of the memories, logs, the figures as
    JSON and as a picture. Timing is before layout: without the load of wires. It ends with code 1
    if a figure is beyond its limit.
    """
    # The flow's own packages are needed by no other command.
    from flows.asic.flow import implement  # noqa: PLC0415
    from flows.asic.library import read_library  # noqa: PLC0415
    from flows.asic.picture import draw  # noqa: PLC0415
    from flows.asic.report import AsicReport  # noqa: PLC0415
    from flows.asic.sta import require_sta  # noqa: PLC0415
    from flows.yosys import require_yosys  # noqa: PLC0415

    start = time.monotonic()
    chiplet = find_config(config)
    if network:
        chiplet = chiplet.with_network()
    check_writable(json, "--json")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a directory, not the file {out}")
    if not 0 < period < float("inf"):
        raise ValueError(f"--period must be a positive number of ns, not {period:g}")
    if liberty is None and not DEFAULT_LIBERTY.is_file():
        raise ValueError(f"the default cell library {DEFAULT_LIBERTY} is not installed: "
                         f"apt install {DEFAULT_LIBERTY_PACKAGE}, or name another with --liberty")
    library = read_library(liberty or DEFAULT_LIBERTY)
    require_yosys()
    require_sta()
    with errors.status("") as status:
        def progress(text: str) -> None:
            log.debug("%s", text)
            if errors.is_terminal:
                status.update(f"{text} ...")
            else:
                errors.print(text, markup=False)

        progress(f"writing the Verilog of {config}")
        emitted = emit_chiplet(chiplet)
        design = implement(chiplet, emitted, library, out, period_ns=period, top=module,
                           progress=progress)
        report = AsicReport(design, time.monotonic() - start)
        write_json(out / "report.json", report.as_dict())
        write_json(json, report.as_dict())
        progress("drawing")
        draw(report, out / "report.svg")
    _print(report, out)
    failed = [limit for limit in report.limits if limit.passed is False]
    if failed:
        raise RunFailedError("beyond the limit: " + "; ".join(
            f"{limit.name}: {limit.value:g}, must be {limit.limit}" for limit in failed))


def _show(table: Table) -> None:
    """Print a table with all names in full: on a terminal in several lines where it is narrow."""
    for column in table.columns:
        column.overflow = "fold"
        column.no_wrap = not output.is_terminal
    wide = Console(width=_MOST_COLUMNS, file=output.file)
    width = output.width if output.is_terminal else wide.measure(table).maximum
    Console(width=width, highlight=False, file=output.file).print(table)


def _print(report: "AsicReport", out: Path) -> None:
    from flows.asic.report import BASIS  # noqa: PLC0415

    design, timing = report.design, report.timing
    _show(_areas(report))
    if report.memories:
        table = Table("memory macro", "instances", "um2 each", "um2 in all", title="memories")
        for column in table.columns[1:]:
            column.justify = "right"
        for memory in report.memories:
            table.add_row(memory.name, f"{memory.instances}", f"{memory.area:,.0f}",
                          f"{memory.area_all:,.0f}")
        _show(table)
    _show(_paths("worst path that ends in each block", timing.blocks))
    _show(_paths("worst kinds of paths", timing.worst[:_SHOWN_GROUPS]))
    table = Table("figure", "value", "limit", "", title="limits")
    table.columns[1].justify = "right"
    for limit in report.limits:
        table.add_row(limit.name, f"{limit.value:g}", limit.limit, _VERDICTS[limit.passed])
    _show(table)
    if timing.multiplier:
        path = timing.multiplier
        line("multiplier's own path", f"{path.start} -> {path.end}, {path.path.delay_ns:.2f} ns, "
             f"slack {path.path.slack_ns:.2f} ns")
        line("no path longer than the multiplier's own", "no" if timing.too_long else "yes")
    line("Fmax", f"{timing.fmax_mhz:.1f} MHz; worst slack {timing.slack_ns:.2f} ns at "
         f"{timing.period_ns:g} ns")
    if report.bare_pe_area:
        line("bare processing element", f"{report.bare_pe_area:,.0f} um2")
    line("basis", BASIS)
    line("netlist", str(design.netlist_file))
    line("figures and picture", f"{out / 'report.json'}, {out / 'report.svg'}")
    line("time", f"{report.seconds:.0f} s")


def _areas(report: "AsicReport") -> Table:
    design = report.design
    table = Table("block", "instances", "cells", "flip-flops", "um2 each", "with blocks below",
                  "um2 in all", "of the array", "script", "buffers",
                  title=f"{design.config.name}: {design.netlist.top} in {design.library.name}")
    for column in table.columns[1:8]:
        column.justify = "right"

    def share(area: float) -> str:
        return f"{area / report.array_area:.1%}" if report.array_area else ""

    for block in report.blocks:
        table.add_row(
            block.name, f"{block.instances:,}", f"{block.cells:,}", f"{block.flip_flops:,}",
            f"{block.area:,.0f}", f"{block.area_below:,.0f}", f"{block.area_all:,.0f}",
            share(block.area_all), block.script, f"{block.buffers}")
    table.add_section()
    for part in report.parts:
        table.add_row(part.name, "", "", f"{part.flip_flops:,}", "", "", f"{part.area:,.0f}",
                      share(part.area))
    table.add_section()
    table.add_row("all logic", "", f"{sum(b.instances * b.cells for b in report.blocks):,}",
                  f"{sum(part.flip_flops for part in report.parts):,}", "", "",
                  f"{report.logic_area:,.0f}", share(report.logic_area))
    return table


def _paths(title: str, paths: "tuple[NamedPath, ...]") -> Table:
    table = Table("ends in", "slack ns", "delay ns", "gates", "alike", "from", "to", title=title)
    for column in table.columns[1:5]:
        column.justify = "right"
    for path in paths:
        table.add_row(path.block, f"{path.path.slack_ns:.2f}", f"{path.path.delay_ns:.2f}",
                      f"{path.path.levels}", f"{path.count}", path.start, path.end)
    return table
