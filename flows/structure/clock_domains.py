"""Every place where a signal passes from one clock to another; only listed ones are allowed.

A crossing into the first flip-flop of a synchronizer (a chain of two, with no logic between, and
nothing else reading the first) is safe by itself. Any other must be in :data:`WAIVED`, with the
reason. What comes from an input port counts as without a clock: it is a crossing too, unless the
port belongs to the clock, as all ports of the chiplet do.
"""

import re
from dataclasses import dataclass

from flows.structure.netlist import FlatDesign, Net, Storage

#: Crossings that are allowed: pattern of the end of the source's name -> reason.
WAIVED: dict[str, str] = {
    r"crossing\.entry_\d": "phits in a FIFO: one is read when it has not changed since its position "
                           "came over",
}


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A path between two clocks."""

    source: str
    target: str
    #: The target is the first flip-flop of a synchronizer.
    synchronized: bool


def crossings(design: FlatDesign, foreign_inputs: tuple[str, ...] = ()) -> list[Crossing]:
    """Return all crossings; ``foreign_inputs`` are ports that no clock of the design drives."""
    if len({s.clock for s in design.storage}) < 2 and not foreign_inputs:
        return []
    driver: dict[Net, Storage] = {net: s for s in design.storage for net in s.outputs}
    foreign = {net: name for name in foreign_inputs for net in design.inputs[name]}
    readers: dict[Net, int] = {}
    for reads in [*design.sources.values(), *(s.inputs for s in design.storage),
                  *design.outputs.values()]:
        for net in reads:
            readers[net] = readers.get(net, 0) + 1
    direct = {s.inputs[0]: s for s in design.storage if not s.is_memory and len(s.inputs) == 1}
    found = set()
    for target in design.storage:
        for net, operators in design.backward(target.inputs):
            source = driver.get(net)
            if source is not None and source.clock != target.clock:
                name = source.name
            elif net in foreign:
                name = foreign[net]
            else:
                continue
            second = direct.get(target.outputs[0]) if not target.is_memory else None
            chain = (operators == 0 and len(target.inputs) == 1 and second is not None
                     and second.clock == target.clock and readers[target.outputs[0]] == 1)
            found.add(Crossing(source=name, target=target.name, synchronized=chain))
    return sorted(found, key=lambda each: (each.target, each.source))


def unsafe(found: list[Crossing]) -> list[Crossing]:
    """Return the crossings that are neither synchronized nor waived."""
    return [each for each in found if not each.synchronized
            and not any(re.search(rf"(^|\.){pattern}$", each.source) for pattern in WAIVED)]
