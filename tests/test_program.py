"""Compiled programs on the simulated machine equal the golden model, bit for bit."""

import functools

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.debug import DebugPoint
from compiler.image import ChipImage
from compiler.machine import Machine
from compiler.placement import CapacityError
from compiler.quantize import quantize
from compiler.sequencer import Step
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from golden.quantized import QuantizedLlama
from hw.config import CONFIGS, ChipletConfig
from hw.control.isa import Opcode

SHAPES = {
    "small": LlamaShape(
        dim=32, hidden=48, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=61, context=64
    ),
    "odd": LlamaShape(
        dim=96, hidden=172, layers=3, heads=6, kv_heads=2, head_dim=16, vocab=131, context=128,
        tied=False,
    ),
    "many heads": LlamaShape(
        dim=40, hidden=9, layers=2, heads=10, kv_heads=10, head_dim=6, vocab=50, context=40
    ),
    "one of all": LlamaShape(
        dim=8, hidden=8, layers=1, heads=1, kv_heads=1, head_dim=2, vocab=5, context=24
    ),
}  # fmt: skip
MACHINES = {
    **{name: CONFIGS[name] for name in ("tiny", "base", "large")},
    "wide": ChipletConfig(name="wide", rows=8, columns=16, lanes=8, rows_per_step=2, context=128),
    "tall": ChipletConfig(
        name="tall", rows=32, columns=16, lanes=4, context=128, rope_beats=1024,
        result_beats=8192, multiplier_beats=8192, residual_beats=4096,
    ),
    "tight": CONFIGS["base"].replace(
        name="tight", activation_words=360, result_beats=200, output_words=200, context=64
    ),
}  # fmt: skip


@functools.cache
def model(name: str) -> QuantizedLlama:
    """Return a quantized random model."""
    return quantize(random_weights(SHAPES[name], seed=11), list(range(5)))


@functools.cache
def image(name: str, machine: str) -> ChipImage:
    """Compile a model for a machine."""
    return compile_model(model(name), MACHINES[machine])


def prompt_of(name: str, length: int) -> list[int]:
    """Return a random prompt."""
    random = np.random.default_rng(length)
    return [int(token) for token in random.integers(0, SHAPES[name].vocab, length)]


def check(name: str, machine: str, length: int, count: int, **options: float) -> Machine:
    """Compare a run with the golden model: tokens, logits, clipped values, races."""
    compiled, golden = image(name, machine), GoldenLlama(model(name))
    chip, prompt = compiled.machine(), prompt_of(name, length)
    result = chip.run(prompt, count, **options)
    tokens, logits = golden.generate(prompt, count, **options)
    # The chip has no place for a token behind the context: it computes it but does not emit it.
    assert result.tokens == tokens[: compiled.context - length]
    np.testing.assert_array_equal(np.array(result.logits), logits)
    assert result.saturations == golden.saturations
    assert chip.checker is not None
    assert not chip.checker.races, "\n".join(str(race) for race in sorted(chip.checker.races))
    return chip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["small", "odd"])
def test_equals_golden(name: str, machine: str) -> None:
    """Prompts of one token, a block, one more, and several blocks, each continued."""
    block = image(name, machine).max_block
    for length in sorted({1, block, block + 1, 2 * block + 3}):
        check(name, machine, length, 3)


@pytest.mark.parametrize("machine", ["tiny", "base", "tight"])
@pytest.mark.parametrize("name", ["many heads", "one of all"])
def test_other_shapes(name: str, machine: str) -> None:
    """More heads than events and buffers, few hidden channels, and one of everything."""
    check(name, machine, 9, 4)


def test_sampling() -> None:
    """Temperature and seed choose the golden model's tokens."""
    check("small", "base", 5, 12, temperature=0.9, seed=1234)


def test_context_end() -> None:
    """The run ends with the context; a prompt may fill it but not exceed it."""
    check("one of all", "base", 3, 100)
    check("one of all", "base", 24, 5)
    chip = image("one of all", "base").machine()
    assert chip.run([1] * 25, 5).tokens == []
    assert chip.run([1], 5, start=24).tokens == []
    assert chip.run([], 5).tokens == []


