"""Networks of whole chiplets: one is compiled once, and a small program joins its instances.

Each chip has a host of its own, whose accesses are queued and carried out without Python.
"""

import fcntl
import hashlib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from golden.router import EAST, NORTH, SOUTH, WEST, Network
from hw.chiplet import Chiplet
from hw.config import CONFIGS, ChipletConfig
from hw.emit import emit, write_if_changed
from hw.host.registers import NETWORK_REGISTERS, OFFSETS, OTHER_CHIP, REGISTERS
from hw.link.wire import phit_bits
from hw.memory.shapes import memory_shapes
from hw.network.config import NetworkConfig
from verif.simulator import BUILD_ROOT, PROJECT_ROOT, SimulationError, prepare_environment

Chip = tuple[int, int]
OKAY, SLVERR, DECERR = 0, 2, 3
#: A small chiplet, so that many of them build and run quickly.
CONFIG = CONFIGS["fpga_small"].replace(
    name="chips", bank_words=4096, activation_words=512, result_beats=1024, output_words=128,
    program_words=1024,
    network=NetworkConfig(flit_bytes=16))
#: Bursts stay within 4 KiB.
_PAGE = 4096
_SIDES = {NORTH: 0, EAST: 1, SOUTH: 2, WEST: 3}
_PROGRAM = Path(__file__).with_name("chips.cpp")
_REGISTERS = REGISTERS | NETWORK_REGISTERS
#: Module that is compiled.
TOP = "chips"


def build_chips(config: ChipletConfig = CONFIG) -> Path:
    """Compile a chiplet, unless it was made from the same sources; return the program."""
    assert config.network is not None
    digest = hashlib.sha256(repr(config).encode())
    for path in (*sorted((PROJECT_ROOT / "hw").rglob("*.py")), Path(__file__), _PROGRAM):
        digest.update(path.read_bytes())
    directory = _directory(config)
    directory.mkdir(parents=True, exist_ok=True)
    program, stamp = directory / "objects" / TOP, directory / "stamp"
    with (directory / "lock").open("w") as lock:  # another process may want the same one
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (program.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest()):
            stamp.unlink(missing_ok=True)
            _build(config, directory)
            stamp.write_text(digest.hexdigest())
    return program


def _directory(config: ChipletConfig) -> Path:
    return BUILD_ROOT / f"{TOP}_{config.name}_{hashlib.sha256(repr(config).encode()).hexdigest()[:8]}"


def is_built(config: ChipletConfig) -> bool:
    """Return whether a chiplet was compiled before (if only an older version of it)."""
    return (_directory(config) / "stamp").exists()


