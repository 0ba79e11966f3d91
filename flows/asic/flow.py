"""From a configuration to a timed netlist: synthesis, choice of scripts, buffers, timing.

Every unit starts with its smallest netlist. Where a path is longer than the multiplier's, or than
the period, the units that it passes take a faster one, until no path is too long or nothing is left.
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
    index = dict.fromkeys(units, 0)
    best: AsicDesign | None = None
    for number in range(ROUNDS):
        progress(f"timing: round {number + 1}")
        choice = {name: candidates[name][i] for name, i in index.items()}
        if BARE_PE in units:  # the yardstick is made as what it is for
            choice[BARE_PE] = _same_script(candidates[BARE_PE], choice.get(MULTIPLIER))
        netlist = _read(choice, top, library)
        buffering = insert_buffers(netlist, library, macros)
        netlist_file.write_text(verilog(netlist), encoding="utf-8")
        timing = analyse(netlist, netlist_file, library, macros_file, out / "timing", period_ns)
        best = AsicDesign(
            config=config, library=library, emitted=emitted, netlist=netlist,
            netlist_file=netlist_file, macros_file=macros_file, macros=macros, choice=choice,
            bare_pe=_read(choice, BARE_PE, library) if BARE_PE in units else None,
            buffering=buffering, timing=timing,
            seconds={"synthesis": synthesized - start, "timing": time.monotonic() - synthesized})
        faster = _faster(timing, candidates, index)
        if not faster or number == ROUNDS - 1:
            break
        progress(f"timing: slack {timing.slack_ns:.2f} ns; faster: {', '.join(sorted(faster))}")
        index |= faster
    assert best is not None
    return best


def _read(choice: dict[str, Candidate], top: str, library: Library) -> Netlist:
    return read_modules({name: c.netlist for name, c in choice.items()}, top, library.flip_flops)


def _same_script(candidates: list[Candidate], other: Candidate | None) -> Candidate:
    return next((c for c in candidates if other and c.script == other.script), candidates[0])


def _faster(
    timing: Timing, candidates: dict[str, list[Candidate]], index: dict[str, int]
) -> dict[str, int]:
    """Return the units that are to take another candidate, and which."""
    limit_ns = max(0.0, timing.multiplier.path.slack_ns) if timing.multiplier else 0.0
    late = list(timing.too_long)
    if timing.multiplier and timing.multiplier.path.slack_ns < 0:
        late.append(timing.multiplier)
    found: dict[str, int] = {}
    for path in late:
        # Every unit on the path gives the same share of its time.
        share = 1 - (limit_ns - path.path.slack_ns) / path.path.delay_ns
        for name in set(path.modules):
            if path.modules.count(name) < LEAST_STAGES or index[name] + 1 == len(candidates[name]):
                continue
            wanted_ps = share * candidates[name][index[name]].delay_ps
            enough = (i for i, c in enumerate(candidates[name])
                      if i > index[name] and c.delay_ps <= wanted_ps)
            found[name] = max(found.get(name, 0), next(enough, len(candidates[name]) - 1))
    return found
