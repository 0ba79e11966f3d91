"""A mapped netlist in memory: modules of library cells, read from Yosys' JSON, written as Verilog.

The writer uses plain names only, which every tool reads; a flip-flop is named after the register
bit that it holds, so that timing reports speak the design's language.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: A net: a number that is unique in its module, or one of the constants "0", "1", "x", "z".
Net = int | str
#: A net's name: of a wire, or of one bit of a wire.
NetName = tuple[str, int | None]
#: What ends the name of a flip-flop, after the name of the net that it drives.
REGISTER_SUFFIX = "_reg"


@dataclass(kw_only=True)
class Port:
    """A port of a module, lowest bit first."""

    is_output: bool
    nets: list[Net]


@dataclass(kw_only=True)
class Instance:
    """A library cell, a memory macro or another module, with the nets at each of its ports."""

    name: str
    module: str
    connections: dict[str, list[Net]]


@dataclass(kw_only=True)
class Module:
    """A module of the netlist."""

    name: str
    ports: dict[str, Port] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)
    #: The names that the design gives to nets, where it has one.
    net_names: dict[int, NetName] = field(default_factory=dict)
    next_net: int = 0

    def new_net(self) -> int:
        """Return a net that nothing uses yet."""
        self.next_net += 1
        return self.next_net - 1

    def net_text(self, net: int) -> str:
        """Return a net's name as part of an identifier."""
        name, bit = self.net_names.get(net, (f"n{net}", None))
        return name if bit is None else f"{name}_{bit}"


@dataclass(kw_only=True)
class Netlist:
    """Modules by name, children before those that use them."""

    top: str
    modules: dict[str, Module]

    def instance_counts(self) -> Counter[str]:
        """Return how often each module, cell and macro occurs below the top, which counts once."""
        totals: Counter[str] = Counter({self.top: 1})
        for name in reversed(self.modules):
            for module, count in Counter(i.module for i in self.modules[name].instances).items():
                totals[module] += totals[name] * count
        return totals


def plain(name: str) -> str:
    """Return a name without the characters that Verilog would need to escape."""
    text = re.sub(r"\W", "_", name)
    return text if text[:1].isalpha() or text[:1] == "_" else f"_{text}"


def read_modules(files: dict[str, Path], top: str, flip_flops: Mapping[str, list[str]]) -> Netlist:
    """Read modules, each from its JSON file.

    ``flip_flops`` are the outputs of each flip-flop; these are named after the nets they drive.
    """
    modules = {}
    for name, path in files.items():
        found = json.loads(path.read_text(encoding="utf-8"))["modules"][name]
        modules[name] = _read_module(name, found, flip_flops)
    return Netlist(top=top, modules=_children_first(modules, top))


def _read_module(name: str, found: dict, flip_flops: Mapping[str, list[str]]) -> Module:
    module = Module(name=name, net_names=_net_names(found["netnames"]))
    for port, description in found["ports"].items():
        module.ports[plain(port)] = Port(
            is_output=description["direction"] == "output", nets=description["bits"])
    taken: set[str] = set(module.ports)
    largest = 1
    for instance_name, description in found["cells"].items():
        connections = {plain(port): bits for port, bits in description["connections"].items()}
        # Names that Yosys made up say nothing.
        text = f"g{len(module.instances)}" if instance_name[0] == "$" else plain(instance_name)
        driven = [net for port in flip_flops.get(description["type"], [])
                  for net in connections.get(port, []) if net in module.net_names]
        if driven:
            text = module.net_text(driven[0]) + REGISTER_SUFFIX
        module.instances.append(Instance(
            name=_unique(text, taken), module=plain(description["type"]), connections=connections))
        largest = max([largest, *_numbers(connections.values())])
    module.next_net = 1 + max([largest, *_numbers(p.nets for p in module.ports.values())])
    return module


def _net_names(netnames: dict[str, dict]) -> dict[int, NetName]:
    """Return one name for each net: of several the shortest, names made by tools last."""
    best: dict[int, tuple[tuple[bool, int, str], NetName]] = {}
    texts: dict[str, str] = {}
    for name, description in netnames.items():
        if description["hide_name"]:
            continue
        text = _unique(plain(name), set(texts.values()) if plain(name) in texts else set())
        texts[text] = text
        bits = description["bits"]
        rank = (name.startswith("$"), len(name), name)
        for i, net in enumerate(bits):
            if isinstance(net, int) and (net not in best or rank < best[net][0]):
                best[net] = (rank, (text, i if len(bits) > 1 else None))
    return {net: name for net, (_, name) in best.items()}


def _unique(name: str, taken: set[str]) -> str:
    text, number = name, 1
    while text in taken:
        number += 1
        text = f"{name}_{number}"
    taken.add(text)
    return text


def _numbers(groups: Iterable[list[Net]]) -> Iterable[int]:
    return (net for nets in groups for net in nets if isinstance(net, int))


def _children_first(modules: dict[str, Module], top: str) -> dict[str, Module]:
    ordered: dict[str, Module] = {}

    def visit(name: str) -> None:
        if name in modules and name not in ordered:
            for child in dict.fromkeys(i.module for i in modules[name].instances):
                visit(child)
            ordered[name] = modules[name]

    visit(top)
    return ordered


def verilog(netlist: Netlist) -> str:
    """Return the netlist as structural Verilog."""
    return "\n".join(_module_verilog(module) for module in netlist.modules.values())


def _module_verilog(module: Module) -> str:
    texts: dict[Net, str] = {"0": "1'b0", "1": "1'b1", "x": "1'b0", "z": "1'b0"}
    aliases = []
    for way in (False, True):  # an output that is also an input is an alias of it
        for port_name, port in module.ports.items():
            if port.is_output != way:
                continue
            for i, net in enumerate(port.nets):
                text = f"{port_name}[{i}]" if len(port.nets) > 1 else port_name
                if net in texts:
                    aliases.append(f"  assign {text} = {texts[net]};")
                else:
                    texts[net] = text
    taken = set(module.ports) | {instance.name for instance in module.instances}
    wires: dict[str, int | None] = {}
    renamed: dict[str, str] = {}
    for net in dict.fromkeys(
            net for i in module.instances for nets in i.connections.values() for net in nets):
        if net in texts or not isinstance(net, int):
            continue
        name, bit = module.net_names.get(net, (f"n{net}", None))
        if name not in renamed:
            renamed[name] = _unique(name, taken)
        name = renamed[name]
        wires[name] = bit if bit is None else max(bit, wires.get(name) or 0)
        texts[net] = name if bit is None else f"{name}[{bit}]"
    lines = [f"module {module.name} ({', '.join(module.ports)});"]
    for port_name, port in module.ports.items():
        direction = "output" if port.is_output else "input"
        lines.append(f"  {direction} {_width(len(port.nets) - 1 or None)}{port_name};")
    lines += [f"  wire {_width(bit)}{name};" for name, bit in wires.items()]
    for instance in module.instances:
        pins = ", ".join(f".{port}({_joined([texts[net] for net in nets])})"
                         for port, nets in instance.connections.items())
        lines.append(f"  {instance.module} {instance.name} ({pins});")
    return "\n".join([*lines, *aliases, "endmodule", ""])


def _width(highest: int | None) -> str:
    return "" if highest is None else f"[{highest}:0] "


def _joined(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else "{" + ", ".join(reversed(texts)) + "}"
