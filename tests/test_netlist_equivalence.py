"""RTL = netlist, block by block of `tiny`, and what the proof says of planted errors."""

import copy
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from flows.asic.library import read_library
from flows.asic.netlist import Module
from flows.asic.timing import MULTIPLIER
from flows.asic.units import Unit, cut
from flows.netlist.equivalence import NotEquivalentError, Proof, prove_block
from flows.netlist.gate_level import GateLevel, gate_level
from hw.chiplet import Chiplet
from hw.config import CONFIGS
from hw.emit import emit
from tessera.commands.asic import DEFAULT_LIBERTY
from verif.chip_run import top_name
from verif.simulator import BUILD_ROOT

CONFIG = CONFIGS["tiny"]

pytestmark = pytest.mark.skipif(
    not DEFAULT_LIBERTY.is_file(), reason="needs Debian's qflow-tech-osu018: make tools")


@functools.cache
def design() -> tuple[GateLevel, dict[str, Unit]]:
    top = top_name(CONFIG)
    emitted = emit(Chiplet(CONFIG), top)
    level = gate_level(CONFIG, emitted, read_library(DEFAULT_LIBERTY),
                       BUILD_ROOT.parent / "netlist" / top)
    return level, cut(emitted.logic, top)


def check(proof: Proof) -> None:
    """Demand that every flip-flop's next value was compared: nothing compared proves nothing."""
    assert proof.functions >= proof.registers[1] > 0


def test_every_block(tmp_path: Path) -> None:
    level, units = design()
    assert units.keys() == level.netlist.modules.keys()
    # The longest first: at the end no processor waits for one.
    chosen = sorted(units.values(), key=lambda unit: -len(unit.logic))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for proof in pool.map(lambda unit: prove_block(level, unit, tmp_path / unit.name), chosen):
            check(proof)


#: Another function of the same pins.
OTHER = {"XOR2X1": "XNOR2X1", "XNOR2X1": "XOR2X1", "NAND2X1": "NOR2X1", "NOR2X1": "NAND2X1",
         "OAI21X1": "AOI21X1", "AOI21X1": "OAI21X1", "INVX1": "BUFX2", "BUFX2": "INVX1"}


def planted() -> tuple[GateLevel, Module]:
    """Return a copy of the netlist, and a module of it in which errors are planted."""
    level, _ = design()
    level = replace(level, netlist=copy.deepcopy(level.netlist))
    return level, level.netlist.modules[MULTIPLIER]


def test_wrong_gate_is_named(tmp_path: Path) -> None:
    """One gate of another kind: the message names block, register and bit."""
    level, module = planted()
    gates = {i.connections["Y"][0]: i for i in module.instances if i.module in OTHER}
    register = next(i for i in module.instances if i.module in level.library.flip_flops
                    and i.connections["D"][0] in gates)
    gate = gates[register.connections["D"][0]]
    gate.module = OTHER[gate.module]
    name, _, bit = register.name.removesuffix("_reg").rpartition("_")
    with pytest.raises(NotEquivalentError, match=rf"{MULTIPLIER}: .* next:{name}\[{bit}\]"):
        prove_block(level, design()[1][MULTIPLIER], tmp_path)


def test_exchanged_inputs_are_named(tmp_path: Path) -> None:
    """Two bits of a register, exchanged before their flip-flops."""
    level, module = planted()
    one, other = [i for i in module.instances if i.module in level.library.flip_flops][:2]
    one.connections["D"], other.connections["D"] = other.connections["D"], one.connections["D"]
    with pytest.raises(NotEquivalentError, match=rf"{MULTIPLIER}: .* next:"):
        prove_block(level, design()[1][MULTIPLIER], tmp_path)


def test_lost_flip_flop_is_named(tmp_path: Path) -> None:
    """A flip-flop that became a wire."""
    level, module = planted()
    register = next(i for i in module.instances if i.module in level.library.flip_flops)
    register.module = "BUFX2"
    register.connections = {"A": register.connections["D"], "Y": register.connections["Q"]}
    name, _, bit = register.name.removesuffix("_reg").rpartition("_")
    with pytest.raises(NotEquivalentError, match=rf"{MULTIPLIER}: .*{name}\[{bit}\]"):
        prove_block(level, design()[1][MULTIPLIER], tmp_path)
