"""`tessera fpga`: a configuration to a bitstream for the ULX3S board."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from compiler.compile import compile_model
from compiler.quantize import quantize
from compiler.timing import predict
from compiler.torus import parse_torus
from hw.config import ChipletConfig, find_config
from hw.host.serial_protocol import DEFAULT_BAUD
from tessera.options import ConfigOption, JsonOption, VerboseOption, load_model
from tessera.report import (
    RunFailedError,
    check_writable,
    errors,
    line,
    log,
    output,
    step,
    write_json,
)

if TYPE_CHECKING:
    from flows.fpga.process import Progress
    from flows.fpga.report import FpgaReport

#: Core clock: what the configuration reaches, with a margin for another seed.
DEFAULT_MHZ = 65.0
#: Groups of paths in the table.
_SHOWN_GROUPS = 8


def fpga(
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write to.")],
    config: ConfigOption = "fpga",
    freq: Annotated[
        float, typer.Option(help="Core clock in MHz; the next lower one that the PLL can make.")
    ] = DEFAULT_MHZ,
    baud: Annotated[int, typer.Option(help="Bits a second on the serial line.")] = DEFAULT_BAUD,
    torus: Annotated[
        str | None,
        typer.Option(
            help="With links to other boards: a row of so many x 1, such as 4x1, closed to a "
            "ring, or a torus of columns x rows, with half as many wires to a link.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=1, help="Start of the placer's random choices.")] = 1,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", "-m", help="Model whose tokens per second are to be told.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Synthesize, place and route a configuration for the ULX3S 85F, and write the bitstream.

    Into the directory go Verilog, netlist, pin constraints, logs, bitstream, the figures as JSON
    and as a picture. It ends with code 1 if the clock is too fast for what was routed.
    """
    # The flow's own packages are needed by no other command.
    from flows.fpga.device import check_fits, least_needs  # noqa: PLC0415
    from flows.fpga.picture import draw  # noqa: PLC0415
    from flows.fpga.place_route import place_and_route, require_place_and_route  # noqa: PLC0415
    from flows.fpga.report import build_report  # noqa: PLC0415
    from flows.fpga.synthesis import require_synthesis, synthesize  # noqa: PLC0415
    from hw.fpga_links import board_network  # noqa: PLC0415
    from hw.fpga_pll import find_pll  # noqa: PLC0415
    from hw.host.uart import find_divisor  # noqa: PLC0415

    chiplet, boards = find_config(config), (1, 1)
    if torus is not None:
        boards = parse_torus(torus)
        chiplet = chiplet.replace(network=board_network(chiplet.lanes, boards))
    check_writable(json, "--json")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a directory, not the file {out}")
    check_fits(chiplet.name, least_needs(chiplet))
    pll = find_pll(freq)
    divisor = find_divisor(pll.core_mhz * 1e6, baud)
    require_synthesis()
    require_place_and_route()
    speed = None if model is None else _cycles_per_token(model, chiplet)
    out.mkdir(parents=True, exist_ok=True)

    with _stage("synthesis") as progress:
        synthesis = synthesize(chiplet, pll, divisor, boards, out, progress)
    with _stage("place and route") as progress:
        placed = place_and_route(synthesis.netlist, seed, progress, chiplet.network, pll)
    with step("reading the delays"):
        report = build_report(chiplet, seed, pll.core_mhz, synthesis, placed, speed)
    write_json(out / "report.json", report.as_dict())
    write_json(json, report.as_dict())
    draw(report, out / "report.svg")
    _print(report, out)
    if not report.meets_clock:
        raise RunFailedError(
            f"the routed design reaches {report.fmax_mhz:.1f} MHz, less than the clock of "
            f"{report.core_mhz:g} MHz: try another --seed, or --freq {int(report.fmax_mhz)}"
        )


@contextmanager
def _stage(name: str) -> Iterator["Progress"]:
    """Show what a long tool does: every step on a terminal, else only the stages."""
    log.debug(name)
    if errors.is_terminal:
        with errors.status(f"{name} ...") as status:
            yield lambda text: status.update(f"{name}: {text} ...")
    else:
        errors.print(f"{name} ...", markup=False)
        yield lambda text: log.debug("%s: %s", name, text)


def _cycles_per_token(model: Path, chiplet: ChipletConfig) -> tuple[str, float]:
    """Return a model's name and the mean of its predicted cycles per token over the context."""
    checkpoint = load_model(model, None)
    with step("compiling"):
        image = compile_model(quantize(checkpoint.weights), chiplet)
        cycles = predict(image, prompt_tokens=1, tokens=image.context - 1).cycles_per_token
    return checkpoint.name, sum(cycles) / len(cycles)


def _print(report: "FpgaReport", out: Path) -> None:
    title = f"{report.config.name} on {report.as_dict()['device']}"
    table = Table("block", "LUT4", "flip-flops", "multipliers", "block RAMs", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for block in sorted(report.blocks, key=lambda block: -block.luts):
        values = (block.luts, block.flip_flops, block.multipliers, block.block_rams)
        table.add_row(block.name, *(f"{value:,}" for value in values))
    table.add_section()
    table.add_row("in use", *(f"{used:,}" for used in report.used.values()))
    table.add_row("of the device", *(f"{share:.1%}" for share in report.shares.values()))
    output.print(table)
    for title, paths in (
        ("longest path into each block", report.paths),
        ("worst groups of paths", report.groups[:_SHOWN_GROUPS]),
    ):
        table = Table("block", "ns", "of it wires", "from", "to", title=title)
        for path in paths:
            wires = sum(segment.ns for segment in path.segments if segment.is_wire)
            table.add_row(path.block, f"{path.ns:.2f}", f"{wires:.2f}", path.start, path.end)
        output.print(table)
    line("Fmax", f"{report.fmax_mhz:.1f} MHz; the core clock is {report.core_mhz:g} MHz")
    pes = report.multiplications["pes"]
    line("MACs on hard multipliers", f"{pes} of {report.config.macs}")
    if report.model is not None:
        model = report.model
        line(
            model.name,
            f"{model.tokens_per_second:,.0f} tokens a second "
            f"({model.cycles_per_token:,.0f} predicted cycles each)",
        )
    line("bitstream", f"{report.bitstream} ({report.bitstream.stat().st_size / 1e6:.1f} MB)")
    line("figures and picture", f"{out / 'report.json'}, {out / 'report.svg'}")
    for name, seconds in report.seconds.items():
        line(name, f"{seconds:.0f} s")
