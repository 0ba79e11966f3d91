"""Macros that exist in silicon: the open SRAMs of the sky130 process, made by OpenRAM.

Each has a port that reads or writes ("0") and one that reads ("1"), with selects and write enable
active low, and one mask bit for each byte. Read data come one cycle after the address and last for
that cycle only: OpenRAM's own model drops them at the next clock edge.
"""

from dataclasses import dataclass

from hw.memory.macro_cell import Access, MacroCell, Pin, port_list
from hw.memory.models import IMAGE_LOADER

#: Of every macro here.
GRANULE_BITS = 8

#: Hundreds of copies would make the simulator slow to build.
_ONE_CLASS = "  /* verilator no_inline_module */\n"

_SIMULATION = """\
  always @(posedge clk0) begin
    dout0 <= !csb0 && web0 ? mem[addr0] : ~dout0;
{writes}
  end
  always @(posedge clk1)
    dout1 <= csb1 ? ~dout1 : !csb0 && !web0 && addr0 == addr1 ? ~mem[addr1] : mem[addr1];
endmodule
"""

_INFERABLE = """\
  always @(posedge clk0) begin
    if (!csb0 && web0) dout0 <= mem[addr0];
{writes}
  end
  always @(posedge clk1)
    if (!csb1) dout1 <= mem[addr1];
endmodule
"""


@dataclass(frozen=True, kw_only=True)
class OpenMacro:
    """An OpenRAM macro of the kind 1RW + 1R with a mask bit for each byte."""

    module: str
    words: int
    bits: int

    @property
    def address_bits(self) -> int:
        """Width of an address port."""
        return (self.words - 1).bit_length()

    @property
    def mask_bits(self) -> int:
        """Width of the write mask."""
        return self.bits // GRANULE_BITS

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The pins, without supplies."""
        return (
            Pin(name="clk0"), Pin(name="csb0", clock="clk0"), Pin(name="web0", clock="clk0"),
            Pin(name="wmask0", bits=self.mask_bits, clock="clk0"),
            Pin(name="addr0", bits=self.address_bits, clock="clk0"),
            Pin(name="din0", bits=self.bits, clock="clk0"),
            Pin(name="dout0", bits=self.bits, is_output=True, clock="clk0"),
            Pin(name="clk1"), Pin(name="csb1", clock="clk1"),
            Pin(name="addr1", bits=self.address_bits, clock="clk1"),
            Pin(name="dout1", bits=self.bits, is_output=True, clock="clk1"))

    @property
    def cell(self) -> MacroCell:
        """The macro as the tools see it.

        The simulation model inverts what a port shows in the cycles after which it promises
        nothing, and a word that is read while it is written.
        """
        header = (f"module {self.module} (\n{port_list(self.pins, ('dout0', 'dout1'))}\n);\n"
                  f"  {{attribute}}reg [{self.bits - 1}:0] mem [0:{self.words - 1}];\n")
        g = GRANULE_BITS
        writes = "\n".join(
            f"    if (!csb0 && !web0 && wmask0[{i}]) mem[addr0][{i * g + g - 1}:{i * g}] "
            f"<= din0[{i * g + g - 1}:{i * g}];" for i in range(self.mask_bits))
        return MacroCell(
            module=self.module, words=self.words, bits=self.bits, granule_bits=g, ports=2,
            pins=self.pins,
            accesses=(Access(clock="clk0", when="!csb0 & web0", is_write=False),
                      Access(clock="clk0", when="!csb0 & !web0", is_write=True),
                      Access(clock="clk1", when="!csb1", is_write=False)),
            simulation_model=(header.format(attribute="") + _ONE_CLASS + IMAGE_LOADER
                              + _SIMULATION.format(writes=writes)),
            inferable_model=(header.format(attribute="(* no_rw_check *) ")
                             + _INFERABLE.format(writes=writes)))


#: The macros that a configuration may name in ``memory_macro``.
OPEN_MACROS = {
    "32x512": OpenMacro(module="sky130_sram_2kbyte_1rw1r_32x512_8", words=512, bits=32),
    "32x256": OpenMacro(module="sky130_sram_1kbyte_1rw1r_32x256_8", words=256, bits=32),
}
