"""What the flow must know of a cell library: pins, loads, strengths, and which cells buffer or store."""

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from flows.asic.liberty import Group, LibertySyntaxError, parse

#: pF, and ns, by the name of the unit.
_PF = {"ff": 1e-3, "pf": 1.0}
_NS = {"ps": 1e-3, "ns": 1.0}
#: The variable of a table's axis of loads.
_LOAD = "total_output_net_capacitance"
#: Load at which arcs are compared: that of a few gates.
_TYPICAL_LOAD_PF = 0.1


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A pin of a cell."""

    name: str
    is_output: bool
    is_clock: bool
    capacitance_pf: float
    #: Boolean function of an output; empty for an input and for what stores.
    function: str
    #: Largest load of an output; infinite where the library sets no limit.
    max_load_pf: float
    #: Delay of an output as a line over its load, the slowest of its arcs; 0 for an input.
    delay_ns: float
    delay_per_pf: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell; area in um2."""

    name: str
    area: float
    dont_use: bool
    is_flip_flop: bool
    is_latch: bool
    pins: dict[str, Pin] = field(repr=False)

    @property
    def inputs(self) -> list[Pin]:
        """Input pins."""
        return [pin for pin in self.pins.values() if not pin.is_output]

    @property
    def outputs(self) -> list[Pin]:
        """Output pins."""
        return [pin for pin in self.pins.values() if pin.is_output]

    def _has_function(self, *functions: str) -> bool:
        outputs = self.outputs
        return (not (self.dont_use or self.is_flip_flop or self.is_latch) and len(outputs) == 1
                and _plain(outputs[0].function) in functions)

    @property
    def is_buffer(self) -> bool:
        """Whether its one output repeats its one input."""
        return len(self.inputs) == 1 and self._has_function(self.inputs[0].name)

    def ties(self, value: str) -> bool:
        """Whether its one output is always ``value``, "0" or "1"."""
        return not self.inputs and self._has_function(value)


def _plain(function: str) -> str:
    return function.strip("() ")


@dataclass(frozen=True, kw_only=True)
class Library:
    """The cells of a Liberty file."""

    path: Path
    name: str
    #: Hash of the file's content.
    digest: str
    cells: dict[str, Cell]

    @cached_property
    def buffers(self) -> list[Cell]:
        """Buffers, the smallest first; of one size, those that are made for clocks come last."""
        return sorted((cell for cell in self.cells.values() if cell.is_buffer),
                      key=lambda cell: (cell.area, "CLK" in cell.name.upper(), cell.name))

    @cached_property
    def flip_flops(self) -> dict[str, list[str]]:
        """The names of each flip-flop's outputs."""
        return {cell.name: [pin.name for pin in cell.outputs] for cell in self.cells.values()
                if cell.is_flip_flop}

    @cached_property
    def unused(self) -> list[str]:
        """Cells that synthesis must leave out: latches, and what the library marks."""
        return sorted(c.name for c in self.cells.values() if c.is_latch or c.dont_use)

    def tie(self, value: str) -> tuple[str, str] | None:
        """Return the cell and pin that give a constant, if there is one."""
        ties = sorted((c.area, c.name) for c in self.cells.values() if c.ties(value))
        return (ties[0][1], self.cells[ties[0][1]].outputs[0].name) if ties else None


def read_library(path: Path) -> Library:
    """Read a Liberty file; a file that is none, or that lacks what the flow needs, is refused."""
    if not path.is_file():
        raise ValueError(f"--liberty must be a Liberty file that exists, not {path}")
    try:
        content = path.read_bytes()
        root = parse(content.decode(errors="replace"))
    except LibertySyntaxError as error:
        raise ValueError(f"--liberty must be a Liberty file, and {path} is none: {error}") from None
    library = Library(path=path, name=root.name, digest=sha256(content).hexdigest(),
                      cells=_cells(root))
    gates = [cell for cell in library.cells.values()
             if not cell.is_flip_flop and not cell.is_latch and len(cell.inputs) > 1]
    for what, found in (("gate", gates), ("buffer", library.buffers),
                        ("flip-flop", library.flip_flops)):
        if not found:
            raise ValueError(f"--liberty must hold a {what}, and {path} has none")
    return library