def _build(config: ChipletConfig, directory: Path) -> None:
    prepare_environment()
    emitted = emit(Chiplet(config), TOP, config.memory_macro)
    write_if_changed(directory / "chips.v", emitted.logic)
    write_if_changed(directory / "chips_sram.sv", emitted.sram_models)
    residual = memory_shapes(config)["residual"].module
    write_if_changed(directory / "public.vlt", "`verilator_config\n"
                     f'public_flat_rd -module "{residual}" -var "mem"\n')
    done = subprocess.run(
        ["verilator", "--cc", "--exe", "--build", "-j", "2", "-Wno-lint", "-Wno-fatal", "-O3",
         "--x-assign", "fast", "--x-initial", "fast", "--noassert",
         "-CFLAGS", f"-DPHIT_BITS={phit_bits(config.network)}u",
         # What runs once needs no optimization, which takes the compiler long.
         "-MAKEFLAGS", "OPT_FAST=-O1", "-MAKEFLAGS", "OPT_SLOW=-O0", "-MAKEFLAGS", "OPT_GLOBAL=-O1",
         "--output-split", "20000", "--top-module", TOP, "--Mdir", "objects", "-o", "chips",
         "-DTESSERA_IMAGE", "public.vlt", "chips_sram.sv", "chips.v", str(_PROGRAM)],
        cwd=directory, capture_output=True, text=True, check=False)
    (directory / "build.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise SimulationError(f"building chiplets failed; see {directory / 'build.log'}")


@dataclass(frozen=True, kw_only=True)
class Access:
    """An access of a chip's host: to registers, or a burst to the memory window."""

    address: int
    window: bool = False
    #: Words to write; empty: a read of ``beats`` words.
    data: tuple[int, ...] = ()
    beats: int = 1
    strobe: int = 15


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an access: AXI response, the cycle of its end, the cycles it took, data read."""

    response: int
    cycle: int
    took: int
    data: tuple[int, ...]


class AccessError(Exception):
    """An access was answered with an error."""

    def __init__(self, access: Access, response: int) -> None:
        super().__init__(f"{access}: AXI response {response}")
        self.response = response


@dataclass
class ChipsSimulation:
    """Running chips; use it as a context."""

    program: Path
    network: Network
    #: Directories with files for the memories of each chip (verif.chip_run.write_image).
    images: Mapping[Chip, Path] = field(default_factory=dict)

    def __enter__(self) -> "ChipsSimulation":
        self._process = subprocess.Popen(
            [str(self.program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        n = self.network
        for chip, directory in self.images.items():
            self._send(f"image {self._number(chip)} {directory}")
        self._send(f"network {n.columns} {n.rows} {int(n.wrap_x)} {int(n.wrap_y)}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _send(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")

    def _line(self) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SimulationError("the chips' program ended")
        return line.strip()

    def _number(self, chip: Chip) -> int:
        return chip[1] * self.network.columns + chip[0]

    def noise(self, rate: float, seed: int = 1) -> None:
        """Let each bit on each wire flip with a probability."""
        self._send(f"noise {rate} {seed}")

    def cut(self, chip: Chip, side: int, on: bool = True) -> None:
        """Cut the wires that leave a chip through a side (golden.router), or mend them."""
        self._send(f"cut {self._number(chip)} {_SIDES[side]} {int(on)}")

    def reset(self, chip: Chip, cycles: int = 4) -> None:
        """Reset one chip."""
        self._send(f"reset {self._number(chip)} 1")
        self.run(cycles)
        self._send(f"reset {self._number(chip)} 0")

    def run(self, cycles: int) -> None:
        """Let cycles pass."""
        self._send(f"run {cycles}")
        assert self._line() == "done"

    def wait_interrupt(self, chip: Chip, limit: int) -> bool:
        """Run until a chip's interrupt is up; tell whether it is."""
        self._send(f"irq {self._number(chip)} {limit}")
        return self._line() == "1"

    def wait_interrupts(self, limit: int) -> set[Chip]:
        """Run until any chip's interrupt is up; return those chips."""
        self._send(f"irqs {limit}")
        pending = int(self._line())
        return {chip for chip in self.network.nodes() if pending >> self._number(chip) & 1}

    @property
    def cycle(self) -> int:
        """Cycles since the reset."""
        self._send("cycle")
        return int(self._line())

    def peek(self, chip: Chip, memory: str, word: int, count: int) -> list[int]:
        """Read words of a memory of the core by the back door, in parts of 32 bits."""
        self._send(f"peek {self._number(chip)} {TOP}.core.{memory}.memory {word} {count}")
        line = self._line()
        if line.startswith("no memory"):
            raise SimulationError(line)
        return list(map(int, line.split()))

    def access(
        self, accesses: Iterable[tuple[Chip, Access]], limit: int = 10_000_000,
    ) -> list[Outcome]:
        """Carry out accesses, those of different chips' hosts at the same time."""
        wanted = list(accesses)
        for chip, access in wanted:
            beats = len(access.data) or access.beats
            words = "".join(f" {word}" for word in access.data)
            self._send(f"access {self._number(chip)} {int(access.window)} {int(bool(access.data))} "
                       f"{access.address} {access.strobe} {beats}{words}")
        self._send(f"go {limit}")
        outcomes = []
        for chip, access in wanted:
            line = self._line()
            if line == "timeout":
                raise SimulationError(f"host of {chip}: {access}: no answer in {limit} cycles")
            response, cycle, took, *data = map(int, line.split())
            outcomes.append(Outcome(response=response, cycle=cycle, took=took, data=tuple(data)))
        return outcomes

    def host(self, chip: Chip = (0, 0)) -> "ChipHost":
        """Return the host of a chip."""
        return ChipHost(self, chip)


@dataclass
class ChipHost:
    """The host at one chip, that reaches others through it. An error response is an AccessError."""

    simulation: ChipsSimulation
    chip: Chip

    def one(self, access: Access) -> Outcome:
        """Carry out one access."""
        outcome = self.simulation.access([(self.chip, access)])[0]
        if outcome.response != OKAY:
            raise AccessError(access, outcome.response)
        return outcome

    def select(self, target: Chip | None) -> None:
        """Choose the chip whose memories and far registers the host reaches; None: its own."""
        self.write("TARGET_CHIP", **({"REMOTE": 0} if target is None else
                                     {"X": target[0], "Y": target[1], "REMOTE": 1}))

    def write(self, register: str, value: int | None = None, *, far: bool = False, **fields: int) -> None:
        """Write a register of this chip, or of the selected one."""
        word = _REGISTERS[register].pack(**fields) if value is None else value
        self.one(Access(address=OFFSETS[register] + OTHER_CHIP * far, data=(word,)))

    def read(self, register: str, *, far: bool = False) -> int:
        """Read a register of this chip, or of the selected one."""
        return self.one(Access(address=OFFSETS[register] + OTHER_CHIP * far)).data[0]

    def fields(self, register: str, *, far: bool = False) -> dict[str, int]:
        """Read a register's fields."""
        return _REGISTERS[register].unpack(self.read(register, far=far))

    def write_memory(self, address: int, data: Sequence[int]) -> None:
        """Write words to the selected chip's memories, in bursts."""
        bursts = [Access(address=a, window=True, data=tuple(data[i:i + n]))
                  for a, i, n in _bursts(address, len(data))]
        self._all(bursts)

    def read_memory(self, address: int, words: int) -> list[int]:
        """Read words from the selected chip's memories, in bursts."""
        bursts = [Access(address=a, window=True, beats=n) for a, _, n in _bursts(address, words)]
        return [word for outcome in self._all(bursts) for word in outcome.data]

    def _all(self, accesses: list[Access]) -> list[Outcome]:
        outcomes = self.simulation.access([(self.chip, access) for access in accesses])
        for access, outcome in zip(accesses, outcomes, strict=True):
            if outcome.response != OKAY:
                raise AccessError(access, outcome.response)
        return outcomes


def _bursts(address: int, words: int) -> Iterable[tuple[int, int, int]]:
    """Yield address, first word and number of words of each burst."""
    done = 0
    while done < words:
        at = address + 4 * done
        size = min(words - done, 256, (_PAGE - at % _PAGE) // 4)
        yield at, done, size
        done += size
