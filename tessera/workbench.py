"""What benchmarks measure with: the shipped model, runs of the RTL, and rows of figures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from compiler.calibrate import sample_tokens
from compiler.checkpoint import Checkpoint, load_checkpoint
from compiler.compile import compile_model
from compiler.evaluate import EvalResult, evaluate
from compiler.image import ChipImage
from compiler.quantize import quantize
from golden.quantized import QuantizedLlama
from hw.config import CONFIGS
from tessera.engines import Request, Result, run_rtl

SHIPPED = Path("models/shakespeare-850k")
#: Text that the shipped model was not trained on, if it is there.
HELD_OUT = SHIPPED / "held_out.txt"
BASE = CONFIGS["base"]


class NotRunError(RuntimeError):
    """A benchmark could not run; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Cycles of one piece of work."""

    name: str
    config: str
    cycles: int
    predicted_cycles: int
    ideal_cycles: float  #: useful MACs over MACs per cycle
    limit: str
    passed: bool

    @property
    def utilization(self) -> float:
        """Share of the MACs that did useful work."""
        return self.ideal_cycles / self.cycles

    @property
    def prediction_error(self) -> float:
        """Relative error of the prediction."""
        return abs(self.predicted_cycles - self.cycles) / self.cycles


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Any other number with a limit."""

    name: str
    value: float
    unit: str
    limit: str
    passed: bool


@dataclass(kw_only=True)
class Workbench:
    """What the benchmarks share, made when first needed."""

    text: Path | None = None
    progress: Callable[[str], None] = lambda what: None
    _runs: dict[str, Result] = field(default_factory=dict)

    @cached_property
    def shipped(self) -> Checkpoint:
        """Return the shipped model."""
        return load_checkpoint(SHIPPED)

    @cached_property
    def quantized(self) -> QuantizedLlama:
        """Return it in integers."""
        return quantize(self.shipped.weights)

    @cached_property
    def image(self) -> ChipImage:
        """Return its image on the base configuration."""
        return compile_model(self.quantized, BASE)

    @cached_property
    def quality(self) -> EvalResult:
        """Compare golden with float on a text, or on text that the float model writes itself."""
        tokenizer, weights = self.shipped.tokenizer, self.shipped.weights
        path = self.text or (HELD_OUT if HELD_OUT.is_file() else None)
        if path is not None:
            ids = tokenizer.encode(path.read_text(encoding="utf-8"))
        else:
            # Seed 1 wrote the text that the quantizer calibrates on.
            pieces = (piece for seed in range(2, 6) for piece in sample_tokens(weights, seed))
            ids = [token for piece in pieces for token in piece]
        self.progress("evaluating the shipped model")
        return evaluate(weights, self.quantized, ids)

    def prompt(self, tokens: int, seed: int = 1) -> list[int]:
        """Return any prompt of a length."""
        random = np.random.default_rng(seed)
        return [int(each) for each in random.integers(1, self.quantized.shape.vocab, tokens)]

    def run(
        self, name: str, quantized: QuantizedLlama, image: ChipImage, prompt: list[int], count: int
    ) -> Result:
        """Run a model on the RTL, once per name; a run that is not bit-exact is no measurement."""
        if name not in self._runs:
            self.progress(f"simulating {name}")
            request = Request(prompt=prompt, count=count)
            result = run_rtl(image, quantized, request, lambda record: None)
            if not result.bit_exact:
                raise NotRunError(f"not bit-exact: {result.first_difference}")
            if len(result.cycles_per_token) != count:
                raise NotRunError(f"{len(result.cycles_per_token)} tokens came, not {count}")
            self._runs[name] = result
        return self._runs[name]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A name, what it is, and how it is measured."""

    name: str
    what: str
    measure: Callable[[Workbench], Row | Figure]
