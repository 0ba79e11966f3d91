"""Load trained Llama checkpoints: Hugging Face directories and llama2.c files.

Whatever the file's order, the weights that leave here are float32 with the queries and keys in
rotate-half order. Every refusal is a `CheckpointError` of one sentence that says what to do.
"""

import heapq
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import tokenizers
from numpy.typing import NDArray

from golden.model import FloatArray, LayerWeights, LlamaShape, LlamaWeights, layer_shapes

#: Hugging Face tensor name of each `LayerWeights` field, after `model.layers.N.`.
LAYER_TENSORS = {
    "attention_norm": "input_layernorm.weight",
    "wq": "self_attn.q_proj.weight",
    "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight",
    "wo": "self_attn.o_proj.weight",
    "ffn_norm": "post_attention_layernorm.weight",
    "w_gate": "mlp.gate_proj.weight",
    "w_up": "mlp.up_proj.weight",
    "w_down": "mlp.down_proj.weight",
}

#: A vocabulary may exceed its tokenizer by fewer rows than this: rows that pad it to a round size.
PADDING_ROWS = 128

#: What a first word says about a file that is no version-0 llama2.c file.
FOREIGN_MAGIC = {
    b"ak42": "is a llama2.c file of version 1 or later: export it again with --version 0",
    b"GGUF": "is a GGUF file: give the Hugging Face directory it was made from",
    b"PK\x03\x04": "is a PyTorch pickle: give a Hugging Face directory with model.safetensors",
}

#: The begin and end tokens of every llama2.c vocabulary.
LLAMA2C_BOS, LLAMA2C_EOS = 1, 2

T = TypeVar("T")


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says why and what to do about it."""


class Tokenizer(Protocol):
    """Turns text into tokens and back."""

    @property
    def end_token(self) -> int | None:
        """Token after which generation stops."""

    @property
    def bos_token(self) -> int | None:
        """Token that starts every sequence; `encode` leaves adding it to the caller."""

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens, without begin or end token."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens' text; begin and end tokens have none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A model and the tokenizer it was trained with."""

    #: Float32 weights.
    weights: LlamaWeights
    #: Tokenizer of the same vocabulary.
    tokenizer: Tokenizer
    #: Name of the file or directory, without extension.
    name: str


class HuggingFaceTokenizer:
    """A `tokenizer.json`, through the `tokenizers` library."""

    def __init__(self, path: Path, *, bos_token: int | None, end_token: int | None) -> None:
        self.bos_token = bos_token
        self.end_token = end_token
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # The library raises bare exceptions.
            raise CheckpointError(
                f"{path} is not a tokenizer.json that the tokenizers library can read "
                f"({error}): copy it again from the model's source"
            ) from error
        # Both are settings for training batches, and would cut or fill a prompt.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.size = 1 + max(self._tokenizer.get_vocab().values(), default=-1)

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens, without begin or end token."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens' text; begin and end tokens have none."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


