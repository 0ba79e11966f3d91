"""The command line: its commands, and how each kind of failure ends.

Bad input ends with one sentence and exit code 2, a run that went wrong (not bit-exact, a figure
beyond its limit, a simulator that failed) with 1. `--verbose` shows where it happened.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tessera import __version__
from tessera.commands.asic import asic
from tessera.commands.bench import bench
from tessera.commands.compile import compile_command
from tessera.commands.disasm import disasm
from tessera.commands.eval import eval_command
from tessera.commands.fpga import fpga
from tessera.commands.run import run
from tessera.commands.verilog import verilog
from tessera.options import VerboseOption, quiet
from tessera.report import errors, log

INPUT_ERROR, RUN_ERROR, INTERRUPTED = 2, 1, 130


def _describe(error: BaseException) -> tuple[str, int]:
    """Return the sentence for an error that a user can cause, and the exit code."""
    if isinstance(error, typer.TyperException):
        # What the parser refuses: an unknown option, a missing one, a value of the wrong type.
        return str(error.format_message()), INPUT_ERROR
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", INPUT_ERROR
    if isinstance(error, ValueError):
        return str(error), INPUT_ERROR
    if isinstance(error, RuntimeError):
        # RunFailedError, and a simulator that did not build or stopped.
        return str(error), RUN_ERROR
    raise error


class Commands(TyperGroup):
    """Turns exceptions into one sentence on stderr and an exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, **extra: Any
    ) -> Any:
        """Run a command line; exits, unless `standalone_mode` is off."""
        if not extra.pop("standalone_mode", True):
            return super().main(args, standalone_mode=False, **extra)
        quiet()
        try:
            code = super().main(args, standalone_mode=False, **extra)
        except typer.Abort:
            code = INTERRUPTED
        except (typer.TyperException, OSError, ValueError, RuntimeError) as error:
            log.debug("the error came from here:", exc_info=True)
            sentence, code = _describe(error)
            if sentence:  # Without arguments, the parser shows the help and has nothing to add.
                errors.print(f"error: {' '.join(sentence.split())}", style="red", markup=False)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=Commands,
    help="Generate LLM-inference chiplets, and run real models on them, bit for bit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tessera {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: VerboseOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Only for the options that stand before a command."""


app.command("run")(run)
app.command("eval")(eval_command)
app.command("compile")(compile_command)
app.command("verilog")(verilog)
app.command("asic")(asic)
app.command("fpga")(fpga)
app.command("disasm")(disasm)
app.command("bench")(bench)


def main() -> None:
    """Run the command line of this process."""
    app(prog_name="tessera")


if __name__ == "__main__":
    main()
