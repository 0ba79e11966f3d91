"""`tessera run`: generate text with a model."""

import math
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from compiler.checkpoint import Checkpoint
from compiler.compile import compile_model
from compiler.quantize import quantize
from compiler.torus import Layout
from golden.sampler import temperature_register
from hw.config import ChipletConfig, find_config
from hw.host.serial_protocol import DEFAULT_BAUD
from tessera.board import Board
from tessera.engines import (
    Request,
    Result,
    prediction_error,
    run_float,
    run_golden,
    run_rtl,
    simulator_exists,
)
from tessera.options import (
    ConfigOption,
    JsonOption,
    ModelOption,
    PipelineOption,
    SequencesOption,
    TensorOption,
    TokenizerOption,
    TorusOption,
    VerboseOption,
    load_model,
    prompt_ids,
)
from tessera.report import (
    RunFailedError,
    check_writable,
    errors,
    line,
    log,
    output,
    step,
    write_json,
)
from tessera.serial_target import connected, load, port_of, run_board
from tessera.streaming import TextDecoder, TextView
from tessera.torus import (
    layout_of,
    print_torus,
    run_torus,
    torus_images,
    torus_simulator_exists,
)

SEED_LIMIT = (1 << 32) - 1


@dataclass(frozen=True)
class Spread:
    """Chips that share a model, and how dirty the wires between them are."""

    layout: Layout
    sequences: int
    bit_error_rate: float


class Engine(StrEnum):
    """What computes."""

    RTL = "rtl"
    BOARD = "board"
    GOLDEN = "golden"
    FLOAT = "float"


