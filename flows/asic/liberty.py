"""Reads of a Liberty library what the flow needs: cells, pins, capacitances, and which one buffers."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
#: What the reader stops at; everything between two of these is skipped.
_GROUP_OR_VALUE = re.compile(
    r"(?P<group>\b(?:library|cell|pin|bus|ff|latch|statetable)\b)\s*\((?P<name>[^()]*)\)\s*\{"
    r"|\b(?P<key>area|direction|capacitance|function|dont_use|clock|capacitive_load_unit)\b"
    r"\s*(?::\s*(?P<value>[^;\n]*)|\((?P<pair>[^)]*)\))"
    r"|(?P<open>\{)|(?P<close>\})"
)


@dataclass(kw_only=True)
class Pin:
    """A pin of a cell; capacitance in pF."""

    name: str
    direction: str = ""
    capacitance_pf: float = 0.0
    function: str = ""
    clock: bool = False


@dataclass(kw_only=True)
class Cell:
    """A cell; area in the unit of the library (um2)."""

    name: str
    area: float = 0.0
    dont_use: bool = False
    #: It stores: a flip-flop or a latch.
    is_flip_flop: bool = False
    is_latch: bool = False
    pins: dict[str, Pin] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Pin]:
        """Input pins."""
        return [pin for pin in self.pins.values() if pin.direction == "input"]

    @property
    def outputs(self) -> list[Pin]:
        """Output pins."""
        return [pin for pin in self.pins.values() if pin.direction == "output"]

    @property
    def is_buffer(self) -> bool:
        """Whether its one output repeats its one input."""
        if self.dont_use or self.is_flip_flop or self.is_latch or len(self.pins) != 2:
            return False
        return (len(self.inputs) == len(self.outputs) == 1
                and self.outputs[0].function.strip("\"' ()") == self.inputs[0].name)


@dataclass(frozen=True, kw_only=True)
class Library:
    """The cells of a Liberty file."""

    path: Path
    name: str
    cells: dict[str, Cell]

    @cached_property
    def buffers(self) -> list[Cell]:
        """Buffers, the smallest first; clock buffers of the same size come last."""
        return sorted((cell for cell in self.cells.values() if cell.is_buffer),
                      key=lambda cell: (cell.area, "CLK" in cell.name.upper(), cell.name))

    @property
    def latches(self) -> list[str]:
        """Cells that must not be used: the chiplet has no latch."""
        return sorted(cell.name for cell in self.cells.values() if cell.is_latch or cell.dont_use)


def read_library(path: Path) -> Library:
    """Read a Liberty file; a file that is none is refused."""
    if not path.is_file():
        raise ValueError(f"--liberty must be a Liberty file that exists, not {path}")
    text = _COMMENT.sub(" ", path.read_text(encoding="utf-8", errors="replace"))
    reader = _Reader()
    for token in _GROUP_OR_VALUE.finditer(text):
        reader.take(token)
    if not reader.name or not reader.cells:
        raise ValueError(f"--liberty must be a Liberty file with cells, and {path} has none")
    library = Library(path=path, name=reader.name, cells=reader.cells)
    for what, found in (("buffer", library.buffers),
                        ("flip-flop", [c for c in library.cells.values() if c.is_flip_flop])):
        if not found:
            raise ValueError(f"--liberty must hold a {what}, and {path} has none")
    return library


class _Reader:
    """State while a file is read: the open groups, innermost last."""

    def __init__(self) -> None:
        self.name = ""
        self.cells: dict[str, Cell] = {}
        self.to_pf = 1.0
        self.groups: list[tuple[str, Cell | None, Pin | None]] = []

    def take(self, token: re.Match[str]) -> None:
        """Use the next token."""
        if token["group"]:
            self._open(token["group"], token["name"].strip().strip('"'))
        elif token["open"]:
            self.groups.append(("", self._cell, None))
        elif token["close"]:
            if self.groups:
                self.groups.pop()
        elif self.groups:
            self._value(token)

    @property
    def _cell(self) -> Cell | None:
        return self.groups[-1][1] if self.groups else None

    def _open(self, kind: str, name: str) -> None:
        cell, pin = self._cell, None
        if kind == "library":
            self.name = name
        elif kind == "cell":
            cell = self.cells.setdefault(name, Cell(name=name))
        elif cell is not None and kind in ("pin", "bus"):
            pin = cell.pins.setdefault(name, Pin(name=name))
        elif cell is not None and kind == "ff":
            cell.is_flip_flop = True
        elif cell is not None and kind in ("latch", "statetable"):
            cell.is_latch = True
        self.groups.append((kind, cell, pin))

    def _value(self, token: re.Match[str]) -> None:
        kind, cell, pin = self.groups[-1]
        key, value = token["key"], (token["value"] or "").strip().strip(';"')
        if key == "capacitive_load_unit" and token["pair"]:
            amount, unit = (part.strip().strip('"') for part in token["pair"].split(","))
            self.to_pf = float(amount) * {"ff": 1e-3, "pf": 1.0}[unit.lower()]
        elif kind == "cell" and cell is not None:
            if key == "area":
                cell.area = float(value)
            elif key == "dont_use":
                cell.dont_use = value == "true"
        elif pin is not None:
            if key == "direction":
                pin.direction = value
            elif key == "capacitance":
                pin.capacitance_pf = float(value) * self.to_pf
            elif key == "function":
                pin.function = value
            elif key == "clock":
                pin.clock = value == "true"

