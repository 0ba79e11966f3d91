"""The memories' behaviour, whatever stands behind their modules; what each view of them says."""

import dataclasses
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hw.memory import page
from hw.memory.adapter import Tiling, tiling
from hw.memory.liberty import abstract, liberty, macro_figures
from hw.memory.macro_cell import MacroCell, blackbox_verilog
from hw.memory.models import inferable_verilog, macro_cell
from hw.memory.open_macro import OPEN_MACROS
from hw.memory.sram import SramShape
from hw.memory.technology import MemoryTechnology
from verif.memories import split_hex
from verif.simulator import build
from verif.sram_bench import SramBench

BANK = SramShape(words=8192, bits=128, granule_bits=8, ports="1rw")
TWO_PORTS = SramShape(words=512, bits=32, granule_bits=16, ports="1r1w")
TECHNOLOGY = MemoryTechnology()


@pytest.mark.sim
@pytest.mark.parametrize(("shapes", "macro", "inferable", "collision"), [
    ("all", "", False, "inverted"), ("all", "", True, "undefined"),
    ("all", "32x512", False, "undefined"), ("some", "32x256", False, "undefined"),
    ("some", "32x512", True, "undefined"),
], ids=["simulation", "inferable", "32x512", "32x256", "32x512-inferable"])
def test_sram(shapes: str, macro: str, inferable: bool, collision: str) -> None:
    """Latency, hold, masks; and the inverted word of a forbidden collision."""
    name = f"sram_bench_{macro or 'own'}{'_inferable' if inferable else ''}"
    build(SramBench(shapes), name, memory_macro=macro, inferable=inferable).run(
        "verif.tb_sram", seed=1,
        environment={"TESSERA_COLLISION": collision, "TESSERA_SHAPES": shapes})


# Tilings


@pytest.mark.parametrize(("shape", "macro", "banks", "slices"), [
    (BANK, "32x512", 16, 4), (BANK, "32x256", 32, 4), (TWO_PORTS, "32x512", 1, 1),
    (SramShape(words=600, bits=45, granule_bits=15, ports="1rw"), "32x512", 2, 2),
    (SramShape(words=17, bits=16, granule_bits=4, ports="1rw"), "32x256", 1, 1),
])
def test_tiling(shape: SramShape, macro: str, banks: int, slices: int) -> None:
    """As many macros as the padded memory needs; a word comes back from its slices."""
    tiles = tiling(shape, macro)
    assert tiles is not None
    assert (tiles.banks, tiles.slices) == (banks, slices)
    rng = random.Random(1)
    for _ in range(20):
        word = rng.getrandbits(shape.bits)
        parts = tiles.spread(word)
        assert len(parts) == slices and max(parts) < 1 << tiles.macro.bits
        assert tiles.gather(parts) == word


