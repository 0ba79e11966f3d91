"""The gate-level netlist of a configuration, as Verilog that simulators take in place of the RTL.

It is the ASIC flow's netlist (flows/asic) of one mapping script, with its buffers, beside models of
the library's cells and the memories' behavioural models. Instances of memories stay where they were;
where a module was flattened, its name and theirs are joined by an underscore.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from flows.asic.buffering import insert_buffers
from flows.asic.library import Library, read_cells
from flows.asic.netlist import Netlist, read_modules, verilog
from flows.asic.synthesis import synthesize_units
from flows.asic.units import cut
from flows.netlist.cell_models import cell_models
from hw.config import ChipletConfig
from hw.emit import EmittedVerilog

#: Mapping script of the netlist: the one of the small area.
SCRIPT = "small"
#: Period in ns to which gates are sized.
PERIOD_NS = 5.0

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class GateLevel:
    """A netlist of library cells and memories."""

    #: What it was made from.
    emitted: EmittedVerilog
    library: Library
    netlist: Netlist

    @property
    def cell_kinds(self) -> set[str]:
        """The library's cells that occur."""
        return {instance.module for module in self.netlist.modules.values()
                for instance in module.instances if instance.module in self.library.cells}

    @property
    def cells(self) -> int:
        """Cells of the library, in the whole netlist."""
        return self._count(self.library.cells)

    @property
    def flip_flops(self) -> int:
        """Flip-flops among them."""
        return self._count(self.library.flip_flops)

    def _count(self, kinds: Iterable[str]) -> int:
        counts = self.netlist.instance_counts()
        return sum(counts[kind] for kind in kinds)

    @property
    def models(self) -> str:
        """Verilog of the cells that occur."""
        return cell_models(self.library.path, self.cell_kinds)

    def verilog(self) -> EmittedVerilog:
        """Return netlist and cells in place of the logic; the memories stay as they were.

        Flip-flops start with random values: X would spread through gates that hide it, such as the
        AND of a signal and its complement.
        """
        models = cell_models(self.library.path, self.cell_kinds, random_start=True)
        return replace(self.emitted, logic=verilog(self.netlist) + "\n" + models)

    def instance_path(self, names: Iterable[str]) -> list[str]:
        """Return the instance names in the netlist that lead to an instance of the RTL."""
        children = {module.name: {i.name: i.module for i in module.instances}
                    for module in self.netlist.modules.values()}
        module, found, joined = self.netlist.top, [], ""
        for name in names:
            joined = f"{joined}_{name}" if joined else name
            if joined in children[module]:
                found.append(joined)
                module, joined = children[module][joined], ""
        if joined:
            raise ValueError(f"the netlist has no instance {joined} in {module}")
        return found

    def file_name(self, name: str) -> str:
        """Return the name of an instance's file, such as ``chip.core.results.memory.hex``, here."""
        top, *names, suffix = name.split(".")
        return ".".join([top, *self.instance_path(names), suffix])


def gate_level(
    config: ChipletConfig, emitted: EmittedVerilog, library: Library, place: Path, *,
    progress: Progress = lambda text: None,
) -> GateLevel:
    """Synthesize a design of a configuration; files go to ``place``, where a later run finds them."""
    candidates = synthesize_units(
        cut(emitted.logic, emitted.top), emitted.sram_blackboxes, library, place / "units",
        PERIOD_NS, progress, (SCRIPT,))
    netlist = read_modules({name: found[0].netlist for name, found in candidates.items()},
                           emitted.top, library.flip_flops)
    macros = read_cells(emitted.sram_liberty(config.memory_technology)) if emitted.cells else {}
    insert_buffers(netlist, library, macros)
    return GateLevel(emitted=emitted, library=library, netlist=netlist)
