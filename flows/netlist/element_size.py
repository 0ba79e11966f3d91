"""Size of a processing element in two-input gates, alone and with its share of the column's sum.

Synthesis is generic, without a library, so that the figures compare with those of other designs:
Yosys `synth -flatten -booth`, then `abc -g cmos2`, which maps to NAND, NOR and inverters.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flows import yosys
from hw.config import ChipletConfig
from hw.emit import emit, instantiate
from hw.matmul.array_step import column_sum, partial_sum_bits
from hw.matmul.processing_element import ProcessingElement

_SCRIPT = """\
read_verilog logic.v
synth -flatten -booth -top {top}
abc -g cmos2
opt_clean -purge
tee -q -o stat.json stat -json
"""


@dataclass(frozen=True, kw_only=True)
class ElementSize:
    """Cells of one processing element; fractions are shares of a column's."""

    two_input_gates: float
    inverters: float
    flip_flops: float


class Column(wiring.Component):
    """One column of one array step: its elements, their sum, and the register of the sum.

    Ports: ``weights``, ``activations``: a byte per row; ``partial``: the sum from above;
    ``partial_out``: with the column's products. Timing: as :class:`hw.matmul.array_step.ArrayStep`.
    """

    weights: Signal
    activations: Signal
    partial: Signal
    partial_out: Signal

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        bits = partial_sum_bits(config)
        super().__init__({
            "weights": In(8 * config.rows_per_step), "activations": In(8 * config.rows_per_step),
            "partial": In(signed(bits)), "partial_out": Out(signed(bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        products = []
        for r in range(self.config.rows_per_step):
            pe = ProcessingElement()
            instantiate(m, f"pe_{r}", "tessera_pe", pe, platform)
            m.d.comb += [pe.weight.eq(self.weights.word_select(r, 8).as_signed()),
                         pe.activation.eq(self.activations.word_select(r, 8).as_signed())]
            products.append(pe.product)
        partial = Signal.like(self.partial, reset_less=True)
        m.d.sync += partial.eq(column_sum(products, self.partial))
        m.d.comb += self.partial_out.eq(partial)
        return m


def _size(component: wiring.Component, top: str, place: Path, elements: int) -> ElementSize:
    place.mkdir(parents=True, exist_ok=True)
    (place / "logic.v").write_text(emit(component, top).logic, encoding="utf-8")
    yosys.run(place, _SCRIPT.format(top=top))
    cells = json.loads((place / "stat.json").read_text())["modules"][f"\\{top}"]["num_cells_by_type"]
    found = {"two_input_gates": cells["$_NAND_"] + cells["$_NOR_"], "inverters": cells["$_NOT_"],
             "flip_flops": sum(n for kind, n in cells.items() if "DFF" in kind)}
    assert sum(found.values()) == sum(cells.values()), cells
    return ElementSize(**{kind: number / elements for kind, number in found.items()})


def element_alone(place: Path) -> ElementSize:
    """Return the size of a bare processing element; work files go to ``place``."""
    return _size(ProcessingElement(), "tessera_pe", place, 1)


def element_with_share(config: ChipletConfig, place: Path) -> ElementSize:
    """Return the size of an element with its share of the sum below and of the sum's register."""
    return _size(Column(config), "column", place, config.rows_per_step)
