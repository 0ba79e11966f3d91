"""What quantization costs: perplexity and agreement of the integer model with the float one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.quantize import LOGIT_FRACTION_BITS
from golden.float_reference import FloatLlama, log_softmax_nats
from golden.llama import GoldenLlama
from golden.model import LlamaWeights
from golden.quantized import QuantizedLlama


@dataclass(frozen=True)
class EvalResult:
    """Quality over `positions` predicted tokens."""

    float_ppl: float
    golden_ppl: float
    top1_agreement: float  #: share of positions where both models' likeliest token is the same
    positions: int
    saturations: int  #: values clipped in the integer model

    @property
    def ppl_change(self) -> float:
        """Relative change of perplexity: 0.005 is half a percent worse."""
        return self.golden_ppl / self.float_ppl - 1


def evaluate(
    weights: LlamaWeights,
    quantized: QuantizedLlama,
    tokens: Sequence[int],
    window: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvalResult:
    """Predict every token but the first of each window, from those before it in the window.

    Windows do not overlap; the default is the context, and a last one with less than two tokens is
    left out. `progress` is called with (tokens done, tokens in all).
    """
    window = weights.shape.context if window is None else window
    if not 2 <= window <= weights.shape.context:
        raise ValueError(f"window must be in 2..{weights.shape.context}, not {window!r}")
    if len(tokens) < 2:
        raise ValueError(f"tokens must be at least two, not {len(tokens)!r}")
    ids = np.asarray(tokens, np.int64)
    reference, golden = FloatLlama(weights), GoldenLlama(quantized)
    float_nats = golden_nats = 0.0
    agreed = positions = 0
    for start in range(0, len(ids) - 1, window):
        piece = ids[start : start + window]
        targets = piece[1:]
        expected = reference.forward(piece[:-1].tolist())
        golden.reset()
        logits = golden.step_block(piece[:-1].tolist())
        float_nats += float(np.sum(log_softmax_nats(expected, targets)))
        # float32 would round logits of more than 2^24; only the difference to the peak matters.
        relative = (logits - logits.max(axis=1, keepdims=True).astype(np.int64)).astype(np.float64)
        golden_nats += float(np.sum(log_softmax_nats(relative / 2**LOGIT_FRACTION_BITS, targets)))
        agreed += int(np.sum(np.argmax(expected, axis=1) == np.argmax(logits, axis=1)))
        positions += len(targets)
        if progress is not None:
            progress(min(start + window, len(ids)), len(ids))
    return EvalResult(
        float_ppl=math.exp(float_nats / positions),
        golden_ppl=math.exp(golden_nats / positions),
        top1_agreement=agreed / positions,
        positions=positions,
        saturations=golden.saturations,
    )
