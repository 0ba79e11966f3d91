"""Which registers of a netlist hold what which registers of the RTL hold, by their names.

Synthesis keeps a register's name but may merge registers that always hold the same, or leave out
one that is constant or unused. What the optimized RTL says of such registers is taken as an
assumption here, and is part of what is proved: each register of a class must take the same next
value, and a constant one its constant.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from flows.netlist.cut_design import Bit, CutModule


class UnmatchedError(ValueError):
    """A register of the netlist has no counterpart in the RTL."""


@dataclass(kw_only=True)
class RegisterClass:
    """Registers that are taken to hold the same; without netlist registers, a constant."""

    name: str
    #: Nets that they drive in the RTL, and in the netlist.
    gold: list[int] = field(default_factory=list)
    gate: list[int] = field(default_factory=list)
    constant: str | None = None


def show(bits: Iterable[Bit]) -> str:
    """Return the shortest of a register bit's names."""
    names = sorted(bits, key=lambda bit: (bit[0].startswith("_"), len(bit[0]), bit))
    return f"{names[0][0]}[{names[0][1]}]" if names else "unnamed"


def match_registers(gold: CutModule, optimized: CutModule, gate: CutModule) -> list[RegisterClass]:
    """Return the classes of a block; ``optimized`` is ``gold`` after Yosys' optimization."""
    classes: dict[int, RegisterClass] = {}  # by the net of a gold register

    def counterparts(bits: Iterable[Bit]) -> set[int]:
        found = {gold.nets.get(bit) for bit in bits}
        for bit in bits:
            found |= {gold.nets.get(other)
                      for other in optimized.names.get(optimized.nets.get(bit, ""), ())}
        return {net for net in found if isinstance(net, int) and net in gold.registers}

    for register in gate.registers:
        bits = gate.names.get(register, [])
        partners = counterparts([bit for bit in bits if bit in gold.nets])
        if not partners:
            raise UnmatchedError(f"register {show(bits)} of the netlist is none of the RTL")
        _join(classes, partners, register)
    for register in gold.registers:
        if register not in classes:
            constants: set[str | int] = {
                net for bit in gold.names.get(register, ())
                if (net := optimized.nets.get(bit)) in ("0", "1")}
            if gold.registers[register] in ("0", "1"):  # even if its name is gone
                constants = {gold.registers[register]}
            if len(constants) == 1:
                classes[register] = RegisterClass(name="", gold=[register],
                                                  constant=str(constants.pop()))
    found = list({id(one): one for one in classes.values()}.values())
    for one in found:
        one.name = show(bit for net in one.gold for bit in gold.names.get(net, ()))
    return found


def _join(classes: dict[int, RegisterClass], partners: set[int], register: int) -> None:
    """Put a register of the netlist, and those of the RTL that it stands for, into one class."""
    joined = RegisterClass(name="", gate=[register])
    for old in {id(classes[net]): classes[net] for net in partners if net in classes}.values():
        joined.gold += old.gold
        joined.gate += old.gate
    joined.gold = sorted({*joined.gold, *partners})
    for net in joined.gold:
        classes[net] = joined
