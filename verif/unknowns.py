"""A chiplet in Icarus with the initial values of its registers stripped: what has no reset is X.

Icarus shows X where a value was never set: in registers without a reset and in memories until they
are first written. Nothing of that may reach a port, a token, or the bench's reads.
"""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from random import Random

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from hw.emit import EmittedVerilog
from verif.simulator import PROJECT_ROOT, SimulationError, prepare_environment

_INITIAL = re.compile(r"^( *reg (?:\[(\d+):0\] )?(?:\\\S+ |\w+)) *= [^;]+;$", re.MULTILINE)


def without_initial_values(logic: str) -> str:
    """Return the emitted logic with registers that start unknown."""
    return _INITIAL.sub(r"\1;", logic)


def with_random_values(logic: str, seed: int) -> str:
    """Return the emitted logic with registers that start with random values."""
    random = Random(seed)

    def value(match: re.Match[str]) -> str:
        bits = int(match[2] or 0) + 1
        return f"{match[1]} = {bits}'h{random.getrandbits(bits):x};"

    return _INITIAL.sub(value, logic)


def run_icarus(
    emitted: EmittedVerilog, place: Path, test_module: str, *, environment: Mapping[str, str],
) -> None:
    """Compile a design for Icarus and run a cocotb test in it; raise SimulationError if it fails."""
    prepare_environment()
    place.mkdir(parents=True, exist_ok=True)
    sources = [place / "memories.sv", place / "logic.v"]
    sources[0].write_text(emitted.sram_models, encoding="utf-8")
    sources[1].write_text(emitted.logic, encoding="utf-8")
    runner = get_runner("icarus")
    results = place / "results.xml"
    with contextlib.suppress(SystemExit):
        runner.build(sources=sources, hdl_toplevel=emitted.top, build_dir=place / "build",
                     defines={"TESSERA_IMAGE": "1"}, build_args=["-g2012"], always=True,
                     timescale=("1ns", "1ps"), log_file=place / "build.log")
        runner.test(test_module=test_module, hdl_toplevel=emitted.top, build_dir=place / "build",
                    test_dir=place, results_xml=str(results),
                    extra_env={"PYTHONWARNINGS": "default", "PYTHONPATH": str(PROJECT_ROOT),
                               "COCOTB_LOG_LEVEL": "WARNING", **environment},
                    log_file=place / "log", hdl_toplevel_lang="verilog")
    if not results.exists():
        raise SimulationError(f"{test_module}: the simulator wrote no results (see {place})")
    total, failed = get_results(results)
    if total == 0 or failed:
        found = re.findall(r"AssertionError: .*", (place / "log").read_text(errors="replace"))
        raise SimulationError(f"{test_module}: {failed} of {total} tests failed: {found[:1]}")
