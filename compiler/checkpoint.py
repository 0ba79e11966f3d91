"""Load trained Llama checkpoints: Hugging Face directories and llama2.c files.

Whatever the file's order, the weights that leave here are float32 with the queries and keys in
rotate-half order. Every refusal is a `CheckpointError` of one sentence that says what to do.
"""

from dataclasses import dataclass
from pathlib import Path

from compiler.checkpoint_error import CheckpointError
from compiler.hugging_face import LAYER_TENSORS, load_hugging_face
from compiler.llama2c import load_llama2c, rotate_half_order
from compiler.tokenizer_files import HuggingFaceTokenizer, Llama2cTokenizer, Tokenizer
from golden.model import LlamaWeights

__all__ = [
    "LAYER_TENSORS",
    "Checkpoint",
    "CheckpointError",
    "HuggingFaceTokenizer",
    "Llama2cTokenizer",
    "Tokenizer",
    "load_checkpoint",
    "rotate_half_order",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A model and the tokenizer it was trained with."""

    #: Float32 weights.
    weights: LlamaWeights
    #: Tokenizer of the same vocabulary.
    tokenizer: Tokenizer
    #: Name of the file or directory, without extension.
    name: str


def load_checkpoint(path: Path, tokenizer: Path | None = None) -> Checkpoint:
    """Load a Hugging Face directory or a llama2.c file of version 0.

    Without `tokenizer`, a directory's own tokenizer.json is used, or the tokenizer.bin beside a
    llama2.c file; a `.json` or `.bin` file of the same vocabulary may replace either.
    """
    path = Path(path)
    if path.is_dir():
        weights, loaded = load_hugging_face(path, tokenizer)
        return Checkpoint(weights=weights, tokenizer=loaded, name=path.resolve().name)
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist: give a Hugging Face directory or a llama2.c .bin file"
        )
    if path.suffix in (".safetensors", ".json"):
        raise CheckpointError(
            f"{path} is only a part of a checkpoint: give the directory that holds it"
        )
    weights, loaded = load_llama2c(path, tokenizer)
    return Checkpoint(weights=weights, tokenizer=loaded, name=path.resolve().stem)