def read_cells(text: str) -> dict[str, Cell]:
    """Return the cells in the text of a Liberty file."""
    return _cells(parse(text))


def _cells(root: Group) -> dict[str, Cell]:
    context = _context(root)
    return {group.name: _cell(group, context) for group in root.all("cell")}


@dataclass(frozen=True, kw_only=True)
class _Root:
    """What applies to all cells of a library: its units, in pF and ns, and templates of tables."""

    pf: float
    ns: float
    templates: dict[str, Group]


def _context(root: Group) -> _Root:
    amount, unit = (*root.attributes.get("capacitive_load_unit", "1,pf").split(","), "pf")[:2]
    time = root.attributes.get("time_unit", "1ns")
    digits = time.rstrip("abcdefghijklmnopqrstuvwxyz")
    return _Root(
        pf=float(amount) * _PF.get(unit.strip().lower(), 1.0),
        ns=float(digits or 1) * _NS.get(time[len(digits):], 1.0),
        templates={group.name: group for group in root.all("lu_table_template")})


def _cell(group: Group, root: "_Root") -> Cell:
    ff = group.first("ff")
    clocks = (ff.attributes.get("clocked_on", "") if ff else "").strip("()!' ")
    pins = {name: _pin(name, pin, name == clocks, root)
            for pin in (*group.all("pin"), *group.all("bus")) for name in pin.arguments}
    return Cell(
        name=group.name, area=float(group.attributes.get("area", 0)),
        dont_use=group.attributes.get("dont_use", "") == "true", is_flip_flop=ff is not None,
        is_latch=any(group.first(kind) for kind in ("latch", "statetable")),
        pins=pins)


def _pin(name: str, group: Group, is_clock: bool, root: "_Root") -> Pin:
    is_output = group.attributes.get("direction") in ("output", "inout")
    delay, per_pf = _delay(group, root) if is_output else (0.0, 0.0)
    limit = group.attributes.get("max_capacitance")
    return Pin(
        name=name, is_output=is_output,
        is_clock=is_clock or group.attributes.get("clock", "") == "true",
        capacitance_pf=float(group.attributes.get("capacitance", 0)) * root.pf,
        function=group.attributes.get("function", ""),
        max_load_pf=float(limit) * root.pf if limit and is_output else float("inf"),
        delay_ns=delay, delay_per_pf=per_pf)


def _delay(pin: Group, root: "_Root") -> tuple[float, float]:
    """Return the slowest arc's delay as a line over the load, at a middling input transition."""
    lines = [(0.0, 0.0)]
    for timing in pin.all("timing"):
        for table in (*timing.all("cell_rise"), *timing.all("cell_fall")):
            loads, delays = _over_load(table, root)
            if len(loads) > 1:
                slope = (delays[-1] - delays[0]) / (loads[-1] - loads[0])
                lines.append(((delays[0] - slope * loads[0]) * root.ns, slope * root.ns / root.pf))
    return max(lines, key=lambda line: line[0] + _TYPICAL_LOAD_PF * line[1])


def _over_load(table: Group, root: "_Root") -> tuple[list[float], list[float]]:
    """Return loads, and the delays at these, of a table over loads or over loads and transitions."""
    template = root.templates.get(table.name)
    variables = [template.attributes.get(f"variable_{i}") for i in (1, 2)] if template else []
    if template is None or _LOAD not in variables:
        return [], []
    axes = [table.numbers(axis) or template.numbers(axis) for axis in ("index_1", "index_2")]
    values = table.numbers("values")
    if variables[1] is None:
        return axes[0], values
    columns = len(axes[1])
    if variables.index(_LOAD) == 0:
        return axes[0], values[columns // 2::columns]
    middle = len(axes[0]) // 2
    return axes[1], values[middle * columns:(middle + 1) * columns]