def run(
    model: ModelOption,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="Text to continue.")],
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=1, help="Tokens to generate.")],
    tokenizer: TokenizerOption = None,
    config: ConfigOption = "base",
    engine: Annotated[
        Engine,
        typer.Option(
            help="rtl: the chiplet in Verilator, compared with golden; board: see --target; "
            "golden: the integer model; float: the reference."
        ),
    ] = Engine.RTL,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest token.")] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, max=SEED_LIMIT, help="First state of the sampler.")
    ] = 1,
    target: Annotated[
        str | None,
        typer.Option(
            help="serial:PORT: a board with the chiplet, compared with golden too.",
            show_default=False,
        ),
    ] = None,
    baud: Annotated[int, typer.Option(min=1, help="Bit rate of the board.")] = DEFAULT_BAUD,
    clock_mhz: Annotated[
        float | None,
        typer.Option(help="The board's clock, to reckon tokens per second.", show_default=False),
    ] = None,
    torus: TorusOption = None,
    tensor_parallel: TensorOption = None,
    pipeline_parallel: PipelineOption = None,
    sequences: SequencesOption = 1,
    bit_error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Chance that a bit between two chiplets flips.")
    ] = 0.0,
    json: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Generate text with a model: on the chiplet's RTL, on several, on a board, or on a reference.

    The text appears as it is generated; then come the figures. It ends with code 1 if the chip
    and the golden model differ in any bit.
    """
    chiplet = find_config(config)
    engine = _engine_for(engine, target)
    layout = layout_of(torus, tensor_parallel, pipeline_parallel, sequences=sequences > 1,
                       bit_error_rate=bit_error_rate > 0)
    if layout is not None:
        if engine is not Engine.RTL:
            raise ValueError(f"--torus runs the RTL, not --engine {engine.value}: leave one out")
        chiplet = chiplet.with_network()
    if clock_mhz is not None and not clock_mhz > 0:
        raise ValueError(f"--clock-mhz must be above 0, not {clock_mhz}")
    check_writable(json, "--json")
    if not math.isfinite(temperature):
        raise ValueError(f"temperature must be a finite number, not {temperature}")
    temperature_register(temperature)  # refuses what the chip has no number for
    checkpoint = load_model(model, tokenizer)
    request = Request(
        prompt=prompt_ids(checkpoint, prompt), count=tokens, temperature=temperature, seed=seed,
        # Of several sequences one may end before the others.
        end_token=checkpoint.tokenizer.end_token if sequences == 1 else None,
    )  # fmt: skip
    decoders = [TextDecoder(checkpoint.tokenizer, request.prompt) for _ in range(sequences)]
    decoder = decoders[0]
    with ExitStack() as stack:
        # Before the long work, so that a board that is not there is known at once.
        board = stack.enter_context(connected(target, baud, chiplet)) if target else None
        spread = None if layout is None else Spread(layout, sequences, bit_error_rate)
        result = _generate(engine, chiplet, checkpoint, request, prompt, decoder, board, spread)
    _print_others(result, decoders, prompt)
    _print_figures(engine, chiplet, request, result)
    if layout is not None:
        print_torus(result)
    if engine is Engine.BOARD:
        _print_board(request, result, clock_mhz)
    write_json(json, _figures(engine, chiplet, request, result, decoder.text))
    if result.bit_exact is False:
        chip = "RTL" if engine is Engine.RTL else "board"
        raise RunFailedError(
            f"the {chip} is not bit-exact: {result.first_difference or 'it differs from golden'}"
        )


def _engine_for(engine: Engine, target: str | None) -> Engine:
    """Return what computes, from two options of which the user gives at most one."""
    if target is not None:
        port_of(target)
        if engine in (Engine.GOLDEN, Engine.FLOAT):
            raise ValueError(f"--engine {engine.value} does not run on --target: leave one out")
        return Engine.BOARD
    if engine is Engine.BOARD:
        raise ValueError("--engine board needs --target serial:PORT")
    return engine


def _generate(
    engine: Engine,
    chiplet: ChipletConfig,
    checkpoint: Checkpoint,
    request: Request,
    prompt: str,
    decoder: TextDecoder,
    board: Board | None,
    spread: Spread | None,
) -> Result:
    """Run the engine and show the text."""
    shape = checkpoint.weights.shape
    request.check_context(shape.context, "the model")
    if engine is not Engine.FLOAT:
        with step("quantizing"):
            quantized = quantize(checkpoint.weights)
    if engine in (Engine.RTL, Engine.BOARD):
        with step("compiling"):
            if spread is None:
                images = [compile_model(quantized, chiplet)]
            else:
                images = torus_images(quantized, chiplet, spread.layout, spread.sequences)
        image = images[0]
        request.check_context(image.context, f"the model on configuration {chiplet.name}")
        if board is not None:
            load(board, image)
        elif not (simulator_exists(chiplet) if spread is None else torus_simulator_exists(chiplet)):
            errors.print(f"building the simulator of {chiplet.name}, once: a minute or two ...")
    view = TextView()
    shown = 0

    def show(token: int, cycles: str = "") -> None:
        nonlocal shown
        shown += 1
        log.debug("token %d of %d: %d%s", shown, request.count, token, cycles)
        view.write(decoder.push(token), f"[{shown} of {request.count} tokens{cycles}]")

    def show_record(record: Any) -> None:
        exact = "bit-exact" if record.exact else "NOT bit-exact"
        if record.sequence:
            return  # the others are written at the end
        show(int(record.token), f", {int(record.cycles):,} cycles for this one, {exact}")

    def show_checked(token: int, exact: bool) -> None:
        show(token, ", bit-exact" if exact else ", NOT bit-exact")

    with view:
        view.write(prompt, f"[{engine.value} starts]")
        if engine is Engine.FLOAT:
            result = run_float(checkpoint.weights, request, show)
        elif engine is Engine.GOLDEN:
            result = run_golden(quantized, request, show)
        elif board is not None:
            result = run_board(board, image, quantized, request, show_checked)
        elif spread is not None:
            result = run_torus(
                images, spread.layout, quantized, request, show_record, spread.bit_error_rate
            )
        else:
            result = run_rtl(image, quantized, request, show_record)
        view.write(decoder.finish())
    return result


def _print_others(result: Result, decoders: list[TextDecoder], prompt: str) -> None:
    """Write what came of the other sequences."""
    for number, decoder in enumerate(decoders[1:], start=1):
        output.print(f"\nsequence {number + 1}:", markup=False)
        text = prompt
        for token in result.tokens[number :: result.sequences]:
            text += decoder.push(token)
        output.print(text + decoder.finish(), markup=False)


def _print_figures(
    engine: Engine, chiplet: ChipletConfig, request: Request, result: Result
) -> None:
    output.print()
    count = len(result.tokens) // result.sequences
    if engine in (Engine.GOLDEN, Engine.FLOAT):
        line("tokens", f"{count} in {result.seconds:.1f} s (engine {engine.value})")
    else:
        line("bit-exact", "yes" if result.bit_exact else f"no: {result.first_difference}")
        _print_cycles(chiplet, request, result)
    if count and result.tokens[-1] == request.end_token:
        line("stopped", "the model wrote its end token")
    elif count < request.count:
        line("stopped", "the context is full")


def _print_cycles(chiplet: ChipletConfig, request: Request, result: Result) -> None:
    cycles = result.cycles_per_token
    if not cycles:
        return
    first, later = cycles[0], cycles[1:]
    prompts = f"{result.sequences} prompts" if result.sequences > 1 else "the prompt"
    text = f"{first:,} with {prompts} of {len(request.prompt)} tokens"
    if later:
        span = f"{min(later):,}" if min(later) == max(later) else f"{min(later):,} to {max(later):,}"
        text += f", then {span}"
    line("cycles per token", text)
    error = prediction_error(result.predicted_cycles_per_token, cycles)
    if error is not None:
        exact = result.predicted_cycles_per_token == cycles
        line("predicted cycles", "the same" if exact else f"off by {error:.2%} at most")
    if result.mac_utilization is not None:
        macs = chiplet.macs * max(1, len(result.chips))
        busy = f"{result.mac_utilization:.1%} of the {macs} MACs, prompt included"
        line("busy with useful work", busy)
    line("clipped values", f"{result.saturations:,}")
    if result.kcycles_per_second is not None:
        line("simulation", f"{result.kcycles_per_second:,.0f} kcycles/s")


def _print_board(request: Request, result: Result, clock_mhz: float | None) -> None:
    """Print what is known of a board, whose tokens may come faster than the host looks."""
    count, cycles = len(result.tokens), result.generation_cycles
    if not count or not cycles:
        return
    if not result.cycles_per_token:
        predicted = sum(result.predicted_cycles_per_token)
        note = "as predicted" if predicted == cycles else f"{predicted:,} predicted"
        line("cycles", f"{cycles:,} for {count} tokens and the prompt of {len(request.prompt)} ({note})")
        line("clipped values", f"{result.saturations:,}")
    if clock_mhz is not None:
        text = f"{count * clock_mhz * 1e6 / cycles:,.0f} with the prompt"
        if result.first_token_cycles and count > 1:
            later = cycles - result.first_token_cycles
            text += f", {(count - 1) * clock_mhz * 1e6 / later:,.0f} after it"
        line(f"tokens per second at {clock_mhz:g} MHz", text)
    line("requests sent again", f"{result.line_retries:,}")


def _figures(
    engine: Engine, chiplet: ChipletConfig, request: Request, result: Result, text: str
) -> dict[str, Any]:
    """Return the JSON; figures that an engine does not have are null or empty."""
    return {
        **asdict(result),
        "prompt_tokens": request.prompt,
        "text": text,
        "engine": engine.value,
        "config": chiplet.name if engine in (Engine.RTL, Engine.BOARD) else None,
        "temperature": request.temperature,
        "seed": request.seed,
    }
