"""Cuts the emitted Verilog into units of synthesis: the shared modules, each with what is only below it.

Amaranth calls a module that is placed once ``parent.child``; such a module is flattened into its
parent. Every other module is a unit of its own and stays a module of the netlist.
"""

import re
from dataclasses import dataclass

_MODULE = re.compile(r"^module (\\\S+ |\w+).*?^endmodule$", re.MULTILINE | re.DOTALL)
_HEADER = re.compile(r"^module .*?;$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"^  (?:input|output|inout) .*?;$", re.MULTILINE)
_INSTANCE = re.compile(r"^  (\\\S+|[A-Za-z_]\w*) +(?:\\\S+|\w+) +\($", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One module of the netlist, as Verilog."""

    name: str
    #: The module and those that are flattened into it.
    logic: str
    #: The ports of the other units that it instantiates, as empty modules.
    children: str


def cut(logic: str, top: str) -> dict[str, Unit]:
    """Return the units of a design by name."""
    texts = {_plain(match[1]): match[0] for match in _MODULE.finditer(logic)}
    owners = {name: name.partition(".")[0] for name in texts}
    if top not in texts:
        raise ValueError(f"module must be one of {', '.join(set(owners.values()))}, not {top!r}")
    parts: dict[str, list[str]] = {}
    for name, text in texts.items():
        parts.setdefault(owners[name], []).append(text)
    units: dict[str, Unit] = {}
    pending = [top]
    while pending:
        name = pending.pop()
        if name in units:
            continue
        text = "\n".join(parts[name]) + "\n"
        below = {_plain(found) for found in _INSTANCE.findall(text)}
        children = sorted(child for child in below if child in texts and owners[child] != name)
        units[name] = Unit(name=name, logic=text,
                           children="".join(_ports_only(texts[child]) for child in children))
        pending += children
    return units


def _plain(name: str) -> str:
    return name.strip().removeprefix("\\")


def _ports_only(text: str) -> str:
    header = _HEADER.search(text)
    assert header is not None
    return "\n".join([header[0], *_PORT.findall(text), "endmodule\n"])
