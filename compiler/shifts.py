"""Shifts of each layer's matrices: how a loop over layers finds its own.

Every matrix of every layer has a shift of its own, and a program has no data. So the layer's shifts
travel packed in three registers, four of 6 bits in each; writing the shift descriptor keeps the
lowest 6 bits of what is written, so one SHR takes a shift out.
"""

from compiler.emitter import Emitter, Expression
from compiler.placement import Placement
from golden.quantized import QuantizedLlama
from hw.control.isa import MATRIX_DESCRIPTORS, Opcode

NAMES = ("wq", "wk", "wv", "score", "attention", "wo", "w_gate", "w_up", "w_down")
REGISTERS = ("r11", "r12", "r13")
BITS = MATRIX_DESCRIPTORS["shift"][0]
PER_REGISTER = 4


class ShiftTable:
    """Packed shifts of all layers."""

    def __init__(self, model: QuantizedLlama, placement: Placement) -> None:
        self._placement = placement
        self._shifts = [
            {
                **{name: matrix.shift for name, matrix in layer.matrices()},
                "score": layer.score_shift,
                "attention": layer.attention_shift,
            }
            for layer in model.layers
        ]
        self._packed = [
            tuple(
                sum(
                    shifts[name] << (BITS * place)
                    for place, name in enumerate(NAMES[start : start + PER_REGISTER])
                )
                for start in range(0, len(NAMES), PER_REGISTER)
            )
            for shifts in self._shifts
        ]

    def merges_gate_and_up(self) -> bool:
        """Whether one product can make gate and up: they have the same shift in every layer."""
        return all(shifts["w_gate"] == shifts["w_up"] for shifts in self._shifts)

    def value(self, name: str) -> int | Expression:
        """Return what the shift descriptor must be set to."""
        if len(self._shifts) == 1:
            return self._shifts[0][name]
        place = NAMES.index(name)
        return Expression(REGISTERS[place // PER_REGISTER], amount=BITS * (place % PER_REGISTER))

    def emit(self, e: Emitter) -> None:
        """Load the registers of the layer whose bank word is in r5, if there are several layers.

        Later layers overwrite earlier ones' values; whoever reaches its own layer is done. Values
        that two layers share are loaded again: so the cycles do not depend on them.
        """
        if len(self._packed) == 1:
            return
        done = e.program.label()
        for layer, packed in enumerate(self._packed):
            if layer:
                e.program.skip(done, "LESS", "r5", imm=self._placement.bank_base(layer))
            for name, value in zip(REGISTERS, packed, strict=True):
                e.scalar(Opcode.SET, name, imm=value)
        e.program.place(done)