class Llama2cTokenizer:
    """A llama2.c `tokenizer.bin`: scored pieces, merged best score first."""

    bos_token: int | None = LLAMA2C_BOS
    #: The begin token: llama2.c's models are trained on texts divided by it, and stop there.
    end_token: int | None = LLAMA2C_BOS

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self._pieces: list[bytes] = []
        self._scores: list[float] = []
        position = 4
        while position < len(data):
            if position + 8 > len(data):
                raise self._truncated(path)
            score, length = struct.unpack_from("<fi", data, position)
            position += 8
            if length < 0 or position + length > len(data) or not math.isfinite(score):
                raise self._truncated(path)
            self._pieces.append(data[position : position + length])
            self._scores.append(score)
            position += length
        self.size = len(self._pieces)
        if self.size <= LLAMA2C_EOS:
            raise self._truncated(path)
        self._ids: dict[bytes, int] = {}
        for index, piece in enumerate(self._pieces):
            self._ids.setdefault(piece, index)
        self._raw_bytes = {
            self._ids[name]: bytes([value])
            for value in range(256)
            if (name := b"<0x%02X>" % value) in self._ids
        }
        self._byte_ids = {raw: index for index, raw in self._raw_bytes.items()}

    @staticmethod
    def _truncated(path: Path) -> CheckpointError:
        return CheckpointError(
            f"{path} is truncated or not a llama2.c tokenizer: copy or export it again"
        )

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens, without begin or end token."""
        if not text:
            return []
        # The vocabulary was learned with a space before every word, the first one included.
        ids: list[int] = []
        for character in " " + text:
            piece = character.encode()
            if piece in self._ids:
                ids.append(self._ids[piece])
                continue
            for value in piece:
                if bytes([value]) not in self._byte_ids:
                    raise ValueError(
                        f"text must be made of the tokenizer's characters, not {character!r}"
                    )
                ids.append(self._byte_ids[bytes([value])])
        return self._merged(ids)

    def _merged(self, ids: list[int]) -> list[int]:
        """Merge neighbours, best score first and leftmost among equals, until none can be."""
        count = len(ids)
        following = [*range(1, count), -1]
        preceding = list(range(-1, count - 1))
        alive = [True] * count
        candidates: list[tuple[float, int, int, int, int]] = []

        def consider(left: int) -> None:
            right = following[left]
            if right < 0:
                return
            merged = self._ids.get(self._pieces[ids[left]] + self._pieces[ids[right]])
            if merged is not None:
                entry = (-self._scores[merged], left, ids[left], ids[right], merged)
                heapq.heappush(candidates, entry)

        for left in range(count - 1):
            consider(left)
        while candidates:
            _, left, left_id, right_id, merged = heapq.heappop(candidates)
            right = following[left]
            # Either half may have been merged into something else since.
            if not alive[left] or right < 0 or (ids[left], ids[right]) != (left_id, right_id):
                continue
            ids[left] = merged
            alive[right] = False
            following[left] = following[right]
            if following[right] >= 0:
                preceding[following[right]] = left
            consider(left)
            if preceding[left] >= 0:
                consider(preceding[left])
        return [token for token, keep in zip(ids, alive, strict=True) if keep]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens' text; begin and end tokens have none.

        The space that `encode` puts first is dropped again after a begin token, and only there.
        """
        text = bytearray()
        previous = None
        for token in ids:
            if token not in (LLAMA2C_BOS, LLAMA2C_EOS):
                piece = self._raw_bytes.get(token, self._pieces[token])
                if previous == LLAMA2C_BOS:
                    piece = piece.removeprefix(b" ")
                text += piece
            previous = token
        return text.decode(errors="replace")


def load_checkpoint(path: Path, tokenizer: Path | None = None) -> Checkpoint:
    """Load a Hugging Face directory or a llama2.c file of version 0.

    Without `tokenizer`, a directory's own tokenizer.json is used, or the tokenizer.bin beside a
    llama2.c file; a `.json` or `.bin` file of the same vocabulary may replace either.
    """
    path = Path(path)
    if path.is_dir():
        return _load_hugging_face(path, tokenizer)
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist: give a Hugging Face directory or a llama2.c .bin file"
        )
    if path.suffix in (".safetensors", ".json"):
        raise CheckpointError(
            f"{path} is only a part of a checkpoint: give the directory that holds it"
        )
    return _load_llama2c(path, tokenizer)


def _load_tokenizer(
    path: Path, vocab: int, *, bos_token: int | None, end_token: int | None
) -> Tokenizer:
    """Load either kind of tokenizer and compare its size with the model's vocabulary."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: give the model's tokenizer file")
    loaded: HuggingFaceTokenizer | Llama2cTokenizer
    if path.suffix == ".json":
        loaded = HuggingFaceTokenizer(path, bos_token=bos_token, end_token=end_token)
    else:
        loaded = Llama2cTokenizer(path)
    if not vocab - PADDING_ROWS < loaded.size <= vocab:
        raise CheckpointError(
            f"{path} has {loaded.size} tokens but the model's vocabulary has {vocab}: "
            "give the tokenizer that the model was trained with"
        )
    return loaded


def _refuse_infinite(path: Path, name: str, values: FloatArray) -> None:
    """Refuse a tensor with a NaN or an infinity."""
    finite = np.isfinite(values)
    if not finite.all():
        raise CheckpointError(
            f"{path}: tensor {name} has {int(np.sum(~finite))} values that are not finite: "
            "the training diverged or the file is damaged, so use another checkpoint"
        )


def _checked_shape(path: Path, **fields: Any) -> LlamaShape:
    """Make a shape; a size that makes no Llama is the checkpoint's fault."""
    try:
        return LlamaShape(**fields)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}; correct the file or use another") from error


