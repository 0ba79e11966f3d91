"""Runs of a model on a torus of chiplets, and their tables of chips and links."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from compiler.compile import compile_shares
from compiler.image import ChipImage
from compiler.split import SplitError, check_split
from compiler.timing import predict_torus
from compiler.torus import Layout, parse_torus
from compiler.workload import generation_macs
from golden.quantized import QuantizedLlama
from hw.config import ChipletConfig
from tessera.engines import Request, Result, utilization
from tessera.report import output


def layout_of(
    torus: str | None, tensor: int | None, pipeline: int | None, **others: bool
) -> Layout | None:
    """Return the layout that the options ask for: all chips share tensors, unless they say otherwise.

    None without `torus`, which the other options need: `others` says of those that a command has
    besides whether they were given.
    """
    if torus is None:
        if tensor is not None or pipeline is not None or any(others.values()):
            names = [f"--{name.replace('_', '-')}"
                     for name in ("tensor_parallel", "pipeline_parallel", *others)]
            raise ValueError(f"{', '.join(names[:-1])} and {names[-1]} need --torus COLUMNSxROWS")
        return None
    columns, rows = parse_torus(torus)
    chips = columns * rows
    for name, number in (("--tensor-parallel", tensor), ("--pipeline-parallel", pipeline)):
        if number is not None and (number < 1 or chips % number):
            raise SplitError(f"{name} must divide the {chips} chips of --torus {torus}, not {number}")
    if tensor is None:
        tensor = chips if pipeline is None else chips // pipeline
    return Layout(columns=columns, rows=rows, tensor=tensor,
                  pipeline=chips // tensor if pipeline is None else pipeline)  # fmt: skip


def torus_images(
    quantized: QuantizedLlama, config: ChipletConfig, layout: Layout, sequences: int = 1
) -> list[ChipImage]:
    """Compile a model for the chips of a layout."""
    check_split(quantized, layout.tensor, layout.pipeline)
    return compile_shares(
        quantized, config, layout.tensor, layout.pipeline, sequences=sequences
    )


def torus_simulator_exists(config: ChipletConfig) -> bool:
    """Return whether the chiplet was built before."""
    from verif.chips_simulation import is_built  # noqa: PLC0415

    return is_built(config)


def run_torus(
    images: Sequence[ChipImage], layout: Layout, quantized: QuantizedLlama, request: Request,
    on_token: Callable[[Any], None], bit_error_rate: float = 0.0,
) -> Result:  # fmt: skip
    """Generate on the RTL of all chips; golden follows and compares.

    All sequences of the images have the same prompt; their tokens take turns in the result.
    """
    from verif.torus_run import TRAINING_CYCLES, TorusChips, generate, open_torus  # noqa: PLC0415

    config = images[0].config
    with open_torus(config, layout, images) as simulation:
        simulation.noise(bit_error_rate)
        simulation.run(TRAINING_CYCLES)
        run = generate(
            TorusChips(simulation, layout, images), quantized,
            [request.prompt] * images[0].sequences, request.count,
            temperature=request.temperature, seed=request.seed, end_token=request.end_token,
            on_token=on_token,
        )  # fmt: skip
    first = run.chips[0]
    result = Result(
        tokens=run.tokens, seconds=run.seconds, bit_exact=run.bit_exact,
        saturations=sum(chip.counters["saturations"] for chip in run.chips),
        first_difference=run.first_difference, cycles_per_token=run.cycles_per_token,
        kcycles_per_second=run.simulated_cycles / run.seconds / 1000 if run.seconds else None,
        predicted_cycles_per_token=_predicted(
            images, layout, request, len(run.tokens) // images[0].sequences
        ),
        sequences=images[0].sequences,
        total_cycles=first.counters["cycles"], counters=first.counters,
        chips=[{"chip": list(chip.chip), "counters": chip.counters, "links": chip.links}
               for chip in run.chips],
    )  # fmt: skip
    # The work of one sequence, as often as there are sequences.
    each = len(run.tokens) // images[0].sequences
    macs = images[0].sequences * sum(generation_macs(quantized.shape, len(request.prompt), each))
    share = utilization(macs, config, sum(run.cycles_per_token))
    result.mac_utilization = None if share is None else share / len(images)
    return result


def _predicted(
    images: Sequence[ChipImage], layout: Layout, request: Request, tokens: int
) -> list[int]:
    """Return the timing model's cycles of each token, as the first chip counts them."""
    if not tokens:
        return []
    found = predict_torus(images, layout, prompt_tokens=len(request.prompt), tokens=tokens)
    return [int(each) for each in found[0].cycles_per_token]


def print_torus(result: Result) -> None:
    """Print what each chip and each link did, in shares of the chip's cycles."""
    chips = Table("chip", "array busy", "vector unit", "network command", "waits for a chip",
                  "waits for the network", title="chips", title_justify="left")  # fmt: skip
    links = Table("link", "flits", "busy", "blocked", "words with errors", "times down",
                  title="links", title_justify="left")  # fmt: skip
    for entry in result.chips:
        counters, name = entry["counters"], "({}, {})".format(*entry["chip"])
        cycles = max(1, counters["cycles"])
        columns = ("array_busy", "vector_busy", "collective_working", "collective_waiting",
                   "collective_starved")  # fmt: skip
        chips.add_row(name, *(f"{counters[column] / cycles:.1%}" for column in columns))
        for side, link in entry["links"].items():
            if link["flits_out"] or link["errors"] or link["downs"]:
                links.add_row(
                    f"{name} {side}", f"{link['flits_out']:,}", f"{link['flits_out'] / cycles:.1%}",
                    f"{link['cycles_blocked'] / cycles:.1%}", f"{link['errors']:,}",
                    f"{link['downs']:,}",
                )  # fmt: skip
    output.print()
    output.print(chips)
    if links.row_count:
        output.print(links)
