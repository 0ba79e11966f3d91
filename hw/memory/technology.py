"""What a memory costs in a process: area, time and energy from its size.

The figures place memories in timing, area and power reports before a memory compiler has been
asked; with a compiler's own Liberty files at hand, use those. docs/memories.md prints the fields
with their sources, and what they give for each memory.
"""

import dataclasses
import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MemoryFigures:
    """What one memory macro costs."""

    width_um: float
    height_um: float
    #: Clock edge to read data, at no load.
    access_ns: float
    #: Of one read, and of one write of a whole word.
    read_pj: float
    write_pj: float
    leakage_nw: float

    @property
    def area_um2(self) -> float:
        """Area of the macro."""
        return self.width_um * self.height_um


@dataclass(frozen=True, kw_only=True)
class MemoryTechnology:
    """Parameters of a process's SRAM; the defaults are those of a generic 0.18 um process.

    "Published" and "estimate" in the comments say where a default comes from. No estimate was
    fitted to a memory compiler. The formulas keep the trends of CACTI 3.0's model (Shivakumar and
    Jouppi, WRL research report 2001/2): time grows with the logarithm of words and of bits, energy
    with bits and with the length of the bit lines.
    """

    #: Name of the process.
    name: str = "generic_180nm"
    #: Supply of the figures.
    voltage_v: float = 1.8
    #: Temperature of the figures.
    temperature_c: float = 25.0
    #: A single-port (6T) cell. Published: 4.65 um2 (TSMC, 0.18 um logic);
    #: Intel's 0.18 um process has 5.59 um2 (Yang et al., IEDM 1998).
    bit_cell_um2: float = 4.65
    #: A cell with one read and one write port (8T), over a 6T cell. Estimate.
    two_port_factor: float = 1.8
    #: Share of cells in the cell array; the rest is straps and sub-bank decoders. Estimate.
    array_efficiency: float = 0.75
    #: Width of the strip of row decoders and control beside the array. Estimate.
    row_strip_um: float = 60.0
    #: Height of the strip of sense amplifiers, write drivers and output latches. Estimate.
    column_strip_um: float = 80.0
    #: Access time: constant part. Estimate.
    access_base_ns: float = 0.6
    #: Access time: for each doubling of the words. Estimate.
    access_per_word_doubling_ns: float = 0.11
    #: Access time: for each doubling of the bits. Estimate.
    access_per_bit_doubling_ns: float = 0.08
    #: What the output drivers add for their load. Estimate.
    access_per_load_ns_per_pf: float = 0.9
    #: Output transition at no load. Estimate.
    transition_ns: float = 0.1
    #: What load adds to the output transition. Estimate.
    transition_per_load_ns_per_pf: float = 1.5
    #: Largest load of an output. Estimate.
    max_load_pf: float = 1.0
    #: Inputs are stable so long before the clock edge. Estimate.
    setup_ns: float = 0.4
    #: Inputs are stable so long after the clock edge. Estimate.
    hold_ns: float = 0.1
    #: Capacitance of an input. Estimate: of two inverters.
    input_pf: float = 0.02
    #: Capacitance of the clock input. Estimate: of ten inverters.
    clock_pf: float = 0.1
    #: Energy of an access: decoder and control. Estimate.
    access_pj: float = 10.0
    #: Energy of an access: for each bit of the word. Estimate.
    bit_pj: float = 0.5
    #: Energy of an access: for each bit and the root of the words, since the array is folded
    #: to a square. Estimate.
    bit_line_pj: float = 0.02
    #: Energy of a write over that of a read, since bit lines swing fully. Estimate.
    write_factor: float = 1.2
    #: Leakage of a bit. Estimate: 10 pA a cell.
    bit_leakage_nw: float = 0.018

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "name":
                if not isinstance(value, str) or not value.isidentifier():
                    raise ValueError(f"memory_technology.name must be an identifier, not {value!r}")
            elif field.name != "temperature_c" and not (
                    isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise ValueError(
                    f"memory_technology.{field.name} must be a positive number, not {value!r}")
        if self.array_efficiency > 1:
            raise ValueError("memory_technology.array_efficiency must be at most 1, "
                             f"not {self.array_efficiency!r}")

    def figures(self, *, words: int, bits: int, ports: int) -> MemoryFigures:
        """Return what a macro of ``words`` x ``bits`` with one or two ports costs."""
        factor = self.two_port_factor if ports == 2 else 1.0
        cell_um = math.sqrt(self.bit_cell_um2 * factor / self.array_efficiency)
        width, height = min(
            (self._size(words, bits, fold, cell_um) for fold in (1, 2, 4, 8, 16, 32)
             if fold == 1 or fold <= words // 2),
            key=lambda size: abs(math.log(size[0] / size[1])))
        read = self.access_pj + bits * (self.bit_pj + self.bit_line_pj * math.sqrt(words))
        return MemoryFigures(
            width_um=round(width, 1), height_um=round(height, 1),
            access_ns=round(self.access_base_ns + self.access_per_word_doubling_ns * math.log2(words)
                            + self.access_per_bit_doubling_ns * math.log2(bits), 3),
            read_pj=round(read, 2), write_pj=round(read * self.write_factor, 2),
            leakage_nw=round(self.bit_leakage_nw * words * bits * factor, 3))

    def _size(self, words: int, bits: int, fold: int, cell_um: float) -> tuple[float, float]:
        """Return width and height when ``fold`` words share a row of the array."""
        return (bits * fold * cell_um + self.row_strip_um,
                math.ceil(words / fold) * cell_um + self.column_strip_um)
