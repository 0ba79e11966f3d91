"""`tessera bench`: every promised figure, against its limit."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tessera.options import JsonOption, VerboseOption
from tessera.report import RunFailedError, check_writable, errors, log, output, write_json
from tessera.workbench import Benchmark, Figure, NotRunError, Row, Workbench


def _verdict(passed: bool) -> str:
    return "[green]pass[/green]" if passed else "[red]FAIL[/red]"


def _failure(benchmark: Benchmark, reason: str) -> dict[str, Any]:
    """Return the entry of a benchmark that could not be measured: no numbers at all."""
    return {
        "name": benchmark.name, "config": None, "cycles": None, "predicted_cycles": None,
        "ideal_cycles": None, "utilization": None, "passed": False, "error": reason,
    }  # fmt: skip


def _measure(benchmark: Benchmark, bench: Workbench) -> Row | Figure | str:
    """Return what was measured, or why nothing was."""
    try:
        return benchmark.measure(bench)
    except NotRunError as error:
        return f"not run: {error}"
    except (RuntimeError, ValueError, OSError) as error:
        log.debug("the error came from here:", exc_info=True)
        return f"not run: {' '.join(str(error).split())}"


def _table_of_rows(rows: list[Row], limit: float) -> Table:
    table = Table(
        "row", "config", "cycles", "predicted", "ideal", "busy", "limit", "", title="cycles"
    )
    for column in table.columns[2:6]:
        column.justify = "right"
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        exact = row.predicted_cycles == row.cycles
        near = row.prediction_error <= limit
        predicted = f"{row.predicted_cycles:,}"
        if not exact:
            predicted += f" ({row.predicted_cycles / row.cycles - 1:+.1%}{'' if near else ' FAIL'})"
        table.add_row(
            row.name, row.config, f"{row.cycles:,}", predicted, f"{row.ideal_cycles:,.0f}",
            f"{row.utilization:.1%}", row.limit, _verdict(row.passed),
        )  # fmt: skip
    return table


def _table_of_figures(figures: list[Figure]) -> Table:
    table = Table("figure", "value", "limit", "", title="other figures")
    table.columns[1].justify = "right"
    for figure in figures:
        value = f"{figure.value:,.2f}" if isinstance(figure.value, float) else f"{figure.value:,}"
        table.add_row(figure.name, f"{value} {figure.unit}", figure.limit, _verdict(figure.passed))
    return table


def bench(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Measure only this row; may be given several times."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Held-out text for the quality figures; without it, text that the float model "
            "writes by itself.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Measure every promised figure on the RTL and compare it with its limit.

    A figure that cannot be measured fails. Ends with code 1 unless all pass.
    """
    # The definitions pull in everything; no other command needs them.
    from tessera.benchmarks import BENCHMARKS, PREDICTION_LIMIT  # noqa: PLC0415

    check_writable(json, "--json")
    if text is not None and not text.is_file():
        raise ValueError(f"--text must be a file that exists, not {text}")
    names = [benchmark.name for benchmark in BENCHMARKS]
    unknown = [name for name in only or [] if name not in names]
    if unknown:
        raise ValueError(f"--only must be one of {', '.join(names)}, not {unknown[0]!r}")
    rows: list[Row] = []
    figures: list[Figure] = []
    failures: list[tuple[Benchmark, str]] = []
    chosen = [benchmark for benchmark in BENCHMARKS if not only or benchmark.name in only]
    with errors.status("") as status:
        workbench = Workbench(text=text, progress=lambda what: status.update(f"{what} ..."))
        for benchmark in chosen:
            log.debug("%s: %s", benchmark.name, benchmark.what)
            status.update(f"{benchmark.name}: {benchmark.what} ...")
            match _measure(benchmark, workbench):
                case Row() as row:
                    rows.append(row)
                case Figure() as figure:
                    figures.append(figure)
                case reason:
                    failures.append((benchmark, reason))
    if rows:
        # Rows stay whole, in a narrow terminal and in a pipe too.
        output.print(_table_of_rows(rows, PREDICTION_LIMIT), width=max(output.width, 110))
    if figures:
        output.print(_table_of_figures(figures))
    for benchmark, reason in failures:
        output.print(f"{benchmark.name}: FAIL, {reason}", markup=False)
    write_json(json, {
        "rows": [
            *({**asdict(row), "utilization": row.utilization,
               "prediction_passed": row.prediction_error <= PREDICTION_LIMIT} for row in rows),
            *(_failure(benchmark, reason) for benchmark, reason in failures),
        ],
        "figures": [asdict(figure) for figure in figures],
    })  # fmt: skip
    passed = sum(row.passed and row.prediction_error <= PREDICTION_LIMIT for row in rows)
    passed += sum(figure.passed for figure in figures)
    if passed != len(chosen):
        raise RunFailedError(f"{len(chosen) - passed} of {len(chosen)} figures failed")
