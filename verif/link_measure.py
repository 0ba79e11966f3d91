"""Measures goodput and latency of a link; `python -m verif.link_measure` prints them."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hw.network.config import NetworkConfig
from verif.link_bench import LinkBench
from verif.simulator import build

RATES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3)


@dataclass(frozen=True, kw_only=True)
class LinkFigures:
    """What was measured at a bit error rate."""

    bit_error_rate: float
    #: Channels with traffic, of both directions.
    channels: int
    #: Flits that arrived, of those that fit into the cycles.
    goodput: float
    #: Cycles from the transfer of a flit to its arrival.
    mean_latency: float
    #: Times that the other direction went back.
    replays: int
    latency_without_errors: int


def measure(config: NetworkConfig | None = None, rates: Sequence[float] = RATES,
            cycles: int = 100_000, name: str = "link_bench_full") -> list[LinkFigures]:
    """Return the figures of each rate, of traffic on one channel and on all."""
    config = config or NetworkConfig()
    simulation = build(LinkBench(config), name)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "figures.json"
        simulation.run("verif.tb_link_measure", log=Path(directory) / "log", environment={
            "TESSERA_LINK_CONFIG": json.dumps(asdict(config)), "TESSERA_CYCLES": str(cycles),
            "TESSERA_RATES": json.dumps(rates), "TESSERA_FIGURES": str(file)})
        return [LinkFigures(**each) for each in json.loads(file.read_text())]


if __name__ == "__main__":
    for figures in measure():
        print(figures)
