"""Simulated chips side by side: their programs run in turns, packets wait in rings' queues."""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from compiler.machine import Machine, ProgramError, RunResult
from compiler.network_unit import Beats, Exchange
from hw.control.isa import Ring


class Cluster:
    """Machines and their rings: `rings` gives the number of the next chip, for each chip in it."""

    def __init__(
        self, machines: Sequence[Machine], rings: Mapping[Ring, Mapping[int, int]]
    ) -> None:
        self.machines, self.rings = list(machines), rings

    def run(self, prompt: Sequence[int], limit: int, **options: Any) -> list[RunResult]:
        """Post the same prompt to all chips and run until all have halted."""
        running = [machine.running(prompt, limit, **options) for machine in self.machines]
        waiting: dict[tuple[int, Ring], deque[Beats]] = {}
        results: dict[int, RunResult] = {}
        wants: dict[int, Exchange | None] = dict.fromkeys(range(len(running)))
        while len(results) < len(running):
            moved = False
            for chip, program in enumerate(running):
                if chip in results:
                    continue
                want = wants[chip]
                came = None
                if want is not None:
                    queue = waiting.get((chip, want.ring))
                    if not queue:
                        continue
                    came = queue.popleft()
                moved = True
                stopped = self._until_it_waits(chip, program, came, waiting)
                if isinstance(stopped, RunResult):
                    results[chip] = stopped
                else:
                    wants[chip] = stopped
            if not moved:
                waits = {chip: want.ring.name for chip, want in wants.items()
                         if chip not in results and want is not None}  # fmt: skip
                raise ProgramError(f"all chips must not wait for packets at once: {waits}")
        left = sum(map(len, waiting.values()))
        if left:
            raise ProgramError(f"every packet must be taken, but {left} were left")
        return [results[chip] for chip in range(len(running))]

    def _until_it_waits(
        self, chip: int, program: Generator[Exchange, Beats | None, RunResult], came: Beats | None,
        waiting: dict[tuple[int, Ring], deque[Beats]],
    ) -> Exchange | RunResult:  # fmt: skip
        """Run a program until it needs a packet that it does not have, or halts."""
        try:
            exchange = next(program) if came is None else program.send(came)
            while True:
                if exchange.packet is None:
                    queue = waiting.get((chip, exchange.ring))
                    if not queue:
                        return exchange
                    exchange = program.send(queue.popleft())
                    continue
                target = self.rings[exchange.ring][chip]
                waiting.setdefault((target, exchange.ring), deque()).append(exchange.packet)
                exchange = next(program)
        except StopIteration as stop:
            result: RunResult = stop.value
            return result
