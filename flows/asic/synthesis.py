"""Synthesis of each unit, from Verilog to cells of a Liberty library, by scripts from small to fast.

All candidates of a unit are made at once and kept in its directory, so that a later choice, or a
later run with the same Verilog and library, takes no time.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from flows import yosys
from flows.asic.library import Library
from flows.asic.units import Unit

#: Share of the period that is left for logic between flip-flops: their own delay, the set-up time
#: and the buffers that are added after mapping take the rest.
LOGIC_SHARE = 0.78
#: Load on each output while mapping, in pF: a few gates.
OUTPUT_LOAD_PF = 0.05

_CLEAN = "strash; &get -n; &fraig -x; &put; scorr; "
_SIZE = "buffer -c -N 16; topo; upsize -D {D}; dnsize -D {D}; stime -p"
# Area-oriented mapping. `dc2` makes ripple-carry adders of the prefix adders that Yosys builds.
_LEAST = _CLEAN + "dc2; strash; dch; amap -m -Q 1; " + _SIZE
_SMALL = _CLEAN + "strash; dch; amap -m -Q 1; " + _SIZE
_EVEN = _CLEAN + "strash; dch; amap -m -Q 2; " + _SIZE
_MIDDLE = _CLEAN + "strash; dch; amap -m -Q 3; " + _SIZE
# Delay-oriented mapping.
_FIT = "buffer; upsize -D {D}; dnsize -D {D}; stime -p"
_QUICK = _CLEAN + "strash; dch; &get -n; &dch -f; &nf -R 10 -F 5 -D {D}; &put; " + _FIT
_FAST = _CLEAN + "dretime; strash; &get -n; &dch -f; &nf -D {D}; &put; " + _FIT
#: ABC scripts, and the share of the logic's time that each is given: the first sizes gates for the
#: whole period.
SCRIPTS: dict[str, tuple[str, float]] = {
    "least": (_LEAST, 1.15), "small": (_SMALL, 1.0), "even": (_EVEN, 0.9),
    "middle": (_MIDDLE, 0.75), "quick": (_QUICK, 1.0), "fast": (_FAST, 1.0),
}
#: A larger netlist must be faster by this factor to be of use.
LEAST_GAIN = 0.99

_FRONT = """\
read_verilog logic.v
read_verilog -lib children.v
hierarchy -check -top {top}
proc -norom
setattr -unset init w:*
flatten
opt_expr; opt_clean; check -assert
opt -nodffe -nosdff; opt; wreduce; peepopt; opt_clean
booth
alumacc; opt; memory -nomap; opt_clean
opt -fast -full; memory_map; opt -undriven -fine; techmap; opt -fast; opt_clean
dfflibmap -liberty {library} {dont_use}
opt; opt_clean -purge
design -save gates
"""
_MAP = """\
design -load gates
log candidate {name}
abc -liberty {library} -constr constraints.txt -script +{script} {dont_use}
{ties}
opt_clean -purge
select {top}
write_json -selected {name}.json
"""

_CANDIDATE = re.compile(r"^candidate (\w+)")
_STIME = re.compile(r"Gates =\s*(\d+).*Area =\s*([\d.]+).*Delay =\s*([\d.]+) ps")
_KEY, _RESULT = "key.txt", "candidates.json"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A unit, mapped by one of the scripts."""

    script: str
    #: Area of the gates, without flip-flops and without what is below the unit, in um2.
    gate_area: float
    #: Longest logic between flip-flops, without these, as ABC sees it.
    delay_ps: float
    netlist: Path


