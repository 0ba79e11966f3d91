"""Load a llama2.c file of version 0, with queries and keys put into rotate-half order."""

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compiler.checkpoint_error import CheckpointError, checked_shape, refuse_infinite
from compiler.tokenizer_files import LLAMA2C_BOS, Tokenizer, load_tokenizer
from golden.model import FloatArray, LayerWeights, LlamaShape, LlamaWeights

#: What a first word says about a file that is no version-0 llama2.c file.
FOREIGN_MAGIC = {
    b"ak42": "is a llama2.c file of version 1 or later: export it again with --version 0",
    b"GGUF": "is a GGUF file: give the Hugging Face directory it was made from",
    b"PK\x03\x04": "is a PyTorch pickle: give a Hugging Face directory with model.safetensors",
}


def load_llama2c(path: Path, tokenizer: Path | None) -> tuple[LlamaWeights, Tokenizer]:
    """Load a version-0 file: seven int32, then float32 arrays of one kind for all layers."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(28)
        for magic, meaning in FOREIGN_MAGIC.items():
            if header.startswith(magic):
                raise CheckpointError(f"{path} {meaning}")
        if len(header) < 28:
            raise CheckpointError(
                f"{path} is truncated ({size} bytes, shorter than a llama2.c header): "
                "copy the file again"
            )
        dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack("<7i", header)
        if heads < 1 or dim % heads:
            raise CheckpointError(
                f"{path}: dim must be a multiple of heads ({heads}), not {dim!r}: "
                "the file is not a llama2.c checkpoint of version 0"
            )
        shape = checked_shape(
            path,
            dim=dim,
            hidden=hidden,
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=dim // heads,
            vocab=abs(vocab),
            context=context,
            tied=vocab > 0,
        )
        sizes = _llama2c_sizes(shape)
        expected = 28 + 4 * sum(math.prod(each) for each in sizes.values())
        if size != expected:
            what = "is truncated" if size < expected else "is too long"
            raise CheckpointError(
                f"{path} {what} ({size} bytes, {expected} by its header): copy the file again, "
                "or export it with --version 0"
            )
        arrays = {}
        for name, each in sizes.items():
            values = np.fromfile(file, "<f4", math.prod(each)).astype(np.float32, copy=False)
            if not name.startswith("freq_cis"):
                refuse_infinite(path, name, values)
            arrays[name] = values.reshape(each)
    default = path.with_name("tokenizer.bin")
    loaded = load_tokenizer(
        default if tokenizer is None else Path(tokenizer),
        shape.vocab,
        bos_token=LLAMA2C_BOS,
        end_token=LLAMA2C_BOS,
    )
    return _llama2c_weights(shape, arrays), loaded


def _llama2c_sizes(shape: LlamaShape) -> dict[str, tuple[int, ...]]:
    """Arrays of a version-0 file in their order, under llama2.c's names."""
    layers, dim, half = shape.layers, shape.dim, shape.head_dim // 2
    sizes: dict[str, tuple[int, ...]] = {
        "token_embedding_table": (shape.vocab, dim),
        "rms_att_weight": (layers, dim),
        "wq": (layers, shape.q_dim, dim),
        "wk": (layers, shape.kv_dim, dim),
        "wv": (layers, shape.kv_dim, dim),
        "wo": (layers, dim, shape.q_dim),
        "rms_ffn_weight": (layers, dim),
        "w1": (layers, shape.hidden, dim),
        "w2": (layers, dim, shape.hidden),
        "w3": (layers, shape.hidden, dim),
        "rms_final_weight": (dim,),
        # What is left of older readers' rotation tables; nobody reads them any more.
        "freq_cis_real": (shape.context, half),
        "freq_cis_imag": (shape.context, half),
    }
    if not shape.tied:
        sizes["wcls"] = (shape.vocab, dim)
    return sizes


def rotate_half_order(weight: FloatArray, head_dim: int) -> FloatArray:
    """Reorder the rows of each head from pairs (2 i, 2 i + 1) to pairs (i, i + head_dim / 2)."""
    rows, dim = weight.shape
    pairs: NDArray[np.float32] = weight.reshape(rows // head_dim, head_dim // 2, 2, dim)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3)).reshape(rows, dim)


def _llama2c_weights(shape: LlamaShape, arrays: dict[str, FloatArray]) -> LlamaWeights:
    """Cut llama2.c's arrays into layers."""
    embedding = arrays["token_embedding_table"]
    layers = tuple(
        LayerWeights(
            attention_norm=arrays["rms_att_weight"][index],
            wq=rotate_half_order(arrays["wq"][index], shape.head_dim),
            wk=rotate_half_order(arrays["wk"][index], shape.head_dim),
            wv=arrays["wv"][index],
            wo=arrays["wo"][index],
            ffn_norm=arrays["rms_ffn_weight"][index],
            w_gate=arrays["w1"][index],
            w_up=arrays["w3"][index],
            w_down=arrays["w2"][index],
        )
        for index in range(shape.layers)
    )
    return LlamaWeights(
        shape=shape,
        embedding=embedding,
        layers=layers,
        final_norm=arrays["rms_final_weight"],
        lm_head=arrays.get("wcls", embedding),
    )
