"""Predicted cycles of a run: the executed instructions, timed one after the other.

What the program does depends only on the length of the prompt and the number of tokens, so one pass
over the executed instructions in program order gives every time: each is the maximum of what it
waits for, plus a constant. Times are clock cycles; `pop` is the cycle in which a unit takes a
command from its queue, `done` the cycle of the completion pulse.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field

from compiler.assembler import Instruction
from compiler.image import ChipImage
from compiler.network_timing import HOP_CYCLES, WAY_CYCLES, Passage, Timed, network_done
from compiler.sequencer import Sequencer, Step
from compiler.torus import Layout
from hw.config import ChipletConfig
from hw.control.isa import NETWORK_OPCODES, Condition, Destination, Opcode, Ring, Special
from hw.control.queue import CommandQueue, wait_bits
from hw.matmul.drain import Drain
from hw.matmul.drain_counter import COMMANDS
from hw.matmul.systolic_array import SystolicArray
from hw.vector.sampler import Sampler
from hw.vector.schedule import next_command_cycles, vector_cycles

#: What the cycle counter shows at the first instruction, and adds after a HALT.
START_CYCLES = 2
HALT_CYCLES = 1
#: Lost by a taken skip, loop-back or loop that is not entered.
REDIRECT_CYCLES = 3
#: From EMIT to the cycle counter at the token.
EMIT_CYCLES = 2
#: From a completion pulse to a wait that has seen it.
EVENT_CYCLES = 2
#: From an instruction, and from the previous command's pop, to its command ready at the head.
QUEUE_CYCLES = CommandQueue.LATENCY
SPACING_CYCLES = CommandQueue.SPACING
#: Commands that the drain holds besides the one it drains.
DRAIN_WAITING = COMMANDS - 1
#: Last cycles of a store command, after its last activation read.
STORE_CYCLES = 2
#: From a wave's cycle of issue to the array.
WAVE_CYCLES = 1
#: Of EMBED for each row: read the token, take it, find its column.
TOKEN_CYCLES = 3
#: Of EMBED_SHARE besides: find its place in the share, see whether it is there.
SHARE_CYCLES = 2


@dataclass
class Prediction:
    """Cycles of a run."""

    cycles_per_token: list[int] = field(default_factory=list)  #: between emitted tokens
    total: int = 0
    array_busy: int = 0  #: cycles in which a wave was issued
    instructions: int = 0
    #: Cycles in which the array could not issue, by (phase, what it waited for).
    stalls: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def utilization(self) -> float:
        """Share of the cycles in which the array computes."""
        return self.array_busy / self.total


def matmul_cycles(
    config: ChipletConfig, fields: dict[str, int], destination: int
) -> tuple[int, int]:
    """Return the cycles that issue takes, and those of them with a wave."""
    pace = config.column_beats
    if destination == Destination.LOGITS.value:
        pace = config.columns // config.sampler_lanes
    vectors = fields["rows"] * fields["subrows"] * fields["n_tiles"]
    return vectors * max(fields["k_tiles"], pace), vectors * fields["k_tiles"]


class _MatrixTimer:
    """Issue, array and drain."""

    def __init__(self, config: ChipletConfig) -> None:
        self.c = config
        self.free = 0  #: earliest next pop, as far as issue is concerned
        self.last_wave = -config.steps  #: cycle of the last wave at the array
        self.loads: deque[int] = deque([0] * DRAIN_WAITING, DRAIN_WAITING)
        self.finished = 0  #: the drain's last beat of the last command
        #: The same of the last command that took the long way to `done`.
        self.finished_late = -Drain.done_latency(config)
        self.done = 0

    def pop(self, ready: int) -> int:
        """Return when a command is taken that is ready at a time."""
        return max(ready, self.free, self.loads[0] + 1)

    def run(self, step: Step, pop: int) -> int:
        """Time a command; return the cycles with a wave, and set `done`."""
        f, c, opcode = step.fields, self.c, step.instruction.opcode
        assert f is not None
        waves = 0
        load = max(pop + 1, self.finished)
        if opcode == Opcode.MATMUL:
            cycles, waves = matmul_cycles(c, f, step.instruction["destination"])
            self.free = pop + cycles
            self.last_wave = self.free + WAVE_CYCLES
            sums = self.last_wave + SystolicArray.sums_latency(c)
            beat_cycles = 1
            if step.instruction["destination"] == Destination.LOGITS.value:
                beat_cycles = c.lanes // c.sampler_lanes
            finished = sums + Drain.FIRST_BEAT + (c.column_beats - 1) * beat_cycles
        elif opcode in (Opcode.EMBED, Opcode.EMBED_SHARE):
            start = max(pop + 1, self.done + 1) + 1  # alone in the drain
            drain = c.steps + c.row_beats + 1
            columns = (f["k_tiles"] - 1) * c.row_beats + 1
            share = SHARE_CYCLES if opcode == Opcode.EMBED_SHARE else 0
            row = TOKEN_CYCLES + share + columns + drain
            self.free = start + f["rows"] * row - 1
            self.last_wave = self.free - drain + WAVE_CYCLES
            waves = f["rows"] * f["k_tiles"]
            finished = (
                self.last_wave
                + SystolicArray.column_latency(c)
                + Drain.FIRST_BEAT
                + c.row_beats
                - 1
            )
        else:
            start = pop
            cycles = f["rows"] * f["k_tiles"]
            if opcode == Opcode.STORE_VALUES:
                start = max(pop + 1, self.last_wave + 1 + max(c.steps - 4, 0))
                cycles *= max(1, c.rows // c.columns)
            else:
                self.last_wave = start + cycles + STORE_CYCLES + WAVE_CYCLES
            self.free = start + cycles + STORE_CYCLES
            finished = max(self.free + 1, load + 1)
        self.loads.append(load)
        # Without a row maximum a command is done earlier, but never before the one ahead of it.
        keeps_maximum = bool(step.instruction.operands.get("statistic"))
        late = keeps_maximum or finished - self.finished_late <= Drain.shortcut(c)
        if late:
            self.finished_late = finished
        self.finished = finished
        self.done = finished + Drain.done_latency(c) - (0 if late else Drain.shortcut(c))
        return waves


class _Run:
    """State of the pass."""

    def __init__(self, image: ChipImage) -> None:
        self.image, self.c = image, image.config
        self.prediction = Prediction()
        self.matrix = _MatrixTimer(image.config)
        self.vector_free = 0
        self.now = START_CYCLES
        self.events: dict[int, tuple[int, str]] = {}  # completion, and what signalled
        self.token_ready = 0
        self.pops = {unit: deque([0] * (self.c.queue_depth + 1), self.c.queue_depth + 1)
                     for unit in ("matrix", "vector")}  # fmt: skip
        outstanding = (1 << wait_bits(self.c)) - 1
        self.dones = {unit: deque([0] * outstanding, outstanding) for unit in ("matrix", "vector")}
        self.phases = _phases(image)
        self.costs: dict[tuple[object, ...], tuple[int, int]] = {}

    def event(self, names: Iterable[int]) -> tuple[int, str]:
        """Return when all of these events were signalled, and by what the last one was."""
        return max((self.events.get(name, (0, "")) for name in names if name), default=(0, ""))

    def command(self, step: Step) -> Generator[Timed, Passage | None, None]:
        """Time a command."""
        i = step.instruction
        assert step.unit is not None
        # A place in the queue: the head lies in front of its `queue_depth` places.
        self.now = max(self.now, self.pops[step.unit][0] + 1, self.dones[step.unit][0] + 1)
        arrived = self.now + QUEUE_CYCLES
        completed, signaller = self.event((i["wait_a"], i["wait_b"]))
        seen = completed + EVENT_CYCLES
        previous = self.pops[step.unit][-1] + SPACING_CYCLES
        ready = max(arrived, seen, previous)
        if step.unit == "matrix":
            matrix = self.matrix
            free = matrix.free
            pop = matrix.pop(ready)
            if pop > free:
                cause = "instructions" if arrived >= max(seen, previous) else signaller
                self.prediction.stalls[
                    self.phases[step.pc], cause if pop == ready else "drain"
                ] += pop - free
            waves = matrix.run(step, pop)
            self.prediction.array_busy += waves
            overhead = matrix.free - pop - waves
            if overhead:
                self.prediction.stalls[self.phases[step.pc], f"{i.opcode.name} itself"] += overhead
            done = matrix.done
            if i.operands.get("destination") == Destination.LOGITS.value:
                self.token_ready = (matrix.finished + Drain.WRITE - Sampler.LEAD
                                    + Sampler.latency(self.c) + 1)
        else:
            pop = max(ready, self.vector_free)
            if i.opcode in NETWORK_OPCODES:
                assert step.fields is not None
                if i.opcode == Opcode.CHOOSE:
                    pop = max(pop, self.token_ready)
                done = yield from network_done(self.c, i, step.fields, pop)
                self.vector_free = done + 1
            else:
                done_after, next_after = self._vector_cost(step)
                done = pop + done_after
                self.vector_free = pop + next_after
        self.pops[step.unit].append(pop)
        self.dones[step.unit].append(done)
        if i["signal"]:
            known = self.events.get(i["signal"], (0, ""))
            self.events[i["signal"]] = max(known, (done, i.opcode.name))

    def _vector_cost(self, step: Step) -> tuple[int, int]:
        f = step.fields
        assert f is not None
        key = (step.instruction.opcode, f["rows"], f["segments"], f["beats"])
        if key not in self.costs:
            self.costs[key] = (vector_cycles(self.c, *key), next_command_cycles(self.c, *key))
        return self.costs[key]

    def execute(self, step: Step) -> Generator[Timed, Passage | None, bool]:
        """Time an instruction; return whether a token was emitted."""
        i = step.instruction
        self.prediction.instructions += 1
        if step.unit is not None:
            yield from self.command(step)
        elif i.opcode == Opcode.SYNC:
            self.now = max(self.now, self.event((i["wait_a"], i["wait_b"]))[0] + EVENT_CYCLES)
        elif i.opcode in (Opcode.EMIT, Opcode.DRAW) or (
            i.opcode == Opcode.HALT and i["condition"] == Condition.END_TOKEN.value
        ):
            self.now = max(self.now, self.token_ready)
        elif _takes_two_cycles(i):
            self.now += 1
        self.now += 1 + (REDIRECT_CYCLES if step.taken else 0)
        return i.opcode == Opcode.EMIT


def _takes_two_cycles(i: Instruction) -> bool:
    """Whether an instruction adds the immediate to an operand before it uses that."""
    if i.opcode in (Opcode.SKIP, Opcode.HALT):
        return i["condition"] not in (Condition.ALWAYS.value, Condition.END_TOKEN.value)
    return i.opcode in (Opcode.SHR, Opcode.MIN)


def _phases(image: ChipImage) -> list[str]:
    """Return the phase of each instruction."""
    names, name = [], ""
    starts = dict(image.phases)
    for pc in range(image.program_length):
        name = starts.get(pc, name)
        names.append(name)
    return names


def predict(image: ChipImage, *, prompt_tokens: int, tokens: int, start: int = 0) -> Prediction:
    """Predict a run that processes a prompt and generates tokens (none ends it early)."""
    try:
        next(_predicting(image, prompt_tokens, tokens, start))
    except StopIteration as stop:
        prediction: Prediction = stop.value
        return prediction
    raise ValueError("a chip's share of a model must be predicted with those of all chips")


def predict_torus(
    images: Sequence[ChipImage], layout: Layout, *, prompt_tokens: int, tokens: int
) -> list[Prediction]:
    """Predict a run on several chips that start at the same time; images as `layout` has the chips."""
    chips, rings = layout.chips, layout.rings()
    number = {chip: i for i, chip in enumerate(chips)}
    programs = [_predicting(image, prompt_tokens, tokens, 0) for image in images]
    waiting: dict[tuple[int, Ring], deque[Passage]] = defaultdict(deque)
    found: dict[int, Prediction] = {}
    wants: dict[int, Ring | None] = dict.fromkeys(range(len(programs)))

    def go_on(chip: int, came: Passage | None) -> None:
        """Follow a program until it needs a packet that is not there, or ends."""
        try:
            timed = next(programs[chip]) if came is None else programs[chip].send(came)
            while True:
                wants[chip] = None
                if timed.packet is None:
                    queue = waiting[chip, timed.ring]
                    if not queue:
                        wants[chip] = timed.ring
                        return
                    timed = programs[chip].send(queue.popleft())
                    continue
                after = rings[timed.ring][chips[chip]]
                hops = sum(abs(a - b) for a, b in zip(chips[chip], after, strict=True))
                way = WAY_CYCLES + HOP_CYCLES * hops
                waiting[number[after], timed.ring].append(
                    Passage(timed.packet.first + way, timed.packet.last + way)
                )
                timed = next(programs[chip])
        except StopIteration as stop:
            found[chip] = stop.value

    for chip in range(len(programs)):
        go_on(chip, None)
    while len(found) < len(programs):
        able = [(chip, ring) for chip, ring in wants.items()
                if chip not in found and ring is not None and waiting[chip, ring]]  # fmt: skip
        if not able:
            raise ValueError("programs of a torus must exchange what each of them waits for")
        for chip, ring in able:
            go_on(chip, waiting[chip, ring].popleft())
    return [found[chip] for chip in range(len(programs))]


def _predicting(
    image: ChipImage, prompt_tokens: int, tokens: int, start: int
) -> Generator[Timed, Passage | None, Prediction]:
    specials = {
        Special.PROMPT_LENGTH: prompt_tokens, Special.TOKEN_LIMIT: tokens,
        Special.START_POSITION: start, Special.SAMPLED_TOKEN: 0,
    }  # fmt: skip
    words = image.contents["program"][: image.program_length]
    sequencer = Sequencer(
        words, specials.__getitem__, lambda: False, network=image.config.network is not None
    )
    run = _Run(image)
    last = 0
    while not sequencer.halted:
        emitted = yield from run.execute(sequencer.step())
        if emitted:
            counted = run.now + EMIT_CYCLES
            run.prediction.cycles_per_token.append(counted - last)
            last = counted
    run.prediction.total = run.now + HALT_CYCLES
    return run.prediction
