"""Picture of a report: area by part, and the critical path gate by gate."""

from pathlib import Path

from flows.asic.report import AsicReport
from flows.asic.timing import NamedPath

#: Colours of blocks along a path, again and again in this order.
_COLOURS = ("#4477aa", "#228833", "#b8860b", "#ee6677", "#aa3377", "#008b8b", "#777777")
_LIMIT_COLOUR = "black"
#: Parts that are smaller than this share of the largest are drawn as one bar.
_LEAST_SHARE = 0.01
_UM2_PER_MM2 = 1e6


def draw(report: AsicReport, file: Path) -> None:
    """Write the picture; the file's ending chooses between SVG and PNG."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    # The same figures give the same file.
    mpl.rcParams["svg.hashsalt"] = "tessera"
    from matplotlib.figure import Figure  # noqa: PLC0415

    timing = report.timing
    paths = [("critical path", timing.worst[0])] if timing.worst else []
    if timing.multiplier and timing.multiplier.path.end != timing.worst[0].path.end:
        paths.append(("multiplier's own path", timing.multiplier))
    figure = Figure(figsize=(11, 6 + 2 * len(paths)), layout="constrained")
    area, *rows = figure.subplots(1 + len(paths), 1, height_ratios=[3, *[1] * len(paths)],
                                  squeeze=False)[:, 0]
    design = report.design
    figure.suptitle(f"Tessera {design.config.name} ({design.netlist.top}) in {design.library.name}, "
                    f"before layout: {timing.fmax_mhz:.0f} MHz")
    _draw_area(area, report)
    colours: dict[str, str] = {}
    end_ns = max([timing.period_ns, *(path.path.delay_ns for _, path in paths)])
    for axis, (title, path) in zip(rows, paths, strict=True):
        _draw_path(axis, path, title, timing.period_ns, colours)
        axis.set_xlim(0, 1.02 * end_ns)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, dpi=120)


def _draw_area(axis, report: AsicReport) -> None:  # type: ignore[no-untyped-def]
    least = _LEAST_SHARE * report.parts[0].area
    bars = [(part.name, part.area) for part in report.parts if part.area >= least]
    rest = sum(part.area for part in report.parts if part.area < least)
    if rest:
        bars.append(("other", rest))
    bars.reverse()
    drawn = axis.barh([name for name, _ in bars], [value / _UM2_PER_MM2 for _, value in bars],
                      color=_COLOURS[0])
    shares = [f"{value / _UM2_PER_MM2:.3f} mm² ({value / report.logic_area:.0%})"
              for _, value in bars]
    axis.bar_label(drawn, labels=shares, padding=3, fontsize=8)
    axis.margins(x=0.15)
    axis.set_xlabel("mm²")
    memories = sum(memory.area_all for memory in report.memories) / _UM2_PER_MM2
    axis.set_title(f"logic: {report.logic_area / _UM2_PER_MM2:.2f} mm²; "
                   f"memory macros beside it: {memories:.2f} mm²", fontsize=10)


def _draw_path(  # type: ignore[no-untyped-def]
    axis, path: NamedPath, title: str, period_ns: float, colours: dict[str, str]
) -> None:
    left = 0.0
    shown: set[str] = set()
    for stage, module in zip(path.path.stages, path.modules, strict=True):
        colour = colours.setdefault(module, _COLOURS[len(colours) % len(_COLOURS)])
        axis.barh(0, stage.delay_ns, left=left, color=colour, edgecolor="white",
                  label=None if module in shown else module)
        axis.text(left + stage.delay_ns / 2, 0, stage.cell, rotation=90, fontsize=6, ha="center",
                  va="center", color="white")
        shown.add(module)
        left += stage.delay_ns
    axis.axvline(period_ns, color=_LIMIT_COLOUR)
    axis.set_yticks([])
    axis.set_ylim(-0.5, 0.9)  # room for the legend
    axis.set_xlabel("ns")
    axis.legend(loc="upper left", fontsize=7, ncols=4)
    axis.set_title(f"{title}: {path.start} → {path.end}, {path.path.delay_ns:.2f} ns, "
                   f"slack {path.path.slack_ns:.2f} ns", fontsize=10)
