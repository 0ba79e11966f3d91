"""What commands print: results on stdout, progress and errors on stderr, figures as JSON."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Columns of a table that goes into a file or a pipe.
PIPE_COLUMNS = 120
#: Results. Long lines are left to the terminal, so that a pipe gets them whole.
output = Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_COLUMNS
)
#: Progress and errors.
errors = Console(stderr=True, highlight=False, soft_wrap=True)

log = logging.getLogger("tessera")


class RunFailedError(RuntimeError):
    """A run ended, but not as it must; the report says how, or the message does."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show on a terminal what takes a while."""
    log.debug(what)
    if errors.is_terminal:
        with errors.status(f"{what} ..."):
            yield
    else:
        yield


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; yields a function that takes (done, in all)."""
    log.debug(what)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def check_writable(path: Path | None, option: str) -> None:
    """Refuse, before any long work, a file that cannot be written."""
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"{option} must be a file, not the directory {path}")
    if not path.parent.is_dir():
        raise ValueError(f"{option} must be in a directory that exists, not in {path.parent}")


def write_json(path: Path | None, values: Mapping[str, Any]) -> None:
    """Write figures, if a file was given."""
    if path is not None:
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def line(name: str, value: str) -> None:
    """Print one figure."""
    output.print(f"{name}: {value}", markup=False)
