"""Timing constraints: what the flow assumes of the world around the chiplet, as an SDC file."""

from flows.asic.library import Library
from flows.asic.netlist import Module

#: Clock and reset of every generated module.
CLOCK, RESET = "clk", "rst"
#: Share of the period after which inputs are stable: they come from registers elsewhere.
INPUT_SHARE = 0.14
#: Share of the period that outputs are early: they lead to registers elsewhere.
OUTPUT_SHARE = 0.08
#: Load of an output, in pF: a few gates.
OUTPUT_LOAD_PF = 0.05


def sdc(module: Module, library: Library, period_ns: float) -> str:
    """Return the constraints of a top module."""
    inputs = [name for name, port in module.ports.items() if not port.is_output and name != CLOCK]
    outputs = [name for name, port in module.ports.items() if port.is_output]
    data = [name for name in inputs if name != RESET]
    lines = [
        "# One clock, ideal: its tree is made with the layout.",
        f"create_clock -name {CLOCK} -period {period_ns:g} [get_ports {CLOCK}]",
    ]
    if data:
        lines += [
            "# Inputs come from registers, through a buffer.",
            f"set_input_delay {INPUT_SHARE * period_ns:.3f} -clock {CLOCK} {_ports(data)}",
            f"set_driving_cell -lib_cell {library.buffers[0].name} {_ports(data)}",
        ]
    if outputs:
        lines += [
            "# Outputs lead to registers.",
            f"set_output_delay {OUTPUT_SHARE * period_ns:.3f} -clock {CLOCK} {_ports(outputs)}",
            f"set_load {OUTPUT_LOAD_PF:g} {_ports(outputs)}",
        ]
    if RESET in inputs:
        lines += [
            "# Reset is held for many cycles, and nothing is expected of the chip until it ends.",
            f"set_false_path -from [get_ports {RESET}]",
        ]
    return "\n".join(lines) + "\n"


def _ports(names: list[str]) -> str:
    return f"[get_ports {{{' '.join(names)}}}]"
