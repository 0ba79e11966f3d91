"""Run a compiled model on the RTL of a chiplet, in a simulator process of its own."""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.image import ChipImage
from golden.quantized import QuantizedLlama
from hw.chiplet import Chiplet
from hw.config import CONFIGS, ChipletConfig
from hw.memory.adapter import tiling
from hw.memory.shapes import bank_shape, memory_shapes
from verif.memories import PUBLIC_MEMORIES, split_hex
from verif.simulator import BUILD_ROOT, PROJECT_ROOT, Simulation, SimulationError, build

IntArray = NDArray[np.int64]

#: Memories that an image fills, besides the banks; of tests also what the residual begins with.
_IMAGE_MEMORIES = ("multipliers", "rope", "row_scales", "program")
_TEST_MEMORIES = ("residual",)


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """One generated token."""

    token: int
    position: int
    #: Since the token before, or since the start.
    cycles: int
    #: Logits and token equal golden's.
    exact: bool
    #: Of those that run side by side.
    sequence: int = 0


@dataclass(kw_only=True)
class ChipRun:
    """What a run on the RTL gave."""

    tokens: list[int] = field(default_factory=list)
    bit_exact: bool = True
    first_difference: str | None = None
    cycles_per_token: list[int] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    simulated_cycles: int = 0
    seconds: float = 0.0

    @property
    def array_busy(self) -> int:
        """Cycles in which a wave entered the array."""
        return self.counters.get("array_busy", 0)

    @property
    def total_cycles(self) -> int:
        """Cycles that the program ran."""
        return self.counters.get("cycles", 0)

    @property
    def saturations(self) -> int:
        """Values clipped."""
        return self.counters.get("saturations", 0)


def top_name(config: ChipletConfig) -> str:
    """Return the Verilog name of a configuration's chiplet in simulation."""
    if CONFIGS.get(config.name) == config:
        return f"tessera_{config.name}"
    digest = hashlib.sha256(repr(config).encode()).hexdigest()[:8]
    return f"tessera_{config.name}_{digest}"


def build_chiplet(config: ChipletConfig) -> Simulation:
    """Build the simulator of a chiplet, or take the one that was made from the same sources."""
    name = top_name(config)
    simulation = Simulation(directory=BUILD_ROOT / name, top=name)
    stamp = simulation.directory / "sources"
    digest = _source_digest(config)
    built = simulation.directory / name
    if not (built.exists() and stamp.exists() and stamp.read_text() == digest):
        simulation = build(Chiplet(config), name, public=[PUBLIC_MEMORIES],
                           memory_macro=config.memory_macro,
                           async_reset=config.reset == "async")
        stamp.write_text(digest)
    return simulation


def _source_digest(config: ChipletConfig) -> str:
    """Return a digest of everything that a chiplet's simulator is made from."""
    digest = hashlib.sha256(repr(config).encode())
    for path in sorted((PROJECT_ROOT / "hw").rglob("*.py")):
        digest.update(path.read_bytes())
    for path in (Path(__file__), PROJECT_ROOT / "verif" / "simulator.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def image_paths(config: ChipletConfig, more: Iterable[str] = ()) -> dict[str, str]:
    """Return the file of each memory for ``+image``: its hierarchical name."""
    top = top_name(config)
    paths = {name: f"{top}.core.{name}.memory.hex" for name in (*_IMAGE_MEMORIES, *more)}
    for row in range(config.rows):
        step, within = divmod(row, config.rows_per_step)
        paths[f"bank{row}"] = (
            f"{top}.core.matrix_unit.array.step_{step}.bank_{within}.memory.hex")
    return paths


def write_image(
    image: ChipImage, directory: Path, rename: Callable[[str], str] = lambda name: name,
) -> Path:
    """Write the memories' hex files below ``directory``, unless the same ones are there.

    ``rename`` returns the name of a file where instances are called otherwise than in the RTL.
    """
    digest = hashlib.sha256()
    for name, array in sorted(image.contents.items()):
        digest.update(name.encode() + array.tobytes())
    target = directory / digest.hexdigest()[:16]
    if not target.exists():
        directory.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=directory))
        more = [name for name in _TEST_MEMORIES if name in image.contents]
        paths = {name: rename(path) for name, path in image_paths(image.config, more).items()}
        image.write_hex(partial, paths)
        shapes = memory_shapes(image.config)
        for name, path in paths.items():
            tiles = tiling(shapes.get(name, bank_shape(image.config)), image.config.memory_macro)
            if tiles is not None:
                split_hex(partial / path, tiles)
        with contextlib.suppress(OSError):  # another run was faster
            partial.rename(target)
    return target


