"""Load a Hugging Face directory: config.json, the safetensors files and tokenizer.json."""

from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from compiler.checkpoint_error import CheckpointError, checked_shape, read_json, refuse_infinite
from compiler.safetensors_file import read_safetensors_files
from compiler.tokenizer_files import Tokenizer, load_tokenizer
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

T = TypeVar("T")


def load_hugging_face(path: Path, tokenizer: Path | None) -> tuple[LlamaWeights, Tokenizer]:
    """Load config.json, the safetensors files and the tokenizer."""
    config_path = path / "config.json"
    config = read_json(config_path)
    shape = _hugging_face_shape(config_path, config)
    tensors = {}
    for name, (source, values) in read_safetensors_files(path).items():
        refuse_infinite(source, name, values)
        tensors[name] = values
    weights = _hugging_face_weights(path, shape, tensors)
    loaded = load_tokenizer(
        path / "tokenizer.json" if tokenizer is None else Path(tokenizer),
        shape.vocab,
        bos_token=_special_token(config_path, config, "bos_token_id", shape.vocab),
        end_token=_special_token(config_path, config, "eos_token_id", shape.vocab),
    )
    return weights, loaded


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
    return checked_shape(
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