# Hugging Face directories


def _load_hugging_face(path: Path, tokenizer: Path | None) -> Checkpoint:
    """Load config.json, the safetensors files and the tokenizer."""
    config_path = path / "config.json"
    config = _read_json(config_path)
    shape = _hugging_face_shape(config_path, config)
    tensors = {}
    for name, (source, values) in _safetensors_files(path).items():
        _refuse_infinite(source, name, values)
        tensors[name] = values
    weights = _hugging_face_weights(path, shape, tensors)
    loaded = _load_tokenizer(
        path / "tokenizer.json" if tokenizer is None else Path(tokenizer),
        shape.vocab,
        bos_token=_special_token(config_path, config, "bos_token_id", shape.vocab),
        end_token=_special_token(config_path, config, "eos_token_id", shape.vocab),
    )
    return Checkpoint(weights=weights, tokenizer=loaded, name=path.resolve().name)


def _read_json(path: Path) -> dict[str, Any]:
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


def _config_field(
    path: Path, config: dict[str, Any], field: str, kind: type[T], default: T | None = None
) -> T:
    """Return a field of config.json, checked for its type; null counts as absent."""
    value = config.get(field)
    if value is None:
        if default is None:
            raise CheckpointError(f"{path} has no {field}: copy it again from the model's source")
        return default
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise CheckpointError(
            f"{path}: {field} must be of type {kind.__name__}, not {value!r}: correct the file"
        )
    return value


