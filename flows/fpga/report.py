"""Figures of a placed and routed chiplet, for the table, the JSON and the picture."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.fpga.blocks import Block
from flows.fpga.device import LFE5U_85F
from flows.fpga.place_route import PlacedDesign
from flows.fpga.synthesis import Synthesis
from flows.fpga.timing import Timing, TimingPath, worst_paths
from hw.config import ChipletConfig

#: nextpnr's name for each resource.
UTILIZATION = {
    "LUT4": "TRELLIS_COMB", "flip-flops": "TRELLIS_FF", "MULT18X18D": "MULT18X18D",
    "DP16KD": "DP16KD",
}  # fmt: skip
#: Groups of paths in the JSON.
GROUPS = 20


@dataclass(frozen=True, kw_only=True)
class ModelSpeed:
    """Predicted speed of a model at the frequency that was reached."""

    name: str
    #: Predicted cycles of a token at batch 1, the mean over the context.
    cycles_per_token: float
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
class FpgaReport:
    """What the flow found."""

    config: ChipletConfig
    seed: int
    core_mhz: float  #: what the PLL makes
    fmax_mhz: float
    #: Resources used, by name.
    used: dict[str, int]
    blocks: list[Block]
    multiplications: dict[str, int]
    #: The longest path into each block, the worst first.
    paths: list[TimingPath]
    groups: list[TimingPath]
    bitstream: Path
    seconds: dict[str, float]
    model: ModelSpeed | None

    @property
    def meets_clock(self) -> bool:
        """Whether the bitstream may run at its clock."""
        return self.fmax_mhz >= self.core_mhz

    @property
    def shares(self) -> dict[str, float]:
        """Return which share of each resource is used."""
        return {name: self.used[name] / count for name, count in LFE5U_85F.available().items()}

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-ready values."""
        available = LFE5U_85F.available()
        return {
            "config": self.config.name,
            "device": LFE5U_85F.name,
            "seed": self.seed,
            "core_mhz": self.core_mhz,
            "fmax_mhz": self.fmax_mhz,
            "meets_clock": self.meets_clock,
            "resources": {
                name: {"used": self.used[name], "available": available[name],
                       "share": self.shares[name]}
                for name in available
            },
            "multiplications": self.multiplications,
            "blocks": [asdict(block) for block in self.blocks],
            "critical_paths": [_path(path) for path in self.paths],
            "worst_groups": [_path(path) for path in self.groups],
            "bitstream": {"file": self.bitstream.name, "bytes": self.bitstream.stat().st_size},
            "seconds": self.seconds,
            "model": None if self.model is None else asdict(self.model),
        }  # fmt: skip


def _path(path: TimingPath) -> dict[str, Any]:
    return {
        "block": path.block, "ns": path.ns, "start": path.start, "end": path.end,
        "wire_ns": sum(segment.ns for segment in path.segments if segment.is_wire),
        "ns_by_block": path.ns_by_block(),
    }  # fmt: skip


def build_report(
    config: ChipletConfig,
    seed: int,
    core_mhz: float,
    synthesis: Synthesis,
    placed: PlacedDesign,
    model: tuple[str, float] | None,
) -> FpgaReport:
    """Collect the figures; `model` is a model's name and its cycles per token."""
    tool = json.loads(placed.report.read_text())
    # Nothing but the PLL runs on the oscillator's clock. Those of the links must be as fast as the core's.
    fmax = min(clock["achieved"] for clock in tool["fmax"].values())
    with placed.delays.open(encoding="utf-8") as lines:
        worst = worst_paths(Timing.parse(lines).longest_paths(), GROUPS)
    speed = None
    if model is not None:
        name, cycles = model
        speed = ModelSpeed(
            name=name, cycles_per_token=cycles,
            tokens_per_second=min(fmax, core_mhz) * 1e6 / cycles,
        )  # fmt: skip
    return FpgaReport(
        config=config, seed=seed, core_mhz=core_mhz, fmax_mhz=fmax,
        used={name: tool["utilization"][key]["used"] for name, key in UTILIZATION.items()},
        blocks=synthesis.blocks, multiplications=synthesis.multiplications, paths=worst.by_block,
        groups=worst.groups, bitstream=placed.bitstream,
        seconds={"synthesis": synthesis.seconds, "place and route": placed.seconds}, model=speed,
    )  # fmt: skip
