"""What a run of the integer model leaves behind besides logits: intermediates and clip counts."""

from collections import Counter

from numpy.typing import NDArray

from golden.integer import IntArray
from golden.requantizer import RowScale

#: Every intermediate by name; integers, first axis the tokens of the block.
Trace = dict[str, NDArray]


class Recorder:
    """Notes intermediates in a trace (if there is one) and counts clipped values by step.

    `prefix` (such as `layer0.`) comes before every name.
    """

    def __init__(self, trace: Trace | None, saturations: Counter[str]) -> None:
        self._trace = trace
        self._saturations = saturations
        self.prefix = ""

    def value(self, name: str, array: NDArray) -> NDArray:
        """Note an intermediate and return it."""
        if self._trace is not None:
            self._trace[self.prefix + name] = array
        return array

    def scale(self, name: str, scale: RowScale) -> None:
        """Note a row scale as `<name>mantissa` and `<name>exponent`."""
        self.value(name + "mantissa", scale.mantissa)
        self.value(name + "exponent", scale.exponent)

    def count(self, name: str, result: tuple[IntArray, int]) -> IntArray:
        """Count what was clipped and return the values."""
        values, clipped = result
        if clipped:
            self._saturations[self.prefix + name] += clipped
        return values

    def clipped(self, name: str, result: tuple[IntArray, int]) -> IntArray:
        """Count what was clipped, note the values and return them."""
        return self.value(name, self.count(name, result))
