"""A module of Yosys' JSON with its registers and instances cut out: logic alone, between named ports.

Every register bit becomes an input (what it holds) and an output (what it takes next), and so do
the pins of instances of other modules. Two modules whose ports then have the same names, and whose
outputs have the same functions, are equal clock for clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flows.asic.netlist import plain

#: A net's number, or a constant.
Net = int | str
#: One bit of a wire: its name, as flows.asic.netlist.plain writes it, and the bit.
Bit = tuple[str, int]
#: Registers that a clock alone moves, and their clock pins; others are turned into these before.
_REGISTERS = {"$dff": "CLK", "$_DFF_P_": "C"}


@dataclass(kw_only=True)
class CutModule:
    """The logic of a module; each port is one bit wide."""

    inputs: dict[str, Net] = field(default_factory=dict)
    outputs: dict[str, Net] = field(default_factory=dict)
    #: Registers, by the net that they drive: the net that they take.
    registers: dict[int, Net] = field(default_factory=dict)
    #: The net of each bit that has a name, and the names of each net.
    nets: dict[Bit, Net] = field(default_factory=dict)
    names: dict[Net, list[Bit]] = field(default_factory=dict)
    cells: dict[str, dict] = field(default_factory=dict)

    def replace_nets(self, nets: Mapping[int, Net]) -> None:
        """Put other nets, or constants, in the place of some."""
        def new(net: Net) -> Net:
            return nets.get(net, net) if isinstance(net, int) else net

        self.outputs = {name: new(net) for name, net in self.outputs.items()}
        self.registers = {held: new(net) for held, net in self.registers.items()}
        for cell in self.cells.values():
            cell["connections"] = {
                pin: [new(net) for net in found] for pin, found in cell["connections"].items()}

    def as_json(self, name: str) -> dict:
        """Return it as a module for Yosys."""
        ports = {port: {"direction": way, "bits": [net]}
                 for way, found in (("input", self.inputs), ("output", self.outputs))
                 for port, net in sorted(found.items())}
        return {name: {"attributes": {}, "ports": ports, "cells": self.cells, "netnames": {
            port: {"hide_name": 0, "bits": found["bits"], "attributes": {}}
            for port, found in ports.items()}}}


def cut_module(module: dict) -> CutModule:
    """Cut a module at its instances; its registers are listed, and are cut by their names later."""
    cut = CutModule()
    for name, found in module["netnames"].items():
        # Names that Yosys made up say nothing.
        if not found["hide_name"]:
            for i, net in enumerate(found["bits"]):
                cut.nets.setdefault((plain(name), i), net)
                cut.names.setdefault(net, []).append((plain(name), i))
    for name, port in module["ports"].items():
        ports = cut.outputs if port["direction"] == "output" else cut.inputs
        for i, net in enumerate(port["bits"]):
            ports[f"{plain(name)}[{i}]"] = net
    clocks = set()
    for name, cell in module["cells"].items():
        pins, kind = cell["connections"], cell["type"]
        if kind in _REGISTERS:
            rising = cell["parameters"].get("CLK_POLARITY", "1")[-1]
            clocks.add((pins[_REGISTERS[kind]][0], rising))
            cut.registers |= dict(zip(pins["Q"], pins["D"], strict=True))
        elif kind[0] != "$":
            for pin, nets in pins.items():
                is_input = cell["port_directions"][pin] == "input"
                ports = cut.outputs if is_input else cut.inputs
                for i, net in enumerate(nets):
                    ports[f"{plain(name)}/{plain(pin)}[{i}]"] = net
        elif kind.endswith(("ff", "ff_", "ffe", "latch", "mem", "mem_v2")):
            raise ValueError(f"{name} is a {kind}, which has no cut")
        else:
            cut.cells[name] = cell
    if clocks - {(cut.nets.get(("clk", 0)), "1")}:
        raise ValueError("a register has a clock other than clk, or another edge")
    return cut
