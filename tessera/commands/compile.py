"""`tessera compile`: a model to a chip image."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from compiler.compile import compile_model
from compiler.image import ChipImage
from compiler.quantize import quantize
from compiler.timing import predict, predict_torus
from compiler.torus import Layout
from hw.config import find_config
from tessera.options import (
    ConfigOption,
    JsonOption,
    ModelOption,
    PipelineOption,
    SequencesOption,
    TensorOption,
    TokenizerOption,
    TorusOption,
    VerboseOption,
    load_model,
)
from tessera.report import check_writable, line, output, step, write_json
from tessera.torus import layout_of, torus_images

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


def memory_use(*images: ChipImage) -> dict[str, tuple[int, int]]:
    """Return words used, on the chip that uses most, and words there are, by configuration field."""
    needs = [{**image.info["needs"], "program_words": image.program_length} for image in images]
    return {
        name: (max(int(each[name]) for each in needs), int(getattr(images[0].config, name)))
        for name in MEMORIES
        if name in needs[0]
    }


def save_torus(images: Sequence[ChipImage], layout: Layout, out: Path) -> None:
    """Write the images of a layout's chips, and what the host tells each chip."""
    out.mkdir(parents=True, exist_ok=True)
    rings, chips = layout.rings(), []
    for i, (chip, image) in enumerate(zip(layout.chips, images, strict=True)):
        name = f"chip_{chip[0]}_{chip[1]}.npz"
        image.save(out / name)
        chips.append({
            "chip": list(chip), "image": name, "stage": i // layout.tensor,
            "rank": i % layout.tensor,
            "rings": {ring.name.lower(): list(after[chip]) for ring, after in rings.items()},
        })  # fmt: skip
    write_json(out / "torus.json", {**asdict(layout), "sequences": images[0].sequences,
                                    "chips": chips})


def _cycles_per_token(images: Sequence[ChipImage], layout: Layout | None) -> float:
    """Return the mean of the predicted cycles of a token over the context."""
    tokens = images[0].context - 1
    if layout is None:
        cycles = predict(images[0], prompt_tokens=1, tokens=tokens).cycles_per_token
    else:
        cycles = predict_torus(images, layout, prompt_tokens=1, tokens=tokens)[0].cycles_per_token
    return sum(cycles) / len(cycles)


def _place(config: str, layout: Layout | None) -> str:
    if layout is None:
        return config
    return (f"{layout.columns}x{layout.rows} chips of {config}: tensor-parallel {layout.tensor}, "
            f"pipeline-parallel {layout.pipeline}")


def compile_command(
    model: ModelOption,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="File to write, usually .npz; with --torus a directory."
        ),
    ],
    tokenizer: TokenizerOption = None,
    config: ConfigOption = "base",
    torus: TorusOption = None,
    tensor_parallel: TensorOption = None,
    pipeline_parallel: PipelineOption = None,
    sequences: SequencesOption = 1,
    json: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Quantize a model, place it, and write the chip image.

    Prints how much of each memory the model takes, and the cycles of a token by the timing model. A
    model that does not fit, or that the chips of a torus cannot share so, is refused with what would
    help. For a torus the directory gets an image for each chip, and torus.json: which chip takes
    which, the next chips of its rings, and what each chip has of the model.
    """
    chiplet = find_config(config)
    layout = layout_of(torus, tensor_parallel, pipeline_parallel, sequences=sequences > 1)
    if layout is None:
        check_writable(out, "--out")
    else:
        chiplet = chiplet.with_network()
        if out.exists() and not out.is_dir():
            raise ValueError(f"--out must be a directory with --torus, not the file {out}")
    check_writable(json, "--json")
    checkpoint = load_model(model, tokenizer)
    with step("quantizing"):
        quantized = quantize(checkpoint.weights)
    with step("compiling"):
        if layout is None:
            images = [compile_model(quantized, chiplet)]
            images[0].save(out)
        else:
            images = torus_images(quantized, chiplet, layout, sequences)
            save_torus(images, layout, out)
    with step("predicting cycles"):
        cycles = _cycles_per_token(images, layout)
    image = images[0]
    use = memory_use(*images)
    table = Table("memory", "holds", "used", "of", "share",
                  title=f"{checkpoint.name} on {_place(config, layout)}")
    for column in table.columns[2:]:
        column.justify = "right"
    for name, (used, size) in use.items():
        table.add_row(name, MEMORIES[name], f"{used:,}", f"{size:,}", f"{used / size:.1%}")
    output.print(table)
    if layout is not None:
        line("memories", "those of the chip that uses most of each")
    line("weights", f"{checkpoint.weights.shape.parameters:,}")
    line("context", f"{image.context} positions")
    line("prompt", f"in blocks of {image.max_block} tokens")
    line("predicted cycles per token", f"{cycles:,.0f}, the mean over the context")
    written = [out] if layout is None else sorted(out.glob("chip_*.npz"))
    size = sum(path.stat().st_size for path in written)
    line("image" if layout is None else "images", f"{out} ({size / 1e6:.1f} MB)")
    write_json(json, {
        "model": checkpoint.name, "config": chiplet.name, "context": image.context,
        "max_block": image.max_block, "program_length": image.program_length,
        "torus": None if layout is None else asdict(layout), "sequences": sequences,
        "predicted_cycles_per_token": cycles,
        "memories": {name: {"used": used, "size": size} for name, (used, size) in use.items()},
    })  # fmt: skip
