"""`tessera eval`: what quantization costs on a text."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compiler.evaluate import evaluate
from compiler.quantize import quantize
from tessera.options import JsonOption, ModelOption, TokenizerOption, VerboseOption, load_model
from tessera.report import check_writable, line, progress_bar, step, write_json


def read_text(path: Path) -> str:
    """Read a text file."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8: byte {error.start} is not") from error


def eval_command(
    model: ModelOption,
    text: Annotated[
        Path, typer.Option("--text", "-t", help="Text that the model was not trained on.")
    ],
    tokenizer: TokenizerOption = None,
    tokens: Annotated[
        int | None,
        typer.Option(min=2, help="Use only the first tokens of the text.", show_default=False),
    ] = None,
    json: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Compare the golden model with the float reference on a text.

    Perplexity of both, and how often their likeliest next token is the same. The text is cut into
    pieces as long as the model's context.
    """
    check_writable(json, "--json")
    content = read_text(text)
    checkpoint = load_model(model, tokenizer)
    ids = checkpoint.tokenizer.encode(content)[:tokens]
    if len(ids) < 2:
        raise ValueError(f"{text} must hold at least two tokens, not {len(ids)}")
    with step("quantizing"):
        quantized = quantize(checkpoint.weights)
    with progress_bar("evaluating") as progress:
        result = evaluate(checkpoint.weights, quantized, ids, progress=progress)
    change = result.golden_ppl / result.float_ppl - 1
    line("positions", f"{result.positions:,}")
    line("float perplexity", f"{result.float_ppl:.4f}")
    line("golden perplexity", f"{result.golden_ppl:.4f} ({change:+.2%})")
    line("likeliest token agrees", f"{result.top1_agreement:.2%}")
    line("clipped values", f"{result.saturations:,}")
    write_json(json, {**asdict(result), "ppl_change": change})
