"""The ASIC flow: libraries, units, netlists, buffers, timing, report, and what it refuses."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from typer.testing import CliRunner

from flows import yosys
from flows.asic.buffering import Strengths, insert_buffers
from flows.asic.flow import AsicDesign, implement
from flows.asic.liberty import LibertySyntaxError, parse
from flows.asic.library import Library, read_library
from flows.asic.netlist import read_modules, verilog
from flows.asic.picture import draw
from flows.asic.report import AsicReport
from flows.asic.synthesis import synthesize_units
from flows.asic.units import cut
from hw.config import find_config
from hw.emit import EmittedVerilog, emit, instantiate
from hw.matmul.array_step import ArrayStep
from tessera.cli import app
from tessera.commands import asic
from tessera.commands.asic import DEFAULT_LIBERTY

needs_library = pytest.mark.skipif(
    not DEFAULT_LIBERTY.is_file(), reason="needs Debian's qflow-tech-osu018: make tools")
needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason="needs OpenSTA: make tools")

#: A library of its own names and units: three gates, two buffers, a flip-flop, ties, and a latch.
LIBERTY = """
/* a comment { */
library (little) {
  time_unit : "1ps"; capacitive_load_unit (1, ff);
  lu_table_template (by_load) { variable_1 : input_net_transition;
    variable_2 : total_output_net_capacitance; index_1 ("1, 2"); index_2 ("1, 101"); }
  cell ("nd2") { area : 3; pin (a, b) { direction : input; capacitance : 2; }
    pin (z) { direction : output; function : "(a b)'"; max_capacitance : 50; } }
  cell (bf_1) { area : 2; pin (i) { direction : input; capacitance : 2; }
    pin (z) { direction : output; function : "(i)"; timing () { related_pin : "i";
      cell_rise (by_load) { values ("10, 110", \\
                                     "20, 220"); } } } }
  cell (bf_9) { area : 9; pin (i) { direction : input; capacitance : 8; }
    pin (z) { direction : output; function : "i"; } }
  cell (bad) { area : 1; dont_use : true; pin (i) { direction : input; }
    pin (z) { direction : output; function : "i"; } }
  cell (ff) { area : 7; ff (q, qn) { clocked_on : "ck"; next_state : "d"; }
    pin (ck) { direction : input; capacitance : 1; } pin (d) { direction : input; }
    pin (q) { direction : output; function : "q"; } }
  cell (lt) { area : 5; latch (q, qn) { enable : "e"; } pin (e) { direction : input; } }
  cell (one) { area : 1; pin (z) { direction : output; function : "1"; } }
}
"""


# Libraries


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_library_of_any_names_and_units(tmp_path: Path) -> None:
    library = read_library(write(tmp_path / "little.lib", LIBERTY))
    assert library.name == "little"
    assert [cell.name for cell in library.buffers] == ["bf_1", "bf_9"]
    assert library.flip_flops == {"ff": ["q"]}
    assert library.unused == ["bad", "lt"]
    assert library.tie("1") == ("one", "z")
    assert library.tie("0") is None
    assert library.cells["ff"].pins["ck"].is_clock
    nand = library.cells["nd2"]
    assert nand.pins["b"].capacitance_pf == pytest.approx(0.002)
    assert nand.pins["z"].max_load_pf == pytest.approx(0.05)
    # The slower row: 20 ps at 1 fF, 220 ps at 101 fF.
    buffer = library.cells["bf_1"].pins["z"]
    assert buffer.delay_per_pf == pytest.approx(2.0)
    assert buffer.delay_ns == pytest.approx(0.018)


@pytest.mark.parametrize(
    ("text", "reason"), [("module x; endmodule", "no library"), ("library (x) { cell (", "ends")])
def test_what_is_no_liberty(text: str, reason: str) -> None:
    with pytest.raises(LibertySyntaxError, match=reason):
        parse(text)


# Units


class Leaf(wiring.Component):
    """Registers the exclusive or of a byte and one bit."""

    i: In(8)
    flip: In(1)
    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i ^ self.flip.replicate(8))
        return m


class Fan(wiring.Component):
    """One register and one input that drive many gates, also across modules."""

    LEAVES = 40

    def __init__(self) -> None:
        super().__init__({"i": In(8), "flip": In(1), "o": Out(8 * self.LEAVES), "held": Out(1),
                          "same": Out(1), "count": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal()
        m.d.sync += [held.eq(self.flip), self.count.eq(self.count + held)]
        m.d.comb += [self.held.eq(held), self.same.eq(self.flip)]
        for n in range(self.LEAVES):
            leaf = Leaf()
            instantiate(m, f"leaf_{n}", "leaf", leaf, platform)
            m.d.comb += [leaf.i.eq(self.i), leaf.flip.eq(held),
                         self.o.word_select(n, 8).eq(leaf.o)]
        return m


@pytest.fixture(scope="module")
def fan() -> EmittedVerilog:
    return emit(Fan(), "fan")


def test_units() -> None:
    emitted = emit(ArrayStep(find_config("tiny")), "tessera_array_step")
    units = cut(emitted.logic, emitted.top)
    assert units.keys() == {"tessera_array_step", "tessera_pe"}
    # Everything that is emitted is in some unit, once.
    inside = sum(unit.logic.count("\nendmodule") for unit in units.values())
    assert inside == emitted.logic.count("\nendmodule") > 2
    array = units["tessera_array_step"]
    assert "module tessera_pe(" in array.children
    assert "always" in units["tessera_pe"].logic
    assert "always" not in array.children
    assert cut(emitted.logic, "tessera_pe").keys() == {"tessera_pe"}
    with pytest.raises(ValueError, match=r"module must be one of .*tessera_pe.*, not 'none'"):
        cut(emitted.logic, "none")


# Netlists and buffers


@pytest.fixture(scope="module")
def library() -> Library:
    return read_library(DEFAULT_LIBERTY)


def loads(text: str, library: Library) -> dict[str, float]:
    """Return the load in pF of each net of a flat netlist, clocks left out."""
    found: dict[str, float] = {}
    for cell, pins in re.findall(r"^  (\w+) \S+ \((\..*)\);$", text, re.MULTILINE):
        for port, net in re.findall(r"\.(\w+)\(([^()]*)\)", pins):
            pin = library.cells[cell].pins[port]
            if not pin.is_output and not pin.is_clock:
                found[net.strip()] = found.get(net.strip(), 0.0) + pin.capacitance_pf
    return found


@needs_library
def test_buffers_limit_loads_and_keep_the_function(
    fan: EmittedVerilog, library: Library, tmp_path: Path
) -> None:
    candidates = synthesize_units(cut(fan.logic, "fan"), "", library, tmp_path / "units", 5.0,
                                  lambda text: None, scripts=["small"])
    files = {name: found[0].netlist for name, found in candidates.items()}
    netlist = read_modules(files, "fan", library.flip_flops)
    (tmp_path / "before.v").write_text(verilog(netlist))
    done = insert_buffers(netlist, library, {})
    (tmp_path / "after.v").write_text(verilog(netlist))
    before, after = done.largest_pf
    # One register drives an input of each leaf, and a counter.
    assert before > 1.0
    assert done.buffers["fan"] > 1
    assert after <= Strengths(library).buffer_limit_pf
    yosys.run(tmp_path, f"""
        read_liberty {library.path}
        read_verilog before.v
        hierarchy -top fan; flatten; opt_clean; rename fan gold
        design -stash gold
        read_liberty {library.path}
        read_verilog after.v
        hierarchy -top fan; flatten; opt_clean; rename fan gate
        design -stash gate
        design -copy-from gold -as gold gold
        design -copy-from gate -as gate gate
        equiv_make gold gate proof; cd proof; equiv_simple; equiv_induct; equiv_status -assert
    """)


@needs_library
def test_names_in_the_netlist(fan: EmittedVerilog, library: Library, tmp_path: Path) -> None:
    candidates = synthesize_units(cut(fan.logic, "fan"), "", library, tmp_path, 5.0,
                                  lambda text: None, scripts=["small"])
    netlist = read_modules({name: found[0].netlist for name, found in candidates.items()}, "fan",
                           library.flip_flops)
    text = verilog(netlist)
    # Registers by their names, outputs that repeat an input, no escaped name.
    assert {"held_reg", "count_0_reg", "count_3_reg", "leaf_39"} <= {
        instance.name for instance in netlist.modules["fan"].instances}
    assert "assign same = flip;" in text
    assert "\\" not in text
    assert netlist.instance_counts()["leaf"] == Fan.LEAVES
    assert list(netlist.modules) == ["leaf", "fan"]


@needs_library
def test_units_are_kept(fan: EmittedVerilog, library: Library, tmp_path: Path,
                        monkeypatch: pytest.MonkeyPatch) -> None:
    units = cut(fan.logic, "leaf")
    def synthesize(period: float) -> list:
        return synthesize_units(units, "", library, tmp_path, period, lambda text: None)["leaf"]

    first = synthesize(5.0)
    def refuse(*_: object) -> str:
        raise AssertionError("Yosys ran again")

    monkeypatch.setattr(yosys, "run", refuse)
    assert synthesize(5.0) == first
    with pytest.raises(AssertionError, match="ran again"):
        synthesize(4.0)


# The flow


@pytest.fixture(scope="module")
def design(
    fan: EmittedVerilog, library: Library, tmp_path_factory: pytest.TempPathFactory
) -> AsicDesign:
    return implement(find_config("tiny"), fan, library, tmp_path_factory.mktemp("fan"),
                     period_ns=5.0, top="fan")


@needs_library
@needs_sta
def test_timing(design: AsicDesign) -> None:
    timing = design.timing
    assert 0 < timing.slack_ns < 5
    assert timing.fmax_mhz == pytest.approx(1000 / (5 - timing.slack_ns))
    starts = {path.start for path in timing.worst}
    assert "held" in starts
    path = next(path for path in timing.worst if path.start == "held")
    assert path.path.stages[0].cell.startswith("DFF")
    assert sum(stage.delay_ns for stage in path.path.stages) == pytest.approx(
        path.path.delay_ns, abs=0.01)
    assert path.path.levels == len(path.path.stages) - 1
    assert {path.block for path in timing.blocks} == {"fan", "leaf"}


@needs_library
@needs_sta
def test_report_and_picture(design: AsicDesign, tmp_path: Path) -> None:
    report = AsicReport(design, 1.5).as_dict()
    blocks = {block["name"]: block for block in report["blocks"]}
    leaf, top = blocks["leaf"], blocks["fan"]
    assert leaf["instances"] == Fan.LEAVES
    assert leaf["flip_flops"] == 8
    assert leaf["area_all"] == Fan.LEAVES * leaf["area"]
    assert top["area_below"] == top["area"] + leaf["area_all"]
    assert report["totals"]["logic_area_um2"] == top["area_below"]
    assert report["totals"]["flip_flops"] == 8 * Fan.LEAVES + 5
    area = sum(design.library.cells[cell].area for cell in re.findall(
        r"^  ([A-Z]\w+) ", design.netlist_file.read_text().split("module fan")[1], re.MULTILINE))
    assert top["area"] == area
    assert report["limits"][0]["passed"]
    assert report["array_over_bare"] is None
    json.dumps(report)
    for name in ("report.svg", "report.png"):
        draw(AsicReport(design, 1.5), tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000


@needs_library
@needs_sta
def test_faster_scripts_where_time_is_short(library: Library, tmp_path: Path) -> None:
    class Adder(wiring.Component):
        a: In(32)
        b: In(32)
        o: Out(32)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            a, b = Signal(32), Signal(32)
            m.d.sync += [a.eq(self.a), b.eq(self.b), self.o.eq(a + b)]
            return m

    emitted = emit(Adder(), "adder")
    config = find_config("tiny")
    slow = implement(config, emitted, library, tmp_path, period_ns=20.0, top="adder")
    fast = implement(config, emitted, library, tmp_path, period_ns=3.5, top="adder")
    assert slow.choice["adder"].script == "least"
    assert fast.choice["adder"].script != "least"
    assert AsicReport(slow, 0).logic_area < AsicReport(fast, 0).logic_area
    assert fast.timing.fmax_mhz > slow.timing.fmax_mhz


@needs_library
@needs_sta
def test_a_block_with_memories_by_command(tmp_path: Path) -> None:
    """One step of the array: macros timed by their own Liberty, and figures of the multiplier."""
    result = CliRunner().invoke(app, [
        "asic", "--config", "tiny", "--module", "tessera_array_step", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["top"] == "tessera_array_step"
    (memory,) = report["memories"]
    assert memory["instances"] == find_config("tiny").rows_per_step
    assert memory["area"] > 0
    assert report["multiplier_path"]["block"] == "tessera_pe"
    assert "product" in report["multiplier_path"]["end"]
    ends = {path["end"] for path in report["worst_paths"]}
    assert any(re.search(r"bank_\d_memory/(write_data|address|enable|write_mask)", e) for e in ends)
    for words in ("tessera_pe", "memory macro", "multiplier's own path", "before placement"):
        assert words in result.output
    assert (tmp_path / "report.svg").is_file()


def other_library(text: str) -> str:
    """Return a library with other names: nothing in the flow may know those of the default."""
    for old, new in (("DFFPOSX1", "reg_p"), ("BUFX", "bf"), ("NAND2X1", "nd2"), ("DFFSR", "reg_rs")):
        text = text.replace(old, new)
    return text


@needs_library
@needs_sta
def test_another_library(fan: EmittedVerilog, tmp_path: Path) -> None:
    library = read_library(write(tmp_path / "other.lib", other_library(DEFAULT_LIBERTY.read_text())))
    design = implement(find_config("tiny"), fan, library, tmp_path / "out", period_ns=5.0, top="fan")
    cells = {i.module for module in design.netlist.modules.values() for i in module.instances}
    assert {"reg_p", "bf4"} <= cells
    assert not any("X1" in cell and cell.startswith("DFF") for cell in cells)
    assert design.timing.slack_ns > 0


@needs_library
@needs_sta
def test_asynchronous_reset(library: Library, tmp_path: Path) -> None:
    emitted = EmittedVerilog(top="count", srams=(), cells=(), memory_macro="", logic="""
