"""A memory of any shape, built from macros of one other shape.

The adapter keeps the module name and the ports of the memory, so that the logic above does not
change. A memory of few words stays a register file, since a macro would be nearly empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hw.memory.macro_cell import port_list
from hw.memory.models import macro_cell, register_file_verilog
from hw.memory.open_macro import GRANULE_BITS, OPEN_MACROS, OpenMacro
from hw.memory.sram import SramShape

#: Memories of at most so many words become flip-flops.
REGISTER_FILE_WORDS = 16


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How the words of a memory lie in macros.

    Tile (bank, slice) holds the words from ``bank * macro.words`` on, and of each the bits from
    ``slice * macro.bits`` on, after every write granule was padded to whole bytes.
    """

    shape: SramShape
    macro: OpenMacro

    @property
    def padded_granule_bits(self) -> int:
        """Bits that a granule takes in the macros."""
        return -(-self.shape.granule_bits // GRANULE_BITS) * GRANULE_BITS

    @property
    def slices(self) -> int:
        """Macros beside each other: they share a word."""
        return -(-self.padded_granule_bits * self.shape.mask_bits // self.macro.bits)

    @property
    def banks(self) -> int:
        """Macros above each other: they share the bits."""
        return -(-self.shape.words // self.macro.words)

    def place(self, address: int) -> tuple[int, int]:
        """Return the bank of a word, and the address in it."""
        return divmod(address, self.macro.words)

    def spread(self, word: int) -> list[int]:
        """Return a word as the words of its slices."""
        g, padded = self.shape.granule_bits, self.padded_granule_bits
        wide = sum((word >> (i * g) & ((1 << g) - 1)) << (i * padded)
                   for i in range(self.shape.mask_bits))
        return [wide >> (s * self.macro.bits) & ((1 << self.macro.bits) - 1)
                for s in range(self.slices)]

    def gather(self, parts: Sequence[int]) -> int:
        """Return the word whose slices are these."""
        g, padded = self.shape.granule_bits, self.padded_granule_bits
        wide = sum(part << (s * self.macro.bits) for s, part in enumerate(parts))
        return sum((wide >> (i * padded) & ((1 << g) - 1)) << (i * g)
                   for i in range(self.shape.mask_bits))


def tile_name(bank: int, part: int) -> str:
    """Return the name of the instance of one tile."""
    return f"tile_{bank}_{part}"


def tiling(shape: SramShape, memory_macro: str) -> Tiling | None:
    """Return how a memory lies in macros called ``memory_macro``; None: not in macros."""
    if not memory_macro or shape.words <= REGISTER_FILE_WORDS:
        return None
    return Tiling(shape=shape, macro=OPEN_MACROS[memory_macro])


def adapter_verilog(shape: SramShape, memory_macro: str) -> str:
    """Return the memory's module, made of macros or, when it is small, of flip-flops.

    Latency and hold are those of the memory: data come one cycle after the read and last until the
    next. The multiplexer over the banks and the one between fresh and held data follow the macros'
    outputs; both selects come from registers.
    """
    tiles = tiling(shape, memory_macro)
    return register_file_verilog(shape) if tiles is None else _tiled(tiles)


_BODY = """\
module {module} (
{ports}
);
  wire [{mask_1}:0] mask = {{{mask}}};
  wire [{wide_1}:0] data = {{{data}}};
  wire read = {read};
  wire [{all_1}:0] tiles;
  wire [{all_1}:0] unused;
  reg read_now;
  reg [{used_1}:0] held;
{bank_register}  wire [{used_1}:0] fresh = {fresh};
  wire [{used_1}:0] word = read_now ? fresh : held;
  assign read_data = {{{read_data}}};
  always @(posedge clk) begin
    read_now <= read;
    if (read_now) held <= fresh;
{bank_update}  end
"""

_TILE = """\
  {macro} {name} (
    .clk0(clk), .csb0({select_0}), .web0({write_enable}), .wmask0({mask}),
    .addr0({address_0}), .din0({data}), .dout0({out_0}),
    .clk1(clk), .csb1({select_1}), .addr1({address_1}), .dout1({out_1})
  );
"""


def _tiled(tiles: Tiling) -> str:
    text = _body(tiles)
    shape, macro = tiles.shape, tiles.macro
    one_port, wide = shape.ports == "1rw", tiles.slices * macro.bits
    write_address, read_address = ("address",) * 2 if one_port else ("write_address", "read_address")
    for bank in range(tiles.banks):
        for s in range(tiles.slices):
            first = s * macro.bits
            mask = f"mask[{(first + macro.bits) // GRANULE_BITS - 1}:{first // GRANULE_BITS}]"
            window = f"[{bank * wide + first + macro.bits - 1}:{bank * wide + first}]"
            out_0, out_1 = ("tiles", "unused") if one_port else ("unused", "tiles")
            active = f"(read | enable & (|{mask}))" if one_port else f"(|{mask})"
            text += _TILE.format(
                macro=macro.module, name=tile_name(bank, s),
                select_0=f"~({_chosen(tiles, write_address, bank)}{active})",
                write_enable="read" if one_port else "1'b0", mask=mask,
                address_0=_inside(tiles, write_address),
                data=f"data[{first + macro.bits - 1}:{first}]",
                out_0=out_0 + window,
                select_1="1'b1" if one_port else f"~({_chosen(tiles, read_address, bank)}read)",
                address_1=_inside(tiles, read_address), out_1=out_1 + window)
    return text + "endmodule\n"


def _body(tiles: Tiling) -> str:
    """Return the module up to its tiles: padded mask and data, and the way of what was read."""
    shape, macro = tiles.shape, tiles.macro
    g, padded, one_port = shape.granule_bits, tiles.padded_granule_bits, shape.ports == "1rw"
    wide, used = tiles.slices * macro.bits, padded * shape.mask_bits
    granules = range(shape.mask_bits - 1, -1, -1)
    mask = [f"{{{padded // GRANULE_BITS}{{write_mask[{i}]}}}}" if shape.mask_bits > 1
            else f"{{{padded // GRANULE_BITS}{{write_mask}}}}" for i in granules]
    data = []
    for i in granules:
        data += [f"{padded - g}'d0"] if padded > g else []
        data += [f"write_data[{i * g + g - 1}:{i * g}]"]
    if wide > used:
        mask.insert(0, f"{(wide - used) // GRANULE_BITS}'d0")
        data.insert(0, f"{wide - used}'d0")
    bank_register, bank_update, fresh = "", "", f"tiles[{used - 1}:0]"
    if tiles.banks > 1:
        high, low = shape.address_bits - 1, macro.address_bits
        address = "address" if one_port else "read_address"
        bank_register = f"  reg [{high - low}:0] read_bank;\n"
        bank_update = f"    if (read) read_bank <= {address}[{high}:{low}];\n"
        fresh = f"tiles[read_bank * {wide} +: {used}]"
    return _BODY.format(
        module=shape.module, ports=port_list(macro_cell(shape).pins),
        mask_1=wide // GRANULE_BITS - 1, mask=", ".join(mask), wide_1=wide - 1,
        data=", ".join(data), read="enable & ~(|write_mask)" if one_port else "read_enable",
        all_1=tiles.banks * wide - 1, used_1=used - 1, fresh=fresh, bank_register=bank_register,
        bank_update=bank_update,
        read_data=", ".join(f"word[{i * padded + g - 1}:{i * padded}]" for i in granules))


def _inside(tiles: Tiling, address: str) -> str:
    """Return the address within a bank."""
    have, want = tiles.shape.address_bits, tiles.macro.address_bits
    if have < want:
        return f"{{{want - have}'d0, {address}}}"
    return address if have == want else f"{address}[{want - 1}:0]"


def _chosen(tiles: Tiling, address: str, bank: int) -> str:
    """Return the condition that an address is in a bank, as the start of a product."""
    if tiles.banks == 1:
        return ""
    high, low = tiles.shape.address_bits - 1, tiles.macro.address_bits
    return f"({address}[{high}:{low}] == {high - low + 1}'d{bank}) & "
