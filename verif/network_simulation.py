"""Networks of many routers: one node is compiled once, and a small program joins its instances."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from golden.router import Network
from hw.emit import emit, write_if_changed
from hw.network.config import NetworkConfig
from verif.network_node import NetworkNode
from verif.simulator import BUILD_ROOT, SimulationError, prepare_environment
from verif.traffic_node import CLASSES, Wrong

_PROGRAM = Path(__file__).with_name("network.cpp")
_COUNTERS = ("sent", "received", "packets", "waiting", "latency_sum", "latency_max", "wrong",
             "overrun", "discarded", *(f"class_{k}" for k in range(CLASSES)),
             *(f"flits_out_{port}" for port in range(5)))


def build_network(config: NetworkConfig, latency: int, name: str) -> Path:
    """Compile a node with links of ``latency`` cycles; return the program."""
    prepare_environment()
    directory = BUILD_ROOT / name
    directory.mkdir(parents=True, exist_ok=True)
    emitted = emit(NetworkNode(config, latency), "network_node")
    write_if_changed(directory / "network_node.v", emitted.logic)
    write_if_changed(directory / "network_node_sram.sv", emitted.sram_models)
    key = hashlib.sha256("\0".join(
        [emitted.logic, emitted.sram_models, _PROGRAM.read_text()]).encode()).hexdigest()
    stamp, program = directory / "stamp", directory / "objects" / "network"
    if not (stamp.exists() and stamp.read_text() == key and program.exists()):
        stamp.unlink(missing_ok=True)
        verilator = shutil.which("verilator") or shutil.which("verilator_bin")
        assert verilator is not None
        done = subprocess.run(
            [verilator, "--cc", "--exe", "--build", "-j", "2", "-Wno-lint", "-Wno-fatal", "-O3",
             "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-CFLAGS", "-O2",
             "--output-split", "20000", "--top-module", "network_node", "--Mdir", "objects", "-o",
             "network", "network_node_sram.sv", "network_node.v", str(_PROGRAM)],
            cwd=directory, capture_output=True, text=True, check=False)
        (directory / "build.log").write_text(done.stdout + done.stderr)
        if done.returncode:
            raise SimulationError(f"building {name} failed; see {directory / 'build.log'}")
        stamp.write_text(key)
    return program


@dataclass
class NetworkSimulation:
    """A running network; use it as a context."""

    program: Path
    network: Network

    def __enter__(self) -> "NetworkSimulation":
        self._process = subprocess.Popen(
            [str(self.program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        n = self.network
        self._send(f"network {n.columns} {n.rows} {int(n.wrap_x)} {int(n.wrap_y)}")
        self.set(classes=7, length=3)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _send(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def set(self, **settings: int) -> None:
        """Set the traffic of all nodes; see :class:`verif.traffic_node.TrafficNode`."""
        for name, value in settings.items():
            self._send(f"set {name} {value}")

    def block(self, classes: int) -> None:
        """Let node 0 take these classes in no more: a bit for each."""
        self._send(f"block {classes}")

    def run(self, cycles: int) -> None:
        """Let cycles pass; fail if a checker saw anything wrong."""
        self._send(f"run {cycles}")
        assert self._line() == "done\n"
        counts = self.counts()
        for i, node in enumerate(self.network.nodes()):
            assert counts["wrong"][i] == 0, f"node {node}: {Wrong(counts['wrong'][i]).name}"
            assert counts["overrun"][i] == 0, f"node {node}: a link got a flit without credit"
            assert counts["discarded"][i] == 0, f"node {node}: flits thrown away"

    def counts(self) -> dict[str, list[int]]:
        """Return each counter of all nodes."""
        self._send("counts")
        rows = [[int(word) for word in self._line().split()] for _ in self.network.nodes()]
        return {name: [row[i] for row in rows] for i, name in enumerate(_COUNTERS)}

    def drain(self, limit: int = 40_000) -> None:
        """Stop the sources and wait until everything has come; fail if it does not."""
        self.set(rate=0)
        for _ in range(limit // 100):
            self.run(100)
            counts = self.counts()
            if not sum(counts["waiting"]) and sum(counts["sent"]) == sum(counts["received"]):
                return
        raise AssertionError(f"not all came: {counts}")

    def sent(self) -> dict[tuple[tuple[int, int], tuple[int, int]], int]:
        """Return how many packets each node has sent to each."""
        found: dict[tuple[tuple[int, int], tuple[int, int]], int] = {}
        for k in range(CLASSES):
            for x, y in self.network.nodes():
                self._send(f"probe {k} {x} {y}")
                for node in self.network.nodes():
                    found[node, (x, y)] = found.get((node, (x, y)), 0) + int(self._line())
        return found
