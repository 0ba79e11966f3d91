"""Checkpoint files: every format read back, and every refusal with its message."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from safetensors.numpy import save_file
from tokenizers import decoders, models, pre_tokenizers, trainers

from compiler.checkpoint import (
    LAYER_TENSORS,
    Checkpoint,
    CheckpointError,
    Llama2cTokenizer,
    load_checkpoint,
    rotate_half_order,
)
from golden.float_reference import FloatLlama
from golden.model import LlamaShape, LlamaWeights, layer_shapes, random_weights

VOCAB = 40
SHAPE = LlamaShape(
    dim=8, hidden=12, layers=2, heads=4, kv_heads=2, head_dim=2, vocab=VOCAB, context=16
)
UNTIED = LlamaShape(
    dim=12,
    hidden=10,
    layers=2,
    heads=3,
    kv_heads=1,
    head_dim=6,
    vocab=VOCAB,
    context=16,
    rope_theta=500.0,
    norm_eps=1e-6,
    tied=False,
)
TEXT = "to be or not to be, that is the question; be it so, to be is to question"


def config_of(shape: LlamaShape) -> dict[str, Any]:
    """Describe a shape as a Hugging Face config.json does."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": 0,
        "eos_token_id": 0,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.dim,
        "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": shape.tied,
        "vocab_size": shape.vocab,
    }


def tensors_of(weights: LlamaWeights) -> dict[str, np.ndarray]:
    """Name a model's arrays as Hugging Face does."""
    tensors = {
        "model.embed_tokens.weight": weights.embedding,
        "model.norm.weight": weights.final_norm,
    }
    for index, layer in enumerate(weights.layers):
        for field, name in LAYER_TENSORS.items():
            tensors[f"model.layers.{index}.{name}"] = getattr(layer, field)
    if not weights.shape.tied:
        tensors["lm_head.weight"] = weights.lm_head
    return tensors


def write_tokenizer(path: Path, vocab: int = VOCAB) -> None:
    """Train byte pairs until the vocabulary is full."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=["<end>"], min_frequency=1, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    assert tokenizer.get_vocab_size() == vocab
    # A setting that would cut prompts if it were obeyed.
    tokenizer.enable_truncation(3)
    tokenizer.save(str(path))


def write_hugging_face(
    path: Path,
    weights: LlamaWeights,
    *,
    change: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> Path:
    """Write a directory; a config field changed to `...` is left out."""
    path.mkdir(exist_ok=True)
    config = config_of(weights.shape) | (change or {})
    config = {name: value for name, value in config.items() if value is not ...}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors_of(weights) if tensors is None else tensors, path / "model.safetensors")
    write_tokenizer(path / "tokenizer.json")
    return path


def write_raw_safetensors(path: Path, entries: dict[str, tuple[str, list[int], bytes]]) -> None:
    """Write a safetensors file by the format's definition, any type."""
    header, data = {}, b""
    for name, (dtype, shape, content) in entries.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def interleaved(weight: np.ndarray, head_dim: int) -> np.ndarray:
    """Put the rows of each head from pairs (i, i + head_dim / 2) to pairs (2 i, 2 i + 1)."""
    result = np.empty_like(weight)
    half = head_dim // 2
    for row in range(len(weight)):
        head, within = divmod(row, head_dim)
        target = 2 * within if within < half else 2 * (within - half) + 1
        result[head * head_dim + target] = weight[row]
    return result


