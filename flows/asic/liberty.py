"""Reads the syntax of Liberty files: groups, their attributes, and groups within groups."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
#: A name with arguments, which opens a group or is an attribute of several values; a simple
#: attribute; the end of a group.
_STATEMENT = re.compile(
    r"\s*(?P<name>[A-Za-z_]\w*)\s*"
    r"(?:\((?P<arguments>(?:[^()\"]|\"[^\"]*\")*)\)\s*(?P<open>\{)?"
    r"|:\s*(?P<value>\"[^\"]*\"|[^;{}\n]+))"
    r"|\s*(?P<close>\})"
)


class LibertySyntaxError(ValueError):
    """The text is not Liberty."""


@dataclass(kw_only=True)
class Group:
    """``kind (arguments) { attributes and groups }``; quotes are removed."""

    kind: str
    arguments: list[str]
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The first argument."""
        return self.arguments[0] if self.arguments else ""

    def all(self, kind: str) -> Iterator["Group"]:
        """Return the groups of a kind directly below."""
        return (group for group in self.groups if group.kind == kind)

    def first(self, kind: str) -> "Group | None":
        """Return the first group of a kind directly below."""
        return next(self.all(kind), None)

    def numbers(self, attribute: str) -> list[float]:
        """Return the numbers of an attribute such as ``values ("1, 2", "3, 4")``, row after row."""
        return [float(word) for word in re.split(r"[\s,]+", self.attributes.get(attribute, ""))
                if word]


def parse(text: str) -> Group:
    """Return the library group of a Liberty file's text."""
    text = _COMMENT.sub(" ", text.replace("\\\n", " "))
    start = re.search(r"\blibrary\s*\(", text)
    if start is None:
        raise LibertySyntaxError("it has no library group")
    root = Group(kind="", arguments=[])
    open_groups = [root]
    for match in _STATEMENT.finditer(text, start.start()):
        if match["close"]:
            open_groups.pop()
            if len(open_groups) == 1:
                return root.groups[0]
        elif match["open"]:
            group = Group(kind=match["name"], arguments=[
                _unquoted(word) for word in match["arguments"].split(",")])
            open_groups[-1].groups.append(group)
            open_groups.append(group)
        elif len(open_groups) > 1:
            value = match["value"] if match["value"] is not None else match["arguments"]
            open_groups[-1].attributes[match["name"]] = _unquoted(value)
    raise LibertySyntaxError("it ends within a group")


def _unquoted(text: str) -> str:
    return text.replace('"', "").strip()
