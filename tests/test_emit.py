"""Emitted Verilog: one module each, ports as declared, the same text every time."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from amaranth.lib.wiring import Out

from hw.chiplet import Chiplet
from hw.config import CONFIGS
from hw.emit import EmittedVerilog, emit, instance_counts
from hw.host.host_bridge import bus_members
from hw.memory.models import behavioural_verilog
from hw.memory.shapes import bank_shape, memory_shapes
from hw.memory.sram import SramShape
from hw.verilog_text import compact
from verif.sram_bench import SramBench


@pytest.fixture(scope="module")
def tiny() -> EmittedVerilog:
    return emit(Chiplet(CONFIGS["tiny"]), "tessera_chiplet")


def test_repeated_blocks_are_one_module_each(tiny: EmittedVerilog) -> None:
    """64 PEs, 4 steps and 8 drain lanes come from one module each."""
    modules = Counter(re.findall(r"^module (\\\S+|\w+)", tiny.logic, re.MULTILINE))
    assert max(modules.values()) == 1
    for name in ("tessera_pe", "tessera_array_step", "tessera_drain_lane", "tessera_core"):
        assert modules[name] == 1, name
    instances = Counter(re.findall(r"^  (tessera_\w+) \w+ \($", tiny.logic, re.MULTILINE))
    assert instances["tessera_pe"] == 16  # in the one step
    assert instances["tessera_array_step"] == 4
    assert instances["tessera_drain_lane"] == 8


def test_ports_have_their_direction(tiny: EmittedVerilog) -> None:
    """An output that nothing drives would turn into an input."""
    top = re.search(r"^module tessera_chiplet\(.*?^endmodule", tiny.logic, re.M | re.S)
    assert top is not None
    for name, member in bus_members().items():
        direction = "output" if member.flow == Out else "input"
        assert re.search(rf"^  {direction} (\[\d+:0\] )?{name} ?;", top[0], re.M), name


def test_every_memory_has_a_model(tiny: EmittedVerilog) -> None:
    """Macro list and models name exactly the modules that are instantiated."""
    used = set(re.findall(r"^  (tessera_sram_\w+) ", tiny.logic, re.MULTILINE))
    assert used == {macro["name"] for macro in tiny.macros()}
    assert used == set(re.findall(r"^module (\w+)", tiny.sram_models, re.MULTILINE))


def test_every_view_has_every_memory(tiny: EmittedVerilog) -> None:
    """Models, black boxes and Liberty name the same modules."""
    names = [macro["name"] for macro in tiny.macros()]
    liberty = tiny.sram_liberty(CONFIGS["tiny"].memory_technology)
    assert re.findall(r"^  cell \((\w+)\)", liberty, re.M) == names
    for text in (tiny.sram_models, tiny.sram_fpga, tiny.sram_blackboxes):
        assert re.findall(r"^module (\w+)", text, re.M) == names
    assert tiny.sram_blackboxes.count("(* blackbox *)") == len(names)


def test_memories_are_counted_through_the_hierarchy(tiny: EmittedVerilog) -> None:
    """Each row has a bank, in steps of which there is one module; others occur once."""
    config = CONFIGS["tiny"]
    counts = {macro["name"]: macro["count"] for macro in tiny.macros()}
    assert counts.pop(bank_shape(config).module) == config.rows
    shapes = Counter(shape.module for shape in memory_shapes(config).values())
    assert {name: counts[name] for name in shapes} == shapes
    assert all(count == 1 for name, count in counts.items() if name not in shapes)


def test_memories_of_other_macros() -> None:
    """The logic then holds the memories' modules, and instantiates nothing but the macro."""
    emitted = emit(SramBench("some"), "top", "32x512")
    defined = set(re.findall(r"^module (\w+)", emitted.logic, re.M))
    used = set(re.findall(r"^  (\w+) \w+ \($", emitted.logic, re.M)) - defined
    assert [cell.module for cell in emitted.cells] == sorted(used)
    assert {shape.module for shape in emitted.srams} <= defined
    counts = instance_counts(emitted.logic, "top")
    macros = emitted.macros()
    assert counts[emitted.cells[0].module] == sum(
        macro["count"] * macro["macros_each"] for macro in macros)
    assert [macro["macro"] for macro in macros if macro["words"] <= 16] == [None] * 3


def test_the_same_text_for_any_hash_seed() -> None:
    """Emission does not depend on the order of sets."""
    code = ("from hw.chiplet import Chiplet; from hw.config import CONFIGS; "
            "from hw.emit import emit; import hashlib; "
            "text = emit(Chiplet(CONFIGS['tiny']), 'top').logic; "
            "print(hashlib.sha256(text.encode()).hexdigest())")
    digests = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                       env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")}
    assert len(digests) == 1


def test_compact_keeps_what_is_read() -> None:
    """Only wires that nothing reads go."""
    text = ("module m(a, b);\n  input a;\n  wire a;\n  output b;\n  wire b;\n  wire dead;\n"
            "  wire alive;\n  assign dead = alive;\n  assign alive = a;\n  assign b = alive;\n"
            "endmodule\n")
    assert compact(text) == ("module m(a, b);\n  input a;\n  output b;\n  wire alive;\n"
                             "  assign alive = a;\n  assign b = alive;\nendmodule\n")


def test_sram_shapes() -> None:
    """A shape that is none is refused; the model's name and ports say the shape."""
    with pytest.raises(ValueError, match="granule_bits must be a divisor of 16, not 5"):
        SramShape(words=8, bits=16, granule_bits=5, ports="1rw")
    with pytest.raises(ValueError, match="ports must be '1rw' or '1r1w', not '2rw'"):
        SramShape(words=8, bits=16, granule_bits=8, ports="2rw")
    model = behavioural_verilog(SramShape(words=8, bits=16, granule_bits=8, ports="1r1w"))
    assert "module tessera_sram_1r1w_8x16_g8 (" in model
    assert "input [1:0] write_mask" in model


def test_replications_are_short() -> None:
    """Bits that follow themselves, with names of both kinds; other bits stay as they are."""
    text = ("module m(a);\n  assign \\$1  = { a[3], a[3], a[3], a[3], a[2], \\b , \\b , \\b , \\b  };\n"
            "  assign \\$2  = { 1'h0, 1'h0, 1'h0, 1'h0, \\$1 [1], \\$1 [1], \\$1 [1] };\nendmodule\n")
    got = compact(text)
    assert "{ {4{a[3]}}, a[2], {4{\\b }} }" in got
    assert "{ {4{1'h0}}, \\$1 [1], \\$1 [1], \\$1 [1] }" in got
