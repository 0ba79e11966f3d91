"""`tessera disasm`: the program of a chip image."""

import zipfile
from pathlib import Path
from typing import Annotated

import typer

from compiler.compile import compile_model
from compiler.image import ChipImage
from compiler.quantize import quantize
from hw.config import find_config
from tessera.options import ConfigOption, VerboseOption, load_model
from tessera.report import check_writable, output, step


def load_image(path: Path) -> ChipImage:
    """Read a chip image; anything else is refused in one sentence."""
    try:
        return ChipImage.load(path)
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must be a chip image that `tessera compile` wrote ({error})"
        ) from error


def disasm(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Chip image, or a model to compile first.")
    ],
    config: ConfigOption = "base",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write to, instead of the terminal.")
    ] = None,
    verbose: VerboseOption = False,
) -> None:
    """List the program of a chip image, or of a model as it would be compiled.

    The listing is what the assembler reads. Instructions, registers and events: docs/isa.md.
    """
    check_writable(out, "--out")
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a chip image or a model")
    if path.is_file() and zipfile.is_zipfile(path):
        image = load_image(path)
    else:
        chiplet = find_config(config)
        checkpoint = load_model(path, None)
        with step("compiling"):
            image = compile_model(quantize(checkpoint.weights), chiplet)
    listing = image.listing()
    if out is None:
        output.print(listing, end="", markup=False)
    else:
        out.write_text(listing, encoding="utf-8")
