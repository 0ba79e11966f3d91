"""Emission of Verilog: each repeated block becomes one module, each memory an instance.

Amaranth writes one module per instance. Blocks that repeat, or that need a reset of their own, are
therefore placed with :func:`instantiate` and converted once; :func:`emit` returns them all.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.memory.adapter import adapter_verilog, tiling
from hw.memory.liberty import abstract, liberty
from hw.memory.macro_cell import MacroCell, blackbox_verilog
from hw.memory.models import macro_cell
from hw.memory.open_macro import OPEN_MACROS
from hw.memory.sram import SramShape
from hw.memory.technology import MemoryTechnology
from hw.verilog_text import compact


class VerilogPlatform:
    """Collects the shared modules and the memory shapes met during elaboration."""

    def __init__(self, *, async_reset: bool = False) -> None:
        self.async_reset = async_reset
        self.pending: dict[str, wiring.Component] = {}
        self.emitted: dict[str, str] = {}
        self.srams: set[SramShape] = set()

    def add_sram(self, shape: SramShape) -> None:
        """Note that a memory of this shape is instantiated."""
        self.srams.add(shape)

    def add_module(self, name: str, component: wiring.Component) -> None:
        """Note that module ``name`` is needed, made from ``component``."""
        if name not in self.emitted:
            self.pending.setdefault(name, component)


def _ports(component: wiring.Component) -> dict[str, tuple[Value, bool]]:
    """Return each port's Verilog name, value, and whether it is an input."""
    return {
        "__".join(str(part) for part in path): (Value.cast(value), member.flow == In)
        for path, member, value in component.signature.flatten(component)
    }


def port_names(component: wiring.Component) -> list[str]:
    """Return the Verilog names of a component's ports, without clock and reset."""
    return list(_ports(component))


def instantiate(
    m: Module, name: str, module: str, component: wiring.Component, platform: object,
    reset: Value | None = None,
) -> None:
    """Place ``component`` in ``m`` as an instance of the shared Verilog module ``module``.

    The component's own port signals are the wires: drive and read them as those of a submodule.
    Two components under one module name must be made from the same parameters.
    ``reset`` replaces the reset of the clock domain.
    """
    platform.add_module(module, component)  # type: ignore[attr-defined]
    _mark_used(component)
    wires = {("i_" if is_input else "o_") + port: value
             for port, (value, is_input) in _ports(component).items()}
    m.submodules[name] = Instance(
        module, i_clk=ClockSignal(), i_rst=ResetSignal() if reset is None else reset, **wires)


def _mark_used(component: wiring.Component) -> None:
    # Amaranth warns of components that are never elaborated; of a shared module only one is.
    component._MustUse__used = True


def _convert(component: wiring.Component, name: str, platform: VerilogPlatform, *,
             is_top: bool) -> str:
    # A module with neither register nor memory would lose clk and rst, which every instance names.
    _mark_used(component)
    wrapper = _Clocked(component, async_reset=platform.async_reset,
                       synchronize=is_top and platform.async_reset)
    text = verilog.convert(
        wrapper, name=name, platform=platform, emit_src=False, strip_internal_attrs=True,
        ports=[value for value, _ in _ports(component).values()] + wrapper.clock_ports)
    return compact(text)


class _Clocked(Elaboratable):
    """Gives a component a ``sync`` domain whose clock and reset are always ports.

    With ``async_reset`` every register with a reset takes it at once; ``synchronize`` lets go of it
    with the clock, two edges after the port ``rst`` fell.
    """

    def __init__(self, component: wiring.Component, *, async_reset: bool,
                 synchronize: bool) -> None:
        self.component = component
        self.synchronize = synchronize
        self.domain = ClockDomain("sync", async_reset=async_reset)
        self.reset = self.domain.rst
        if synchronize:
            self.domain.rst = Signal(name="reset_synchronized")
        self.clock_ports = [self.domain.clk, self.reset]

    def elaborate(self, platform: object) -> Module:
        m = self.component.elaborate(platform)
        m.domains.sync = self.domain
        if self.synchronize:
            m.domains.release = release = ClockDomain("release", async_reset=True, local=True)
            stages = [Signal(init=1, name=f"reset_release_{i}") for i in range(2)]
            m.d.comb += [release.clk.eq(self.domain.clk), release.rst.eq(self.reset),
                         self.domain.rst.eq(stages[1])]
            m.d.release += [stages[0].eq(0), stages[1].eq(stages[0])]
        return m


