"""Proof that a netlist is the RTL it was made from, block by block, with Yosys and its ABC.

A block is a module of the netlist with what was flattened into it. Its instances of other modules
and of memories are cut out on both sides, and so is every register: what is left is logic between
the same inputs (ports, registers, outputs of instances) and outputs (ports, what registers take
next, inputs of instances), and ABC's `&cec` proves every output. The RTL is taken as it was emitted,
after `proc` and `flatten` alone; a block with multipliers after Yosys' `booth` and what comes before it in
synthesis, because no free prover compares a product with gates. The netlist is its Verilog, with the
cells' models from the library.

What is proved is that two chips that hold the same in their registers, hold the same after every
clock edge and show the same at their ports. That they hold the same at the start is reset's work.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from flows import yosys
from flows.asic.netlist import Module, Netlist, Port, verilog
from flows.asic.synthesis import used_macros
from flows.asic.units import Unit
from flows.netlist.cut_design import CutModule, Net, cut_module
from flows.netlist.gate_level import GateLevel
from flows.netlist.register_match import RegisterClass, UnmatchedError, match_registers

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
_AIGER = """\
read_json cut.json
design -save both
delete gate; hierarchy -top gold; techmap; opt -fast; setundef -zero; aigmap
write_aiger -symbols gold.aig
design -load both
delete gold; hierarchy -top gate; techmap; opt -fast; setundef -zero; aigmap
write_aiger -symbols gate.aig
"""
#: Conflicts after which ABC gives one function up.
_CONFLICTS = 1_000_000
#: From here on no net of a block has a number.
_FREE_NET = 1 << 28
_DIFFERENT = re.compile(r"\bOutput (\d+) (?:is SAT|trivially differs)")
_VERDICT = re.compile(r"^UNSAT = *(\d+)\. +SAT = *(\d+)\. +UNDEC = *(\d+)", re.MULTILINE)
_OUTPUT = re.compile(rb"^o(\d+) (\S+)$", re.MULTILINE)
#: Names that a message shows.
_SHOWN = 8


class NotEquivalentError(ValueError):
    """A block of the netlist is not the RTL's; the message names block and register bits or ports."""


class UnprovedError(RuntimeError):
    """The time did not suffice to prove a block, or to find a difference."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A block for which netlist and RTL were proved equal."""

    block: str
    #: What the netlist was compared with: RTL as emitted, or with its multipliers as adders.
    multiplies: bool
    #: Bits of registers in the RTL, and flip-flops of the netlist.
    registers: tuple[int, int]
    #: Registers that synthesis left out because they are constant, or are equal to others.
    constant: int
    merged: int
    #: Functions that were compared: of ports, of what registers take next, of instances' inputs.
    functions: int
    seconds: float


def prove_block(level: GateLevel, unit: Unit, place: Path, seconds: float = 600) -> Proof:
    """Prove one block; files go to ``place``.

    Raises NotEquivalentError, or UnprovedError after so many seconds.
    """
    start = time.monotonic()
    gold, optimized, gate = read_block(level, unit, place)
    registers = len(gold.registers), len(gate.registers)
    multiplies = any(cell["type"] == "$mul" for cell in gold.cells.values())
    if multiplies:
        gold = optimized
    try:
        classes = match_registers(gold, optimized, gate)
    except UnmatchedError as error:
        raise NotEquivalentError(f"{unit.name}: {error}") from None
    functions = _cut_registers(gold, gate, classes)
    differ = (gold.inputs.keys() ^ gate.inputs.keys()) | (gold.outputs.keys() ^ gate.outputs.keys())
    if differ:
        raise NotEquivalentError(
            f"{unit.name}: only one side has {', '.join(sorted(differ)[:_SHOWN])}")
    (place / "cut.json").write_text(json.dumps(
        {"modules": gold.as_json("gold") | gate.as_json("gate")}), encoding="utf-8")
    wrong = _compare(place, unit.name, seconds)
    if wrong:
        raise NotEquivalentError(
            f"{unit.name}: netlist and RTL differ in {', '.join(wrong[:_SHOWN])}"
            + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""))
    return Proof(
        block=unit.name, multiplies=multiplies, registers=registers,
        constant=sum(one.constant is not None for one in classes),
        merged=sum(max(0, len(one.gold) - 1) for one in classes), functions=functions,
        seconds=time.monotonic() - start)


def _compare(place: Path, block: str, seconds: float) -> list[str]:
    """Compare all functions; return the names of those that differ."""
    yosys.run(place / "aiger", _AIGER.replace("read_json ", "read_json ../"))
    try:
        found = subprocess.run(
            [yosys.abc_program(), "-c", f"&cec -n -C {_CONFLICTS} gold.aig gate.aig"],
            cwd=place / "aiger", capture_output=True, text=True, check=False, timeout=seconds).stdout
    except subprocess.TimeoutExpired:
        raise UnprovedError(f"{block}: neither proved nor refuted in {seconds:g} s") from None
    names = {int(number): name.decode() for number, name in _OUTPUT.findall(
        (place / "aiger" / "gold.aig").read_bytes())}
    wrong = [names[int(number)] for number in _DIFFERENT.findall(found)]
    verdict = _VERDICT.search(found)
    if wrong or "Networks are equivalent" in found or (
            verdict and int(verdict[1]) == len(names) and verdict[2] == verdict[3] == "0"):
        return wrong
    if verdict:
        raise UnprovedError(f"{block}: {verdict[3]} functions are neither proved nor refuted")
    raise yosys.ToolFailedError(f"ABC failed on {block}: {found[-300:]}")


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
