"""Verilog behind a memory's module: the model for simulation, and the one that FPGA tools infer."""

from hw.memory.macro_cell import Access, MacroCell, Pin, port_list
from hw.memory.sram import SramShape

#: Loads ``+image=DIR/<hierarchical name>.hex`` at time 0, if that file exists.
IMAGE_LOADER = """\
`ifdef TESSERA_IMAGE
  string image_directory, image_file;
  int image_handle;
  initial if ($value$plusargs("image=%s", image_directory)) begin
    image_file = {image_directory, "/", $sformatf("%m"), ".hex"};
    image_handle = $fopen(image_file, "r");
    if (image_handle != 0) begin
      $fclose(image_handle);
      $readmemh(image_file, mem);
    end
  end
`endif
"""

_ONE_PORT = """\
  always @(posedge clk) begin
    if (enable && write_mask == 0) read_data <= mem[address];
    if (enable) begin
{writes}
    end
  end
endmodule
"""

_TWO_PORTS = """\
  always @(posedge clk) begin
    if (read_enable)
      read_data <= {read};
{writes}
  end
endmodule
"""

_COLLISION = """\
(write_mask != 0 && write_address == read_address)
                   ? ~mem[read_address] : mem[read_address]"""


def macro_cell(shape: SramShape) -> MacroCell:
    """Return a memory's shape as a macro of its own."""
    if shape.ports == "1rw":
        enabled = "enable & "
        reads = [f"!write_mask[{i}]" for i in range(shape.mask_bits)]
        writes = [f"write_mask[{i}]" for i in range(shape.mask_bits)]
        if shape.mask_bits == 1:
            reads, writes = ["!write_mask"], ["write_mask"]
        read_when = enabled + " & ".join(reads)
        write_when = enabled + "(" + " | ".join(writes) + ")"
    else:
        read_when = "read_enable"
        write_when = "write_mask" if shape.mask_bits == 1 else " | ".join(
            f"write_mask[{i}]" for i in range(shape.mask_bits))
    return MacroCell(
        module=shape.module, words=shape.words, bits=shape.bits, granule_bits=shape.granule_bits,
        ports=1 if shape.ports == "1rw" else 2, pins=_pins(shape),
        accesses=(Access(clock="clk", when=read_when, is_write=False),
                  Access(clock="clk", when=write_when, is_write=True)),
        simulation_model=behavioural_verilog(shape), inferable_model=inferable_verilog(shape))


def _pins(shape: SramShape) -> tuple[Pin, ...]:
    inputs = [("write_mask", shape.mask_bits), ("write_data", shape.bits)]
    if shape.ports == "1rw":
        inputs = [("address", shape.address_bits), ("enable", 1), *inputs]
    else:
        inputs = [("read_address", shape.address_bits), ("read_enable", 1),
                  ("write_address", shape.address_bits), *inputs]
    return (Pin(name="clk"), *(Pin(name=name, bits=bits, clock="clk") for name, bits in inputs),
            Pin(name="read_data", bits=shape.bits, is_output=True, clock="clk"))


def behavioural_verilog(shape: SramShape) -> str:
    """Return the simulation model of a memory.

    A read of the word that is being written (1r1w) gives the inverted old word. With the macro
    TESSERA_IMAGE, ``+image=DIR`` fills the memory at time 0 from a file of its name.
    """
    return _header(shape) + IMAGE_LOADER + _always(shape, _COLLISION)


def inferable_verilog(shape: SramShape) -> str:
    """Return the model that synthesis maps to block RAM, or to small memories of lookup tables.

    A read of the word that is being written is undefined in it: the attribute tells Yosys, which
    would else build a bypass. It is no initialized memory.
    """
    return _header(shape, "(* no_rw_check *) ") + _always(shape, "mem[read_address]")


def register_file_verilog(shape: SramShape) -> str:
    """Return a memory that the logic keeps in flip-flops of its own."""
    return _header(shape) + IMAGE_LOADER + _always(shape, "mem[read_address]")


def _header(shape: SramShape, attribute: str = "") -> str:
    return (f"module {shape.module} (\n{port_list(_pins(shape), ('read_data',))}\n);\n"
            f"  {attribute}reg [{shape.bits - 1}:0] mem [0:{shape.words - 1}];\n")


def _always(shape: SramShape, read: str) -> str:
    address = "address" if shape.ports == "1rw" else "write_address"
    if shape.mask_bits == 1:
        writes = f"    if (write_mask) mem[{address}] <= write_data;"
    else:
        g = shape.granule_bits
        writes = "\n".join(
            f"    if (write_mask[{i}]) mem[{address}][{i * g + g - 1}:{i * g}] "
            f"<= write_data[{i * g + g - 1}:{i * g}];" for i in range(shape.mask_bits))
    if shape.ports == "1rw":
        return _ONE_PORT.format(writes=writes)
    return _TWO_PORTS.format(writes=writes, read=read)
