"""Inserts trees of buffers on nets whose load slows their driver more than a buffer does.

Synthesis sizes gates within a module; what it leaves out is the load of flip-flops, of module
inputs, and of nets that cross modules. This pass sees the whole netlist: modules come children
first, and a child's port counts with the load that is left behind it. Only buffers are added, so
the function stays what it was. Clocks are left alone: their trees are made with the layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flows.asic.library import Cell, Library
from flows.asic.netlist import Instance, Module, Net, Netlist

#: The load of an output may add this multiple of a buffer's own delay to its delay.
DELAY_FACTOR = 1.6
#: Share of an output's load that a module leaves to whoever uses its port.
PORT_SHARE = 0.5
#: Share of the largest load that the library permits.
LIMIT_SHARE = 0.8


@dataclass(kw_only=True)
class PortLoad:
    """One bit of a module's port as its parent sees it."""

    #: Of an input: its load. Of an output: what its driver drives within the module.
    load_pf: float = 0.0
    #: Of an output: the load that its driver may have in all.
    limit_pf: float = 0.0
    is_clock: bool = False


@dataclass(kw_only=True)
class Net_:
    """What is on a net of one module."""

    #: Load that the driver may have, of which ``fixed_pf`` cannot be moved behind a buffer.
    limit_pf: float = 0.0
    fixed_pf: float = 0.0
    #: Inputs that can be moved: instance, port, bit, and load.
    sinks: list[tuple[Instance, str, int, float]] = field(default_factory=list)
    is_clock: bool = False
    is_output: bool = False

    @property
    def load_pf(self) -> float:
        """Load of the net."""
        return self.fixed_pf + sum(sink[3] for sink in self.sinks)


@dataclass(frozen=True, kw_only=True)
class Buffering:
    """What the pass did: buffers per module, and the largest load in it before and after."""

    buffers: dict[str, int]
    largest_pf: tuple[float, float]


class Strengths:
    """The loads that cells may drive, from the library alone."""

    def __init__(self, library: Library) -> None:
        # The strongest of the small buffers: the least delay for a middling load, by its area.
        usable = [b for b in library.buffers if b.outputs[0].delay_per_pf > 0] or library.buffers
        smallest = usable[0]
        candidates = [b for b in usable if b.area <= 1.7 * smallest.area]
        self.buffer = min(candidates, key=lambda b: (b.outputs[0].delay_per_pf, b.area))
        self.allowed_ns = DELAY_FACTOR * self.buffer.outputs[0].delay_ns
        self.buffer_limit_pf = self.limit(self.buffer, self.buffer.outputs[0].name)
        #: For a module's input, whose driver is unknown: what the smallest buffer may drive.
        self.input_limit_pf = self.limit(smallest, smallest.outputs[0].name)

    def limit(self, cell: Cell, port: str) -> float:
        """Return the load in pF that an output may drive without a buffer."""
        pin = cell.pins[port]
        slope = pin.delay_per_pf or float("inf")
        by_delay = self.allowed_ns / slope if slope != float("inf") else float("inf")
        return min(by_delay, LIMIT_SHARE * pin.max_load_pf)


def insert_buffers(netlist: Netlist, library: Library, macros: Mapping[str, Cell]) -> Buffering:
    """Insert buffers into every module of ``netlist``, in place."""
    strengths = Strengths(library)
    cells = {**library.cells, **macros}
    ports: dict[str, dict[str, list[PortLoad]]] = {}
    counts: dict[str, int] = {}
    before = after = 0.0
    for module in netlist.modules.values():
        nets = _nets(module, cells, ports, strengths)
        before = max([before, *(n.load_pf for n in nets.values() if not n.is_clock)])
        counts[module.name] = sum(
            _buffer(module, net, found, strengths) for net, found in list(nets.items()))
        nets = _nets(module, cells, ports, strengths)
        after = max([after, *(n.load_pf for n in nets.values() if not n.is_clock)])
        ports[module.name] = {
            name: [_port_load(nets.get(net), port.is_output) for net in port.nets]
            for name, port in module.ports.items()}
    return Buffering(buffers=counts, largest_pf=(before, after))


def _port_load(net: Net_ | None, is_output: bool) -> PortLoad:
    if net is None:
        return PortLoad()
    return PortLoad(load_pf=net.load_pf, limit_pf=net.limit_pf if is_output else 0.0,
                    is_clock=net.is_clock)


def _nets(
    module: Module, cells: Mapping[str, Cell], ports: Mapping[str, dict[str, list[PortLoad]]],
    strengths: Strengths,
) -> dict[Net, Net_]:
    found: dict[Net, Net_] = {}

    def at(net: Net) -> Net_:
        return found.setdefault(net, Net_())

    for port in module.ports.values():
        for net in port.nets:
            if not isinstance(net, int):
                continue
            if port.is_output:
                at(net).is_output = True
            else:
                at(net).limit_pf = strengths.input_limit_pf
    for instance in module.instances:
        for port_name, nets in instance.connections.items():
            for i, net in enumerate(nets):
                if not isinstance(net, int):
                    continue
                entry = at(net)
                if instance.module in ports:
                    load = ports[instance.module][port_name][i]
                    if load.limit_pf:
                        entry.limit_pf = load.limit_pf
                        entry.fixed_pf += load.load_pf
                        continue
                    capacitance, is_clock = load.load_pf, load.is_clock
                else:
                    pin = cells[instance.module].pins[port_name]
                    if pin.is_output:
                        entry.limit_pf = strengths.limit(cells[instance.module], port_name)
                        continue
                    capacitance, is_clock = pin.capacitance_pf, pin.is_clock
                entry.is_clock |= is_clock
                entry.sinks.append((instance, port_name, i, capacitance))
    return found


def _buffer(module: Module, net: Net, found: Net_, strengths: Strengths) -> int:
    """Insert a tree on one net; return the number of its buffers."""
    limit = found.limit_pf * (PORT_SHARE if found.is_output else 1.0)
    if found.is_clock or not found.limit_pf or found.load_pf <= limit or len(found.sinks) < 2:
        return 0
    assert isinstance(net, int)
    buffer, name = strengths.buffer, module.net_text(net)
    load_pf = buffer.inputs[0].capacitance_pf
    sinks, fixed, count = found.sinks, found.fixed_pf, 0
    while fixed + sum(sink[3] for sink in sinks) > limit and len(sinks) > 1:
        level = []
        for group in _groups(sinks, strengths.buffer_limit_pf):
            output = module.new_net()
            for instance, port, bit, _ in group:
                instance.connections[port][bit] = output
            driver = Instance(
                name=f"buffer_{name}_{count}", module=buffer.name,
                connections={buffer.inputs[0].name: [net], buffer.outputs[0].name: [output]})
            module.instances.append(driver)
            level.append((driver, buffer.inputs[0].name, 0, load_pf))
            count += 1
        if len(level) >= len(sinks):
            break
        sinks = level
    return count


def _groups(
    sinks: list[tuple[Instance, str, int, float]], limit_pf: float
) -> list[list[tuple[Instance, str, int, float]]]:
    """Split sinks into as few runs of about equal load as the limit permits."""
    total = sum(sink[3] for sink in sinks)
    share = total / max(1, -(-total // limit_pf))
    groups: list[list[tuple[Instance, str, int, float]]] = [[]]
    used = 0.0
    for sink in sinks:
        if groups[-1] and used + sink[3] / 2 > share * len(groups):
            groups.append([])
        groups[-1].append(sink)
        used += sink[3]
    return groups
