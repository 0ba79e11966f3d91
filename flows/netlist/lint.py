"""Checks of the emitted Verilog by tools that have no part in it: Verilator, Yosys, Icarus.

Every waiver names a rule and a message, and says why the finding is none.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from flows import yosys
from hw.emit import EmittedVerilog
from verif.simulator import prepare_environment


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A rule of Verilator that is off for messages that match."""

    rule: str
    #: What the message must match, with ``*`` for any text; the default matches all.
    message: str = "*"
    reason: str


WAIVERS = (
    Waiver(rule="DECLFILENAME", reason="all modules of a chiplet are in one file"),
    Waiver(rule="PROCASSINIT",
           reason="registers have an initial value for FPGAs, and a reset wherever one is needed; "
                  "the simulation without initial values shows that none depends on it"),
    Waiver(rule="CASEINCOMPLETE",
           reason="each block assigns a default before its `case`; Yosys' check finds no latch"),
    Waiver(rule="WIDTHEXPAND", message="Operator * expects * bits on the *",
           reason="Amaranth computes each result's width; Verilog extends the operands to it"),
    Waiver(rule="WIDTHTRUNC", message="Logical operator LOGNOT expects 1 bit on the LHS*",
           reason="`!` of a vector, that is, all bits are zero, is meant"),
    Waiver(rule="WIDTHTRUNC", message="Operator ASSIGN* Assign RHS's SHIFT* generates * bits.",
           reason="a part of a vector is selected by a shift and taken from its low end"),
    Waiver(rule="UNUSEDSIGNAL", message="Bits of signal are not used: '*",
           reason="a structure or a sum is passed on whole where a part of it is wanted"),
    Waiver(rule="UNUSEDSIGNAL", message="Signal is not used: '$*",
           reason="the converter names parts of expressions that it then simplifies"),
    Waiver(rule="UNUSEDSIGNAL", message="Signal is not used: 'rst'",
           reason="each shared module has a reset port, also one without a register to reset"),
    Waiver(rule="UNUSEDSIGNAL", message="Signal is not used: '*'",
           reason="a field of a structure that one user of the structure does not need"),
    Waiver(rule="UNSIGNED", message="Comparison is constant due to unsigned arithmetic",
           reason="a bound that follows from the configuration and is 0 in this one"),
    Waiver(rule="CMPCONST", message="Comparison is constant due to limited range",
           reason="a bound that follows from the configuration and is the largest value in this one"),
)

#: A finding, and the line below it, which may hold the rest of the message.
_FINDING = re.compile(r"^%(?:Warning|Error)(?:-(?P<rule>\w+))?: (?:\S+?:\d+:\d+: )?(?P<message>.*)$",
                      re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A message of Verilator."""

    rule: str
    message: str

    def is_covered_by(self, waiver: Waiver) -> bool:
        """Tell whether a waiver is for this message."""
        return self.rule == waiver.rule and fnmatchcase(self.message, waiver.message)


def control_file(waivers: tuple[Waiver, ...] = WAIVERS) -> str:
    """Return the waivers as a control file of Verilator, each behind its reason."""
    lines = ["`verilator_config"]
    for waiver in waivers:
        match = "" if waiver.message == "*" else f' -file "*" -match "{waiver.message}"'
        lines += [f"// {waiver.reason}", f"lint_off -rule {waiver.rule}{match}"]
    return "\n".join(lines) + "\n"


def write_verilog(emitted: EmittedVerilog, place: Path) -> list[Path]:
    """Write the memories' models and the logic into a directory; return the two files."""
    place.mkdir(parents=True, exist_ok=True)
    files = [place / "memories.sv", place / "logic.v"]
    files[0].write_text(emitted.sram_models, encoding="utf-8")
    files[1].write_text(emitted.logic, encoding="utf-8")
    return files


def verilator_findings(
    emitted: EmittedVerilog, place: Path, waivers: tuple[Waiver, ...] = WAIVERS
) -> list[Finding]:
    """Return what ``verilator --lint-only -Wall`` finds beside the waivers."""
    prepare_environment()
    files = write_verilog(emitted, place)
    control = place / "waivers.vlt"
    control.write_text(control_file(waivers), encoding="utf-8")
    run = subprocess.run(
        ["verilator", "--lint-only", "-Wall", "--top-module", emitted.top, str(control),
         *map(str, files)], capture_output=True, text=True, check=False)
    findings = [Finding(rule=match["rule"] or "", message=match["message"])
                for match in _FINDING.finditer(run.stderr)]
    if run.returncode and not findings:
        raise yosys.ToolFailedError(f"Verilator failed: {run.stderr[-400:]}")
    return findings


def check_structure(emitted: EmittedVerilog, place: Path) -> None:
    """Raise if Yosys finds a latch, a loop, a net with several drivers, or one without any."""
    write_verilog(emitted, place)
    (place / "blackboxes.v").write_text(emitted.sram_blackboxes, encoding="utf-8")
    # Module by module, then flat: a loop may pass through several modules.
    yosys.run(place, f"""\
read_verilog logic.v
read_verilog -lib blackboxes.v
hierarchy -check -top {emitted.top}
proc
select -assert-none t:$dlatch t:$adlatch t:$dlatchsr t:$sr
check -assert
flatten
check -assert
""")


def require_icarus() -> None:
    """Refuse, before any work, if Icarus is not there."""
    if shutil.which("iverilog") is None:
        raise ValueError("Icarus Verilog is not installed: install the package iverilog")


def icarus_messages(emitted: EmittedVerilog, place: Path) -> str:
    """Return what Icarus says when it compiles logic and memories; nothing, if all is well."""
    require_icarus()
    files = write_verilog(emitted, place)
    run = subprocess.run(
        ["iverilog", "-g2012", "-Wall", "-Wno-timescale", "-s", emitted.top, "-o", "compiled",
         *(file.name for file in files)], capture_output=True, text=True, cwd=place, check=False)
    return run.stdout + run.stderr
