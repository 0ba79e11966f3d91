"""The emitted Verilog of every configuration, read by Verilator, Yosys and Icarus."""

import dataclasses
import functools
import shutil
from pathlib import Path

import pytest

from flows.netlist.lint import (
    WAIVERS,
    check_structure,
    icarus_messages,
    verilator_findings,
)
from flows.yosys import ToolFailedError
from hw.chiplet import Chiplet
from hw.config import CONFIGS
from hw.emit import EmittedVerilog, emit
from hw.network.config import NetworkConfig

TOP = "tessera_chiplet"

#: One with a network, besides the named ones.
CHECKED = CONFIGS | {"network": CONFIGS["fpga_small"].replace(network=NetworkConfig(flit_bytes=16))}
#: Every configuration; the two that take long only in the long tests.
EVERY_CONFIG = [pytest.param(name, marks=pytest.mark.slow) if name in ("large", "fpga") else name
                for name in CHECKED]


@functools.cache
def emitted(config: str) -> EmittedVerilog:
    return emit(Chiplet(CHECKED[config]), TOP)


@pytest.mark.parametrize("config", EVERY_CONFIG)
def test_verilator(config: str, tmp_path: Path) -> None:
    """-Wall finds nothing beside the waivers."""
    assert verilator_findings(emitted(config), tmp_path) == []


def test_every_waiver_is_needed(tmp_path: Path) -> None:
    """Without waivers, each of them has a finding that no waiver before it covers."""
    findings = verilator_findings(emitted("base"), tmp_path, waivers=())
    covered = [next((w for w in WAIVERS if finding.is_covered_by(w)), None) for finding in findings]
    assert [f for f, waiver in zip(findings, covered, strict=True) if waiver is None
            and not f.message.startswith("Exiting due to")] == []
    assert {waiver for waiver in covered if waiver} == set(WAIVERS)


@pytest.mark.parametrize("config", EVERY_CONFIG)
def test_yosys(config: str, tmp_path: Path) -> None:
    """No latch, no combinational loop, no net with several drivers or none."""
    check_structure(emitted(config), tmp_path)


@pytest.mark.parametrize(("what", "text"), [
    ("latch", "reg q; always @* if (clk) q = rst;"),
    ("loop", "wire a, b; assign a = ~(b & rst); assign b = a;"),
    ("multiple drivers", "wire a; assign a = clk; assign a = rst; wire b = a;"),
])
def test_yosys_finds_planted(what: str, text: str, tmp_path: Path) -> None:
    """A latch, a loop and a second driver in the top are found."""
    design = emitted("fpga_small")
    end = design.logic.rindex("endmodule")
    planted = design.logic[:end] + text + "\n" + design.logic[end:]
    with pytest.raises(ToolFailedError):
        check_structure(dataclasses.replace(design, logic=planted), tmp_path)


@pytest.mark.skipif(not shutil.which("iverilog"),
                    reason="needs Icarus Verilog: install the package iverilog")
@pytest.mark.parametrize("config", EVERY_CONFIG)
def test_icarus_compiles(config: str, tmp_path: Path) -> None:
    """Icarus compiles it without a word."""
    assert icarus_messages(emitted(config), tmp_path) == ""
