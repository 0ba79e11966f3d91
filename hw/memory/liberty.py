"""Memory macros for timing, area and power tools: a Liberty library, and an abstract as JSON."""

from collections.abc import Sequence

from hw.memory.macro_cell import Access, MacroCell, Pin
from hw.memory.technology import MemoryFigures, MemoryTechnology

#: Loads at which outputs are tabulated, as shares of the largest load.
_LOAD_SHARES = (0.0, 0.1, 1.0)

_HEADER = """\
/* Memories of a generated chiplet. Figures: technology {t.name}; see docs/memories.md. */
library ({name}) {{
  technology (cmos);
  delay_model : table_lookup;
  time_unit : "1ns";
  voltage_unit : "1V";
  current_unit : "1mA";
  pulling_resistance_unit : "1kohm";
  leakage_power_unit : "1nW";
  capacitive_load_unit (1, pf);
  nom_process : 1;
  nom_voltage : {t.voltage_v:g};
  nom_temperature : {t.temperature_c:g};
  slew_lower_threshold_pct_rise : 20;
  slew_upper_threshold_pct_rise : 80;
  slew_lower_threshold_pct_fall : 20;
  slew_upper_threshold_pct_fall : 80;
  input_threshold_pct_rise : 50;
  input_threshold_pct_fall : 50;
  output_threshold_pct_rise : 50;
  output_threshold_pct_fall : 50;
  operating_conditions (typical) {{
    process : 1;
    voltage : {t.voltage_v:g};
    temperature : {t.temperature_c:g};
  }}
  default_operating_conditions : typical;
  default_max_transition : 2.0;
  lu_table_template (load) {{
    variable_1 : total_output_net_capacitance;
    index_1 ("{loads}");
  }}
"""


def macro_figures(cell: MacroCell, technology: MemoryTechnology) -> MemoryFigures:
    """Return what a macro costs."""
    return technology.figures(words=cell.words, bits=cell.bits, ports=cell.ports)


def liberty(name: str, cells: Sequence[MacroCell], technology: MemoryTechnology) -> str:
    """Return one library called ``name`` with a cell for each macro.

    Units: ns, pF, V, nW, um2; energy in pJ. Outputs change after the rising edge of their clock,
    inputs are held around it; times do not depend on the slope of the clock.
    """
    loads = ", ".join(f"{share * technology.max_load_pf:g}" for share in _LOAD_SHARES)
    widths = sorted({pin.bits for cell in cells for pin in cell.pins if pin.bits > 1})
    types = [
        f"  type (bus_{bits}) {{\n    base_type : array;\n    data_type : bit;\n"
        f"    bit_width : {bits};\n    bit_from : {bits - 1};\n    bit_to : 0;\n"
        "    downto : true;\n  }\n" for bits in widths]
    return "".join([_HEADER.format(name=name, t=technology, loads=loads), *types,
                    *(_cell(cell, technology) for cell in cells), "}\n"])


def _cell(cell: MacroCell, technology: MemoryTechnology) -> str:
    figures = macro_figures(cell, technology)
    # Conditions of the clock's energy name the other pins: those come first.
    pins = sorted(cell.pins, key=lambda pin: not pin.clock)
    return (f"  cell ({cell.module}) {{\n    area : {figures.area_um2:.1f};\n"
            "    dont_use : true;\n    dont_touch : true;\n    interface_timing : true;\n    is_macro_cell : true;\n"
            f"    cell_leakage_power : {figures.leakage_nw:g};\n"
            + "".join(_pin(cell, pin, technology, figures) for pin in pins) + "  }\n")


def _pin(cell: MacroCell, pin: Pin, technology: MemoryTechnology, figures: MemoryFigures) -> str:
    if not pin.clock:
        power = "".join(_power(access, figures) for access in cell.accesses
                        if access.clock == pin.name)
        return (f"    pin ({pin.name}) {{\n      direction : input;\n      clock : true;\n"
                f"      capacitance : {technology.clock_pf:g};\n{power}    }}\n")
    group = (f"    bus ({pin.name}) {{\n      bus_type : bus_{pin.bits};\n" if pin.bits > 1
             else f"    pin ({pin.name}) {{\n")
    body = _output(pin, technology, figures) if pin.is_output else _input(pin, technology)
    return f"{group}      direction : {pin.direction};\n{body}    }}\n"


def _input(pin: Pin, technology: MemoryTechnology) -> str:
    checks = "".join(
        f'      timing () {{\n        related_pin : "{pin.clock}";\n        timing_type : {kind};\n'
        f'        rise_constraint (scalar) {{ values ("{value:g}"); }}\n'
        f'        fall_constraint (scalar) {{ values ("{value:g}"); }}\n      }}\n'
        for kind, value in (("setup_rising", technology.setup_ns),
                            ("hold_rising", technology.hold_ns)))
    return f"      capacitance : {technology.input_pf:g};\n{checks}"


def _output(pin: Pin, technology: MemoryTechnology, figures: MemoryFigures) -> str:
    delay = _table(figures.access_ns, technology.access_per_load_ns_per_pf, technology)
    slope = _table(technology.transition_ns, technology.transition_per_load_ns_per_pf, technology)
    tables = "".join(
        f'        {kind} (load) {{ values ("{values}"); }}\n'
        for kind, values in (("cell_rise", delay), ("cell_fall", delay),
                             ("rise_transition", slope), ("fall_transition", slope)))
    return (f"      max_capacitance : {technology.max_load_pf:g};\n"
            f'      timing () {{\n        related_pin : "{pin.clock}";\n'
            f"        timing_type : rising_edge;\n        timing_sense : non_unate;\n"
            f"{tables}      }}\n")


def _table(base: float, per_pf: float, technology: MemoryTechnology) -> str:
    return ", ".join(f"{base + per_pf * share * technology.max_load_pf:.4g}"
                     for share in _LOAD_SHARES)


def _power(access: Access, figures: MemoryFigures) -> str:
    energy = figures.write_pj if access.is_write else figures.read_pj
    return (f'      internal_power () {{\n        when : "{access.when}";\n'
            f'        rise_power (scalar) {{ values ("{energy:g}"); }}\n'
            f'        fall_power (scalar) {{ values ("0"); }}\n      }}\n')


def abstract(cells: Sequence[MacroCell], technology: MemoryTechnology) -> list[dict[str, object]]:
    """Return what a floor plan and a timing or power budget need of each macro, JSON-ready."""
    found = []
    for cell in cells:
        figures = macro_figures(cell, technology)
        found.append({
            "name": cell.module, "width_um": figures.width_um, "height_um": figures.height_um,
            "area_um2": round(figures.area_um2, 1), "access_ns": figures.access_ns,
            "setup_ns": technology.setup_ns, "hold_ns": technology.hold_ns,
            "read_pj": figures.read_pj, "write_pj": figures.write_pj,
            "leakage_nw": figures.leakage_nw,
            "pins": [{"name": pin.name, "direction": pin.direction, "bits": pin.bits,
                      "clock": pin.clock or None} for pin in cell.pins],
        })
    return found
