"""What the timing of a netlist comes to: worst paths by block and by group, and the multiplier's."""

from dataclasses import dataclass
from pathlib import Path

from flows.asic.constraints import sdc
from flows.asic.hierarchy import Hierarchy, group_name
from flows.asic.library import Library
from flows.asic.netlist import Netlist
from flows.asic.sta import Endpoint, Path_, Session

#: Module and register of the multiplier whose own path is to set the clock.
MULTIPLIER, PRODUCT = "tessera_pe", "product"
#: Groups of paths in the report.
GROUPS = 20


@dataclass(frozen=True, kw_only=True)
class NamedPath:
    """A path, with its ends as a person calls them and the module that it ends in."""

    block: str
    start: str
    end: str
    #: Paths that differ from this one in numbers only, itself included.
    count: int
    path: Path_
    #: The module of each stage.
    modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Timing of a whole netlist."""

    period_ns: float
    #: The worst groups of paths, the worst first.
    worst: tuple[NamedPath, ...]
    #: The worst path that ends in each module.
    blocks: tuple[NamedPath, ...]
    #: The worst path through the multiplier; None where there is none.
    multiplier: NamedPath | None
    #: Groups of paths that are longer than the multiplier's, or too long without one.
    too_long: tuple[NamedPath, ...]
    #: The least slack of the paths that start or end in each module.
    slacks_ns: dict[str, float]

    @property
    def limit_ns(self) -> float:
        """The slack that no path is to be below."""
        return max(0.0, self.multiplier.path.slack_ns) if self.multiplier else 0.0

    @property
    def slack_ns(self) -> float:
        """Slack of the worst path."""
        return self.worst[0].path.slack_ns if self.worst else self.period_ns

    @property
    def fmax_mhz(self) -> float:
        """Highest clock frequency at which no path is late."""
        return 1000 / (self.period_ns - self.slack_ns)


def analyse(
    netlist: Netlist, file: Path, library: Library, macros: Path, place: Path, period_ns: float,
) -> Timing:
    """Run OpenSTA on a netlist; constraints, log and reports go to ``place``."""
    place.mkdir(parents=True, exist_ok=True)
    constraints = place / "constraints.sdc"
    constraints.write_text(sdc(netlist.modules[netlist.top], library, period_ns), encoding="utf-8")
    setup = "\n".join([
        f"read_liberty {{{library.path.resolve()}}}", f"read_liberty {{{macros.resolve()}}}",
        f"read_verilog {{{file.resolve()}}}", f"link_design {netlist.top}",
        "source constraints.sdc", ""])
    hierarchy = Hierarchy(netlist, library)
    with Session(place, setup) as session:
        return _timing(session, hierarchy, session.endpoints(period_ns), period_ns)


def _timing(
    session: Session, hierarchy: Hierarchy, endpoints: list[Endpoint], period_ns: float
) -> Timing:
    groups: dict[tuple[str, str], list[Endpoint]] = {}
    blocks: dict[str, Endpoint] = {}
    slacks: dict[str, float] = {}
    multiplier: Endpoint | None = None
    for endpoint in endpoints:
        start, end = hierarchy.show(endpoint.start), hierarchy.show(endpoint.end)
        block = hierarchy.module_of(endpoint.end)
        groups.setdefault((group_name(start), group_name(end)), []).append(endpoint)
        blocks.setdefault(block, endpoint)
        for module in (hierarchy.module_of(endpoint.start), block):
            slacks.setdefault(module, endpoint.slack_ns)
        if block == MULTIPLIER and end.rpartition("/")[2].startswith(PRODUCT):
            multiplier = multiplier or endpoint
    limit_ns = max(0.0, multiplier.slack_ns) if multiplier else 0.0

    def named(endpoint: Endpoint, count: int = 1) -> NamedPath:
        path = session.path(endpoint)
        return NamedPath(
            block=hierarchy.module_of(path.end), start=hierarchy.show(path.start),
            end=hierarchy.show(path.end), count=count, path=path,
            modules=tuple(hierarchy.module_of(stage.pin) for stage in path.stages))

    worst = [(members[0], len(members)) for members in groups.values()]
    ours = (groups[group_name(hierarchy.show(multiplier.start)),
                   group_name(hierarchy.show(multiplier.end))][0] if multiplier else None)
    too_long = [(endpoint, count) for endpoint, count in worst
                if endpoint.slack_ns < limit_ns and endpoint is not ours]
    return Timing(
        period_ns=period_ns, worst=tuple(named(*found) for found in worst[:GROUPS]),
        blocks=tuple(named(endpoint) for endpoint in blocks.values()),
        multiplier=named(multiplier) if multiplier else None,
        too_long=tuple(named(*found) for found in too_long), slacks_ns=slacks)