def synthesize_units(
    units: dict[str, Unit], macros: str, library: Library, out: Path, period_ns: float,
    progress: Callable[[str], None], scripts: Sequence[str] = tuple(SCRIPTS),
) -> dict[str, list[Candidate]]:
    """Map every unit with every script, as many at once as there are processors.

    ``macros`` are the memories as empty modules. Files go to ``out``, a directory per unit.
    Returns for each unit the candidates that are of use: the smallest first, the fastest last.
    """
    done = 0

    def one(unit: Unit) -> list[Candidate]:
        nonlocal done
        candidates = _synthesize(unit, macros, library, out / unit.name, period_ns, scripts)
        done += 1
        progress(f"synthesis: {done} of {len(units)} modules, {unit.name} done")
        return candidates

    # The longest first: at the end no processor waits for one.
    ordered = sorted(units.values(), key=lambda unit: -len(unit.logic))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = list(pool.map(one, ordered))
    return {unit.name: candidates for unit, candidates in zip(ordered, found, strict=True)}


def _synthesize(
    unit: Unit, macros: str, library: Library, place: Path, period_ns: float,
    scripts: Sequence[str],
) -> list[Candidate]:
    text = _script(unit, library, period_ns, scripts)
    constraints = (f"set_driving_cell {library.buffers[0].name}\n"
                   f"set_load {1000 * OUTPUT_LOAD_PF:g}\n")
    inputs = {"logic.v": unit.logic, "children.v": unit.children + used_macros(macros, unit.logic),
              "constraints.txt": constraints}
    key = hashlib.sha256("\0".join(
        [version("pyosys"), text, *inputs.values(), library.digest]).encode()).hexdigest()
    result = place / _RESULT
    if not (place / _KEY).is_file() or (place / _KEY).read_text(encoding="utf-8") != key:
        place.mkdir(parents=True, exist_ok=True)
        (place / _KEY).unlink(missing_ok=True)
        for name, content in inputs.items():
            (place / name).write_text(content, encoding="utf-8")
        log = yosys.run(place, text)
        result.write_text(json.dumps([
            {**asdict(c), "netlist": c.netlist.name} for c in _read_log(log, place, scripts)]),
            encoding="utf-8")
        (place / _KEY).write_text(key, encoding="utf-8")
    return _useful([Candidate(**{**found, "netlist": place / found["netlist"]})
                    for found in json.loads(result.read_text(encoding="utf-8"))])


def _useful(candidates: list[Candidate]) -> list[Candidate]:
    """Return candidates by area, without those that a smaller one equals in speed."""
    found: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.gate_area, c.delay_ps)):
        if not found or candidate.delay_ps < LEAST_GAIN * found[-1].delay_ps:
            found.append(candidate)
    return found


def _script(unit: Unit, library: Library, period_ns: float, scripts: Sequence[str]) -> str:
    names = {"top": unit.name, "library": library.path.resolve(),
             "dont_use": " ".join(f"-dont_use {name}" for name in library.unused)}
    ties = (library.tie("1"), library.tie("0"))
    hilomap = ("hilomap -singleton -hicell {} {} -locell {} {}".format(*ties[0], *ties[1])
               if ties[0] and ties[1] else "")
    text = _FRONT.format(**names)
    for name in scripts:
        script, share = SCRIPTS[name]
        budget_ps = round(1000 * period_ns * LOGIC_SHARE * share)
        steps = script.format(D=budget_ps).replace("; ", ";").replace(" ", ",")
        text += _MAP.format(**names, name=name, script=steps, ties=hilomap)
    return text


def used_macros(macros: str, logic: str) -> str:
    """Return those of the macros that the logic names."""
    modules = re.findall(r"^\(\* blackbox \*\)\nmodule \w+ .*?^endmodule\n", macros,
                         re.MULTILINE | re.DOTALL)
    return "".join(text for text in modules if re.search(
        rf"\b{re.escape(text.split()[4])}\b", logic))


def _read_log(log: str, place: Path, scripts: Sequence[str]) -> list[Candidate]:
    # A unit without gates is not mapped, and has no figures.
    figures = dict.fromkeys(scripts, (0.0, 0.0))
    name = ""
    for line in log.splitlines():
        if match := _CANDIDATE.match(line):
            name = match[1]
        elif match := _STIME.search(line):
            figures[name] = (float(match[2]), float(match[3]))
    return [Candidate(script=name, gate_area=area, delay_ps=delay,
                      netlist=place / f"{name}.json")
            for name, (area, delay) in figures.items()]
