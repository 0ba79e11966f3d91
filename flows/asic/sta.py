"""A session of OpenSTA: a netlist is loaded once, then asked for slacks and for single paths."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flows.yosys import ToolFailedError

#: The program, as Debian installs it.
PROGRAM = "sta"
_ENDPOINT = re.compile(r"^(\S+) \([^)]*\)\s+(\S+) \([^)]*\)\s+(-?[\d.]+)$", re.MULTILINE)
_STAGE = re.compile(r"^\s+(-?[\d.]+)\s+(-?[\d.]+) [v^] (\S+) \((\w+)\)$", re.MULTILINE)
_ARRIVAL = re.compile(r"^\s+(-?[\d.]+)\s+data arrival time$", re.MULTILINE)
_SLACK = re.compile(r"^\s+(-?[\d.]+)\s+slack", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The worst path to a pin: where it starts, and by how much it is early (late: negative)."""

    start: str
    end: str
    slack_ns: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One cell on a path: the pin that the path leaves it by, and the delay up to there."""

    pin: str
    cell: str
    delay_ns: float


@dataclass(frozen=True, kw_only=True)
class Path_:
    """A path from a register, memory or port to the next."""

    start: str
    end: str
    slack_ns: float
    #: From the clock edge to the end, without its set-up time.
    delay_ns: float
    #: Gates between the start and the end.
    levels: int
    stages: tuple[Stage, ...]


def require_sta() -> None:
    """Refuse, before any work, if OpenSTA is not there."""
    if shutil.which(PROGRAM) is None:
        raise ValueError(f"OpenSTA's program `{PROGRAM}` is not installed: apt install opensta")


class Session:
    """OpenSTA, with files read and constraints set by ``setup``; a context manager."""

    def __init__(self, place: Path, setup: str) -> None:
        self.place = place
        self.setup = setup
        self.count = 0

    def __enter__(self) -> "Session":
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "setup.tcl").write_text(self.setup, encoding="utf-8")
        self.process = subprocess.Popen(
            [PROGRAM, "-no_splash", "-no_init"], cwd=self.place, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.log = (self.place / "log.txt").open("w", encoding="utf-8")
        try:
            self._command("source setup.tcl")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def _command(self, command: str) -> None:
        """Run a command to its end; an error of the program is raised."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.count += 1
        mark = f"ready {self.count}"
        # The program repeats its input: the mark must not stand in it.
        self.process.stdin.write(f'{command}\nputs "[string tolower READY] {self.count}"\n'
                                 "flush stdout\n")
        self.process.stdin.flush()
        errors: list[str] = []
        for line in self.process.stdout:
            self.log.write(line)
            if line.strip().removeprefix("OpenSTA> ") == mark:
                if errors:
                    break
                return
            if line.startswith("Error"):
                errors.append(line.strip())
        message = "; ".join(errors) or "it stopped"
        raise ToolFailedError(f"OpenSTA failed: {message[:400]} (log: {self.place / 'log.txt'})")

    def _report(self, arguments: str) -> str:
        self._command(f"report_checks {arguments} > report.txt")
        return (self.place / "report.txt").read_text(encoding="utf-8")

    def endpoints(self, largest_slack_ns: float) -> list[Endpoint]:
        """Return the endpoints that are less early than that, the worst first."""
        text = self._report(f"-group_count 1000000 -slack_max {largest_slack_ns:.3f} "
                            "-format summary -digits 3")
        return [Endpoint(start=m[1], end=m[2], slack_ns=float(m[3]))
                for m in _ENDPOINT.finditer(text)]

    def path(self, endpoint: Endpoint) -> Path_:
        """Return the worst path to an endpoint, in full."""
        get = "get_pins" if "/" in endpoint.end else "get_ports"
        text = self._report(f"-to [{get} {{{endpoint.end}}}] -format full -digits 3")
        arrival, slack = _ARRIVAL.search(text), _SLACK.search(text)
        if arrival is None or slack is None:
            raise ToolFailedError(f"OpenSTA reports no path to {endpoint.end} "
                                  f"(log: {self.place / 'log.txt'})")
        found = [Stage(pin=m[3], cell=m[4], delay_ns=float(m[1]))
                 for m in _STAGE.finditer(text, 0, arrival.start())]
        # The first line is the start's clock or port, the last the end.
        stages = tuple(s for s in found if s.pin != endpoint.end and s.delay_ns > 0)
        start = found[0].pin if found[0].pin == endpoint.start else endpoint.start
        return Path_(start=start, end=endpoint.end, slack_ns=float(slack[1]),
                     delay_ns=float(arrival[1]), levels=max(0, len(stages) - 1), stages=stages)