def run_chip(
    config: ChipletConfig, image: ChipImage, quantized: QuantizedLlama, prompt: Sequence[int],
    count: int, *, temperature: float = 0.0, seed: int = 1, end_token: int | None = None,
    on_token: Callable[[TokenRecord], None] | None = None, simulation: Simulation | None = None,
    rename: Callable[[str], str] = lambda name: name,
) -> ChipRun:
    """Generate ``count`` tokens on the RTL; every logit is compared with golden's.

    A difference does not raise: it is in the result. ``on_token`` is called as tokens appear.
    ``simulation`` is one of the chiplet's netlist, ``rename`` as for :func:`write_image`.
    """
    simulation = simulation or build_chiplet(config)
    images = write_image(image, simulation.directory / "images", rename)
    # A directory of its own, so that runs of one chiplet may go on side by side.
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=simulation.directory))
    job = {"config": config, "quantized": quantized, "prompt": list(prompt), "count": count,
           "temperature": temperature, "seed": seed, "end_token": end_token,
           "registers": dict(image.registers), "logits": image.logits}
    (directory / "job.pickle").write_bytes(pickle.dumps(job))
    events = directory / "events"
    os.mkfifo(events)

    run = ChipRun()
    reader = threading.Thread(target=_follow, args=(events, run, on_token))
    reader.start()
    failure: SimulationError | None = None
    try:
        simulation.run(
            "verif.tb_generate", plusargs=[f"+image={images}"], run_name=directory.name,
            log=directory / "log", environment={
                "TESSERA_JOB": str(directory / "job.pickle"), "TESSERA_EVENTS": str(events)})
    except SimulationError as error:
        failure = error
    finally:
        # A simulator that died before it opened the pipe leaves the reader waiting for a writer.
        with contextlib.suppress(OSError):
            os.close(os.open(events, os.O_WRONLY | os.O_NONBLOCK))
        reader.join()
        events.unlink(missing_ok=True)
    if failure is not None and run.first_difference is None:
        raise failure
    run.bit_exact = run.first_difference is None
    if run.bit_exact:
        shutil.rmtree(directory)
    return run


def run_program(
    image: ChipImage, activations: IntArray, *, cycles: int = 1_000_000,
) -> tuple[dict[str, int], IntArray]:
    """Run an image's program as it is, with int8 vectors in the activation memory.

    Returns the counters and the elements of the result memory.
    """
    simulation = build_chiplet(image.config)
    images = write_image(image, simulation.directory / "images")
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=simulation.directory))
    job, result = directory / "job.pickle", directory / "result.json"
    job.write_bytes(pickle.dumps({
        "config": image.config, "cycles": cycles,
        "activations": activations.reshape(-1, image.config.rows)}))
    simulation.run(
        "verif.tb_program", plusargs=[f"+image={images}"], run_name=directory.name,
        log=directory / "log",
        environment={"TESSERA_JOB": str(job), "TESSERA_RESULT": str(result)})
    found = json.loads(result.read_text())
    shutil.rmtree(directory)
    return found["counters"], np.array(found["results"], np.int64)


def _follow(events: Path, run: ChipRun, on_token: Callable[[TokenRecord], None] | None) -> None:
    with events.open() as lines:
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            if event.pop("kind") == "token":
                record = TokenRecord(**event)
                run.tokens.append(record.token)
                run.cycles_per_token.append(record.cycles)
                if on_token is not None:
                    on_token(record)
            else:
                run.first_difference = event["difference"]
                run.counters = event["counters"]
                run.simulated_cycles = event["simulated_cycles"]
                run.seconds = event["seconds"]
