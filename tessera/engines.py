"""Three ways to generate text: float reference, golden model, and the RTL in a simulator."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from find_libpython import find_libpython
from numpy.typing import NDArray

from compiler.image import ChipImage
from compiler.quantize import LOGIT_FRACTION_BITS
from compiler.timing import predict
from compiler.workload import generation_macs
from golden.float_reference import FloatLlama
from golden.llama import GoldenLlama
from golden.model import LlamaWeights
from golden.quantized import QuantizedLlama
from golden.sampler import Sampler, temperature_register
from hw.config import ChipletConfig

#: Takes a block of tokens, returns the logits of the last one.
Step = Callable[[list[int]], NDArray]

log = logging.getLogger("tessera")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to generate."""

    prompt: list[int]
    count: int
    temperature: float = 0.0
    seed: int = 1
    end_token: int | None = None

    def check_context(self, context: int, who: str) -> None:
        """Refuse a prompt that leaves no room for a token."""
        if len(self.prompt) >= context:
            raise ValueError(
                f"--prompt must have at most {context - 1} tokens, one less than the context of "
                f"{who}, not {len(self.prompt)}"
            )


@dataclass(kw_only=True)
class Result:
    """What came out; the figures of the chip are empty unless the RTL ran."""

    tokens: list[int] = field(default_factory=list)
    seconds: float = 0.0
    saturations: int | None = None
    bit_exact: bool | None = None
    first_difference: str | None = None
    cycles_per_token: list[int] = field(default_factory=list)
    predicted_cycles_per_token: list[int] = field(default_factory=list)
    mac_utilization: float | None = None
    kcycles_per_second: float | None = None
    total_cycles: int | None = None
    generation_cycles: int | None = None  #: from the start to the last token, on a board
    first_token_cycles: int | None = None  #: to the first, if the host looked in time
    line_retries: int | None = None  #: requests to a board that had to be sent again
    counters: dict[str, int] = field(default_factory=dict)
    sequences: int = 1  #: whose tokens take turns
    #: Of each chip of a torus: its place, its counters, and those of its links.
    chips: list[dict[str, Any]] = field(default_factory=list)


def generate(step: Step, context: int, request: Request) -> Iterator[int]:
    """Yield tokens until the count, the end token (also yielded), or the end of the context.

    Prompt and tokens together fill the context at most, as on the chip, whose token memory ends
    there.
    """
    sampler = Sampler(temperature_register(request.temperature), request.seed)
    block, used = list(request.prompt), 0
    for _ in range(request.count):
        if used + len(block) >= context:
            return
        logits = step(block)
        used += len(block)
        token = sampler.choose(logits)
        yield token
        if token == request.end_token:
            return
        block = [token]


def run_float(weights: LlamaWeights, request: Request, on_token: Callable[[int], None]) -> Result:
    """Generate with the float reference.

    Its logits are rounded to the chip's fraction bits and drawn by the chip's sampler, so that
    another text means other logits, not another draw.
    """
    model = FloatLlama(weights)

    def step(block: list[int]) -> NDArray[np.int64]:
        for token in block:
            logits = model.step(token)
        return np.rint(logits.astype(np.float64) * 2**LOGIT_FRACTION_BITS).astype(np.int64)

    return _collect(step, weights.shape.context, request, on_token)


def run_golden(
    quantized: QuantizedLlama, request: Request, on_token: Callable[[int], None]
) -> Result:
    """Generate with the integer model."""
    model = GoldenLlama(quantized)
    result = _collect(
        lambda block: model.step_block(block)[-1], quantized.shape.context, request, on_token
    )
    result.saturations = model.saturations
    return result


def _collect(
    step: Step, context: int, request: Request, on_token: Callable[[int], None]
) -> Result:
    result, began = Result(), time.perf_counter()
    for token in generate(step, context, request):
        result.tokens.append(token)
        on_token(token)
    result.seconds = time.perf_counter() - began
    return result


def simulator_exists(config: ChipletConfig) -> bool:
    """Return whether a configuration was built before (if only an older version of it)."""
    from verif.chip_run import top_name  # noqa: PLC0415
    from verif.simulator import BUILD_ROOT  # noqa: PLC0415

    return (BUILD_ROOT / top_name(config) / "stamp").exists()


def run_rtl(
    image: ChipImage,
    quantized: QuantizedLlama,
    request: Request,
    on_token: Callable[[Any], None],
) -> Result:
    """Generate with the RTL; golden follows and compares. `on_token` gets a TokenRecord."""
    # Only this engine needs the simulator and the hardware's description.
    from verif.chip_run import run_chip  # noqa: PLC0415

    config = image.config
    if find_libpython() is None:
        raise RuntimeError(
            "the simulator needs Python's shared library: install libpython3-dev, or use a Python "
            "that was built with --enable-shared"
        )
    run = run_chip(
        config, image, quantized, request.prompt, request.count, temperature=request.temperature,
        seed=request.seed, end_token=request.end_token, on_token=on_token,
    )  # fmt: skip
    cycles = [int(each) for each in run.cycles_per_token]
    result = Result(
        tokens=[int(token) for token in run.tokens],
        seconds=float(run.seconds),
        saturations=int(run.saturations),
        bit_exact=bool(run.bit_exact),
        first_difference=run.first_difference,
        cycles_per_token=cycles,
        predicted_cycles_per_token=predicted_cycles(image, len(request.prompt), len(run.tokens)),
        kcycles_per_second=run.simulated_cycles / run.seconds / 1000 if run.seconds else None,
        total_cycles=int(run.total_cycles),
        counters={name: int(value) for name, value in run.counters.items()},
    )
    macs = generation_macs(quantized.shape, len(request.prompt), len(cycles))
    result.mac_utilization = utilization(sum(macs), config, sum(cycles))
    return result


def predicted_cycles(image: ChipImage, prompt_tokens: int, tokens: int) -> list[int]:
    """Return the timing model's cycles of each token; it never looks at a run."""
    if not tokens:
        return []
    prediction = predict(image, prompt_tokens=prompt_tokens, tokens=tokens)
    return [int(each) for each in prediction.cycles_per_token]


def utilization(macs: int, config: ChipletConfig, cycles: int) -> float | None:
    """Return useful multiply-accumulates over those that the array could do."""
    return macs / (config.macs * cycles) if cycles else None


def prediction_error(predicted: Sequence[int], measured: Sequence[int]) -> float | None:
    """Return the largest relative error of the predicted cycles."""
    pairs = [(p, m) for p, m in zip(predicted, measured, strict=False) if m]
    return max((abs(p - m) / m for p, m in pairs), default=None)
