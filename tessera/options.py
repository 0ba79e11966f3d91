"""Options that several commands take, and the checks that they share."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from compiler.checkpoint import Checkpoint, load_checkpoint
from hw.config import CONFIGS
from tessera.report import log, step

ModelOption = Annotated[
    Path,
    typer.Option(
        "--model", "-m", help="Llama: a Hugging Face directory, or a llama2.c .bin file.",
        show_default=False,
    ),
]  # fmt: skip
TokenizerOption = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        help="tokenizer.json or llama2.c tokenizer.bin; the model's own without it.",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    str, typer.Option("--config", "-c", help=f"Chiplet configuration: {', '.join(CONFIGS)}.")
]
NetworkOption = Annotated[
    bool, typer.Option("--network", help="With router, links and collective engine.")
]
TorusOption = Annotated[
    str | None,
    typer.Option(
        "--torus", help="COLUMNSxROWS: several chiplets share the model, such as 2x2.",
        show_default=False,
    ),
]
TensorOption = Annotated[
    int | None,
    typer.Option(
        "--tensor-parallel",
        help="Chips that share the tensors of a layer; without it all, or all of a stage.",
        show_default=False,
    ),
]
PipelineOption = Annotated[
    int | None,
    typer.Option(
        "--pipeline-parallel", help="Stages, each with some of the layers; without it 1.",
        show_default=False,
    ),
]
SequencesOption = Annotated[
    int,
    typer.Option(
        "--sequences", min=1,
        help="Continuations of the prompt that are made side by side: as many as there are stages "
        "keep all of them busy.",
    ),
]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="File to write the figures to.", show_default=False),
]


def quiet() -> None:
    """Log nothing, until `--verbose` is met."""
    log.handlers = []
    log.setLevel(logging.WARNING)


def _set_up_logs(verbose: bool) -> bool:
    # Not the root logger: what other libraries log says nothing about this project.
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(relativeCreated)6d ms  %(message)s"))
        log.handlers = [handler]
        log.setLevel(logging.DEBUG)
        log.propagate = False
    return verbose


VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_set_up_logs, help="Log each step, and where an error came from."
    ),
]  # fmt: skip


def load_model(model: Path, tokenizer: Path | None) -> Checkpoint:
    """Load a checkpoint."""
    with step(f"loading {model}"):
        return load_checkpoint(model, tokenizer)


def prompt_ids(checkpoint: Checkpoint, prompt: str) -> list[int]:
    """Return the tokens of a prompt, after the token that starts every sequence."""
    tokenizer = checkpoint.tokenizer
    start = [] if tokenizer.bos_token is None else [tokenizer.bos_token]
    ids = start + tokenizer.encode(prompt)
    if not ids:
        raise ValueError("--prompt must hold at least one token, not an empty text")
    return ids
