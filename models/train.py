"""Train a small Llama on a text file and write it as a Hugging Face directory.

The script needs PyTorch, which nothing else in this project does: install it in an environment of
its own (`pip install torch numpy safetensors tokenizers`). The training length is a time budget,
so the learning rate follows the clock and two runs with one seed differ slightly.

    python models/train.py --text text.txt --out models/my-model --minutes 20
"""

import argparse
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

END_TOKEN = "<|endoftext|>"
END_ID = 0
ROPE_THETA = 10000.0
NORM_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the model to train."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int
    dropout: float

    def __post_init__(self) -> None:
        """Refuse sizes that do not make a Llama."""
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ValueError(f"dim must be heads times an even head size, not {self.dim!r}")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads must divide heads, not {self.kv_heads!r}")
        if self.vocab < 257:
            raise ValueError(f"vocab must be at least 257 (bytes and end), not {self.vocab!r}")

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.heads


class RmsNorm(nn.Module):
    """Scale a vector to unit root mean square, then by a learned gain."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled vectors."""
        return F.rms_norm(x, self.weight.shape, self.weight, NORM_EPS)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embedding; channel i pairs with channel i + head_dim / 2."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Attention(nn.Module):
    """Causal grouped-query attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_dim = shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.dim, shape.dim, bias=False)
        self.k_proj = nn.Linear(shape.dim, kv_dim, bias=False)
        self.v_proj = nn.Linear(shape.dim, kv_dim, bias=False)
        self.o_proj = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return what attention adds to the residual."""
        batch, length, dim = x.shape
        q, k, v = (
            projection(x).view(batch, length, -1, self.shape.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True, enable_gqa=True
        )
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, dim))


class FeedForward(nn.Module):
    """SwiGLU feed-forward network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the network adds to the residual."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One transformer layer; its parameter names are those of a Hugging Face Llama."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(shape.dim)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RmsNorm(shape.dim)
        self.mlp = FeedForward(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the residual after the layer."""
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class Llama(nn.Module):
    """Llama with a tied embedding."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab, shape.dim)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RmsNorm(shape.dim)
        self.dropout = nn.Dropout(shape.dropout)
        frequencies = ROPE_THETA ** (-torch.arange(0, shape.head_dim, 2) / shape.head_dim)
        angles = torch.arange(shape.context)[:, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue
            # What writes into the residual stream starts small, so that depth does not add up.
            deep = name.endswith(("o_proj.weight", "down_proj.weight"))
            nn.init.normal_(parameter, std=0.04 / math.sqrt(2 * shape.layers) if deep else 0.04)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits, [batch, length, vocab]."""
        length = tokens.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        x = self.dropout(self.embed_tokens(tokens))
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.embed_tokens.weight)


def train_tokenizer(text: str, vocab: int) -> Tokenizer:
    """Learn byte-level byte pairs from the text; id 0 is the end token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END_TOKEN],
        # All 256 bytes, so that every text can be encoded, whatever the training text lacks.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    if tokenizer.get_vocab_size() != vocab:
        raise ValueError(f"text must be long enough to learn {vocab} tokens from")
    return tokenizer


class Batches:
    """Random training sequences; some start with the end token and the start of a paragraph."""

    def __init__(self, text: str, tokenizer: Tokenizer, shape: Shape, size: int, seed: int) -> None:
        encoding = tokenizer.encode(text)
        self.tokens = np.array(encoding.ids, dtype=np.int64)
        if len(self.tokens) <= shape.context + 1:
            raise ValueError(f"text must be longer than {shape.context + 1} tokens")
        self.span = shape.context + 1
        self.size = size
        self.random = np.random.default_rng(seed)
        last = len(self.tokens) - self.span
        # A token starts a paragraph (or, without blank lines, a line) when a break precedes it.
        mark = "\n\n" if "\n\n" in text else "\n"
        self.starts = [
            index
            for index, (begin, _) in enumerate(encoding.offsets[: last + 1])
            if (begin == 0 or text[:begin].endswith(mark)) and text[begin : begin + 1] != "\n"
        ]

    def next(self) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, each [size, context]."""
        rows = []
        for _ in range(self.size):
            if self.starts and self.random.random() < 0.2:
                begin = self.starts[self.random.integers(len(self.starts))]
                row = np.concatenate(([END_ID], self.tokens[begin : begin + self.span - 1]))
            else:
                begin = self.random.integers(len(self.tokens) - self.span + 1)
                row = self.tokens[begin : begin + self.span]
            rows.append(row)
        batch = torch.from_numpy(np.stack(rows))
        return batch[:, :-1], batch[:, 1:]