module count(clk, rst, i, o);
  input clk;
  input rst;
  input [3:0] i;
  output [3:0] o;
  reg [3:0] o;
  always @(posedge clk, posedge rst) if (rst) o <= 4'h5; else o <= o + i;
endmodule
""")
    design = implement(find_config("tiny"), emitted, library, tmp_path, period_ns=5.0)
    registers = [i for i in design.netlist.modules["count"].instances
                 if i.module in library.flip_flops]
    assert {i.name for i in registers} == {f"o_{bit}_reg" for bit in range(4)}
    assert {i.module for i in registers} == {"DFFSR"}
    assert {path.end for path in design.timing.worst} <= {"o_3", "o_2", "o_1", "o_0", "o[0]", "o[1]",
                                                         "o[2]", "o[3]"}


# What is refused


def refuse(*arguments: object) -> str:
    """Return the one sentence that `tessera asic` ends with."""
    result = CliRunner().invoke(app, ["asic", *(str(argument) for argument in arguments)])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line.removeprefix("error: ")


def no_such_file(path: Path) -> Path:
    return path / "none.lib"


def verilog_file(path: Path) -> Path:
    return write(path / "cells.v", "module INV(input A, output Y); assign Y = !A; endmodule\n")


def without_flip_flop(path: Path) -> Path:
    return write(path / "gates.lib", re.sub(r"cell \(ff\).*?\n  cell", "cell", LIBERTY,
                                            flags=re.DOTALL))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (no_such_file, "--liberty must be a Liberty file that exists, not {}"),
        (verilog_file, "--liberty must be a Liberty file, and {} is none: it has no library group"),
        (without_flip_flop, "--liberty must hold a flip-flop, and {} has none"),
    ],
)
def test_refused_libraries(make: Callable[[Path], Path], sentence: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    assert refuse("--liberty", path, "--out", tmp_path / "out") == sentence.format(path)


def test_missing_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    liberty = write(tmp_path / "little.lib", LIBERTY)
    arguments = ("--liberty", liberty, "--out", tmp_path / "out")
    monkeypatch.setattr("flows.yosys.importlib.util.find_spec", lambda name: None)
    assert refuse(*arguments).startswith("Yosys is not installed: run `make asic`")
    monkeypatch.undo()
    monkeypatch.setattr("flows.asic.sta.shutil.which", lambda name: None)
    assert refuse(*arguments) == (
        "OpenSTA's program `sta` is not installed: apt install opensta")
    monkeypatch.setattr(asic, "DEFAULT_LIBERTY", tmp_path / "none.lib")
    assert "apt install qflow-tech-osu018" in refuse("--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config", "huge"], "config must be one of tiny"),
        (["--period", "0"], "--period must be a positive number of ns, not 0"),
        (["--json", "/none/such/file.json"], "--json must be in a directory that exists"),
    ],
)
def test_refused_options(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    assert refuse("--out", tmp_path / "out", *arguments).startswith(sentence)

