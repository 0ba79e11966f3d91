"""Proof that no two conflicting accesses of a run are unordered.

Order is what docs/machine.md, section 5 guarantees and nothing else. Each matrix command has two
steps, the wave (reads operands and banks, stores into banks) and the drain (reads multipliers and
row scales, writes); each vector command reads and writes. Each of these four steps happens in
program order, a command's first step begins before its second, and after the events it waits for.
A clock per step counts, for each kind of step, how many commands are known to be done.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Addresses = NDArray[np.int64]
#: Accesses of one step: memory name and cells.
Accesses = list[tuple[str, Addresses]]

WAVE, DRAIN, READ, WRITE, SEQUENCER = range(5)
_STEPS = {"matrix": (WAVE, DRAIN), "vector": (READ, WRITE)}


@dataclass(frozen=True, order=True)
class Race:
    """Two instructions that touch the same cell of a memory in no guaranteed order."""

    first_pc: int
    second_pc: int
    memory: str
    address: int
    kind: str  #: such as `write after read`

    def __str__(self) -> str:
        """Return one sentence."""
        return (
            f"instruction {self.second_pc} races with instruction {self.first_pc}: {self.kind} of "
            f"{self.memory}[{self.address}] without an event between them"
        )


class RaceChecker:
    """Collects races while a run reports its commands in program order."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._written_by = {m: np.full(n, -1, np.int8) for m, n in sizes.items()}
        self._written_at = {m: np.zeros(n, np.int32) for m, n in sizes.items()}
        self._read_at = {m: np.zeros((5, n), np.int32) for m, n in sizes.items()}
        self._clocks = np.zeros((5, 5), np.int64)  # of the last command at each step
        self._sequencer = np.zeros(5, np.int64)  # what the sequencer has waited for
        self._events: dict[int, NDArray[np.int64]] = {}
        self._pcs: list[list[int]] = [[-1] for _ in range(5)]
        self.races: set[Race] = set()

    def wait(self, events: Iterable[int]) -> None:
        """Let the sequencer wait for events."""
        self._sequencer = self._joined(self._sequencer, events)

    def _joined(self, clock: NDArray[np.int64], events: Iterable[int]) -> NDArray[np.int64]:
        for event in events:
            if event and event in self._events:
                clock = np.maximum(clock, self._events[event])
        return clock

    def sequencer(self, pc: int, reads: Accesses, writes: Accesses) -> None:
        """Report what an instruction of the sequencer itself touches."""
        self._pcs[SEQUENCER].append(pc)
        self._sequencer = self._sequencer.copy()
        self._sequencer[SEQUENCER] += 1
        self._access(SEQUENCER, self._sequencer, reads, writes)

    def command(
        self, unit: str, pc: int, waits: Iterable[int], signal: int,
        reads: Accesses, early_writes: Accesses, late_reads: Accesses, writes: Accesses,
    ) -> None:  # fmt: skip
        """Report a command: reads and writes of its first step, then of its second."""
        first, second = _STEPS[unit]
        index = len(self._pcs[first])
        early = np.maximum(self._clocks[first], self._joined(self._sequencer, waits))
        early[first] = index
        late = np.maximum(self._clocks[second], early)
        late[second] = index
        self._clocks[first], self._clocks[second] = early, late
        self._pcs[first].append(pc)
        self._pcs[second].append(pc)
        self._access(first, early, reads, early_writes)
        self._access(second, late, late_reads, writes)
        if signal:
            known = self._events.get(signal)
            self._events[signal] = late.copy() if known is None else np.maximum(known, late)

    def _access(
        self, step: int, clock: NDArray[np.int64], reads: Accesses, writes: Accesses
    ) -> None:
        index = int(clock[step])
        for memory, cells in reads:
            self._check_writes(step, clock, memory, cells, "read after write")
            self._read_at[memory][step, cells] = index
        for memory, cells in writes:
            self._check_writes(step, clock, memory, cells, "write after write")
            for reader in range(5):
                times = self._read_at[memory][reader, cells]
                late = np.flatnonzero(times > clock[reader])
                if len(late):
                    pc = self._pcs[reader][int(times[late[0]])]
                    self._report(pc, step, index, memory, int(cells[late[0]]), "write after read")
            self._written_by[memory][cells] = step
            self._written_at[memory][cells] = index

    def _check_writes(
        self, step: int, clock: NDArray[np.int64], memory: str, cells: Addresses, kind: str
    ) -> None:
        by, times = self._written_by[memory][cells], self._written_at[memory][cells]
        late = np.flatnonzero((by >= 0) & (times > clock[by]))
        if len(late):
            writer, time = int(by[late[0]]), int(times[late[0]])
            pc = self._pcs[writer][time]
            self._report(pc, step, int(clock[step]), memory, int(cells[late[0]]), kind)

    def _report(self, pc: int, step: int, index: int, memory: str, cell: int, kind: str) -> None:
        self.races.add(Race(pc, self._pcs[step][index], memory, cell, kind))
