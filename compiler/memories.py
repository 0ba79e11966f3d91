"""The chip's memories as flat arrays of elements, with the hardware's address checks."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compiler.races import Accesses, Addresses
from compiler.sequencer import MachineFaultError
from hw.config import ChipletConfig
from hw.control.isa import Fault

#: Fault of an address outside each memory.
FAULTS = {
    "banks": Fault.BANK_ADDRESS, "activations": Fault.ACTIVATION_ADDRESS,
    "outputs": Fault.OUTPUT_ADDRESS, "results": Fault.RESULT_ADDRESS,
    "residual": Fault.RESIDUAL_ADDRESS, "multipliers": Fault.MULTIPLIER_ADDRESS,
    "rope": Fault.ROPE_ADDRESS, "row_scales": Fault.ROW_SLOT, "row_maxima": Fault.ROW_SLOT,
    "tokens": Fault.TOKEN_ADDRESS,
}  # fmt: skip


@dataclass
class CommandAccesses:
    """Cells (words of banks, beats, slots) that a command touches, by step (see races.py)."""

    reads: Accesses = field(default_factory=list)
    early_writes: Accesses = field(default_factory=list)
    late_reads: Accesses = field(default_factory=list)
    writes: Accesses = field(default_factory=list)


class Memories:
    """All memories; the program and the weights come from the image, the rest starts as garbage.

    Elements are int8 (banks [words, rows, columns], activations, outputs), int16 (results, rope),
    int32 (residual, row maxima), uint16 (multipliers, row scales), uint32 (tokens), uint64
    (program). All but the banks are [beats or words, elements].
    """

    def __init__(self, config: ChipletConfig, contents: dict[str, NDArray], seed: int = 1) -> None:
        random = np.random.default_rng(seed)
        c = config
        shapes: dict[str, tuple[type, tuple[int, ...]]] = {
            "banks": (np.int8, (c.bank_words, c.rows, c.columns)),
            "activations": (np.int8, (c.activation_words * c.row_beats, c.lanes)),
            "outputs": (np.int8, (c.output_words * c.row_beats, c.lanes)),
            "results": (np.int16, (c.result_beats, c.lanes)),
            "residual": (np.int32, (c.residual_beats, c.lanes)),
            "multipliers": (np.uint16, (c.multiplier_beats, c.lanes)),
            "rope": (np.int16, (c.rope_beats, c.lanes)),
            "row_scales": (np.uint16, (c.row_slots,)),
            "row_maxima": (np.int32, (c.row_slots,)),
            "program": (np.uint64, (c.program_words,)),
            "tokens": (np.uint32, (c.context,)),
        }  # fmt: skip
        for name, (dtype, shape) in shapes.items():
            if name in contents:
                array: NDArray = contents[name].astype(dtype, copy=True)
            else:
                limit = 100 if dtype is np.int8 else 30000
                array = random.integers(0, limit, shape).astype(dtype)
            if array.shape != shape:
                raise ValueError(f"{name} must be of shape {shape}, not {array.shape}")
            setattr(self, name, array)

    banks: NDArray[np.int8]
    activations: NDArray[np.int8]
    outputs: NDArray[np.int8]
    results: NDArray[np.int16]
    residual: NDArray[np.int32]
    multipliers: NDArray[np.uint16]
    rope: NDArray[np.int16]
    row_scales: NDArray[np.uint16]
    row_maxima: NDArray[np.int32]
    program: NDArray[np.uint64]
    tokens: NDArray[np.uint32]

    def cells(self) -> dict[str, int]:
        """Return the cells of each memory for the race checker."""
        return {name: len(getattr(self, name)) for name in FAULTS} | {
            "sampler": 1,
            "residual port": 1,
            "residual write port": 1,
        }

    def by_name(self) -> dict[str, NDArray]:
        """Return all memories."""
        return {name: getattr(self, name) for name in (*FAULTS, "program")}

    def check(self, memory: str, addresses: Addresses) -> Addresses:
        """Return the addresses, flat, once they are known to lie within a memory."""
        flat = addresses.reshape(-1)
        size = len(getattr(self, memory))
        if len(flat) and (int(flat.max()) >= size or int(flat.min()) < 0):
            raise MachineFaultError(FAULTS[memory], 0, f"{memory}[{int(flat.max())}] of {size}")
        return flat


def grid(base: int, *axes: tuple[int, int]) -> Addresses:
    """Return base + sum of stride * index for axes of (count, stride)."""
    result = np.array(base, np.int64)
    for count, stride in axes:
        result = result[..., None] + np.arange(count, dtype=np.int64) * stride
    return result
