"""Area by block, ratios and limits of a synthesized chiplet, for the table, the JSON and the picture."""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from flows.asic.bare_pe import BARE_PE
from flows.asic.flow import AsicDesign
from flows.asic.netlist import Netlist
from flows.asic.timing import NamedPath

#: Module of the array; without it, the modules of its steps are the array.
ARRAY, ARRAY_STEP = "tessera_array", "tessera_array_step"
#: Modules that only hold blocks together: the report names their parts.
CONTAINERS = ("tessera_chiplet", "tessera_core", "tessera_matrix_unit")
#: What the figures are, and are not.
BASIS = (
    "Cells after synthesis, before placement: no wire load, no clock tree, no filler, no test logic. "
    "Typical corner of the library. Memories by the model of the configured memory technology."
)
#: The configuration for which the areas have limits: a small array leaves the rest in the majority.
LIMITED_CONFIG = "base"
MOST_ARRAY_OVER_BARE, MOST_LOGIC_OVER_ARRAY, MOST_NETWORK_OVER_ARRAY = 1.25, 2.0, 0.6
#: Modules that make the network between chips, and how many of each.
NETWORK = {"tessera_router": 1, "tessera_link": 4}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One module of the netlist; areas in um2, memories left out."""

    name: str
    instances: int
    #: Cells, flip-flops and area of one instance, without modules below it.
    cells: int
    flip_flops: int
    area: float
    #: Area of one instance with everything below it.
    area_below: float
    #: Area of all instances, without modules below them.
    area_all: float
    #: Buffers that were added on heavy nets, in one instance.
    buffers: int
    #: How it was mapped.
    script: str
    worst_path: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the chiplet as a whole: what the picture shows."""

    name: str
    area: float
    flip_flops: int
    share_of_array: float | None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A kind of memory macro."""

    name: str
    instances: int
    area: float
    area_all: float


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A figure and what it must be."""

    name: str
    value: float
    limit: str
    #: None: the limit is for another configuration.
    passed: bool | None


def describe(path: NamedPath) -> dict[str, Any]:
    """Return a path as JSON-ready values."""
    return {
        "block": path.block, "start": path.start, "end": path.end,
        "slack_ns": path.path.slack_ns, "delay_ns": path.path.delay_ns,
        "levels": path.path.levels, "similar_paths": path.count,
        "stages": [{**asdict(stage), "module": module}
                   for stage, module in zip(path.path.stages, path.modules, strict=True)],
    }


