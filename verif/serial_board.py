"""A board to try without hardware: a chiplet in Verilator, behind a serial line that is a terminal.

``python -m verif.serial_board --config tiny`` prints the name of a pseudo-terminal, such as
/dev/pts/3; ``tessera run --target serial:/dev/pts/3 --config tiny ...`` talks to it as to a board.
It runs until Ctrl-C. The bit rate of the terminal means nothing here: a bit takes four cycles.
"""

import argparse
import fcntl
import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hw.config import CONFIGS, ChipletConfig, find_config
from hw.emit import emit, write_if_changed
from hw.host.uart import MIN_DIVISOR
from hw.serial_chiplet import SerialChiplet
from verif.simulator import BUILD_ROOT, PROJECT_ROOT, SimulationError, prepare_environment

#: Clock cycles per bit: as few as the receiver takes, since each costs the simulator the same.
DIVISOR = MIN_DIVISOR
#: Cycles of silence after which the simulated clock waits for the host.
IDLE_CYCLES = 2_000_000

_HARNESS = PROJECT_ROOT / "verif" / "serial_board.cpp"


def build_board(config: ChipletConfig) -> Path:
    """Build the board's program, unless it was made from the same sources; return its path."""
    digest = hashlib.sha256(repr(config).encode())
    for path in (*sorted((PROJECT_ROOT / "hw").rglob("*.py")), Path(__file__), _HARNESS):
        digest.update(path.read_bytes())
    named = CONFIGS.get(config.name) == config
    suffix = "" if named else "_" + hashlib.sha256(repr(config).encode()).hexdigest()[:8]
    directory = BUILD_ROOT / f"serial_{config.name}{suffix}"
    directory.mkdir(parents=True, exist_ok=True)
    program, stamp = directory / "board", directory / "stamp"
    with (directory / "lock").open("w") as lock:  # another process may want the same board
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (program.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest()):
            stamp.unlink(missing_ok=True)
            _build(config, directory)
            stamp.write_text(digest.hexdigest())
    return program


def _build(config: ChipletConfig, directory: Path) -> None:
    prepare_environment()
    emitted = emit(SerialChiplet(config, DIVISOR), "tessera_serial_chiplet")
    logic, memories = directory / "chiplet.v", directory / "memories.sv"
    write_if_changed(logic, emitted.logic)
    write_if_changed(memories, emitted.sram_models)
    command = [
        "verilator", "--cc", "--exe", "--build", "-j", "2", "--prefix", "Vtop",
        "--top-module", emitted.top, "--Mdir", str(directory), "-o", "board",
        "-Wno-lint", "-Wno-style", "-Wno-fatal", "--output-split", "20000", "-O3",
        "--x-assign", "fast", "--x-initial", "fast", "--noassert",
        "-CFLAGS", f"-O2 -march=native -DDIVISOR={DIVISOR} -DIDLE_CYCLES={IDLE_CYCLES}ULL",
        "-LDFLAGS", "-lutil", str(memories), str(logic), str(_HARNESS),
    ]
    with (directory / "build.log").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False,
                              cwd=directory)
    if done.returncode:
        raise SimulationError(f"building the board failed; see {directory / 'build.log'}")


@contextmanager
def running_board(config: ChipletConfig) -> Iterator[str]:
    """Run a board; yields the name of its terminal."""
    program = build_board(config)
    process = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        if not name:
            raise SimulationError("the board did not start")
        yield name
    finally:
        process.terminate()
        process.communicate()


def main(arguments: list[str] | None = None) -> int:
    """Run a board until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m verif.serial_board", description=__doc__)
    parser.add_argument("--config", default="tiny", help=f"configuration: {', '.join(CONFIGS)}")
    try:
        config = find_config(parser.parse_args(arguments).config)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"building the board of {config.name}, unless it is there ...", file=sys.stderr)
    with running_board(config) as terminal, suppress(KeyboardInterrupt):
        print(terminal, flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
