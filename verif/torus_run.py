"""A model on a torus of chiplets: generates on the RTL, golden checks every logit and every token.

One host, at chip (0, 0), configures and starts all chips over the network; the images come by the back
door, and so do the logits of all chips at each token.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compiler.image import ChipImage
from compiler.torus import Chip, Layout
from golden.llama import GoldenLlama
from golden.quantized import QuantizedLlama
from golden.router import Network
from golden.sampler import Sampler, temperature_register
from hw.config import ChipletConfig
from hw.control.isa import Fault
from hw.host.memory_map import memory_map
from hw.host.network_registers import LINK_NAMES
from hw.host.registers import COUNTERS, OFFSETS, REGISTERS
from verif.chip_run import TokenRecord, top_name, write_image
from verif.chips_simulation import TOP, Access, ChipHost, ChipsSimulation, build_chips

#: Cycles within which links are up after reset.
TRAINING_CYCLES = 200
#: Longest time from one token to the next before the run is given up.
PATIENCE_CYCLES = 20_000_000
#: A chip that waits for others makes no progress of its own for as long as a block of the prompt takes.
WATCHDOG_CYCLES = 1 << 20
#: Counters of the chip and of its collective engine that a run reports.
_ENGINE = ("collective_working", "collective_waiting", "collective_starved")
_LINK = ("flits_out", "cycles_blocked", "errors", "downs")


@dataclass(kw_only=True)
class ChipReport:
    """What one chip did in a run."""

    chip: Chip
    counters: dict[str, int]
    #: By link: flits sent, cycles in which one waited and none went, words with errors, times down.
    links: dict[str, dict[str, int]]

    def share(self, counter: str) -> float:
        """Return a counter's share of the cycles that the chip ran."""
        return self.counters[counter] / max(1, self.counters["cycles"])


@dataclass(kw_only=True)
class TorusRun:
    """What a run gave."""

    tokens: list[int] = field(default_factory=list)
    first_difference: str | None = None
    cycles_per_token: list[int] = field(default_factory=list)
    chips: list[ChipReport] = field(default_factory=list)
    #: Cause of each chip that stopped with a fault.
    faults: dict[Chip, str] = field(default_factory=dict)
    simulated_cycles: int = 0
    seconds: float = 0.0

    @property
    def bit_exact(self) -> bool:
        """Whether all logits and tokens were golden's."""
        return self.first_difference is None