class AsicReport:
    """All figures of a design."""

    def __init__(self, design: AsicDesign, seconds: float) -> None:
        self.design = design
        self.seconds = seconds
        self.timing = design.timing
        self._counts = design.netlist.instance_counts()
        self.own = {name: _own(design.netlist, name, design) for name in design.netlist.modules}
        self.below = _below(design.netlist, {n: area for n, (_, _, area) in self.own.items()})
        self.flip_flops_below = _below(design.netlist, {n: ff for n, (_, ff, _) in self.own.items()})
        self.logic_area = self.below[design.netlist.top]
        self.array_area = self._array_area()
        self.bare_pe_area = self._bare_pe_area()
        self.blocks = self._blocks()
        self.parts = self._parts()
        self.memories = [
            Memory(name=name, instances=count, area=design.macros[name].area,
                   area_all=count * design.macros[name].area)
            for name, count in sorted(self._counts.items()) if name in design.macros]
        self.limits = self._limits()

    def _array_area(self) -> float | None:
        if ARRAY in self.below:
            return self._counts[ARRAY] * self.below[ARRAY]
        if ARRAY_STEP in self.below:
            return self._counts[ARRAY_STEP] * self.below[ARRAY_STEP]
        return None

    def _bare_pe_area(self) -> float | None:
        if self.design.bare_pe is None:
            return None
        return _own(self.design.bare_pe, BARE_PE, self.design)[2]

    def _blocks(self) -> list[Block]:
        worst = {path.block: describe(path) for path in self.timing.blocks}
        blocks = [
            Block(name=name, instances=self._counts[name], cells=cells, flip_flops=flip_flops,
                  area=area, area_below=self.below[name], area_all=self._counts[name] * area,
                  buffers=self.design.buffering.buffers[name],
                  script=self.design.choice[name].script, worst_path=worst.get(name))
            for name, (cells, flip_flops, area) in self.own.items()]
        return sorted(blocks, key=lambda block: (-block.area_all, block.name))

    def _parts(self) -> list[Part]:
        areas: dict[str, float] = defaultdict(float)
        flip_flops: Counter[str] = Counter()

        def add(module: str) -> None:
            if module not in CONTAINERS:
                areas[module] += self.below[module]
                flip_flops[module] += self.flip_flops_below[module]
                return
            areas[f"{module} itself"] += self.own[module][2]
            flip_flops[f"{module} itself"] += self.own[module][1]
            for instance in self.design.netlist.modules[module].instances:
                if instance.module in self.below:
                    add(instance.module)

        add(self.design.netlist.top)
        return [Part(name=name, area=area, flip_flops=flip_flops[name],
                     share_of_array=area / self.array_area if self.array_area else None)
                for name, area in sorted(areas.items(), key=lambda item: -item[1])]

    def _limits(self) -> list[Limit]:
        timing = self.timing
        least_mhz = 1000 / timing.period_ns
        limits = [Limit(name="clock frequency, MHz", value=round(timing.fmax_mhz, 1),
                        limit=f">= {least_mhz:g}", passed=timing.slack_ns >= 0)]
        if timing.multiplier:
            limits.append(Limit(name="kinds of paths longer than the multiplier's own",
                                value=len(timing.too_long), limit="0",
                                passed=not timing.too_long))
        limited = self.design.config.name == LIMITED_CONFIG
        alone = self.design.config.network is None
        for name, ratio, most, holds in (
            ("array over R*C bare processing elements", self.array_over_bare, MOST_ARRAY_OVER_BARE,
             limited),
            ("logic of the whole over the array", self.logic_over_array, MOST_LOGIC_OVER_ARRAY,
             limited and alone),
            ("router and four links over the array", self.network_over_array,
             MOST_NETWORK_OVER_ARRAY, limited),
        ):
            if ratio is not None:
                limits.append(Limit(name=name, value=round(ratio, 3), limit=f"<= {most:g}",
                                    passed=ratio <= most if holds else None))
        return limits

    @property
    def network_over_array(self) -> float | None:
        """Area of router and links over the array's."""
        if self.array_area is None or not all(name in self.below for name in NETWORK):
            return None
        return sum(n * self.below[name] for name, n in NETWORK.items()) / self.array_area

    @property
    def array_over_bare(self) -> float | None:
        """Area of the array over that of as many bare processing elements."""
        if self.array_area is None or self.bare_pe_area is None:
            return None
        return self.array_area / (self.design.config.macs * self.bare_pe_area)

    @property
    def logic_over_array(self) -> float | None:
        """Area of all logic over the array's."""
        if self.array_area is None or self.bare_pe_area is None:
            return None  # of a single block there is no whole
        return self.logic_area / self.array_area

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        design, timing = self.design, self.timing
        top = design.netlist.top
        return {
            "config": design.config.as_dict(), "top": top, "basis": BASIS,
            "library": design.library.name, "liberty": str(design.library.path),
            "period_ns": timing.period_ns, "slack_ns": timing.slack_ns,
            "fmax_mhz": round(timing.fmax_mhz, 2),
            "blocks": [asdict(block) for block in self.blocks],
            "parts": [asdict(part) for part in self.parts],
            "memories": [asdict(memory) for memory in self.memories],
            "totals": {
                "cells": sum(b.instances * b.cells for b in self.blocks),
                "flip_flops": self.flip_flops_below[top], "logic_area_um2": self.logic_area,
                "memory_area_um2": sum(memory.area_all for memory in self.memories),
                "buffers_added": sum(b.instances * b.buffers for b in self.blocks),
            },
            "array_area_um2": self.array_area, "bare_pe_area_um2": self.bare_pe_area,
            "array_over_bare": self.array_over_bare, "logic_over_array": self.logic_over_array,
            "network_over_array": self.network_over_array,
            "multiplier_path": describe(timing.multiplier) if timing.multiplier else None,
            "no_path_longer_than_multiplier": not timing.too_long if timing.multiplier else None,
            "worst_paths": [describe(path) for path in timing.worst],
            "largest_load_pf": dict(zip(("before", "after"), design.buffering.largest_pf,
                                        strict=True)),
            "limits": [asdict(limit) for limit in self.limits],
            "seconds": {**design.seconds, "in_all": self.seconds},
        }


def _own(netlist: Netlist, name: str, design: AsicDesign) -> tuple[int, int, float]:
    """Return cells, flip-flops and area of a module without what is below it."""
    cells = design.library.cells
    counts = Counter(i.module for i in netlist.modules[name].instances if i.module in cells)
    return (counts.total(), sum(n for cell, n in counts.items() if cells[cell].is_flip_flop),
            sum(n * cells[cell].area for cell, n in counts.items()))


def _below(netlist: Netlist, own: dict[str, float] | dict[str, int]) -> dict[str, Any]:
    """Return a figure of each module with everything below it; modules come children first."""
    totals: dict[str, Any] = {}
    for name, module in netlist.modules.items():
        totals[name] = own[name] + sum(
            totals[i.module] for i in module.instances if i.module in totals)
    return totals
