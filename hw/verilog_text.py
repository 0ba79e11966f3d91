"""Removes from generated Verilog what no tool and no reader needs; the logic stays the same.

Amaranth declares a wire for each field of a structure and for each alias of a port. Most are read
by nothing; without them the text is a quarter shorter and easier to follow.
"""

import re
from collections import Counter

#: Attributes that name enumeration values (for waveform viewers only), and initial values on ports:
#: the register that drives the port has its own.
_ATTRIBUTE = re.compile(r"^ *\(\* (?:enum_(?:value|base)_|init = ).*\*\)\n", re.MULTILINE)
#: A port's declaration, and the wire declaration that repeats it.
_PORT_TWICE = re.compile(
    r"^( *(?:in|out)put (?P<port>(?:\[\d+:0\] )?\S+ ?);\n) *wire (?P=port);\n", re.MULTILINE)
#: What makes each combinational block run at time 0. As an initial value in the declaration it would
#: be no event: a simulator may set it before the blocks wait for one, and Icarus does.
_TIME_ZERO = re.compile(r"^( *)reg (\\\$auto\$verilog_backend\S+ ) = 0;$", re.MULTILINE)
#: A bit, a name or a constant that follows itself in a concatenation.
_REPEATED = re.compile(
    r"(?<=[{,] )(?P<item>(?:\\\S+ |[A-Za-z_]\w*)(?:\[\d+(?::\d+)?\])?|\d+'h[0-9a-f]+)"
    r"(?:, (?P=item)){3,}(?=,| ?\})")
_IDENTIFIER = re.compile(r"\\\S+|(?<![\w'\\$.])[A-Za-z_][\w$]*")
_WIRE = re.compile(r"^ *wire (?:\[\d+:0\] )?(\\\S+|[A-Za-z_][\w$]*) ?;$")
_ASSIGN = re.compile(r"^ *assign (\\\S+|[A-Za-z_][\w$]*) +=")


def compact(text: str) -> str:
    """Return Verilog without these attributes, repeated declarations, and unread wires.

    Its combinational blocks run at time 0 in every simulator. Replications are written as such.
    """
    text = _TIME_ZERO.sub(r"\1reg \2;\n\1initial \2= 0;", text)
    text = _REPEATED.sub(_replication, text)
    text = _PORT_TWICE.sub(r"\1", _ATTRIBUTE.sub("", text))
    modules = re.split(r"(?<=^endmodule\n)", text, flags=re.MULTILINE)
    return "".join(_without_unread_wires(module) for module in modules)


def _replication(match: re.Match[str]) -> str:
    item = match["item"]
    return f"{{{(len(match[0]) + 2) // (len(item) + 2)}{{{item}}}}}"


def _without_unread_wires(module: str) -> str:
    """Drop wires that are declared and assigned once and read nowhere, until none is left."""
    lines = module.splitlines(keepends=True)
    names = [_IDENTIFIER.findall(line) for line in lines]
    while True:
        uses = Counter(name for line in names for name in line)
        declared = {match[1] for line in lines if (match := _WIRE.match(line.rstrip("\n")))}
        assigned = Counter(match[1] for line in lines if (match := _ASSIGN.match(line)))
        unread = {name for name in declared if uses[name] == 1 + assigned[name] <= 2}
        if not unread:
            return "".join(lines)
        keep = [
            not ((wire := _WIRE.match(line.rstrip("\n"))) and wire[1] in unread)
            and not ((assign := _ASSIGN.match(line)) and assign[1] in unread) for line in lines]
        lines = [line for line, kept in zip(lines, keep, strict=True) if kept]
        names = [name for name, kept in zip(names, keep, strict=True) if kept]
