"""Runs Yosys scripts, each in a process of its own with a log file."""

import importlib.util
import subprocess
import sys
from pathlib import Path

#: Files of a run, beside what its script writes.
SCRIPT, LOG = "script.ys", "log.txt"

_MAIN = f"from pyosys import libyosys as ys; ys.run_pass('script {SCRIPT}', ys.Design())"


class ToolFailedError(RuntimeError):
    """A tool ended with an error; the message quotes it and names the log."""


def require_yosys() -> None:
    """Refuse, before any work, if Yosys is not there."""
    if importlib.util.find_spec("pyosys") is None:
        raise ValueError("Yosys is not installed: run `make asic`, which installs it, or "
                         "`pip install 'tessera[flows]'`")


def run(place: Path, script: str) -> str:
    """Run a script in the directory ``place``, which is made; return its log."""
    place.mkdir(parents=True, exist_ok=True)
    (place / SCRIPT).write_text(script, encoding="utf-8")
    with (place / LOG).open("wb") as log:
        code = subprocess.run([sys.executable, "-c", _MAIN], cwd=place, stdout=log,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
    text = (place / LOG).read_text(encoding="utf-8", errors="replace")
    if code:
        errors = [line for line in text.splitlines() if "ERROR" in line] or text.splitlines()[-1:]
        raise ToolFailedError(f"Yosys failed: {' '.join(errors)[:400]} (log: {place / LOG})")
    return text
