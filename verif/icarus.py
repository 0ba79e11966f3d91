"""Cocotb tests in Icarus Verilog: slower than Verilator, but with X, and quick to compile gates."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from hw.emit import EmittedVerilog
from verif.simulator import PROJECT_ROOT, SimulationError, prepare_environment


@dataclass(frozen=True, kw_only=True)
class IcarusSimulation:
    """A design compiled for Icarus."""

    directory: Path
    top: str

    def run(
        self, test_module: str, *, environment: Mapping[str, str], plusargs: Sequence[str] = (),
    ) -> None:
        """Run the cocotb tests of a module; raise SimulationError unless all pass."""
        runner = get_runner("icarus")
        place = self.directory / test_module
        place.mkdir(exist_ok=True)
        results, log = place / "results.xml", place / "log"
        results.unlink(missing_ok=True)
        with contextlib.suppress(SystemExit):
            runner.test(test_module=test_module, hdl_toplevel=self.top, build_dir=self.directory,
                        test_dir=place, results_xml=str(results), plusargs=list(plusargs),
                        extra_env={"PYTHONWARNINGS": "default", "PYTHONPATH": str(PROJECT_ROOT),
                                   "COCOTB_LOG_LEVEL": "WARNING", **environment},
                        log_file=log, hdl_toplevel_lang="verilog")
        if not results.exists():
            raise SimulationError(f"{test_module}: the simulator wrote no results (see {place})")
        total, failed = get_results(results)
        if total == 0 or failed:
            found = re.findall(r"\w+Error: .*", log.read_text(errors="replace"))
            raise SimulationError(f"{test_module}: {failed} of {total} tests failed: {found[:1]}")


def build_icarus(emitted: EmittedVerilog, place: Path) -> IcarusSimulation:
    """Compile a design for Icarus."""
    prepare_environment()
    place.mkdir(parents=True, exist_ok=True)
    sources = [place / "memories.sv", place / "logic.v"]
    sources[0].write_text(emitted.sram_models, encoding="utf-8")
    sources[1].write_text(emitted.logic, encoding="utf-8")
    try:
        get_runner("icarus").build(
            sources=sources, hdl_toplevel=emitted.top, build_dir=place / "build",
            defines={"TESSERA_IMAGE": "1"}, build_args=["-g2012"], always=True,
            timescale=("1ns", "1ps"), log_file=place / "build.log")
    except SystemExit:
        raise SimulationError(f"building {emitted.top} failed; see {place / 'build.log'}") from None
    return IcarusSimulation(directory=place / "build", top=emitted.top)
