"""Writes docs/memories.md: what the views of a memory are, what it costs, how it is replaced."""

import dataclasses
import inspect

from hw.config import CONFIGS, ChipletConfig
from hw.memory.adapter import REGISTER_FILE_WORDS, tiling
from hw.memory.liberty import macro_figures
from hw.memory.models import macro_cell
from hw.memory.open_macro import OPEN_MACROS
from hw.memory.shapes import bank_shape, memory_shapes
from hw.memory.sram import SramShape
from hw.memory.technology import MemoryTechnology

_HEAD = """\
# Memories

Made by `make docs` from [hw/memory](../hw/memory); do not edit.

Every memory is an instance of a module whose name says its shape: `tessera_sram_1r1w_512x128_g64` has 512 words of 128 bits,
written in granules of 64, and one port that reads beside one that writes (`1rw`: one port that does either). All ports are
synchronous to the rising edge of `clk`; there is no reset. Read data follow one cycle after the request and hold until
the next read. A read of the word that is being written (1r1w) is undefined, and no unit does it.

## Files

`tessera verilog --out DIR` writes, beside the logic `tessera_chiplet.v`:

| file | what | for |
|---|---|---|
| `tessera_chiplet_sram.v` | model that answers the forbidden read with inverted data; loads images when `TESSERA_IMAGE` is defined | simulation (`files.f`) |
| `tessera_chiplet_sram_fpga.v` | plain synchronous memory: Yosys `synth_ecp5` fills DP16KD with it (DPR16X4 for the queues) and builds no bypass | FPGA |
| `tessera_chiplet_sram_blackbox.v` | empty modules, `(* blackbox *)` | ASIC synthesis |
| `tessera_chiplet_sram.lib` | Liberty: area, set-up and hold, clock to data by load, pin capacitance, leakage, energy of an access at the clock pin | synthesis, timing, power |
| `tessera_chiplet_sram.json` | abstract: width and height in um, pins, times, energy | floor plan, budgets |
| `macros.json` | each memory: words, bits, bits of a write granule, ports, `count` in the chip; the macro it is built of and how many each takes | memory compiler |

Use exactly one of the first three. Energies are in pJ, `rise_power` at the clock pin under the condition of a read or of a write
of any granule. (OpenSTA 2.0.17 counts clock-pin energy at both edges of the clock: its internal power of
memories is twice what the file says.)

## What a memory costs

The field `memory_technology` of a configuration ([hw/config.py](../hw/config.py)) holds these numbers
([hw/memory/technology.py](../hw/memory/technology.py)). They place memories in reports before a memory compiler was asked;
with its Liberty files at hand, use those. The formulas keep the trends of CACTI 3.0 (Shivakumar and Jouppi, WRL research report
2001/2), not its numbers; an "estimate" was neither measured nor fitted to a memory compiler.

"""

_FORMULAS = """\
With w words of b bits, two ports or one:

- width = b * fold * side + row_strip_um and height = w / fold * side + column_strip_um, where
  side = sqrt(bit_cell_um2 * (two_port_factor or 1) / array_efficiency), and fold is the power of two that makes the macro squarest;
- access = access_base_ns + access_per_word_doubling_ns * log2 w + access_per_bit_doubling_ns * log2 b;
- read = access_pj + b * (bit_pj + bit_line_pj * sqrt w); write = write_factor * read.

"""

