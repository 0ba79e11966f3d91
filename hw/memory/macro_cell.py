"""A memory macro as the tools see it: its pins, its accesses, and its models in Verilog.

Black boxes, Liberty and abstract are written from this one description, both for the memories that
the generator names after their shape and for macros that someone else has laid out.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One pin or bus of a macro."""

    name: str
    bits: int = 1
    is_output: bool = False
    #: The clock pin whose rising edge takes or brings its value; empty for a clock pin.
    clock: str = ""

    @property
    def direction(self) -> str:
        """``input`` or ``output``."""
        return "output" if self.is_output else "input"

    @property
    def declaration(self) -> str:
        """The pin in a Verilog port list."""
        return f"{self.direction} [{self.bits - 1}:0] {self.name}" if self.bits > 1 else (
            f"{self.direction} {self.name}")


@dataclass(frozen=True, kw_only=True)
class Access:
    """A condition on the pins under which a clock edge costs the energy of a read or a write."""

    clock: str
    #: Boolean expression over the pins, in Liberty's syntax.
    when: str
    is_write: bool


@dataclass(frozen=True, kw_only=True)
class MacroCell:
    """A macro that the Verilog instantiates."""

    module: str
    words: int
    bits: int
    granule_bits: int
    #: 1 when one port reads and writes, 2 when reads have a port of their own.
    ports: int
    pins: tuple[Pin, ...]
    accesses: tuple[Access, ...]
    #: Verilog of the model for simulation, which punishes what the memory does not promise.
    simulation_model: str
    #: Verilog from which synthesis infers a memory.
    inferable_model: str


def port_list(pins: tuple[Pin, ...], registers: tuple[str, ...] = ()) -> str:
    """Return pins as the text between the parentheses of a module; some outputs as registers."""
    return ",\n".join(
        "  " + (pin.declaration.replace("output", "output reg", 1) if pin.name in registers
                else pin.declaration) for pin in pins)


def blackbox_verilog(cell: MacroCell) -> str:
    """Return the macro as an empty module that no tool looks into."""
    return f"(* blackbox *)\nmodule {cell.module} (\n{port_list(cell.pins)}\n);\nendmodule\n"