def llama2c_bytes(weights: LlamaWeights) -> bytes:
    """Lay a model out as a version-0 llama2.c file does."""
    shape, layers = weights.shape, weights.layers
    signed_vocab = shape.vocab if shape.tied else -shape.vocab
    arrays = [
        weights.embedding,
        *(layer.attention_norm for layer in layers),
        *(interleaved(layer.wq, shape.head_dim) for layer in layers),
        *(interleaved(layer.wk, shape.head_dim) for layer in layers),
        *(layer.wv for layer in layers),
        *(layer.wo for layer in layers),
        *(layer.ffn_norm for layer in layers),
        *(layer.w_gate for layer in layers),
        *(layer.w_down for layer in layers),
        *(layer.w_up for layer in layers),
        weights.final_norm,
        # The two tables that no reader uses.
        np.full((2, shape.context, shape.head_dim // 2), np.nan, np.float32),
    ]
    if not shape.tied:
        arrays.append(weights.lm_head)
    header = (shape.dim, shape.hidden, shape.layers, shape.heads, shape.kv_heads)
    return struct.pack("<7i", *header, signed_vocab, shape.context) + b"".join(
        array.astype("<f4").tobytes() for array in arrays
    )


PIECES: list[tuple[bytes, float]] = [
    (b"<unk>", 0.0),
    (b"\n<s>\n", 0.0),
    (b"\n</s>\n", 0.0),
    *((b"<0x%02X>" % value, 0.0) for value in range(256)),
    *((bytes([value]), -1000.0) for value in b" abcdeno"),
    (b"an", -3.0),
    (b"ba", -1.0),
    (b" b", -2.0),
    (b"na", -2.0),
    (b"ana", -5.0),
    (b" ba", -4.0),
    (b"nan", -6.0),
    (b"aa", -7.0),
    ("é".encode(), -1000.0),
]


def llama2c_tokenizer_bytes(pieces: list[tuple[bytes, float]]) -> bytes:
    """Lay a vocabulary out as a llama2.c tokenizer file does."""
    data = struct.pack("<i", max(len(piece) for piece, _ in pieces))
    for piece, score in pieces:
        data += struct.pack("<fi", score, len(piece)) + piece
    return data


def simple_pieces(vocab: int) -> list[tuple[bytes, float]]:
    """Make a small vocabulary without byte tokens."""
    letters = [(bytes([value]), -1000.0) for value in b" abcdefghijklmnopqrstuvwxyz,.;"]
    pieces = [*PIECES[:3], *letters]
    return pieces + [(b"x" * (2 + index), -float(index)) for index in range(vocab - len(pieces))]


def write_llama2c(path: Path, weights: LlamaWeights) -> Path:
    """Write model and tokenizer side by side; return the model's path."""
    model = path / "stories.bin"
    model.write_bytes(llama2c_bytes(weights))
    tokenizer = llama2c_tokenizer_bytes(simple_pieces(weights.shape.vocab))
    (path / "tokenizer.bin").write_bytes(tokenizer)
    return model


def assert_same(loaded: LlamaWeights, expected: LlamaWeights) -> None:
    """Compare shape and every array, exactly."""
    assert loaded.shape == expected.shape
    for (name, a), (_, b) in zip(loaded.named_arrays(), expected.named_arrays(), strict=True):
        assert a.dtype == np.float32, name
        assert np.array_equal(a, b), name


def rounded(weights: LlamaWeights, round_to: Callable[[np.ndarray], np.ndarray]) -> LlamaWeights:
    """Return weights with every value replaced by what a shorter float keeps of it."""
    for _, array in weights.named_arrays():
        array[...] = round_to(array)
    return weights


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Cut to bfloat16, still as float32."""
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize("shape", [SHAPE, UNTIED], ids=["tied", "untied"])
def test_hugging_face(tmp_path: Path, shape: LlamaShape) -> None:
    """A directory comes back exactly, with name and tokenizer."""
    weights = random_weights(shape, seed=1)
    checkpoint = load_checkpoint(write_hugging_face(tmp_path / "parrot-1.5", weights))
    assert_same(checkpoint.weights, weights)
    assert checkpoint.name == "parrot-1.5"
    tokenizer = checkpoint.tokenizer
    assert (tokenizer.bos_token, tokenizer.end_token) == (0, 0)
    ids = tokenizer.encode(TEXT)
    assert 3 < len(ids) < len(TEXT)
    assert 0 not in ids
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.decode([0, *ids, 0]) == TEXT


def test_float16(tmp_path: Path) -> None:
    """Half precision widens exactly."""
    weights = rounded(random_weights(UNTIED, seed=2), lambda x: x.astype(np.float16))
    tensors = {name: array.astype(np.float16) for name, array in tensors_of(weights).items()}
    assert_same(
        load_checkpoint(write_hugging_face(tmp_path, weights, tensors=tensors)).weights, weights
    )


def test_bfloat16(tmp_path: Path) -> None:
    """Brain floats widen exactly, negative and tiny ones too."""
    weights = random_weights(SHAPE, seed=3)
    weights.embedding[0, :4] = (-0.0, 1e-40, -3e38, 2.0**-126)
    rounded(weights, to_bfloat16)
    write_hugging_face(tmp_path, weights)
    write_raw_safetensors(
        tmp_path / "model.safetensors",
        {
            name: ("BF16", list(a.shape), (a.view(np.uint32) >> 16).astype("<u2").tobytes())
            for name, a in tensors_of(weights).items()
        },
    )
    assert_same(load_checkpoint(tmp_path).weights, weights)


def write_shards(path: Path, weights: LlamaWeights) -> dict[str, str]:
    """Replace the single file by two shards and an index; return the map of the index."""
    write_hugging_face(path, weights)
    (path / "model.safetensors").unlink()
    tensors = tensors_of(weights)
    names = sorted(tensors)
    parts = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    weight_map: dict[str, str] = {}
    for file, members in parts.items():
        save_file({name: tensors[name] for name in members}, path / file)
        weight_map |= dict.fromkeys(members, file)
    write_index(path, weight_map)
    return weight_map


def write_index(path: Path, weight_map: object) -> None:
    """Write the index of a sharded model."""
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def test_shards(tmp_path: Path) -> None:
    """A model in several files comes back as from one."""
    weights = random_weights(UNTIED, seed=4)
    write_shards(tmp_path, weights)
    assert_same(load_checkpoint(tmp_path).weights, weights)


def test_defaults_and_newer_fields(tmp_path: Path) -> None:
    """Absent fields take the library's defaults, and rope_parameters is read."""
    shape = LlamaShape(
        dim=8,
        hidden=12,
        layers=1,
        heads=2,
        kv_heads=2,
        head_dim=4,
        vocab=VOCAB,
        context=16,
        norm_eps=1e-6,
        tied=False,
    )
    absent = ("num_key_value_heads", "head_dim", "tie_word_embeddings", "rope_theta")
    change: dict[str, Any] = dict.fromkeys((*absent, "rms_norm_eps", "hidden_act"), ...)
    change |= {"eos_token_id": [7, 9], "bos_token_id": None, "rope_scaling": None}
    weights = random_weights(shape, seed=5)
    checkpoint = load_checkpoint(write_hugging_face(tmp_path, weights, change=change))
    assert_same(checkpoint.weights, weights)
    assert (checkpoint.tokenizer.bos_token, checkpoint.tokenizer.end_token) == (None, 7)
    change["rope_parameters"] = {"rope_type": "default", "rope_theta": 70000}
    checkpoint = load_checkpoint(write_hugging_face(tmp_path, weights, change=change))
    assert checkpoint.weights.shape.rope_theta == 70000.0


def test_harmless_extra_tensors(tmp_path: Path) -> None:
    """Stored rotation constants and a repeated tied classifier are accepted."""
    weights = random_weights(SHAPE, seed=6)
    tensors = tensors_of(weights)
    tensors["lm_head.weight"] = weights.embedding.copy()
    for index in range(SHAPE.layers):
        name = f"model.layers.{index}.self_attn.rotary_emb.inv_freq"
        tensors[name] = np.ones(1, np.float32)
    assert_same(
        load_checkpoint(write_hugging_face(tmp_path, weights, tensors=tensors)).weights, weights
    )


@pytest.mark.parametrize("tied", [True, False])
def test_llama2c(tmp_path: Path, tied: bool) -> None:
    """A llama2.c file comes back with queries and keys in rotate-half order."""
    shape = LlamaShape(
        dim=16,
        hidden=12,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=8,
        vocab=VOCAB,
        context=16,
        tied=tied,
    )
    weights = random_weights(shape, seed=7)
    checkpoint = load_checkpoint(write_llama2c(tmp_path, weights))
    assert_same(checkpoint.weights, weights)
    assert checkpoint.name == "stories"
    assert (checkpoint.tokenizer.bos_token, checkpoint.tokenizer.end_token) == (1, 1)
    assert FloatLlama(checkpoint.weights).forward([1, 5, 6]).shape == (3, VOCAB)


def test_rotate_half_order() -> None:
    """Even rows of a head come first, then the odd ones."""
    rows = np.arange(12, dtype=np.float32)[:, None]
    assert rotate_half_order(rows, 6)[:, 0].tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]
    assert np.array_equal(rotate_half_order(interleaved(rows, 6), 6), rows)


def test_llama2c_other_tokenizers(tmp_path: Path) -> None:
    """A tokenizer of either kind can be given for either kind of model."""
    weights = random_weights(SHAPE, seed=8)
    model = write_llama2c(tmp_path, weights)
    write_tokenizer(tmp_path / "other.json")
    checkpoint = load_checkpoint(model, tmp_path / "other.json")
    assert checkpoint.tokenizer.decode(checkpoint.tokenizer.encode("to be")) == "to be"
    directory = write_hugging_face(tmp_path / "directory", weights)
    checkpoint = load_checkpoint(directory, tmp_path / "tokenizer.bin")
    assert checkpoint.tokenizer.decode([1, *checkpoint.tokenizer.encode("to be")]) == "to be"


@pytest.fixture
def llama2c_tokenizer(tmp_path: Path) -> Llama2cTokenizer:
    """Tokenizer with all bytes and a few merges."""
    path = tmp_path / "tok.bin"
    path.write_bytes(llama2c_tokenizer_bytes(PIECES))
    return Llama2cTokenizer(path)


def test_llama2c_tokenizer_known_answers(llama2c_tokenizer: Llama2cTokenizer) -> None:
    """Merges, the leading space and byte fallback come out as worked by hand."""
    ids = {piece: index for index, (piece, _) in enumerate(PIECES)}
    encode, decode = llama2c_tokenizer.encode, llama2c_tokenizer.decode
    assert encode("") == []
    # "ba" has the best score, then "na" twice, and " ba" last.
    assert encode("banana") == [ids[b" ba"], ids[b"na"], ids[b"na"]]
    # Equal scores merge from the left: "aa" of "aaa" is the first two.
    assert encode("aaa") == [ids[b" "], ids[b"aa"], ids[b"a"]]
    assert encode("é") == [ids[b" "], ids["é".encode()]]
    assert encode("z€") == [ids[b" "], 3 + ord("z"), 3 + 0xE2, 3 + 0x82, 3 + 0xAC]
    for text in ("banana", "é z€\n\tnone", " two  spaces ", "<0x41>"):
        assert decode([1, *encode(text)]) == text
    # Without a begin token before it the space is part of the text.
    assert decode(encode("banana")) == " banana"
    assert decode([1, ids[b"ba"], 1, ids[b" ba"], 2]) == "baba"
    assert decode([3 + 0xE2]) == "\N{REPLACEMENT CHARACTER}"


def naive_encode(text: str) -> list[int]:
    """Merge as llama2.c describes it: look for the best pair again after every merge."""
    scores = dict(PIECES)
    pieces = [character.encode() for character in " " + text]
    while True:
        best = None
        for index in range(len(pieces) - 1):
            score = scores.get(pieces[index] + pieces[index + 1])
            if score is not None and (best is None or score > best[0]):
                best = (score, index)
        if best is None:
            break
        index = best[1]
        pieces[index : index + 2] = [pieces[index] + pieces[index + 1]]
    return [list(scores).index(piece) for piece in pieces]


def test_llama2c_tokenizer_against_naive(llama2c_tokenizer: Llama2cTokenizer) -> None:
    """The queue of candidates merges in the order of a plain search."""
    random = np.random.default_rng(9)
    for length in (*range(1, 12), *[60] * 40):
        text = "".join(random.choice(list("abn "), length))
        assert llama2c_tokenizer.encode(text) == naive_encode(text), text


def test_llama2c_tokenizer_without_bytes(tmp_path: Path) -> None:
    """A character that the vocabulary cannot express is named."""
    path = tmp_path / "tok.bin"
    path.write_bytes(llama2c_tokenizer_bytes(simple_pieces(VOCAB)))
    with pytest.raises(
        ValueError, match="text must be made of the tokenizer's characters, not '€'"
    ):
        Llama2cTokenizer(path).encode("five €")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures must be .*only Llama models"),
        ({"architectures": ..., "model_type": "gpt2"}, "architectures must be .*not .'gpt2'."),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling 'llama3' is not supported"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling 'linear' is not"),
        ({"rope_scaling": "linear"}, "rope_scaling must be an object, not 'linear'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_scaling 'yarn' is not supported"),
        ({"rope_parameters": 3}, "rope_parameters must be an object, not 3"),
        ({"attention_bias": True}, "attention_bias is not supported: use a model .*without"),
        ({"mlp_bias": True}, "mlp_bias is not supported"),
        ({"quantization_config": {"bits": 4}}, "already quantized .*give the float checkpoint"),
        ({"hidden_act": "gelu"}, "hidden_act must be 'silu', not 'gelu'"),
        ({"hidden_size": ...}, "config.json has no hidden_size"),
        ({"hidden_size": "8"}, "hidden_size must be of type int, not '8'"),
        ({"num_hidden_layers": True}, "num_hidden_layers must be of type int, not True"),
        ({"hidden_size": 9, "head_dim": ...}, r"multiple of num_attention_heads \(4\).*not 9"),
        ({"num_attention_heads": 0, "head_dim": ...}, r"multiple of num_attention_heads \(0\)"),
        ({"num_key_value_heads": 3}, r"heads must be a multiple of kv_heads \(3\), not 4"),
        ({"head_dim": 3}, "head_dim must be even"),
        ({"tie_word_embeddings": False}, "has no tensor lm_head.weight"),
        ({"num_hidden_layers": 3}, "has no tensor model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 1}, "unexpected tensor model.layers.1.input_layernorm.weight"),
        ({"intermediate_size": 13}, r"gate_proj.weight must be of shape \[13, 8\] .*\[12, 8\]"),
        ({"eos_token_id": 40}, r"eos_token_id must be within the vocabulary \(0..39\), not 40"),
        ({"bos_token_id": "<s>"}, "bos_token_id must be within .*not '<s>'"),
    ],
)
def test_refused_configs(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """A config.json that is wrong, or no plain Llama's, is refused."""
    write_hugging_face(tmp_path, random_weights(SHAPE, seed=10), change=change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("model.norm.weight", None, "has no tensor model.norm.weight: config.json must"),
        ("model.norm.bias", np.zeros(8), "unexpected tensor model.norm.bias: only plain Llama"),
        ("model.norm.weight", np.zeros(9), r"must be of shape \[8\] by config.json, not \[9\]"),
        ("lm_head.weight", np.zeros((VOCAB, 8)), "lm_head.weight differs from the embedding"),
        (
            "model.layers.1.mlp.up_proj.weight",
            np.full((12, 8), np.nan),
            "tensor model.layers.1.mlp.up_proj.weight has 96 values that are not finite",
        ),
        ("model.norm.weight", np.array([1.0, np.inf] * 4), "norm.weight has 4 values that are"),
    ],
)
def test_refused_tensors(
    tmp_path: Path, name: str, values: np.ndarray | None, message: str
) -> None:
    """A tensor missing, unexpected, of another shape or not finite is named."""
    weights = random_weights(SHAPE, seed=11)
    tensors = tensors_of(weights)
    if values is None:
        del tensors[name]
    else:
        tensors[name] = values.astype(np.float32)
    write_hugging_face(tmp_path, weights, tensors=tensors)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("dtype", [np.float64, np.int8])
