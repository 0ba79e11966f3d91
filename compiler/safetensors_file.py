"""Read the safetensors files of a Hugging Face directory, one file or many with an index."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compiler.checkpoint_error import CheckpointError, read_json
from golden.model import FloatArray


def read_safetensors_files(path: Path) -> dict[str, tuple[Path, FloatArray]]:
    """Read all tensors of a directory, each with the file it came from."""
    single = path / "model.safetensors"
    index_path = path / "model.safetensors.index.json"
    if single.is_file():
        return {name: (single, values) for name, values in _read_safetensors(single)}
    if not index_path.is_file():
        raise CheckpointError(
            f"{single} does not exist: save the model with safe_serialization=True"
        )
    weight_map = read_json(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(file, str) and Path(file).name == file for file in weight_map.values()
    ):
        raise CheckpointError(
            f"{index_path}: weight_map must give a file name for each tensor: "
            "copy it again from the model's source"
        )
    tensors = {}
    for file in sorted(set(weight_map.values())):
        shard = path / file
        if not shard.is_file():
            raise CheckpointError(
                f"{shard} does not exist though {index_path.name} names it: copy the missing file"
            )
        for name, values in _read_safetensors(shard):
            if weight_map.get(name) != file:
                raise CheckpointError(
                    f"{shard} has the tensor {name} that {index_path.name} does not place there: "
                    "copy all files again from the model's source"
                )
            tensors[name] = (shard, values)
    missing = sorted(set(weight_map) - set(tensors))
    if missing:
        raise CheckpointError(
            f"{path / weight_map[missing[0]]} lacks the tensor {missing[0]} that "
            f"{index_path.name} places there: copy all files again from the model's source"
        )
    return tensors


def _read_safetensors(path: Path) -> Iterator[tuple[str, FloatArray]]:
    """Yield the tensors of one file as float32.

    Not by the safetensors library: it cannot give bfloat16 to numpy, and one reader of our own
    names the tensor in every message.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        header_bytes = int.from_bytes(prefix, "little")
        try:
            if len(prefix) < 8 or header_bytes > size - 8:
                raise ValueError("its length is beyond the end of the file")
            header = json.loads(file.read(header_bytes))
            if not isinstance(header, dict):
                raise ValueError("it is not a JSON object")
            header.pop("__metadata__", None)
            entries = {name: _safetensors_entry(entry) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} has a corrupt safetensors header ({error}): copy the file again"
            ) from error
        for name, (dtype, shape, begin, end) in entries.items():
            if dtype not in ("F32", "F16", "BF16"):
                raise CheckpointError(
                    f"{path}: tensor {name} has the unsupported type {dtype}: "
                    "save the model as float32, float16 or bfloat16"
                )
            data_bytes = math.prod(shape) * (4 if dtype == "F32" else 2)
            if end - begin != data_bytes:
                raise CheckpointError(
                    f"{path} has a corrupt safetensors header ({name} of shape {list(shape)} "
                    f"takes {data_bytes} bytes, not {end - begin}): copy the file again"
                )
            if 8 + header_bytes + end > size:
                raise CheckpointError(
                    f"{path} is truncated (tensor {name} ends at byte {8 + header_bytes + end} "
                    f"of {size}): copy the file again"
                )
            file.seek(8 + header_bytes + begin)
            yield name, _as_float32(file.read(data_bytes), dtype).reshape(shape)


def _safetensors_entry(entry: dict[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    """Return type, shape, begin and end of one tensor."""
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(isinstance(value, int) and value >= 0 for value in (*shape, begin, end)):
        raise ValueError("sizes and offsets must not be negative")
    return str(entry["dtype"]), shape, begin, end


def _as_float32(data: bytes, dtype: str) -> FloatArray:
    """Convert little-endian bytes; numpy has no bfloat16, which is the upper half of a float32."""
    if dtype == "F32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if dtype == "F16":
        return np.frombuffer(data, "<f2").astype(np.float32)
    return (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