@torch.no_grad()
def held_out_nats(model: Llama, tokens: Tensor, window: int) -> float:
    """Sum the negative log likelihood of every token but the first.

    The tokens are cut into windows; each starts without context, so that the figure needs no
    more than one pass and any other implementation can repeat it.
    """
    model.eval()
    total = 0.0
    whole = (len(tokens) - 1) // window
    pieces: list[tuple[Tensor, Tensor]] = []
    if whole:
        inputs = tokens[: whole * window].view(whole, window)
        targets = tokens[1 : whole * window + 1].view(whole, window)
        pieces += list(zip(inputs.split(16), targets.split(16), strict=True))
    if whole * window + 1 < len(tokens):
        pieces.append((tokens[None, whole * window : -1], tokens[None, whole * window + 1 :]))
    for inputs, targets in pieces:
        logits = model(inputs).flatten(0, 1)
        total += float(F.cross_entropy(logits, targets.flatten(), reduction="sum"))
    model.train()
    return total


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def write_description(out: Path, shape: Shape, tokenizer: Tokenizer) -> None:
    """Write all files of the Hugging Face directory but the weights."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": END_ID,
        "eos_token_id": END_ID,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.dim,
        "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": NORM_EPS,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "vocab_size": shape.vocab,
    }
    tokenizer_config = {
        "bos_token": END_TOKEN,
        "eos_token": END_TOKEN,
        "model_max_length": shape.context,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_text(out / "config.json", json.dumps(config, indent=2) + "\n")
    write_text(out / "tokenizer_config.json", json.dumps(tokenizer_config, indent=2) + "\n")
    write_text(out / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")


def write_weights(out: Path, model: Llama) -> None:
    """Write the weights as float16 under their Hugging Face names."""
    tensors = {
        f"model.{name}": np.ascontiguousarray(value.detach().numpy().astype(np.float16))
        for name, value in model.state_dict().items()
    }
    part = out / "model.safetensors.part"
    part.write_bytes(save(tensors, metadata={"format": "pt"}))
    os.replace(part, out / "model.safetensors")


def parse_arguments() -> argparse.Namespace:
    """Read the command line; the defaults are the model that the project ships."""
    parser = argparse.ArgumentParser(description="Train a small Llama on a text file.")
    parser.add_argument("--text", type=Path, required=True, help="text to learn, UTF-8")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=512)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=22.0, help="time budget")
    parser.add_argument("--batch", type=int, default=8, help="sequences in a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--dropout", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Train, report and save."""
    arguments = parse_arguments()
    shape = Shape(
        dim=arguments.dim,
        hidden=arguments.hidden,
        layers=arguments.layers,
        heads=arguments.heads,
        kv_heads=arguments.kv_heads,
        vocab=arguments.vocab,
        context=arguments.context,
        dropout=arguments.dropout,
    )
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    text = arguments.text.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    train_text, held_text = text[:cut], text[cut:]
    tokenizer = train_tokenizer(train_text, shape.vocab)
    batches = Batches(train_text, tokenizer, shape, arguments.batch, arguments.seed)
    held = torch.tensor(tokenizer.encode(held_text).ids)
    train_characters = len(train_text) / len(batches.tokens)
    held_characters = len(held_text) / len(held)
    model = Llama(shape)
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{weights} weights, {len(batches.tokens)} training tokens, {len(held)} held out, "
        f"{train_characters:.3f} and {held_characters:.3f} characters a token",
        flush=True,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_description(arguments.out, shape, tokenizer)

    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    gains = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}],
        lr=arguments.rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    budget_seconds = arguments.minutes * 60
    report_seconds = max(10.0, budget_seconds / 22)
    warmup_steps = 100
    began = reported = time.monotonic()
    best = math.inf
    recent: list[Tensor] = []
    step = 0
    while True:
        elapsed = time.monotonic() - began
        done = elapsed >= budget_seconds
        if done or time.monotonic() - reported >= report_seconds:
            held_loss = held_out_nats(model, held, shape.context) / (len(held) - 1)
            train_loss = float(torch.stack(recent).mean()) if recent else math.nan
            print(
                f"{elapsed / 60:5.1f} min, step {step}: "
                f"train {train_loss:.4f} a token, {train_loss / train_characters:.4f} a character; "
                f"held out {held_loss:.4f} a token, {held_loss / held_characters:.4f} a character",
                flush=True,
            )
            recent.clear()
            if held_loss < best:
                best = held_loss
                write_weights(arguments.out, model)
            reported = time.monotonic()
        if done:
            break
        progress = min(1.0, elapsed / budget_seconds)
        rate = arguments.rate * min(1.0, (step + 1) / warmup_steps)
        rate *= 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, targets = batches.next()
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.detach())
        step += 1
    print(f"best held out {best:.4f} a token, {best / held_characters:.4f} a character; saved")


if __name__ == "__main__":
    main()