def test_limit_and_end_token() -> None:
    """The run stops after the limit, or after the end token, which is emitted."""
    tokens, _ = GoldenLlama(model("small")).generate([7, 3], 12)
    chip = image("small", "base").machine()
    assert chip.run([7, 3], 1).tokens == tokens[:1]
    end = tokens[4]
    expected = tokens[: tokens.index(end) + 1]
    assert chip.run([7, 3], 12, end_token=end).tokens == expected


def test_continuation() -> None:
    """A limit of 0 fills the cache only; a later run continues from it."""
    prompt = prompt_of("odd", 30)
    expected, _ = GoldenLlama(model("odd")).generate(prompt, 5)
    chip = image("odd", "base").machine()
    assert chip.run(prompt[:20], 0).tokens == []
    first = chip.run(prompt[20:], 2, start=20).tokens
    # The last token is emitted but not yet in the cache.
    second = chip.run(first[-1:], 3, start=31).tokens
    assert first + second == expected


@pytest.mark.parametrize(
    ("name", "machine"),
    [("small", "base"), ("odd", "wide"), ("odd", "tall"), ("many heads", "tight")],
)
def test_debug_points(name: str, machine: str) -> None:
    """Every named intermediate is in memory where and when the map says."""
    compiled, golden = image(name, machine), GoldenLlama(model(name))
    chip = compiled.machine()
    points: dict[int, list[DebugPoint]] = {}
    for point in compiled.points:
        points.setdefault(point.pc, []).append(point)
    trace: dict[str, np.ndarray] = {}
    block = {"position": 0, "rows": 0}
    visits: dict[int, int] = {}
    seen: set[str] = set()

    def observe(step: Step) -> None:
        if step.instruction.opcode == Opcode.EMBED:
            assert step.fields is not None
            block.update({key: step.fields[key] for key in block})
            trace.clear()
            visits.clear()
            end = block["position"] + block["rows"]
            golden.step_block(chip.memories.tokens[block["position"] : end].astype(int), trace)
        layer = visits[step.pc] = visits.get(step.pc, -1) + 1
        for point in points.get(step.pc, ()):
            found = point.read(chip.memories.by_name(), block["rows"], block["position"], layer)
            np.testing.assert_array_equal(
                found, point.expected(trace, layer), point.trace_name(layer)
            )
            seen.add(point.trace_name(layer))

    chip.observer = observe
    chip.run(prompt_of(name, compiled.max_block + 2), 2)
    # What only exists between two memories has no place in one.
    inside = ("sum_squares", "q_rope", "k_rope", "probability_sum", "hidden")
    assert seen == {key for key in trace if key.split(".")[-1] not in inside}


def test_max_block_and_context() -> None:
    """Smaller blocks and contexts give the same tokens."""
    golden, _ = GoldenLlama(model("odd")).generate(prompt_of("odd", 10), 3)
    for options in ({"max_block": 1}, {"max_block": 3}, {"context": 20}):
        compiled = compile_model(model("odd"), CONFIGS["base"], **options)
        chip = compiled.machine()
        assert chip.run(prompt_of("odd", 10), 3).tokens == golden
        assert chip.checker is not None
        assert not chip.checker.races


def test_program_size() -> None:
    """Code for single tokens is left out if there is no room; then it is a capacity error."""
    base = CONFIGS["base"]
    full = image("odd", "base").program_length
    smaller = compile_model(model("odd"), base.replace(program_words=full - 1))
    assert smaller.program_length < full * 0.7
    chip = smaller.machine()
    expected, _ = GoldenLlama(model("odd")).generate(prompt_of("odd", 17), 2)
    assert chip.run(prompt_of("odd", 17), 2).tokens == expected
    needed = smaller.program_length
    with pytest.raises(CapacityError, match=f"raise program_words to {needed}"):
        compile_model(model("odd"), base.replace(program_words=needed - 1))


def test_no_unrolling() -> None:
    """The program does not grow with layers or context."""
    shape = SHAPES["small"]
    sizes = set()
    for layers in (4, 8):
        deeper = LlamaShape(**{**vars(shape), "layers": layers})
        compiled = compile_model(random_weights(deeper, 1), CONFIGS["base"])
        sizes.add(compiled.program_length - 8 * layers)  # shifts take up to 4 a layer, twice
    assert max(sizes) - min(sizes) <= 8 * 4
