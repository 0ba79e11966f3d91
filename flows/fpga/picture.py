"""Picture of a report: area by block, and the worst path into each block."""

from pathlib import Path

from flows.fpga.device import LFE5U_85F
from flows.fpga.report import FpgaReport

#: Colour of each part of a bar.
_COLOURS = {"LUT4": "#4477aa", "flip-flops": "#66ccee", "cells": "#bbcc33", "wires": "#eedd88"}
_LIMIT_COLOUR = "#aa3377"


def draw(report: FpgaReport, file: Path) -> None:
    """Write the picture; the file's ending chooses between SVG and PNG."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    # The same picture gives the same file.
    mpl.rcParams["svg.hashsalt"] = report.config.name
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 9), layout="constrained")
    area, timing = figure.subplots(2, 1)
    figure.suptitle(f"Tessera {report.config.name} on {LFE5U_85F.name}")

    blocks = sorted(report.blocks, key=lambda block: block.luts)
    names = [
        f"{block.name} ({block.multipliers} mult., {block.block_rams} RAM)"
        if block.multipliers or block.block_rams
        else block.name
        for block in blocks
    ]
    positions = range(len(blocks))
    for offset, label, values in (
        (0.2, "LUT4", [block.luts for block in blocks]),
        (-0.2, "flip-flops", [block.flip_flops for block in blocks]),
    ):
        bars = area.barh([p + offset for p in positions], values, 0.4, label=label,
                         color=_COLOURS[label])  # fmt: skip
        area.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=8)
    area.set_yticks(positions, names)
    area.margins(x=0.1)
    area.legend(loc="lower right")
    shares = ", ".join(f"{name} {share:.0%}" for name, share in report.shares.items())
    area.set_title(f"area by block; of the device in use: {shares}", fontsize=10)

    paths = report.paths[::-1]
    wires = [sum(s.ns for s in path.segments if s.is_wire) for path in paths]
    cells = [path.ns - wire for path, wire in zip(paths, wires, strict=True)]
    timing.barh(range(len(paths)), cells, 0.6, label="cells", color=_COLOURS["cells"])
    timing.barh(range(len(paths)), wires, 0.6, left=cells, label="wires", color=_COLOURS["wires"])
    for i, path in enumerate(paths):
        timing.text(0.1, i, f"{path.start} → {path.end}", va="center", fontsize=7)
    period = 1000 / report.core_mhz
    timing.axvline(period, color=_LIMIT_COLOUR, label=f"{report.core_mhz:g} MHz")
    timing.set_yticks(range(len(paths)), [path.block for path in paths])
    timing.set_xlabel("ns")
    timing.legend(loc="lower right")
    timing.set_title(f"longest path into each block; Fmax {report.fmax_mhz:.1f} MHz", fontsize=10)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, dpi=120)
