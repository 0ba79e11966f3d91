"""The emitted design as one flat netlist of operators and registers, for checks of its structure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows import yosys
from hw.emit import EmittedVerilog

_SCRIPT = """\
read_verilog -sv logic.v
read_verilog -lib macros.v
hierarchy -check -top {top}
proc -norom
flatten
opt_expr; opt_clean; check -assert
write_json netlist.json
"""

#: A net's number, or a constant.
Net = int | str


@dataclass(kw_only=True)
class Storage:
    """A register or a memory: its clock, and the nets that it reads and drives."""

    name: str
    kind: str
    clock: Net
    inputs: list[Net]
    outputs: list[Net]
    #: Nets of an asynchronous set or reset.
    asynchronous: list[Net] = field(default_factory=list)

    @property
    def is_memory(self) -> bool:
        """Whether it is a memory macro."""
        return not self.kind.startswith("$")


@dataclass(kw_only=True)
class FlatDesign:
    """Ports, storage, and the operators between them."""

    #: Name and nets (lowest bit first) of each port.
    inputs: dict[str, list[Net]]
    outputs: dict[str, list[Net]]
    storage: list[Storage]
    #: Nets that the operator driving a net reads.
    sources: dict[Net, list[Net]]

    def backward(self, nets: list[Net]) -> Iterator[tuple[Net, int]]:
        """Yield each net from which operators lead to ``nets``, and the number on the shortest way."""
        seen: set[Net] = set()
        level, operators = set(nets), 0
        while level:
            for net in level:
                yield net, operators
            seen |= level
            level = {source for net in level for source in self.sources.get(net, ())} - seen
            operators += 1


def flat_design(emitted: EmittedVerilog, place: Path) -> FlatDesign:
    """Flatten a design with Yosys; its files go to the directory ``place``."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "logic.v").write_text(emitted.logic, encoding="utf-8")
    (place / "macros.v").write_text(emitted.sram_blackboxes, encoding="utf-8")
    yosys.run(place, _SCRIPT.format(top=emitted.top))
    modules = json.loads((place / "netlist.json").read_text(encoding="utf-8"))["modules"]
    return read_design(modules[emitted.top])


def read_design(module: dict) -> FlatDesign:
    """Take a flat module of Yosys' JSON."""
    names = {net: name for name, found in module["netnames"].items() if not found["hide_name"]
             for net in found["bits"]}
    design = FlatDesign(inputs={}, outputs={}, storage=[], sources={})
    for name, port in module["ports"].items():
        (design.outputs if port["direction"] == "output" else design.inputs)[name] = port["bits"]
    for name, cell in module["cells"].items():
        pins = cell["connections"]
        out = {port for port, way in cell["port_directions"].items() if way == "output"}
        kind = cell["type"]
        if "dff" in kind and kind.startswith("$"):
            design.storage.append(Storage(
                name=names.get(pins["Q"][0], name), kind=kind, clock=pins["CLK"][0],
                inputs=pins["D"] + pins.get("EN", []) + pins.get("SRST", []), outputs=pins["Q"],
                asynchronous=pins.get("ARST", [])))
        elif not kind.startswith("$"):
            clock = pins["clk"][0]
            design.storage.append(Storage(
                name=name, kind=kind, clock=clock,
                inputs=[net for port in pins if port not in out and port != "clk"
                        for net in pins[port]],
                outputs=[net for port in out for net in pins[port]]))
        else:
            read = [net for port in pins if port not in out for net in pins[port]]
            for port in out:
                for net in pins[port]:
                    design.sources[net] = read
    return design