class TorusChips:
    """The chips of a model in a running simulation; ``images`` are in the layout's order."""

    def __init__(
        self, simulation: ChipsSimulation, layout: Layout, images: Sequence[ChipImage],
    ) -> None:
        self.simulation, self.layout = simulation, layout
        self.images = dict(zip(layout.chips, images, strict=True))
        self.host: ChipHost = simulation.host((0, 0))
        self._epoch = 0

    def reset(self) -> None:
        """Stop all chips' sequencers and engines, whatever they wait for."""
        for chip in self.images:
            self.host.select(chip)
            self.host.write("CONTROL", RESET_SEQUENCER=1, far=True)

    def start(
        self, prompts: Sequence[Sequence[int]], count: int, *, temperature: float = 0.0, seed: int = 1,
        end_token: int | None = None, watchdog: int = WATCHDOG_CYCLES, at_once: bool = False,
    ) -> None:
        """Tell every chip its neighbours, a new epoch and the prompts; then start them all.

        There is a prompt for each sequence of the images, all of one length.
        ``at_once``: their own hosts start them, in the same cycle.
        """
        self._epoch += 1
        rings = self.layout.rings()
        for chip, image in self.images.items():
            self.host.select(chip)
            for ring, after in rings.items():
                if chip in after:
                    x, y = after[chip]
                    self.host.write(f"RING_{ring.name}", X=x, Y=y, far=True)
            tokens = memory_map(image.config).regions["tokens"]
            for sequence, prompt in enumerate(prompts):
                self.host.write_memory(tokens.address(sequence * image.context), prompt)
            settings = {
                **{name.upper(): value for name, value in image.registers.items()},
                "COLLECTIVE_EPOCH": self._epoch % 256, "PROMPT_LENGTH": len(prompts[0]),
                "TOKEN_LIMIT": count, "START_POSITION": 0, "SEED": seed & 0xFFFFFFFF,
                "END_TOKEN": 1 << 31 if end_token is None else end_token,
                "TEMPERATURE": temperature_register(temperature), "WATCHDOG_CYCLES": watchdog,
                # Of the first chip every token and its end, of the others only what went wrong.
                "IRQ_STATUS": 0b1111,
                "IRQ_ENABLE": 0b0111 if chip == self.host.chip else 0b0010,
            }
            for name, value in settings.items():
                self.host.write(name, value, far=True)
        if at_once:
            begin = Access(address=OFFSETS["CONTROL"], data=(REGISTERS["CONTROL"].pack(START=1),))
            self.simulation.access([(chip, begin) for chip in self.images])
            return
        # The host's own chip, whose cycles it reads, comes last: it waits for none.
        for chip in sorted(self.images, key=lambda chip: chip == self.host.chip):
            self.host.select(chip)
            self.host.write("CONTROL", START=1, far=True)

    def logits(self) -> NDArray[np.int64]:
        """Return the logits that the chips have made, by the back door."""
        parts = []
        for chip, image in self.images.items():
            if image.share.samples:
                lanes = image.config.lanes
                words = self.simulation.peek(chip, "residual", image.logits, -(-image.vocab // lanes))
                parts.append(np.array(words, np.uint32).astype(np.int32)[:image.vocab])
        return np.concatenate(parts).astype(np.int64)

    def faults(self) -> dict[Chip, str]:
        """Return why chips have stopped, by their own hosts."""
        found = {}
        for chip in self.images:
            host = self.simulation.host(chip)
            if host.fields("STATUS")["FAULTED"]:
                cause = Fault(host.read("FAULT_CAUSE"))
                found[chip] = f"{cause.name} at instruction {host.read('FAULT_PC')}"
        return found

    def finish(self, limit: int = PATIENCE_CYCLES, step: int = 200) -> None:
        """Let all chips come to their end."""
        for chip in self.images:
            host = self.simulation.host(chip)
            for _ in range(limit // step):
                if not host.fields("STATUS")["RUNNING"]:
                    break
                self.simulation.run(step)

    def report(self) -> list[ChipReport]:
        """Read the counters of every chip and of its links."""
        reports = []
        for chip in self.images:
            host = self.simulation.host(chip)
            counters = {name: host.read(f"{name.upper()}_LO")
                        | host.read(f"{name.upper()}_HI") << 32 for name in COUNTERS}
            counters |= {name: host.read(name.upper()) for name in _ENGINE}
            links = {}
            for link in LINK_NAMES:
                upper = link.upper()
                links[link] = {
                    "flits_out": host.read(f"FLITS_OUT_{upper}"),
                    "cycles_blocked": host.read(f"CYCLES_BLOCKED_{upper}"),
                    "errors": host.read(f"LINK_{upper}_ERRORS"),
                    "downs": host.fields(f"LINK_{upper}")["DOWNS"],
                }
            reports.append(ChipReport(chip=chip, counters=counters, links=links))
        return reports


def _change(before: ChipReport, after: ChipReport) -> ChipReport:
    """Return what a run added; the chip's own counters begin anew with each."""
    return ChipReport(
        chip=after.chip,
        counters=after.counters | {name: after.counters[name] - before.counters[name]
                                   for name in _ENGINE},
        links={link: {name: value - before.links[link][name] for name, value in counts.items()}
               for link, counts in after.links.items()})


def open_torus(config: ChipletConfig, layout: Layout, images: Sequence[ChipImage]) -> ChipsSimulation:
    """Return the simulation of a torus with the images in its memories, to be entered."""
    program = build_chips(config)
    directories = {
        chip: write_image(image, program.parent / "images",
                          lambda path: path.replace(top_name(config), TOP, 1))
        for chip, image in zip(layout.chips, images, strict=True)}
    network = Network(columns=layout.columns, rows=layout.rows, wrap_x=False, wrap_y=False)
    return ChipsSimulation(program, network, directories)


def generate(
    chips: TorusChips, quantized: QuantizedLlama, prompts: Sequence[Sequence[int]], count: int, *,
    temperature: float = 0.0, seed: int = 1, end_token: int | None = None,
    on_token: Callable[[TokenRecord], None] | None = None, watchdog: int = WATCHDOG_CYCLES,
    at_once: bool = False,
) -> TorusRun:
    """Generate ``count`` tokens of each sequence; every logit is compared with golden's.

    ``prompts``: one for each sequence of the images. In the result, tokens of the sequences take turns.
    A difference, or a chip that stops, does not raise: it is in the result.
    """
    simulation, host, run = chips.simulation, chips.host, TorusRun()
    goldens = [GoldenLlama(quantized) for _ in prompts]
    sampler = Sampler(temperature_register(temperature), seed)
    before = chips.report()
    chips.start(prompts, count, temperature=temperature, seed=seed, end_token=end_token,
                watchdog=watchdog, at_once=at_once)
    began = simulation.cycle
    blocks, cycles_before, simulating = [list(prompt) for prompt in prompts], 0, 0.0
    host.select(None)
    while True:
        waited = time.perf_counter()
        pending = simulation.wait_interrupts(PATIENCE_CYCLES)
        simulating += time.perf_counter() - waited
        if pending != {host.chip}:
            break
        got = chips.logits()
        status = host.fields("IRQ_STATUS")
        host.write("IRQ_STATUS", **status)
        if status["TOKEN"]:
            token = host.read("LAST_TOKEN")
            cycles = host.read("TOKEN_CYCLES_LO") | host.read("TOKEN_CYCLES_HI") << 32
            sequence = len(run.tokens) % len(prompts)
            golden = goldens[sequence]
            position = golden.position + len(blocks[sequence])
            want = golden.step_block(blocks[sequence])[-1]
            difference = _difference(got, want, token, sampler.choose(want), position)
            run.first_difference = run.first_difference or difference
            run.tokens.append(token)
            run.cycles_per_token.append(cycles - cycles_before)
            if on_token is not None:
                on_token(TokenRecord(token=token, position=position, cycles=cycles - cycles_before,
                                     exact=difference is None, sequence=sequence))
            blocks[sequence], cycles_before = [token], cycles
        if status["FAULT"] or status["DONE"]:
            break
    run.faults = chips.faults()
    if run.faults or pending != {host.chip}:
        stopped = ", ".join(f"chip {chip}: {why}" for chip, why in run.faults.items())
        run.first_difference = run.first_difference or (
            stopped or f"no token within {PATIENCE_CYCLES} cycles")
    else:
        chips.finish()
    run.simulated_cycles, run.seconds = simulation.cycle - began, simulating
    run.chips = [_change(*pair) for pair in zip(before, chips.report(), strict=True)]
    return run


def _difference(got: NDArray[np.int64], want: NDArray[np.int64], token: int, chosen: int,
                position: int) -> str | None:
    wrong = np.flatnonzero(got != want)
    if len(wrong):
        return (f"logit {wrong[0]} at position {position - 1}: got {got[wrong[0]]}, want "
                f"{want[wrong[0]]} ({len(wrong)} of {len(want)} differ)")
    return None if token == chosen else f"token at position {position}: got {token}, want {chosen}"
