"""Checks of the emitted design's structure: ports, clock domains."""

from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flows.structure.clock_domains import crossings, unsafe
from flows.structure.netlist import FlatDesign, flat_design
from flows.structure.page import chiplet_design, documentation
from flows.structure.ports import port_paths
from hw.chiplet import Chiplet
from hw.config import CONFIGS
from hw.emit import emit
from hw.network.config import NetworkConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def networked(tmp_path_factory: pytest.TempPathFactory) -> FlatDesign:
    config = CONFIGS["fpga_small"].replace(network=NetworkConfig(flit_bytes=16))
    return flat_design(emit(Chiplet(config), "tessera_chiplet"), tmp_path_factory.mktemp("networked"))


@pytest.fixture(scope="module")
def chiplet(tmp_path_factory: pytest.TempPathFactory) -> FlatDesign:
    return chiplet_design(tmp_path_factory.mktemp("chiplet"))


def test_no_logic_from_input_to_output(chiplet: FlatDesign) -> None:
    assert {path.name: path.through for path in port_paths(chiplet) if path.through} == {}


def test_one_clock_and_no_crossing(chiplet: FlatDesign) -> None:
    assert len({storage.clock for storage in chiplet.storage}) == 1
    assert crossings(chiplet) == []


def test_with_a_network(networked: FlatDesign) -> None:
    """The same holds for a chiplet with links; their wires begin and end at registers."""
    paths = {path.name: path for path in port_paths(networked)}
    assert {name: path.through for name, path in paths.items() if path.through} == {}
    wires = [path for name, path in paths.items() if "_phit_" in name]
    assert len(wires) == 8 and all(path.registered for path in wires)
    assert crossings(networked) == []


def test_page_is_current(chiplet: FlatDesign) -> None:
    assert (ROOT / "docs/ports.md").read_text() == documentation(chiplet), "run `make docs`"


class TwoClocks(wiring.Component):
    """One bit passes to another clock through a synchronizer, one without, one past a gate."""

    other_clk: In(1)
    data: In(3)
    synchronized: Out(1)
    bare: Out(1)
    gated: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.other = other = ClockDomain("other", reset_less=True, local=True)
        m.d.comb += other.clk.eq(self.other_clk)
        sent = Signal(3)
        m.d.sync += sent.eq(self.data)
        first = Signal(name="first")
        gated_first = Signal(name="gated_first")
        m.d.other += [first.eq(sent[0]), self.synchronized.eq(first), self.bare.eq(sent[1]),
                      gated_first.eq(sent[1] & sent[2]), self.gated.eq(gated_first)]
        return m


def test_planted_crossings_are_found(tmp_path: Path) -> None:
    """Of three crossings, only the chain of two flip-flops without a gate in front is safe."""
    design = flat_design(emit(TwoClocks(), "two_clocks"), tmp_path)
    found = crossings(design)
    assert {each.target: each.synchronized for each in found} == {
        "first": True, "bare": False, "gated_first": False}
    assert {each.target for each in unsafe(found)} == {"bare", "gated_first"}


class Through(wiring.Component):
    """An output that depends on an input without a register."""

    i: In(1)
    o: Out(1)
    registered: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        m.d.sync += self.registered.eq(self.i)
        return m


def test_planted_path_is_found(tmp_path: Path) -> None:
    paths = {path.name: path for path in port_paths(flat_design(emit(Through(), "through"), tmp_path))}
    assert paths["o"].through == ("i",) and not paths["o"].registered
    assert paths["registered"].registered and not paths["registered"].through
