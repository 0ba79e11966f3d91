"""The figures promised of several chiplets: bits, cycles, the network, and what a cut wire does."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

from compiler.image import ChipImage
from compiler.quantize import quantize
from compiler.torus import Layout
from compiler.workload import useful_macs
from golden.model import LlamaShape, random_weights
from golden.quantized import QuantizedLlama
from golden.router import EAST, Network
from hw.config import ChipletConfig
from hw.host.registers import OTHER_CHIP
from hw.network.config import NetworkConfig
from tessera.engines import Request, Result
from tessera.torus import run_torus, torus_images
from tessera.workbench import BASE, Benchmark, Figure, NotRunError, Row, Workbench
from verif.chips_simulation import Access, ChipsSimulation, build_chips
from verif.collective_bench import cycles_of_reduce
from verif.link_bench import LinkBench
from verif.link_measure import measure
from verif.network_simulation import NetworkSimulation, build_network
from verif.simulator import build
from verif.torus_run import TRAINING_CYCLES, TorusChips, generate, open_torus

#: Base chiplets with links to their neighbours.
TORUS = BASE.with_network()
BIT_ERROR_RATE = 1e-4
#: Cycles from the head of a flit into a link's router to the head out of the next one's link.
HOP_CYCLES = 7
_LAYOUTS = tuple(
    Layout(columns=columns, rows=rows, tensor=tensor, pipeline=pipeline)
    for columns, rows, tensor, pipeline in (
        (1, 1, 1, 1), (2, 1, 2, 1), (2, 2, 4, 1), (2, 1, 1, 2), (2, 2, 1, 4), (2, 2, 2, 2))
)  # fmt: skip


def _run(
    bench: Workbench, what: str, quantized: QuantizedLlama, images: Sequence[ChipImage],
    layout: Layout, prompt: list[int], count: int, noise: float = 0.0,
) -> Result:  # fmt: skip
    bench.progress(f"simulating {what}")
    request = Request(prompt=prompt, count=count // images[0].sequences)
    result = run_torus(images, layout, quantized, request, lambda record: None, noise)
    if not result.bit_exact:
        raise NotRunError(f"{what} is not bit-exact: {result.first_difference}")
    if len(result.tokens) != count:
        raise NotRunError(f"{what}: {len(result.tokens)} tokens came, not {count}")
    return result


def _identical(bench: Workbench) -> Figure:
    """Run the shipped model on every layout, with clean and with dirty wires."""
    same = 0
    for layout in _LAYOUTS:
        images = torus_images(bench.quantized, TORUS, layout)
        for noise in (0.0, BIT_ERROR_RATE):
            name = (f"{layout.columns}x{layout.rows}, tensor {layout.tensor}, pipeline "
                    f"{layout.pipeline}, bit errors {noise:g}")  # fmt: skip
            _run(bench, name, bench.quantized, images, layout, bench.prompt(8), 3, noise)
            same += 1
    most = 2 * len(_LAYOUTS)
    return Figure(
        name="torus_bits", value=same, unit="runs the same", limit=f"= {most}", passed=same == most
    )  # fmt: skip


def _speed(bench: Workbench) -> Figure:
    layout = Layout(columns=2, rows=2, tensor=4, pipeline=1)
    images = torus_images(bench.quantized, TORUS, layout)
    result = _run(bench, "2x2 of base", bench.quantized, images, layout, bench.prompt(8), 8)
    speed = result.kcycles_per_second or 0.0
    return Figure(
        name="torus_speed", value=speed, unit="kcycles/s", limit=">= 15", passed=speed >= 15
    )


def _decode_on_chips(
    shape: LlamaShape, config: ChipletConfig, alone: Callable[[Workbench], Row], chips: int,
    least: float,
) -> Callable[[Workbench], Row]:  # fmt: skip
    """Return the measurement of one token at position 64 on two or four chips."""

    def row(bench: Workbench) -> Row:
        quantized = quantize(random_weights(shape, 1))
        prompt = [int(t) for t in np.random.default_rng(1).integers(1, shape.vocab, 64)]
        layout = Layout(columns=2, rows=chips // 2, tensor=chips, pipeline=1)
        images = torus_images(quantized, config.with_network(), layout)
        result = _run(bench, f"decode_15m on {chips} chips", quantized, images, layout, prompt, 2)
        cycles = result.cycles_per_token[1]
        gain = alone(bench).cycles / cycles
        return Row(
            name=f"decode_15m_{chips}_chips", config=f"{chips} x {config.name}", cycles=cycles,
            predicted_cycles=result.predicted_cycles_per_token[1],
            ideal_cycles=useful_macs(shape, 64, 1, True) / (chips * config.macs),
            limit=f"{gain:.2f} >= {least} times as fast", passed=gain >= least,
        )  # fmt: skip

    return row


def _pipeline(bench: Workbench) -> Figure:
    """Compare tokens of as many sequences as there are stages with those of one sequence."""
    layout = Layout(columns=2, rows=1, tensor=1, pipeline=2)
    cycles = []
    for sequences in (1, layout.pipeline):
        images = torus_images(bench.quantized, TORUS, layout, sequences)
        result = _run(
            bench, f"two stages, {sequences} sequences", bench.quantized, images, layout,
            bench.prompt(8), 3 * sequences,
        )  # fmt: skip
        cycles.append(float(np.mean(result.cycles_per_token[sequences:])))
    gain = cycles[0] / cycles[1]
    return Figure(
        name="pipeline_gain", value=gain, unit="times as many tokens", limit=">= 1.7",
        passed=gain >= 1.7,
    )  # fmt: skip


def _all_reduce(numbers: int, rows: int) -> Callable[[Workbench], Figure]:
    """Measure ALL_REDUCE of so many int32 in so many rows over four chips."""

    def figure(bench: Workbench) -> Figure:
        chips, lanes = 4, TORUS.lanes
        bench.progress(f"simulating an all-reduce of {numbers}")
        # Programs of their own need no room for a model.
        config = TORUS.replace(bank_words=1024)
        cycles = cycles_of_reduce(config, chips, rows, numbers // lanes // rows)
        assert TORUS.network is not None
        least = 2 * (chips - 1) * (HOP_CYCLES + numbers * 4 / (chips * TORUS.network.flit_bytes))
        return Figure(
            name=f"all_reduce_{numbers}", value=cycles, unit="cycles", limit=f"<= {1.3 * least:.0f}",
            passed=cycles <= 1.3 * least,
        )  # fmt: skip

    return figure


@cache
def _link_figures() -> dict[float, float]:
    return {each.bit_error_rate: each.goodput for each in measure(rates=(0.0, 1e-6, 1e-3))}


def _goodput(rate: float, least: float) -> Callable[[Workbench], Figure]:
    def figure(bench: Workbench) -> Figure:
        bench.progress("measuring a link")
        share = 100 * _link_figures()[rate]
        return Figure(
            name=f"link_goodput_{rate:g}", value=share, unit="% of the raw rate",
            limit=f">= {100 * least:g}" if least else "> 0", passed=share >= 100 * least and share > 0,
        )  # fmt: skip

    return figure


def _hop(bench: Workbench) -> Figure:
    """Compare accesses to chips one and two hops away: there and back, a hop more."""
    bench.progress("measuring a hop")
    network = Network(columns=3, rows=1, wrap_x=False, wrap_y=False)
    took = []
    with ChipsSimulation(build_chips(), network) as simulation:
        simulation.run(TRAINING_CYCLES)
        host = simulation.host()
        for chip in ((1, 0), (2, 0)):
            host.select(chip)
            took.append(host.one(Access(address=OTHER_CHIP)).took)
    cycles = (took[1] - took[0]) / 2
    return Figure(name="hop", value=cycles, unit="cycles", limit="<= 10", passed=cycles <= 10)


def _router(bench: Workbench) -> Figure:
    """Take the link's part from a hop."""
    figures = measure(NetworkConfig(flit_bytes=8, silence_cycles=512), (0.0,), 20_000, "link_bench_narrow")
    cycles = _hop(bench).value - figures[0].mean_latency
    return Figure(name="router", value=cycles, unit="cycles", limit="<= 3", passed=cycles <= 3)


