"""Emission of Verilog: each repeated block becomes one module, each memory an instance.

Amaranth writes one module per instance. Blocks that repeat, or that need a reset of their own, are
therefore placed with :func:`instantiate` and converted once; :func:`emit` returns them all.
"""

import json
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
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.memory.sram import SramShape, behavioural_verilog
from hw.verilog_text import compact


class VerilogPlatform:
    """Collects the shared modules and the memory shapes met during elaboration."""

    def __init__(self) -> None:
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


def _convert(component: wiring.Component, name: str, platform: VerilogPlatform) -> str:
    # A module with neither register nor memory would lose clk and rst, which every instance names.
    _mark_used(component)
    wrapper = _Clocked(component)
    text = verilog.convert(
        wrapper, name=name, platform=platform, emit_src=False, strip_internal_attrs=True,
        ports=[value for value, _ in _ports(component).values()] + wrapper.clock_ports)
    return compact(text)


class _Clocked(Elaboratable):
    """Gives a component a ``sync`` domain whose clock and reset are always ports."""

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        self.domain = ClockDomain("sync")
        self.clock_ports = [self.domain.clk, self.domain.rst]

    def elaborate(self, platform: object) -> Module:
        m = self.component.elaborate(platform)
        m.domains.sync = self.domain
        return m


@dataclass(frozen=True, kw_only=True)
class EmittedVerilog:
    """Verilog of a design: the logic, and the shapes of the memories that it instantiates."""

    top: str
    logic: str
    srams: tuple[SramShape, ...]

    @property
    def sram_models(self) -> str:
        """Behavioural models of every memory."""
        return "\n".join(behavioural_verilog(shape) for shape in self.srams)

    def macros(self) -> list[dict[str, object]]:
        """Return the list of memory macros, with the number of instances of each."""
        return [
            {"name": s.module, "words": s.words, "bits": s.bits, "granule_bits": s.granule_bits,
             "ports": s.ports}
            for s in self.srams
        ]


def emit(component: wiring.Component, top: str) -> EmittedVerilog:
    """Convert ``component`` and every module below it; modules come before those that use them."""
    platform = VerilogPlatform()
    platform.pending[top] = component
    while platform.pending:
        name, pending = platform.pending.popitem()
        platform.emitted[name] = ""
        platform.emitted[name] = _convert(pending, name, platform)
    return EmittedVerilog(top=top, logic="\n".join(reversed(platform.emitted.values())),
                          srams=tuple(sorted(platform.srams)))


def write_if_changed(path: Path, text: str) -> None:
    """Write a file only when its text differs, so that make and Verilator see no false change."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_directory(emitted: EmittedVerilog, out: Path, config: dict[str, object]) -> list[Path]:
    """Write logic, SRAM models, file list, macro list and configuration into ``out``."""
    files = {
        f"{emitted.top}.v": emitted.logic,
        f"{emitted.top}_sram.v": emitted.sram_models,
        "files.f": f"{emitted.top}_sram.v\n{emitted.top}.v\n",
        "macros.json": json.dumps(emitted.macros(), indent=2) + "\n",
        "config.json": json.dumps(config, indent=2) + "\n",
    }
    for name, text in files.items():
        write_if_changed(out / name, text)
    return [out / name for name in files]