@dataclass(frozen=True, kw_only=True)
class EmittedVerilog:
    """Verilog of a design: the logic, and the memory macros that it instantiates."""

    top: str
    logic: str
    #: Shapes of the memories.
    srams: tuple[SramShape, ...]
    #: Macro that the memories are built from; "": each is a macro of its own.
    memory_macro: str
    #: The modules that the logic instantiates and does not define.
    cells: tuple[MacroCell, ...]

    @property
    def sram_models(self) -> str:
        """Behavioural models of every macro, for simulation."""
        return "\n".join(cell.simulation_model for cell in self.cells)

    @property
    def sram_fpga(self) -> str:
        """Models of every macro from which FPGA tools infer memories."""
        return "\n".join(cell.inferable_model for cell in self.cells)

    @property
    def sram_blackboxes(self) -> str:
        """Every macro as an empty module."""
        return "\n".join(blackbox_verilog(cell) for cell in self.cells)

    def sram_liberty(self, technology: MemoryTechnology) -> str:
        """Liberty library of every macro."""
        return liberty(f"{self.top}_sram", self.cells, technology)

    def macros(self) -> list[dict[str, object]]:
        """Return the memories: the number of instances of each, and the macros that each is made of.

        A memory that is none of macros, but of flip-flops, has 0 ``macros_each`` and no ``macro``.
        """
        counts = instance_counts(self.logic, self.top)
        found: list[dict[str, object]] = []
        for shape in self.srams:
            macro: str | None = shape.module
            each = 1
            if self.memory_macro:
                tiles = tiling(shape, self.memory_macro)
                macro = None if tiles is None else tiles.macro.module
                each = 0 if tiles is None else tiles.banks * tiles.slices
            found.append({
                "name": shape.module, "words": shape.words, "bits": shape.bits,
                "granule_bits": shape.granule_bits, "ports": shape.ports,
                "count": counts[shape.module], "macro": macro, "macros_each": each})
        return found


#: A module's name, and an instance's module and name, in the text that Amaranth writes.
_MODULE = re.compile(r"^module (\\\S+|\w+)", re.MULTILINE)
_INSTANCE = re.compile(r"^  (\\\S+|\w+) +(?:\\\S+|\w+) +\($", re.MULTILINE)


def instance_counts(logic: str, top: str) -> Counter[str]:
    """Return how often each module occurs below ``top``, counted through the hierarchy."""
    below: dict[str, Counter[str]] = {}
    starts = [*_MODULE.finditer(logic)]
    for match, end in zip(starts, [*(m.start() for m in starts[1:]), len(logic)], strict=True):
        below[match[1]] = Counter(_INSTANCE.findall(logic, match.end(), end))
    totals: dict[str, Counter[str]] = {}

    def total(module: str) -> Counter[str]:
        if module not in totals:
            found = Counter({module: 1})
            for child, count in below.get(module, Counter()).items():
                for name, inside in total(child).items():
                    found[name] += count * inside
            totals[module] = found
        return totals[module]

    return total(top)


def emit(
    component: wiring.Component, top: str, memory_macro: str = "", *, async_reset: bool = False,
) -> EmittedVerilog:
    """Convert ``component`` and every module below it; modules come before those that use them.

    With ``memory_macro``, memories are built from macros of that name, and are part of the logic.
    With ``async_reset``, the port ``rst`` acts without a clock edge; it is let go of with the clock.
    """
    platform = VerilogPlatform(async_reset=async_reset)
    platform.pending[top] = component
    while platform.pending:
        name, pending = platform.pending.popitem()
        platform.emitted[name] = ""
        platform.emitted[name] = _convert(pending, name, platform, is_top=name == top)
    srams = tuple(sorted(platform.srams))
    modules = list(reversed(platform.emitted.values()))
    if memory_macro:
        modules = [adapter_verilog(shape, memory_macro) for shape in srams] + modules
        tiled = any(tiling(shape, memory_macro) for shape in srams)
        cells = (OPEN_MACROS[memory_macro].cell,) if tiled else ()
    else:
        cells = tuple(macro_cell(shape) for shape in srams)
    return EmittedVerilog(top=top, logic="\n".join(modules), srams=srams,
                          memory_macro=memory_macro, cells=cells)


def write_if_changed(path: Path, text: str) -> None:
    """Write a file only when its text differs, so that make and Verilator see no false change."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_directory(
    emitted: EmittedVerilog, out: Path, config: dict[str, object], technology: MemoryTechnology,
) -> list[Path]:
    """Write logic, every view of the memories, file list, macro list and configuration."""
    top = emitted.top
    files = {
        f"{top}.v": emitted.logic,
        f"{top}_sram.v": emitted.sram_models,
        f"{top}_sram_fpga.v": emitted.sram_fpga,
        f"{top}_sram_blackbox.v": emitted.sram_blackboxes,
        f"{top}_sram.lib": emitted.sram_liberty(technology),
        f"{top}_sram.json": json.dumps(abstract(emitted.cells, technology), indent=2) + "\n",
        "files.f": f"{top}_sram.v\n{top}.v\n",
        "macros.json": json.dumps(emitted.macros(), indent=2) + "\n",
        "config.json": json.dumps(config, indent=2) + "\n",
    }
    for name, text in files.items():
        write_if_changed(out / name, text)
    return [out / name for name in files]
