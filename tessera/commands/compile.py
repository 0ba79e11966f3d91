"""`tessera compile`: a model to a chip image."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from compiler.compile import compile_model
from compiler.image import ChipImage
from compiler.quantize import quantize
from hw.config import find_config
from tessera.options import (
    ConfigOption,
    JsonOption,
    ModelOption,
    TokenizerOption,
    VerboseOption,
    load_model,
)
from tessera.report import check_writable, line, output, step, write_json

#: Memories by configuration field: what they hold.
MEMORIES = {
    "bank_words": "weights and KV cache",
    "activation_words": "int8 vectors of the vector unit",
    "output_words": "int8 vectors of the drain",
    "result_beats": "int16 results",
    "residual_beats": "residual stream, logits",
    "multiplier_beats": "multipliers, token scales",
    "rope_beats": "cosines and sines",
    "row_slots": "row scales, row maxima",
    "program_words": "instructions",
}


def memory_use(image: ChipImage) -> dict[str, tuple[int, int]]:
    """Return words used and words there are, by configuration field."""
    needs = {**image.info["needs"], "program_words": image.program_length}
    return {
        name: (int(needs[name]), int(getattr(image.config, name)))
        for name in MEMORIES
        if name in needs
    }


def compile_command(
    model: ModelOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, usually .npz.")],
    tokenizer: TokenizerOption = None,
    config: ConfigOption = "base",
    json: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Quantize a model, place it, and write the chip image.

    Prints how much of each memory the model takes. A model that does not fit is refused with what
    would help.
    """
    chiplet = find_config(config)
    check_writable(out, "--out")
    check_writable(json, "--json")
    checkpoint = load_model(model, tokenizer)
    with step("quantizing"):
        quantized = quantize(checkpoint.weights)
    with step("compiling"):
        image = compile_model(quantized, chiplet)
        image.save(out)
    use = memory_use(image)
    table = Table("memory", "holds", "used", "of", "share", title=f"{checkpoint.name} on {config}")
    for column in table.columns[2:]:
        column.justify = "right"
    for name, (used, size) in use.items():
        table.add_row(name, MEMORIES[name], f"{used:,}", f"{size:,}", f"{used / size:.1%}")
    output.print(table)
    line("weights", f"{checkpoint.weights.shape.parameters:,}")
    line("context", f"{image.context} positions")
    line("prompt", f"in blocks of {image.max_block} tokens")
    line("image", f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
    write_json(json, {
        "model": checkpoint.name, "config": chiplet.name, "context": image.context,
        "max_block": image.max_block, "program_length": image.program_length,
        "memories": {name: {"used": used, "size": size} for name, (used, size) in use.items()},
    })  # fmt: skip
