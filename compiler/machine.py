"""Instruction-set simulator of the chip: executes a program on memories, as docs/machine.md says.

It takes everything from the image, and its arithmetic from the golden model's step functions. It
executes commands one after the other in program order; `races` proves that any order which the two
units may take gives the same result. It knows no cycles (timing.py does).
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compiler.matrix_unit import MatrixUnit
from compiler.memories import Memories
from compiler.network_unit import Beats, Exchange, NetworkUnit
from compiler.races import RaceChecker
from compiler.sequencer import MachineFaultError, Sequencer, Step
from compiler.vector_unit import VectorUnit
from golden.sampler import next_state, temperature_register
from hw.config import ChipletConfig
from hw.control.isa import NETWORK_OPCODES, Condition, Fault, Opcode, Special

__all__ = ["Machine", "MachineFaultError", "ProgramError", "RunResult"]


class ProgramError(Exception):
    """A program relies on something that the machine does not promise."""


@dataclass
class RunResult:
    """What a run did."""

    tokens: list[int] = field(default_factory=list)  #: emitted tokens
    logits: list[NDArray[np.int32]] = field(default_factory=list)  #: of each draw
    instructions: int = 0
    commands: int = 0
    saturations: int = 0  #: values that a drain clipped


class Machine:
    """A chip with its memories loaded.

    `registers` are the host's constants (`epsilon`). Runs continue on the same memories, as the
    chip's do.
    """

    def __init__(
        self, config: ChipletConfig, memories: Memories, registers: dict[str, int], *,
        check_races: bool = True, strict: bool = True,
    ) -> None:  # fmt: skip
        self.config = config
        self.memories = memories
        self.strict = strict
        self.checker = RaceChecker(memories.cells()) if check_races else None
        self.matrix = MatrixUnit(config, memories)
        self.vector = VectorUnit(config, memories, registers["epsilon"])
        self.network = NetworkUnit(config, memories, self.matrix)
        self.sampler_state = 1
        #: Called after each instruction, when all it started is done.
        self.observer: Callable[[Step], None] | None = None
        self._specials: dict[Special, int] = {}
        self._end_token: int | None = None

    def run(
        self, prompt: Sequence[int], limit: int, *, start: int = 0, end_token: int | None = None,
        temperature: float = 0.0, seed: int = 1, max_instructions: int = 10_000_000,
    ) -> RunResult:  # fmt: skip
        """Post a prompt and run the program until it halts; this chip is alone."""
        running = self.running(
            prompt, limit, start=start, end_token=end_token, temperature=temperature, seed=seed,
            max_instructions=max_instructions,
        )  # fmt: skip
        try:
            next(running)
        except StopIteration as stop:
            result: RunResult = stop.value
            return result
        raise ProgramError("a program with network commands must run in a cluster (cluster.py)")

    def running(
        self, prompt: Sequence[int], limit: int, *, start: int = 0, end_token: int | None = None,
        temperature: float = 0.0, seed: int = 1, max_instructions: int = 10_000_000,
    ) -> Generator[Exchange, Beats | None, RunResult]:  # fmt: skip
        """Do as `run`, and stop at each packet that is to be sent or must come."""
        tokens = self.memories.tokens
        if start + len(prompt) <= len(tokens):
            tokens[start : start + len(prompt)] = prompt
        self._specials = {
            Special.PROMPT_LENGTH: len(prompt), Special.TOKEN_LIMIT: limit,
            Special.START_POSITION: start,
        }  # fmt: skip
        self._end_token = end_token
        self.sampler_state = seed
        self.matrix.temperature = temperature_register(temperature)
        self.matrix.saturations = 0
        result = RunResult()
        sequencer = Sequencer(
            self.memories.program, self._special, lambda: self.matrix.token == self._end_token,
            network=self.config.network is not None,
        )  # fmt: skip
        while not sequencer.halted:
            if result.instructions == max_instructions:
                raise ProgramError(
                    f"the program must halt, not run {max_instructions} instructions"
                )
            step = sequencer.step()
            result.instructions += 1
            yield from self._execute(step, sequencer, result)
            if self.observer is not None:
                self.observer(step)
        result.saturations = self.matrix.saturations
        return result

    def _special(self, special: Special) -> int:
        return self.matrix.token if special == Special.SAMPLED_TOKEN else self._specials[special]

    def _execute(
        self, step: Step, sequencer: Sequencer, result: RunResult
    ) -> Generator[Exchange, Beats | None, None]:
        """Do what an instruction asks the units and the sampler for."""
        instruction, checker = step.instruction, self.checker
        sampler = [("sampler", np.zeros(1, np.int64))]
        if step.unit is not None:
            result.commands += 1
            yield from self._command(step, sequencer)
            if self.matrix.logits is not None:
                result.logits.append(self.matrix.logits)
                self.matrix.logits = None
        elif instruction.opcode == Opcode.SYNC:
            if checker:
                checker.wait((instruction["wait_a"], instruction["wait_b"]))
        elif instruction.opcode == Opcode.DRAW:
            self.sampler_state = next_state(self.sampler_state)
            self.matrix.sampler_state = self.sampler_state
            if checker:
                checker.sequencer(step.pc, [], sampler)
        elif instruction.opcode == Opcode.EMIT:
            if step.value >= len(self.memories.tokens):
                raise MachineFaultError(Fault.TOKEN_ADDRESS, step.pc, f"position {step.value}")
            self.memories.tokens[step.value] = self.matrix.token
            result.tokens.append(self.matrix.token)
            if checker:
                checker.sequencer(step.pc, sampler, [("tokens", np.array([step.value]))])
        elif instruction.operands.get("condition") == Condition.END_TOKEN.value and checker:
            checker.sequencer(step.pc, sampler, [])

    def _command(
        self, step: Step, sequencer: Sequencer
    ) -> Generator[Exchange, Beats | None, None]:
        """Execute a command of a unit and report its accesses."""
        of_network = step.instruction.opcode in NETWORK_OPCODES
        alone = self.matrix if step.unit == "matrix" else self.vector
        unit = self.network if of_network else alone
        assert step.fields is not None
        assert step.unit is not None
        if self.strict:
            prefix = "m." if step.unit == "matrix" else "v."
            for name in unit.used(step.instruction, step.fields):
                if not sequencer.written(prefix + name):
                    raise ProgramError(
                        f"instruction {step.pc}: {prefix}{name} must be written before it is used"
                    )
        try:
            if of_network:
                accesses = yield from self.network.execute(step.instruction, step.fields)
            else:
                accesses = alone.execute(step.instruction, step.fields)
        except MachineFaultError as error:
            raise MachineFaultError(error.fault, step.pc, str(error)) from None
        except ValueError as error:
            raise ProgramError(f"instruction {step.pc}: {error}") from None
        if self.checker:
            i = step.instruction
            self.checker.command(
                step.unit, step.pc, (i["wait_a"], i["wait_b"]), i["signal"],
                accesses.reads, accesses.early_writes, accesses.late_reads, accesses.writes,
            )  # fmt: skip
