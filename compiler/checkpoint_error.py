"""The refusal of a checkpoint, and the checks that every kind of checkpoint needs.

Every refusal is a `CheckpointError` of one sentence that says what to do.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from golden.model import FloatArray, LlamaShape


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says why and what to do about it."""


def refuse_infinite(path: Path, name: str, values: FloatArray) -> None:
    """Refuse a tensor with a NaN or an infinity."""
    finite = np.isfinite(values)
    if not finite.all():
        raise CheckpointError(
            f"{path}: tensor {name} has {int(np.sum(~finite))} values that are not finite: "
            "the training diverged or the file is damaged, so use another checkpoint"
        )


def checked_shape(path: Path, **fields: Any) -> LlamaShape:
    """Make a shape; a size that makes no Llama is the checkpoint's fault."""
    try:
        return LlamaShape(**fields)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}; correct the file or use another") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that must hold one JSON object."""
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist: give a complete Hugging Face directory (config.json, "
            "model.safetensors, tokenizer.json)"
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not valid JSON ({error}): copy it again from the model's source"
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path} must hold a JSON object, not {type(value).__name__}: copy it again from "
            "the model's source"
        )
    return value