def test_refused_types(tmp_path: Path, dtype: type) -> None:
    """A tensor type that is no usual float is named."""
    weights = random_weights(SHAPE, seed=12)
    tensors = tensors_of(weights)
    tensors["model.norm.weight"] = np.ones(8, dtype)
    write_hugging_face(tmp_path, weights, tensors=tensors)
    with pytest.raises(
        CheckpointError, match=r"norm.weight has the unsupported type (F64|I8): save the model as"
    ):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "config.json does not exist: give a complete Hugging Face"),
        ("config.json", b"{'a': 1}", "config.json is not valid JSON .*copy it again"),
        ("config.json", b"\xff\xfe", "config.json is not valid JSON"),
        ("config.json", b"[]", "config.json must hold a JSON object, not list"),
        ("model.safetensors", None, "model.safetensors does not exist: save the model with"),
        ("model.safetensors", b"", "corrupt safetensors header .its length is beyond"),
        ("model.safetensors", b"\xff" * 100, "corrupt safetensors header .its length is beyond"),
        ("model.safetensors", b"\x02" + b"\0" * 7 + b"{]", "corrupt safetensors header"),
        ("model.safetensors", b"\x02" + b"\0" * 7 + b"[]", "it is not a JSON object"),
        ("model.safetensors", b"\x08" + b"\0" * 7 + b'{"a": 1}', "corrupt safetensors header"),
        ("tokenizer.json", None, "tokenizer.json does not exist: give the model's tokenizer"),
        ("tokenizer.json", b"{}", "tokenizer.json is not a tokenizer.json that"),
    ],
)
def test_refused_files(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    """A file missing or damaged is named."""
    write_hugging_face(tmp_path, random_weights(SHAPE, seed=13))
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


def test_refused_safetensors_sizes(tmp_path: Path) -> None:
    """Truncation and a header that contradicts itself are told apart."""
    write_hugging_face(tmp_path, random_weights(SHAPE, seed=14))
    model = tmp_path / "model.safetensors"
    data = model.read_bytes()
    model.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match=r"is truncated .tensor .* ends at byte .*copy"):
        load_checkpoint(tmp_path)
    write_raw_safetensors(model, {"model.norm.weight": ("F32", [8], b"\0" * 31)})
    with pytest.raises(CheckpointError, match=r"norm.weight of shape \[8\] takes 32 bytes, not 31"):
        load_checkpoint(tmp_path)
    write_raw_safetensors(model, {"model.norm.weight": ("F32", [-8], b"\0" * 32)})
    with pytest.raises(CheckpointError, match="sizes and offsets must not be negative"):
        load_checkpoint(tmp_path)


