"""Verilog models of a library's cells, made from the Liberty file: for simulation and for proofs.

A gate is an ``assign`` of its function; a flip-flop an ``always`` block at its clock, and at its
asynchronous clear and preset where it has these. It starts unknown, or random. There are no delays.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from flows.asic.liberty import Group, parse

#: A name, a constant, an operator or a parenthesis; blanks that stand for AND are handled apart.
_TOKEN = re.compile(r"[A-Za-z_][\w\[\]]*|[01]|[!'^*&+|()]")
#: Value of a flip-flop while clear and preset are both active, by Liberty's letter.
_BOTH = {"L": "1'b0", "H": "1'b1"}


class NoModelError(ValueError):
    """A cell is of a kind, or a function of a syntax, that has no model."""


class _Expression:
    """Liberty's boolean functions as Verilog: ``!`` and ``'``, then ``^``, then AND, then OR."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _TOKEN.findall(text)
        if "".join(self.tokens) != re.sub(r"\s", "", text):
            raise NoModelError(f"not a boolean function: {text!r}")

    def verilog(self) -> str:
        found = self._or()
        if self.tokens:
            raise NoModelError(f"not a boolean function: {self.text!r}")
        return found

    def _next(self, choices: str) -> bool:
        if self.tokens and self.tokens[0] in tuple(choices):
            self.tokens.pop(0)
            return True
        return False

    def _or(self) -> str:
        terms = [self._and()]
        while self._next("+|"):
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else f"({' | '.join(terms)})"

    def _and(self) -> str:
        terms = [self._xor()]
        # Two operands side by side are an AND as well.
        while self._next("*&") or (self.tokens and self.tokens[0] not in tuple("+|)")):
            terms.append(self._xor())
        return terms[0] if len(terms) == 1 else f"({' & '.join(terms)})"

    def _xor(self) -> str:
        terms = [self._not()]
        while self._next("^"):
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else f"({' ^ '.join(terms)})"

    def _not(self) -> str:
        if self._next("!"):
            return f"~{self._not()}"
        if self._next("("):
            found = self._or()
            if not self._next(")"):
                raise NoModelError(f"not a boolean function: {self.text!r}")
        elif self.tokens and re.match(r"\w", self.tokens[0]):
            token = self.tokens.pop(0)
            found = f"1'b{token}" if token in "01" else token
        else:
            raise NoModelError(f"not a boolean function: {self.text!r}")
        while self._next("'"):
            found = f"~{found}"
        return found


def expression(text: str) -> str:
    """Return a boolean function of Liberty as Verilog."""
    return _Expression(text).verilog()


def cell_models(liberty: Path, names: Iterable[str], *, random_start: bool = False) -> str:
    """Return the modules of some cells of a Liberty file; latches and three-state cells have none.

    ``random_start``: flip-flops start with random values, the same in each run.
    """
    cells = {group.name: group for group in parse(liberty.read_text(errors="replace")).all("cell")}
    wanted = sorted(set(names))
    for name in wanted:
        if name not in cells:
            raise NoModelError(f"{liberty.name} has no cell {name}")
    return "\n".join(_model(cells[name], random_start) for name in wanted)


def _model(cell: Group, random_start: bool) -> str:
    for kind in ("latch", "statetable", "ff_bank", "latch_bank"):
        if cell.first(kind):
            raise NoModelError(f"cell {cell.name} is a {kind}: there is no model of it")
    ports, body = [], []
    flip_flop = cell.first("ff")
    if flip_flop:
        body += _flip_flop(flip_flop, random_start)
    for pin in cell.all("pin"):
        is_output = pin.attributes.get("direction") == "output"
        if not is_output and pin.attributes.get("direction") != "input":
            continue
        if "three_state" in pin.attributes:
            raise NoModelError(f"cell {cell.name} has a three-state output: there is no model of it")
        for name in pin.arguments:
            ports.append(f"{'output' if is_output else 'input'} {name}")
            if is_output and "function" not in pin.attributes:
                raise NoModelError(f"output {name} of cell {cell.name} has no function")
            if is_output:
                body.append(f"  assign {name} = {expression(pin.attributes['function'])};")
    return "\n".join([f"module {cell.name} ({', '.join(ports)});", *body, "endmodule", ""])


def _flip_flop(group: Group, random_start: bool) -> list[str]:
    state, inverse = (*group.arguments, "")[:2]
    attributes = group.attributes
    clock = expression(attributes["clocked_on"])
    falling = clock.startswith("~") and re.fullmatch(r"\w+", clock[1:])
    lines = [f"  reg {state};"] + ([f"  wire {inverse} = ~{state};"] if inverse else [])
    if random_start:
        lines.append(f"  initial {state} = $urandom;")
    if not falling and not re.fullmatch(r"\w+", clock):
        lines.append(f"  wire {state}_clock = {clock};")
        clock = f"{state}_clock"
    edges = [f"negedge {clock[1:]}" if falling else f"posedge {clock}"]
    choices = []
    for kind, value in (("clear", "1'b0"), ("preset", "1'b1")):
        if kind in attributes:
            lines.append(f"  wire {state}_{kind} = {expression(attributes[kind])};")
            edges.append(f"posedge {state}_{kind}")
            choices.append((f"{state}_{kind}", value))
    if len(choices) == 2 and _BOTH.get(attributes.get("clear_preset_var1", "L")) == "1'b1":
        choices.reverse()
    lines.append(f"  always @({', '.join(edges)})")
    for signal, value in choices:
        lines.append(f"    if ({signal}) {state} <= {value}; else")
    return [*lines, f"      {state} <= {expression(attributes['next_state'])};"]
