"""Proof that a netlist is the RTL it was made from, block by block, with Yosys' equivalence commands.

A block is a module of the netlist with what was flattened into it. Its instances of other modules
and of memories are cut out on both sides, and so is every register: what is left is logic between
the same inputs (ports, registers, outputs of instances) and outputs (ports, what registers take
next, inputs of instances), and Yosys proves every output. The RTL is taken as it was emitted, after
`proc` and `flatten` alone; the netlist as its Verilog, with the cells' models from the library.

What is proved is that two chips that hold the same in their registers, hold the same after every
clock edge and show the same at their ports. That they hold the same at the start is reset's work.
"""

import json
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from flows import yosys
from flows.asic.netlist import Module, Netlist, Port, verilog
from flows.asic.synthesis import used_macros
from flows.asic.units import Unit, cut
from flows.netlist.cut_design import CutModule, Net, cut_module
from flows.netlist.gate_level import GateLevel
from flows.netlist.register_match import RegisterClass, match_registers

_GOLD = """\
read_verilog logic.v
read_verilog -lib logic_children.v
hierarchy -check -top {top}
proc -norom
setattr -unset init w:*
flatten
memory -nomap; memory_map
async2sync
opt_clean
write_json gold.json
opt_expr; opt_clean
opt -nodffe -nosdff; opt; wreduce; peepopt; opt_clean
booth
alumacc; opt; opt_clean
opt -fast -full; opt -undriven -fine; techmap; opt -fast; opt_clean
dfflegalize -cell $_DFF_P_ 01; opt -fast -nodffe -nosdff; opt_clean
write_json optimized.json
"""
_GATE = """\
read_verilog netlist.v
read_verilog cells.v
read_verilog -lib netlist_children.v
hierarchy -check -top {top}
proc
flatten
async2sync
opt_clean
write_json gate.json
"""
_PROVE = """\
read_json cut.json
techmap; opt_clean
equiv_make gold gate equiv
hierarchy -top equiv
equiv_simple
equiv_status
"""
#: From here on no net of a block has a number.
_FREE_NET = 1 << 28
_UNPROVED = re.compile(r"^\s*Unproven \$equiv \S+: \\(\S+)_gold \\?\S+", re.MULTILINE)


class NotEquivalentError(ValueError):
    """A block of the netlist is not the RTL's; the message names block and register bits or ports."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A block for which netlist and RTL were proved equal."""

    block: str
    #: Bits of registers in the RTL, and flip-flops of the netlist.
    registers: tuple[int, int]
    #: Registers that synthesis left out because they are constant, or are equal to others.
    constant: int
    merged: int
    #: Functions that were compared: of ports, of what registers take next, of instances' inputs.
    functions: int
    seconds: float


def prove_block(level: GateLevel, unit: Unit, place: Path) -> Proof:
    """Prove one block; files go to ``place``. Raises NotEquivalentError."""
    start = time.monotonic()
    gold, optimized, gate = read_block(level, unit, place)
    multiplies = any(cell["type"] == "$mul" for cell in gold.cells.values())
    if multiplies:
        ports = gold.outputs.keys()
        gold = optimized
        gold.outputs = {name: net for name, net in gold.outputs.items() if name in ports}
    classes = match_registers(gold, optimized, gate)
    functions = _cut_registers(gold, gate, classes)
    if gold.inputs.keys() != gate.inputs.keys() or gold.outputs.keys() != gate.outputs.keys():
        differ = (gold.inputs.keys() ^ gate.inputs.keys()) | (gold.outputs.keys() ^ gate.outputs.keys())
        raise NotEquivalentError(f"{unit.name}: only one side has {', '.join(sorted(differ)[:8])}")
    (place / "cut.json").write_text(json.dumps(
        {"modules": gold.as_json("gold") | gate.as_json("gate")}), encoding="utf-8")
    return Proof(
        block=unit.name, registers=(0, 0),
        constant=sum(one.constant is not None for one in classes),
        merged=sum(max(0, len(one.gold) - 1) for one in classes), functions=functions,
        seconds=time.monotonic() - start)


def read_block(
    level: GateLevel, unit: Unit, place: Path
) -> tuple[CutModule, CutModule, CutModule]:
    """Return a block of the RTL as emitted, the same after optimization, and of the netlist."""
    place.mkdir(parents=True, exist_ok=True)
    module = level.netlist.modules[unit.name]
    macros = used_macros(level.emitted.sram_blackboxes, unit.logic)
    below = {instance.module for instance in module.instances} & level.netlist.modules.keys()
    empty = "".join(_ports_only(level.netlist.modules[name]) for name in sorted(below))
    for name, text in (
            ("logic.v", unit.logic), ("logic_children.v", unit.children + macros),
            ("netlist.v", _one_module(module)), ("netlist_children.v", empty + macros),
            ("cells.v", level.models), ("gold.ys", _GOLD.format(top=unit.name)),
            ("gate.ys", _GATE.format(top=unit.name))):
        (place / name).write_text(text, encoding="utf-8")
    yosys.run(place, "script gold.ys\ndesign -reset\nscript gate.ys\n")
    gold, optimized, gate = (
        cut_module(json.loads((place / f"{name}.json").read_text(encoding="utf-8"))["modules"][unit.name])
        for name in ("gold", "optimized", "gate"))
    return gold, optimized, gate


def _one_module(module: Module) -> str:
    return verilog(Netlist(top=module.name, modules={module.name: module}))


def _ports_only(module: Module) -> str:
    numbers = count()
    return _one_module(Module(name=module.name, ports={
        name: Port(is_output=port.is_output, nets=[next(numbers) for _ in port.nets])
        for name, port in module.ports.items()}))


def _cut_registers(gold: CutModule, gate: CutModule, classes: Iterable[RegisterClass]) -> int:
    """Make ports of registers; return the number of functions to compare."""
    known = {net for one in classes for net in one.gold}
    new_gold: dict[int, Net] = {}
    new_gate: dict[int, Net] = {}
    pairs: list[tuple[str, Net, Net]] = []
    for one in classes:
        if one.constant is not None:
            new_gold |= dict.fromkeys(one.gold, one.constant)
            pairs.append((one.name, gold.registers[one.gold[0]], one.constant))
            continue
        first, *others = one.gold
        new_gold |= dict.fromkeys(others, first)
        new_gate |= dict.fromkeys(one.gate[1:], one.gate[0])
        gold.inputs[f"register:{one.name}"] = first
        gate.inputs[f"register:{one.name}"] = one.gate[0]
        for i in range(max(len(one.gold), len(one.gate))):
            suffix = f":{i + 1}" if i else ""
            pairs.append((one.name + suffix, gold.registers[one.gold[min(i, len(one.gold) - 1)]],
                          gate.registers[one.gate[min(i, len(one.gate) - 1)]]))
    for name, gold_net, gate_net in pairs:
        gold.outputs[f"next:{name}"] = gold_net
        gate.outputs[f"next:{name}"] = gate_net
    # What the netlist lacks, and is no constant: any value, which nothing may depend on.
    for number, net in enumerate(sorted(gold.registers.keys() - known)):
        gold.inputs[f"unused:{number}"] = net
        gate.inputs[f"unused:{number}"] = _FREE_NET + number
    gold.replace_nets(new_gold)
    gate.replace_nets(new_gate)
    return len(gold.outputs)
