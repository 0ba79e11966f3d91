"""Models cut into parts: in sum, the same bits as the whole."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from compiler.quantize import quantize
from compiler.split import Part, SplitError, shares, split
from golden.integer import IntArray
from golden.llama import GoldenLlama, embed
from golden.model import LlamaShape, random_weights
from golden.requantizer import Destination
from golden.trace import Recorder

#: Six KV heads, hidden channels that leave the last group short, an odd vocabulary.
UNEVEN = LlamaShape(
    dim=24, hidden=30, layers=4, heads=12, kv_heads=6, head_dim=4, vocab=61, context=16, tied=True
)
UNTIED = LlamaShape(
    dim=16, hidden=40, layers=2, heads=4, kv_heads=4, head_dim=8, vocab=56, context=16, tied=False
)
MODELS = {name: quantize(random_weights(shape, 3)) for name, shape in
          (("uneven", UNEVEN), ("untied", UNTIED))}


def embedded(stage: Sequence[Part], tokens: Sequence[int]) -> IntArray:
    """Embed tokens, each by the part that has it: zeros from all others."""
    total: IntArray | int = 0
    for part in stage:
        ids = np.array(tokens) - part.first_token
        own = (ids >= 0) & (ids < part.model.shape.vocab)
        rows, _ = embed(part.model, np.where(own, ids, 0))
        total = total + np.where(own[:, None], rows, 0)
    return np.asarray(total)


def run_parts(stages: Sequence[Sequence[Part]], tokens: Sequence[int]) -> IntArray:
    """Run a block on all parts; sums over the parts are what an all-reduce makes."""
    residual = embedded(stages[0], tokens)
    for stage in stages:
        chips = [GoldenLlama(part.model) for part in stage]
        for index in range(stage[0].model.shape.layers):
            for step in ("_attention", "_feed_forward"):
                partial = [getattr(chip, step)(chip._layers[index], residual, Recorder(None, chip.saturations_by_step))
                           - residual for chip in chips]
                residual = residual + sum(partial)
    logits = []
    for chip in chips:
        norm = chip._norm("final_norm", residual, Recorder(None, chip.saturations_by_step))
        logits.append(chip._lm_head(norm.q, norm.scale, Destination.LOGIT)[0])
    return np.concatenate(logits, axis=1)


@pytest.mark.parametrize(("name", "tensor", "pipeline"), [
    ("uneven", 1, 1), ("uneven", 2, 1), ("uneven", 4, 1), ("uneven", 1, 2), ("uneven", 2, 4),
    ("untied", 2, 1), ("untied", 4, 2),
])  # fmt: skip
def test_parts_make_the_same_logits(name: str, tensor: int, pipeline: int) -> None:
    model = MODELS[name]
    tokens = np.random.default_rng(1).integers(0, model.shape.vocab, 9).tolist()
    want = GoldenLlama(model).step_block(tokens)
    got = run_parts(split(model, tensor, pipeline), tokens)
    assert np.array_equal(got, want), f"logits differ at {np.argwhere(got != want)[:3].tolist()}"


def test_parts_have_everything_once() -> None:
    model = MODELS["uneven"]
    parts = split(model, 4)[0]
    assert [part.model.shape.kv_heads for part in parts] == [2, 2, 1, 1]
    assert [part.first_token for part in parts] == [0, 16, 32, 48]
    assert sum(part.model.shape.vocab for part in parts) == model.shape.vocab
    assert all(part.model.shares_embedding for part in parts)
    stages = split(model, 1, 2)
    assert [[part.embeds for part in stage] for stage in stages] == [[True], [False]]
    assert [[part.samples for part in stage] for stage in stages] == [[False], [True]]


def test_whole_model_is_one_part() -> None:
    model = MODELS["untied"]
    [[part]] = split(model)
    assert part.model.shape == model.shape
    for layer, whole in zip(part.model.layers, model.layers, strict=True):
        for (name, got), (_, want) in zip(layer.matrices(), whole.matrices(), strict=True):
            assert np.array_equal(got.weight, want.weight), name


@pytest.mark.parametrize(("tensor", "pipeline", "message"), [
    (3, 1, "tensor-parallel must divide the model's 4 FFN groups and be at most its 6 attention "
           "groups: one of 1, 2, 4, not 3"),
    (8, 1, "one of 1, 2, 4, not 8"), (0, 1, "not 0"),
    (1, 3, "pipeline-parallel must divide the model's 4 layers: one of 1, 2, 4, not 3"),
])  # fmt: skip
def test_split_that_does_not_divide(tensor: int, pipeline: int, message: str) -> None:
    with pytest.raises(SplitError, match=re.escape(message)):
        split(MODELS["uneven"], tensor, pipeline)


def test_few_kv_heads_limit_the_chips() -> None:
    shape = LlamaShape(dim=16, hidden=16, layers=1, heads=4, kv_heads=2, head_dim=4, vocab=16,
                       context=8)  # fmt: skip
    with pytest.raises(SplitError, match="at most its 2 attention groups: one of 1, 2, not 4"):
        split(quantize(random_weights(shape, 1)), 4)


def test_small_vocabulary_limits_the_chips() -> None:
    shape = LlamaShape(dim=16, hidden=16, layers=1, heads=4, kv_heads=4, head_dim=4, vocab=33,
                       context=8)  # fmt: skip
    with pytest.raises(SplitError, match="at most the 3 units of 16 tokens in the vocabulary, not 4"):
        split(quantize(random_weights(shape, 1)), 4)


def test_shares() -> None:
    assert shares(7, 3) == [(0, 3), (3, 5), (5, 7)]
    assert shares(2, 2) == [(0, 1), (1, 2)]
