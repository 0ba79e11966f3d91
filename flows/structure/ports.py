"""Whether each port of the design has a register behind it: what an integrator must know."""

from dataclasses import dataclass

from flows.structure.netlist import FlatDesign


@dataclass(frozen=True, kw_only=True)
class PortPath:
    """A port, and whether a register is right behind it."""

    name: str
    is_output: bool
    #: Nothing lies between the port and registers: those that drive an output, or read an input.
    registered: bool
    #: Of an output: input ports from which logic alone leads to it.
    through: tuple[str, ...] = ()


def port_paths(design: FlatDesign, clock: str = "clk") -> list[PortPath]:
    """Return every port but the clock, sorted by name."""
    input_names = {net: name for name, nets in design.inputs.items() for net in nets}
    behind_logic = {input_names[net] for nets in design.sources.values() for net in nets
                    if net in input_names}
    paths = [PortPath(name=name, is_output=False, registered=name not in behind_logic)
             for name in design.inputs if name != clock]
    for name, nets in design.outputs.items():
        found = {net for net, _ in design.backward(nets)}
        paths.append(PortPath(
            name=name, is_output=True, registered=not any(net in design.sources for net in nets),
            through=tuple(sorted({input_names[net] for net in found if net in input_names}))))
    return sorted(paths, key=lambda path: path.name)
