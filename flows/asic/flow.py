"""From a configuration to a timed netlist: synthesis, choice of scripts, buffers, timing.

Every unit starts with its smallest netlist. Where a path is longer than the multiplier's, or than
the period, the units that it passes take a faster one; what has time to spare takes a smaller one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.asic.bare_pe import BARE_PE, BareProcessingElement
from flows.asic.buffering import Buffering, insert_buffers
from flows.asic.library import Cell, Library, read_cells
from flows.asic.netlist import Netlist, read_modules, verilog
from flows.asic.synthesis import Candidate, synthesize_units
from flows.asic.timing import MULTIPLIER, Timing, analyse
from flows.asic.units import cut
from hw.config import ChipletConfig
from hw.emit import EmittedVerilog, emit

#: Choices of scripts that are tried.
ROUNDS = 8
#: Gates of a unit on a path from which on a faster netlist of the unit is tried.
LEAST_STAGES = 2

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class AsicDesign:
    """A netlist with its timing, and where its files are."""

    config: ChipletConfig
    library: Library
    emitted: EmittedVerilog
    netlist: Netlist
    netlist_file: Path
    #: Liberty of the memories.
    macros_file: Path
    macros: dict[str, Cell]
    #: How each unit was mapped.
    choice: dict[str, Candidate]
    #: Units in the netlist, and beside it the bare processing element.
    bare_pe: Netlist | None
    buffering: Buffering
    timing: Timing
    #: Time that each stage took.
    seconds: dict[str, float]


def implement(
    config: ChipletConfig, emitted: EmittedVerilog, library: Library, out: Path, *,
    period_ns: float, top: str | None = None, progress: Progress = lambda text: None,
) -> AsicDesign:
    """Synthesize ``top`` (without it the whole design) and what is below it, and time the result.

    The netlist goes to ``out/netlist.v``, with the memories as instances.
    """
    top = top or emitted.top
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    units = cut(emitted.logic, top)
    if top == emitted.top and MULTIPLIER in units:
        bare = emit(BareProcessingElement(config), BARE_PE)
        units |= cut(bare.logic, BARE_PE)
    candidates = synthesize_units(
        units, emitted.sram_blackboxes, library, out / "units", period_ns, progress)
    synthesized = time.monotonic()

    macros_file, netlist_file = out / "memories.lib", out / "netlist.v"
    macros_file.write_text(emitted.sram_liberty(config.memory_technology), encoding="utf-8")
    macros = read_cells(macros_file.read_text(encoding="utf-8")) if emitted.cells else {}
    choice = _Choice(candidates)
    best: AsicDesign | None = None
    for number in range(ROUNDS):
        progress(f"timing: round {number + 1}")
        chosen = choice.chosen()
        netlist = _read(chosen, top, library)
        buffering = insert_buffers(netlist, library, macros)
        netlist_file.write_text(verilog(netlist), encoding="utf-8")
        timing = analyse(netlist, netlist_file, library, macros_file, out / "timing", period_ns)
        design = AsicDesign(
            config=config, library=library, emitted=emitted, netlist=netlist,
            netlist_file=netlist_file, macros_file=macros_file, macros=macros, choice=chosen,
            bare_pe=_read(chosen, BARE_PE, library) if BARE_PE in units else None,
            buffering=buffering, timing=timing,
            seconds={"synthesis": synthesized - start, "timing": time.monotonic() - synthesized})
        best = min(best or design, design, key=_rank)
        changed = choice.change(timing)
        log = ", ".join(f"{name}: {candidates[name][i].script}" for name, i in changed.items())
        progress(f"timing: slack {timing.slack_ns:.2f} ns, wanted {timing.limit_ns:.2f} ns; "
                 f"{log or 'nothing left to change'}")
        if not changed:
            break
    assert best is not None
    netlist_file.write_text(verilog(best.netlist), encoding="utf-8")
    return best


def _rank(design: AsicDesign) -> tuple[float, float]:
    """Order designs: by how much the worst path is too long, then by the area of the gates."""
    excess = max(0.0, design.timing.limit_ns - design.timing.slack_ns)
    counts = design.netlist.instance_counts()
    return round(excess, 2), sum(counts[name] * c.gate_area for name, c in design.choice.items()
                                 if name != BARE_PE)


def _read(choice: dict[str, Candidate], top: str, library: Library) -> Netlist:
    return read_modules({name: c.netlist for name, c in choice.items()}, top, library.flip_flops)


class _Choice:
    """Which candidate each unit takes, and how that changes with the timing.

    First, units on paths that are too long take faster ones; when no path can be helped any more,
    units with time to spare try smaller ones, each once.
    """

    def __init__(self, candidates: dict[str, list[Candidate]]) -> None:
        self.candidates = candidates
        self.index = dict.fromkeys(candidates, 0)
        #: Candidates that timing has shown to be too slow, or that were tried again.
        self.least = dict.fromkeys(candidates, 0)

    def chosen(self) -> dict[str, Candidate]:
        """Return the candidates; the yardstick is mapped as what it stands for."""
        chosen = {name: self.candidates[name][i] for name, i in self.index.items()}
        if BARE_PE in chosen and MULTIPLIER in chosen:
            script = chosen[MULTIPLIER].script
            chosen[BARE_PE] = next((c for c in self.candidates[BARE_PE] if c.script == script),
                                   chosen[BARE_PE])
        return chosen

    def change(self, timing: Timing) -> dict[str, int]:
        """Change the choice; return the units that changed, and their new candidates."""
        changed = self._faster(timing) or self._smaller(timing)
        self.index |= changed
        return changed

    def _faster(self, timing: Timing) -> dict[str, int]:
        late = list(timing.too_long)
        if timing.multiplier and timing.multiplier.path.slack_ns < 0:
            late.append(timing.multiplier)
        found: dict[str, int] = {}
        for path in late:
            # Every unit on the path gives the same share of its time.
            share = 1 - (timing.limit_ns - path.path.slack_ns) / path.path.delay_ns
            for name in set(path.modules):
                candidates, now = self.candidates[name], self.index[name]
                if path.modules.count(name) < LEAST_STAGES or now + 1 == len(candidates):
                    continue
                enough = (i for i, c in enumerate(candidates)
                          if i > now and c.delay_ps <= share * candidates[now].delay_ps)
                found[name] = max(found.get(name, 0), next(enough, len(candidates) - 1))
        return found

    def _smaller(self, timing: Timing) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, now in self.index.items():
            spare_ps = 1000 * (timing.slacks_ns.get(name, 0.0) - timing.limit_ns)
            for i in range(self.least[name], now):
                if self.candidates[name][i].delay_ps <= (
                        self.candidates[name][now].delay_ps + spare_ps):
                    found[name] = i
                    self.least[name] = i + 1
                    break
        return found