def _traffic(bench: Workbench) -> Figure:
    """Offer uniform random packets of four flits, of all classes, at every node of a 4 x 4 torus."""
    bench.progress("simulating traffic on 4 x 4 routers")
    program = build_network(NetworkConfig(flit_bytes=16), latency=3, name="network")
    cycles, settle = 6000, 2000
    network = Network(columns=4, rows=4, wrap_x=True, wrap_y=True)
    with NetworkSimulation(program, network) as simulation:
        simulation.set(classes=7, rate=65_536 // 4 // 3)
        simulation.run(settle)
        before = simulation.counts()
        simulation.run(cycles)
        after = simulation.counts()
        moved = {
            name: [(b - a) / cycles for a, b in zip(before[name], after[name], strict=True)]
            for name in ("sent", "received")
        }
        simulation.drain()
    share = sum(moved["received"]) / 16
    starves = min(*moved["sent"], *moved["received"]) < 0.5 * share
    return Figure(
        name="traffic_4x4", value=share, unit="flits a node and cycle", limit=">= 0.6",
        passed=share >= 0.6 and not starves,
    )  # fmt: skip


def _soak(bench: Workbench) -> Figure:
    """Send a million flits at each error rate, and with drops, slips and bursts; the bench compares."""
    flits = 1_000_000
    bench.progress("a million flits over a dirty link, at each error rate")
    config = NetworkConfig()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "figures.json"
        build(LinkBench(config), "link_bench_full").run(
            "verif.tb_link", log=Path(directory) / "log", testcase="with_errors", environment={
                "TESSERA_LINK_CONFIG": json.dumps(asdict(config)), "TESSERA_FLITS": str(flits),
                "TESSERA_FIGURES": str(file),
            },
        )  # fmt: skip
        counts = json.loads(file.read_text())
    wrong = counts["lost"] + counts["duplicated"] + counts["wrong"]
    return Figure(
        name="link_soak", value=wrong, unit=f"of {counts['arrived']:,} flits lost, twice or wrong",
        limit="= 0", passed=wrong == 0,
    )  # fmt: skip


def _cut_wire(bench: Workbench) -> Figure:
    """Cut a wire for good behind the first token; after repair and reset the next run is right."""
    bench.progress("cutting a wire")
    watchdog = 60_000
    layout = Layout(columns=2, rows=2, tensor=4, pipeline=1)
    images = torus_images(bench.quantized, TORUS, layout)
    with open_torus(TORUS, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        chips = TorusChips(simulation, layout, images)
        cut_at = 0

        def cut(record: object) -> None:
            nonlocal cut_at
            if not cut_at:
                cut_at = simulation.cycle
                simulation.cut((0, 0), EAST)

        generate(chips, bench.quantized, [bench.prompt(8)], 100, on_token=cut, watchdog=watchdog)
        step, stopped = 1000, 0
        while len(chips.faults()) < len(images):
            simulation.run(step)
            if simulation.cycle - cut_at > 10 * watchdog:
                raise NotRunError(f"only {list(chips.faults())} stopped")
        stopped = simulation.cycle - cut_at
        simulation.cut((0, 0), EAST, on=False)
        simulation.run(10 * TRAINING_CYCLES)
        chips.reset()
        again = generate(chips, bench.quantized, [bench.prompt(8)], 2, watchdog=watchdog)
        if again.first_difference is not None:
            raise NotRunError(f"the run after the repair: {again.first_difference}")
    limit = 2 * watchdog
    return Figure(
        name="cut_wire", value=stopped, unit="cycles until all chips stopped",
        limit=f"<= {limit:,} (twice the watchdog)", passed=stopped <= limit,
    )  # fmt: skip


def torus_benchmarks(
    shape: LlamaShape, config: ChipletConfig, alone: Callable[[Workbench], Row]
) -> tuple[Benchmark, ...]:
    """Return the benchmarks of several chips; `alone` measures the model on one chiplet."""

    def decode(chips: int, least: float) -> Callable[[Workbench], Row]:
        return _decode_on_chips(shape, config, alone, chips, least)

    return (
        Benchmark(
            name="torus_bits", measure=_identical,
            what=f"the shipped model on 1, 2 and 4 chips, tensor and pipeline, bit errors 0 and {BIT_ERROR_RATE:g}",
        ),
        Benchmark(
            name="decode_15m_2_chips", measure=decode(2, 1.8),
            what="decode_15m, tensor parallel on 2x1",
        ),
        Benchmark(
            name="decode_15m_4_chips", measure=decode(4, 3.2),
            what="decode_15m, tensor parallel on 2x2",
        ),
        Benchmark(
            name="pipeline_gain", measure=_pipeline,
            what="the shipped model in two stages: two sequences against one",
        ),
        Benchmark(
            name="all_reduce_288", measure=_all_reduce(288, 1), what="288 int32 over 2x2 chips of base",
        ),
        Benchmark(
            name="all_reduce_4096", measure=_all_reduce(4096, 4),
            what="4,096 int32 over 2x2 chips of base, in four rows",
        ),
        Benchmark(name="hop", measure=_hop, what="router and link, at the core's clock"),
        Benchmark(name="router", measure=_router, what="a hop less the link"),
        Benchmark(
            name="link_goodput_0", measure=_goodput(0.0, 0.95), what="flits of 32 bytes, no errors",
        ),
        Benchmark(
            name="link_goodput_1e-06", measure=_goodput(1e-6, 0.9),
            what="flits of 32 bytes, one bad bit in a million",
        ),
        Benchmark(
            name="link_goodput_0.001", measure=_goodput(1e-3, 0.0),
            what="flits of 32 bytes, one bad bit in a thousand",
        ),
        Benchmark(
            name="link_soak", measure=_soak,
            what="a million flits at bit error rates 1e-3, 1e-4, 1e-6, with drops, slips and bursts",
        ),
        Benchmark(
            name="traffic_4x4", measure=_traffic,
            what="uniform random packets of four flits on a 4x4 torus",
        ),
        Benchmark(
            name="cut_wire", measure=_cut_wire, what="a wire of 2x2 cut in mid-run, and the run after",
        ),
        Benchmark(
            name="torus_speed", measure=_speed, what="2x2 of base in Verilator, in cycles of each chip",
        ),
    )  # fmt: skip