def _hugging_face_shape(path: Path, config: dict[str, Any]) -> LlamaShape:
    """Return the shape that config.json describes, if it describes a plain Llama."""
    architectures = config.get("architectures") or [config.get("model_type")]
    if architectures not in (["LlamaForCausalLM"], ["llama"]):
        raise CheckpointError(
            f"{path}: architectures must be ['LlamaForCausalLM'], not {architectures!r}: "
            "only Llama models can be compiled"
        )
    # Newer files keep both rotary settings in one object.
    rope = config.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise CheckpointError(
            f"{path}: rope_parameters must be an object, not {rope!r}: correct the file"
        )
    scaling = config.get("rope_scaling") or rope
    if not isinstance(scaling, dict):
        raise CheckpointError(
            f"{path}: rope_scaling must be an object, not {scaling!r}: correct the file"
        )
    scaling_type = scaling.get("rope_type", scaling.get("type", "default"))
    if scaling_type != "default":
        raise CheckpointError(
            f"{path}: rope_scaling {scaling_type!r} is not supported: use a model trained without"
        )
    for field in ("attention_bias", "mlp_bias"):
        if config.get(field):
            raise CheckpointError(
                f"{path}: {field} is not supported: use a model trained without biases"
            )
    if config.get("quantization_config"):
        raise CheckpointError(
            f"{path}: the checkpoint is already quantized (quantization_config): "
            "give the float checkpoint it was made from"
        )
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise CheckpointError(
            f"{path}: hidden_act must be 'silu', not {activation!r}: use a model trained with it"
        )
    dim = _config_field(path, config, "hidden_size", int)
    heads = _config_field(path, config, "num_attention_heads", int)
    if config.get("head_dim") is None and (heads < 1 or dim % heads):
        raise CheckpointError(
            f"{path}: hidden_size must be a multiple of num_attention_heads ({heads}) where "
            f"head_dim is not given, not {dim!r}: correct the file"
        )
    theta = _config_field(path, rope, "rope_theta", float, 0.0)
    return _checked_shape(
        path,
        dim=dim,
        hidden=_config_field(path, config, "intermediate_size", int),
        layers=_config_field(path, config, "num_hidden_layers", int),
        heads=heads,
        kv_heads=_config_field(path, config, "num_key_value_heads", int, heads),
        head_dim=_config_field(path, config, "head_dim", int, dim // max(heads, 1)),
        vocab=_config_field(path, config, "vocab_size", int),
        context=_config_field(path, config, "max_position_embeddings", int),
        rope_theta=theta or _config_field(path, config, "rope_theta", float, 10000.0),
        norm_eps=_config_field(path, config, "rms_norm_eps", float, 1e-6),
        tied=_config_field(path, config, "tie_word_embeddings", bool, False),
    )


def _special_token(path: Path, config: dict[str, Any], field: str, vocab: int) -> int | None:
    """Return a special token's id; the first where there are several."""
    value = config.get(field)
    if isinstance(value, list) and value:
        value = value[0]
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < vocab:
        raise CheckpointError(
            f"{path}: {field} must be within the vocabulary (0..{vocab - 1}), not {value!r}: "
            "correct the file"
        )
    return value


def _safetensors_files(path: Path) -> dict[str, tuple[Path, FloatArray]]:
    """Read all tensors of a directory, each with the file it came from."""
    single = path / "model.safetensors"
    index_path = path / "model.safetensors.index.json"
    if single.is_file():
        return {name: (single, values) for name, values in _read_safetensors(single)}
    if not index_path.is_file():
        raise CheckpointError(
            f"{single} does not exist: save the model with safe_serialization=True"
        )
    weight_map = _read_json(index_path).get("weight_map")
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


def _hugging_face_weights(
    path: Path, shape: LlamaShape, tensors: dict[str, FloatArray]
) -> LlamaWeights:
    """Pick every tensor by its name; refuse to ignore any."""
    remaining = dict(tensors)

    def take(name: str, size: tuple[int, ...]) -> FloatArray:
        if name not in remaining:
            raise CheckpointError(
                f"{path} has no tensor {name}: config.json must describe the model that the "
                "safetensors files hold"
            )
        values = remaining.pop(name)
        if values.shape != size:
            raise CheckpointError(
                f"{path}: tensor {name} must be of shape {list(size)} by config.json, "
                f"not {list(values.shape)}: correct config.json or copy the file again"
            )
        return values

    matrix = (shape.vocab, shape.dim)
    embedding = take("model.embed_tokens.weight", matrix)
    layers = []
    for index in range(shape.layers):
        prefix = f"model.layers.{index}."
        layers.append(
            LayerWeights(
                **{
                    field: take(prefix + LAYER_TENSORS[field], size)
                    for field, size in layer_shapes(shape).items()
                }
            )
        )
        # Old files store these constants; rope_theta says the same.
        remaining.pop(prefix + "self_attn.rotary_emb.inv_freq", None)
    final_norm = take("model.norm.weight", (shape.dim,))
    lm_head = embedding
    if not shape.tied:
        lm_head = take("lm_head.weight", matrix)
    elif "lm_head.weight" in remaining and not np.array_equal(
        take("lm_head.weight", matrix), embedding
    ):
        raise CheckpointError(
            f"{path}: lm_head.weight differs from the embedding though tie_word_embeddings is "
            "true: correct config.json"
        )
    if remaining:
        raise CheckpointError(
            f"{path} has the unexpected tensor {min(remaining)}: only plain Llama models, "
            "as config.json describes them, can be compiled"
        )
    return LlamaWeights(
        shape=shape,
        embedding=embedding,
        layers=tuple(layers),
        final_norm=final_norm,
        lm_head=lm_head,
    )


# llama2.c files


def _load_llama2c(path: Path, tokenizer: Path | None) -> Checkpoint:
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
        shape = _checked_shape(
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
                _refuse_infinite(path, name, values)
            arrays[name] = values.reshape(each)
    default = path.with_name("tokenizer.bin")
    loaded = _load_tokenizer(
        default if tokenizer is None else Path(tokenizer),
        shape.vocab,
        bos_token=LLAMA2C_BOS,
        end_token=LLAMA2C_BOS,
    )
    return Checkpoint(
        weights=_llama2c_weights(shape, arrays), tokenizer=loaded, name=path.resolve().stem
    )


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