def test_granules_stay_apart() -> None:
    """No byte of a macro holds bits of two granules."""
    shape = SramShape(words=100, bits=60, granule_bits=12, ports="1rw")
    tiles = Tiling(shape=shape, macro=OPEN_MACROS["32x512"])
    owners: dict[tuple[int, int], int] = {}
    for bit in range(shape.bits):
        (at,) = [(s, part.bit_length() - 1) for s, part in enumerate(tiles.spread(1 << bit)) if part]
        assert owners.setdefault((at[0], at[1] // 8), bit // 12) == bit // 12


def test_few_words_are_no_macro() -> None:
    assert tiling(SramShape(words=16, bits=8, granule_bits=8, ports="1rw"), "32x512") is None
    assert tiling(BANK, "") is None


def test_split_hex(tmp_path: Path) -> None:
    """An image's file becomes one of each tile; banks behind its end get none."""
    path = tmp_path / "top.memory.hex"
    words = [random.Random(i).getrandbits(32) for i in range(600)]
    path.write_text("".join(f"{word:08x}\n" for word in words))
    shape = SramShape(words=2048, bits=32, granule_bits=8, ports="1rw")
    tiles = tiling(shape, "32x512")
    assert tiles is not None
    split_hex(path, tiles)
    found = {p.name: [int(line, 16) for line in p.read_text().split()] for p in tmp_path.iterdir()}
    assert found == {"top.memory.tile_0_0.hex": words[:512], "top.memory.tile_1_0.hex": words[512:]}


# What an access costs


def test_figures_grow_with_size() -> None:
    """Deeper and wider is larger, slower and hungrier; and the banks are those of a 0.18 um RAM."""
    bank = TECHNOLOGY.figures(words=8192, bits=128, ports=1)
    assert 2.5 <= bank.access_ns <= 3.0
    assert 4.65 * 8192 * 128 < bank.area_um2 < 2 * 4.65 * 8192 * 128
    for smaller in ({"words": 4096, "bits": 128}, {"words": 8192, "bits": 64}):
        other = TECHNOLOGY.figures(**smaller, ports=1)
        for name in ("area_um2", "access_ns", "read_pj", "write_pj", "leakage_nw"):
            assert getattr(other, name) < getattr(bank, name), name
    assert TECHNOLOGY.figures(words=8192, bits=128, ports=2).area_um2 > 1.5 * bank.area_um2


@pytest.mark.parametrize(("change", "message"), [
    ({"setup_ns": 0}, "memory_technology.setup_ns must be a positive number, not 0"),
    ({"bit_cell_um2": "big"}, "memory_technology.bit_cell_um2 must be a positive number, not 'big'"),
    ({"array_efficiency": 1.5}, "memory_technology.array_efficiency must be at most 1, not 1.5"),
    ({"name": "0.18"}, "memory_technology.name must be an identifier, not '0.18'"),
])
def test_bad_technology(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryTechnology(**change)


def test_page_is_current() -> None:
    root = Path(__file__).parent.parent
    assert (root / "docs" / "memories.md").read_text() == page.page(), "run `make docs`"


def test_every_field_says_its_source() -> None:
    meanings = page.field_meanings()
    assert list(meanings) == [field.name for field in dataclasses.fields(MemoryTechnology)]
    silent = [name for name, text in meanings.items() if not re.search("Published|Estimate", text)]
    assert silent == ["name", "voltage_v", "temperature_c"]


# Views


@pytest.fixture(scope="module")
def cells() -> list[MacroCell]:
    return [macro_cell(BANK), macro_cell(TWO_PORTS), OPEN_MACROS["32x512"].cell]


def test_abstract(cells: list[MacroCell]) -> None:
    """Each macro's size, times, energy and pins, as JSON."""
    found = json.loads(json.dumps(abstract(cells, TECHNOLOGY)))
    assert [macro["name"] for macro in found] == [cell.module for cell in cells]
    bank = found[0]
    figures = macro_figures(cells[0], TECHNOLOGY)
    assert bank["area_um2"] == pytest.approx(bank["width_um"] * bank["height_um"], rel=1e-6)
    assert (bank["access_ns"], bank["read_pj"]) == (figures.access_ns, figures.read_pj)
    assert {pin["name"]: (pin["direction"], pin["bits"]) for pin in bank["pins"]} == {
        "clk": ("input", 1), "address": ("input", 13), "enable": ("input", 1),
        "write_mask": ("input", 16), "write_data": ("input", 128), "read_data": ("output", 128)}


def test_views_have_the_same_ports(cells: list[MacroCell]) -> None:
    """Models and black box declare the same ports in the same order."""
    for cell in cells:
        texts = [cell.simulation_model, cell.inferable_model, blackbox_verilog(cell)]
        headers = [re.search(rf"module {cell.module} \((.*?)\);", text, re.S) for text in texts]
        assert len({header[1].replace("output reg", "output") for header in headers if header}) == 1
        assert all(headers)


_RUN_YOSYS = """import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


def _yosys(*commands: str) -> None:
    """Run Yosys in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _RUN_YOSYS, *commands], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("shape", "want"), [
    (BANK, {"DP16KD": 64}),
    (SramShape(words=4096, bits=128, granule_bits=16, ports="1r1w"), {"DP16KD": 32}),
    (SramShape(words=4, bits=348, granule_bits=348, ports="1r1w"), {"TRELLIS_DPR16X4": 87}),
], ids=["bank", "1r1w", "queue"])
def test_block_ram_is_inferred(shape: SramShape, want: dict[str, int], tmp_path: Path) -> None:
    """ECP5 synthesis fills block RAM with whole memories, and needs no bypass around it."""
    (tmp_path / "fpga.v").write_text(inferable_verilog(shape))
    _yosys(f"read_verilog {tmp_path}/fpga.v", f"synth_ecp5 -top {shape.module} -run begin:map_ffs",
           f"tee -q -o {tmp_path}/stat.json stat -json")
    stat = json.loads((tmp_path / "stat.json").read_text())
    cells = stat["design"]["num_cells_by_type"]
    assert {name: cells.get(name, 0) for name in ("DP16KD", "TRELLIS_DPR16X4")} == {
        "DP16KD": 0, "TRELLIS_DPR16X4": 0} | want
    registers = sum(count for name, count in cells.items() if "DFF" in name)
    assert registers == (0 if "DP16KD" in want else shape.bits)


#: Two banks, one behind the other, and a macro with two ports.
_TOP = """\
module top (input clk, input [12:0] a, input en, input [15:0] wm, output [127:0] q,
            output [31:0] d0, output [31:0] d1);
  wire [127:0] s;
  {bank} m (.clk(clk), .address(a), .enable(en), .write_mask(wm), .write_data(s), .read_data(q));
  {bank} n (.clk(clk), .address(a), .enable(en), .write_mask(wm), .write_data(s), .read_data(s));
  {macro} o (.clk0(clk), .csb0(en), .web0(en), .wmask0(wm[3:0]), .addr0(a[8:0]), .din0(s[31:0]),
             .dout0(d0), .clk1(clk), .csb1(en), .addr1(a[8:0]), .dout1(d1));
endmodule
"""


@pytest.fixture
def design(cells: list[MacroCell], tmp_path: Path) -> Path:
    """Write a netlist of macros, their library and their black boxes."""
    (tmp_path / "top.v").write_text(_TOP.format(bank=cells[0].module, macro=cells[2].module))
    (tmp_path / "sram.lib").write_text(liberty("test", cells, TECHNOLOGY))
    (tmp_path / "black.v").write_text("".join(blackbox_verilog(cell) for cell in cells))
    return tmp_path


def test_yosys_reads_liberty_and_black_boxes(cells: list[MacroCell], design: Path) -> None:
    """Both describe the ports that the netlist connects; the area is the library's."""
    _yosys(f"read_verilog {design}/black.v", f"read_verilog {design}/top.v",
           "hierarchy -check -top top", "check -assert")
    _yosys(f"read_liberty -lib {design}/sram.lib", f"read_verilog {design}/top.v",
           "hierarchy -check -top top", "check -assert",
           f"tee -q -o {design}/stat.json stat -json -liberty {design}/sram.lib")
    area = json.loads((design / "stat.json").read_text())["design"]["area"]
    bank, _, macro = (macro_figures(cell, TECHNOLOGY).area_um2 for cell in cells)
    assert area == pytest.approx(2 * bank + macro, rel=1e-3)


@pytest.mark.skipif(shutil.which("sta") is None, reason="needs OpenSTA (Debian: opensta)")
def test_timing_from_liberty(cells: list[MacroCell], design: Path) -> None:
    """OpenSTA sees access, set-up and hold time, and the energy of accesses."""
    script = design / "sta.tcl"
    script.write_text(f"""read_liberty {design}/sram.lib
read_verilog {design}/top.v
link_design top
create_clock -name clk -period 5 [get_ports clk]
set_power_activity -input_ports [get_ports en] -activity 0.1 -duty 0.5
set_power_activity -input_ports [get_ports wm] -activity 0.1 -duty 0.5
report_checks -from n/clk -to m/write_data[3] -digits 3
report_checks -path_delay min -from n/clk -to m/write_data[3] -digits 3
report_checks -to [get_ports d1] -unconstrained -digits 3
report_power
""")
    done = subprocess.run(["sta", "-no_splash", "-exit", str(script)], check=True,
                          capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert "Error" not in text and "Warning" not in text, text
    figures = macro_figures(cells[0], TECHNOLOGY)
    load = 3 * TECHNOLOGY.input_pf  # a data input of each macro
    arrival = figures.access_ns + load * TECHNOLOGY.access_per_load_ns_per_pf
    slacks = [float(found) for found in re.findall(r"(-?[\d.]+)\s+slack", text)]
    assert slacks[0] == pytest.approx(5 - TECHNOLOGY.setup_ns - arrival, abs=0.002)
    assert slacks[1] == pytest.approx(arrival - TECHNOLOGY.hold_ns, abs=0.002)
    assert re.search(rf"{macro_figures(cells[2], TECHNOLOGY).access_ns:.3f} .*o/dout1\[\d+\]", text)
    power = re.search(r"^Total +(\S+)", text, re.MULTILINE)
    assert power is not None
    assert float(power[1]) > 0.5 * figures.read_pj * 1e-12 / 5e-9