def test_refused_shards(tmp_path: Path) -> None:
    """Index and shards must agree, and the index must stay in its directory."""
    weight_map = write_shards(tmp_path, random_weights(SHAPE, seed=15))
    moved = weight_map | {"model.norm.weight": "part-1.safetensors"}
    if moved == weight_map:
        moved["model.norm.weight"] = "part-2.safetensors"
    write_index(tmp_path, moved)
    with pytest.raises(CheckpointError, match=r"model.norm.weight that .*does not place there"):
        load_checkpoint(tmp_path)
    write_index(tmp_path, weight_map | {"model.extra": "part-2.safetensors"})
    with pytest.raises(CheckpointError, match=r"lacks the tensor model.extra that"):
        load_checkpoint(tmp_path)
    for wrong in ({"a": "../elsewhere.safetensors"}, {"a": 3}, None):
        write_index(tmp_path, wrong)
        with pytest.raises(CheckpointError, match="weight_map must give a file name"):
            load_checkpoint(tmp_path)
    write_index(tmp_path, weight_map)
    (tmp_path / "part-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"part-2.safetensors does not exist though .*names"):
        load_checkpoint(tmp_path)


def test_refused_paths(tmp_path: Path) -> None:
    """What is no checkpoint at all is refused with the way to give one."""
    with pytest.raises(CheckpointError, match="nowhere does not exist: give a Hugging Face dir"):
        load_checkpoint(tmp_path / "nowhere")
    write_hugging_face(tmp_path, random_weights(SHAPE, seed=16))
    with pytest.raises(CheckpointError, match="only a part of a checkpoint: give the directory"):
        load_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.parametrize("vocab", [VOCAB - 1, VOCAB + 128])
def test_refused_vocabularies(tmp_path: Path, vocab: int) -> None:
    """A tokenizer must cover the vocabulary but for its padding, and no more."""
    shape = LlamaShape(
        dim=8, hidden=12, layers=1, heads=4, kv_heads=2, head_dim=2, vocab=vocab, context=16
    )
    write_hugging_face(tmp_path, random_weights(shape, seed=17))
    with pytest.raises(CheckpointError, match=f"has 40 tokens but .* vocabulary has {vocab}: give"):
        load_checkpoint(tmp_path)
    model = write_llama2c(tmp_path, random_weights(shape, seed=17))
    short = llama2c_tokenizer_bytes(simple_pieces(VOCAB))
    (tmp_path / "tokenizer.bin").write_bytes(short)
    with pytest.raises(CheckpointError, match=f"has 40 tokens but .* vocabulary has {vocab}: give"):
        load_checkpoint(model)


def load_damaged(path: Path, model: bytes, tokenizer: bytes | None = None) -> Checkpoint:
    """Write a llama2.c pair of files and load it."""
    (path / "model.bin").write_bytes(model)
    if tokenizer is not None:
        (path / "tokenizer.bin").write_bytes(tokenizer)
    return load_checkpoint(path / "model.bin")


def test_refused_llama2c(tmp_path: Path) -> None:
    """Damaged llama2.c files, and files of other formats, are refused."""
    weights = random_weights(SHAPE, seed=18)
    model = llama2c_bytes(weights)
    size = len(model)
    for content, message in (
        (b"", r"is truncated \(0 bytes, shorter than a llama2.c header\)"),
        (model[:-4], rf"is truncated \({size - 4} bytes, {size} by its header\): copy"),
        (model + b"\0", rf"is too long \({size + 1} bytes, {size} by its header\)"),
        (b"ak42" + model[4:], "llama2.c file of version 1 or later: export it again with"),
        (b"GGUF" + model[4:], "is a GGUF file: give the Hugging Face directory"),
        (b"PK\x03\x04" + model[4:], "is a PyTorch pickle: give a Hugging Face directory"),
        (struct.pack("<7i", 8, 12, 2, 0, 2, 40, 16), r"multiple of heads \(0\), not 8"),
        (struct.pack("<7i", 8, 12, 2, 3, 2, 40, 16), r"multiple of heads \(3\), not 8"),
        (struct.pack("<7i", 8, -1, 2, 4, 2, 40, 16), "hidden must be a positive integer, not -1"),
        (model, "tokenizer.bin does not exist: give the model's tokenizer file"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_damaged(tmp_path, content)
    weights.layers[1].w_down[3, 4] = np.nan
    with pytest.raises(CheckpointError, match="tensor w2 has 1 values that are not finite"):
        load_damaged(tmp_path, llama2c_bytes(weights))


def test_refused_llama2c_tokenizers(tmp_path: Path) -> None:
    """Damaged tokenizer files are refused."""
    model = llama2c_bytes(random_weights(SHAPE, seed=19))
    good = llama2c_tokenizer_bytes(simple_pieces(VOCAB))
    assert load_damaged(tmp_path, model, good).weights.shape == SHAPE
    for damaged in (b"", good[:-1], good[:7], good + b"\0", good[:4] + b"\0\0\xc0\x7f" + good[8:]):
        with pytest.raises(CheckpointError, match=r"tokenizer.bin is truncated or not a llama2.c"):
            load_damaged(tmp_path, model, damaged)


def test_layer_tensors_are_complete() -> None:
    """Every field of a layer has its tensor name."""
    assert set(LAYER_TENSORS) == set(layer_shapes(SHAPE))