_ADAPTER = """\
## Macros of another shape

`tessera verilog --memory-macro NAME`, or the field `memory_macro` of a configuration, builds all memories from one macro that exists
([hw/memory/open_macro.py](../hw/memory/open_macro.py)): the open SRAMs of the sky130 process, with their own names and ports.

| name | module | words | bits | byte mask |
|---|---|---|---|---|
{macros}

Each memory's module then is part of `tessera_chiplet.v`: [an adapter](../hw/memory/adapter.py) with the same name and ports around
instances `tile_BANK_SLICE`. Models, black box and Liberty describe the macro. `1rw` memories use the macro's read/write
port; `1r1w` memories write through that and read through the macro's second port.

- Granules that are no multiple of 8 bits are padded to whole bytes, and the word to whole macros.
- Selects and the number of the bank that was read are registered with the address; the multiplexer over the banks follows the
  macros' outputs, so reads get slower by its depth, not later by a cycle.
- The macros show what they read for one cycle only (OpenRAM's model drops it at the next edge), so the adapter keeps a copy
  of the last word read: one flip-flop for each bit.
- A memory of at most {register_words} words (the command queues) becomes flip-flops: a macro would be nearly empty.
- The Liberty figures of the macro follow from the same technology numbers as a two-port memory of its size. In sky130, take the macro's own
  Liberty file: it reads in the second half of the cycle, which makes it slower than the figures here.

To add a macro with these ports, add a line to the table in hw/memory/open_macro.py; its words must be a power of two. For other ports, write its pins there, and
the connections in the adapter. The [bench](../verif/tb_sram.py) runs every shape on every kind of model, and
[a test](../tests/test_memory_macro.py) generates tokens on `tiny` with all memories in macros.

"""


def field_meanings() -> dict[str, str]:
    """Return the comment above each field of the technology."""
    found: dict[str, str] = {}
    comment: list[str] = []
    names = {field.name for field in dataclasses.fields(MemoryTechnology)}
    for line in inspect.getsource(MemoryTechnology).splitlines():
        text = line.strip()
        if text.startswith("#:"):
            comment.append(text[2:].strip())
        elif (name := text.split(":")[0]) in names and comment:
            found[name] = " ".join(comment)
            comment = []
    return found


def _memories(config: ChipletConfig) -> dict[str, tuple[int, SramShape]]:
    """Return count and shape of each memory that the host sees."""
    return {"banks": (config.rows, bank_shape(config)),
            **{name: (1, shape) for name, shape in memory_shapes(config).items()}}


def _costs(config: ChipletConfig) -> list[str]:
    lines = ["| memory | count | module | um x um | mm2 each | access ns | read pJ | write pJ | macros 32x512 |",
             "|---|---|---|---|---|---|---|---|---|"]
    total = 0.0
    for name, (count, shape) in _memories(config).items():
        figures = macro_figures(macro_cell(shape), config.memory_technology)
        tiles = tiling(shape, "32x512")
        each = tiles.banks * tiles.slices if tiles else 0
        total += count * figures.area_um2
        lines.append(
            f"| {name} | {count} | `{shape.module}` | {figures.width_um:.0f} x {figures.height_um:.0f} "
            f"| {figures.area_um2 / 1e6:.3f} | {figures.access_ns:.2f} | {figures.read_pj:.0f} "
            f"| {figures.write_pj:.0f} | {count * each} |")
    return [*lines, "", f"Together {total / 1e6:.0f} mm2. The command queues and the vector unit's "
            "row buffer, which the host does not see, are in `macros.json`.", ""]


def page() -> str:
    """Return the page."""
    technology = MemoryTechnology()
    meanings = field_meanings()
    fields = "".join(
        f"| {field.name} | {getattr(technology, field.name)} | {meanings[field.name]} |\n"
        for field in dataclasses.fields(technology))
    macros = "\n".join(f"| {name} | `{macro.module}` | {macro.words} | {macro.bits} "
                       f"| {macro.mask_bits} bits |" for name, macro in OPEN_MACROS.items())
    return (_HEAD + "| field | default | what, and where the number is from |\n|---|---|---|\n"
            + fields + "\n" + _FORMULAS
            + "What that gives for the configuration `base`:\n\n"
            + "\n".join(_costs(CONFIGS["base"])) + "\n"
            + _ADAPTER.format(macros=macros, register_words=REGISTER_FILE_WORDS)).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
