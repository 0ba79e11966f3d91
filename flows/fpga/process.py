"""Runs the tools as processes, with a log file each and progress for who waits."""

import importlib.util
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

#: Takes one short line that says what goes on.
Progress = Callable[[str], None]

#: Lines of the log that an error quotes.
_QUOTED_LINES = 3


class ToolFailedError(RuntimeError):
    """A tool ended with an error; the message quotes it and names the log."""


def require_package(package: str, tool: str) -> None:
    """Refuse, before any work, if the Python package that holds a tool is not there."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"{tool} is not installed: install the flows' packages with "
            f"`{Path(sys.executable).name} -m pip install 'tessera[flows]'`, or run `make fpga`"
        )


def run_tool(
    name: str,
    arguments: list[str],
    log: Path,
    progress: Progress,
    steps: tuple[tuple[str, str], ...],
    directory: Path | None = None,
) -> None:
    """Run Python with `arguments`, in `directory` if one is given; its output goes to `log`.

    Each of `steps` is a pattern of an output line, and the text for the progress display, in which
    groups of the pattern may be used.
    """
    patterns = [(re.compile(pattern), text) for pattern, text in steps]
    last: deque[str] = deque(maxlen=_QUOTED_LINES)
    errors: deque[str] = deque(maxlen=_QUOTED_LINES)
    command = [sys.executable, *arguments]
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=directory
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                if line.strip():
                    last.append(line.strip())
                if "ERROR" in line:
                    errors.append(line.strip())
                for pattern, text in patterns:
                    match = pattern.search(line)
                    if match:
                        progress(match.expand(text))
        except BaseException:
            process.kill()  # else leaving the block would wait for it
            raise
    if process.returncode:
        raise ToolFailedError(f"{name} failed: {'; '.join(errors or last)} (log: {log})")
