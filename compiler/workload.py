"""Useful work of a model: multiply-accumulates that any machine must do, without any padding."""

from golden.model import LlamaShape


def linear_macs(shape: LlamaShape) -> int:
    """Return the MACs of one token in the weight matrices of all layers."""
    attention = 2 * shape.dim * (shape.q_dim + shape.kv_dim)
    return shape.layers * (attention + 3 * shape.dim * shape.hidden)


def attention_macs(shape: LlamaShape, position: int) -> int:
    """Return the MACs of one token with the cache: scores and values of `position + 1` places."""
    return shape.layers * 2 * shape.q_dim * (position + 1)


def useful_macs(shape: LlamaShape, first_position: int, rows: int, logits: bool) -> int:
    """Return the MACs of `rows` tokens from a position on; `logits` of the last one, if wanted."""
    if first_position < 0:
        raise ValueError(f"first_position must be at least 0, not {first_position!r}")
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows!r}")
    positions = range(first_position, first_position + rows)
    return (
        rows * linear_macs(shape)
        + sum(attention_macs(shape, position) for position in positions)
        + (shape.vocab * shape.dim if logits else 0)
    )


def generation_macs(shape: LlamaShape, prompt_tokens: int, tokens: int) -> list[int]:
    """Return the MACs behind each generated token; the first one's include the whole prompt."""
    first = [useful_macs(shape, 0, prompt_tokens, True)] if tokens else []
    later = range(prompt_tokens, prompt_tokens + tokens - 1)
    return first + [useful_macs(shape, position, 1, True) for position in later]
