"""A product without its last addition: Booth's partial products, added up to two numbers."""

import heapq
import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

#: What an XOR costs: the unit in which a tree's bits are ordered by their delay.
XOR_DELAY = 2
#: The same, of a carry through its last two gates.
_LAST = 1


class Columns:
    """Bits by weight, with the time at which each is ready; ``add_up`` makes them two numbers."""

    def __init__(self, m: Module, width: int) -> None:
        self._m, self.width = m, width
        self._order = itertools.count()  # ties: first in, first out
        self._columns: list[list[tuple[int, int, Value]]] = [[] for _ in range(width)]

    def put(self, weight: int, bit: Value, time: int = 0) -> None:
        """Add ``bit * 2**weight``; what lies above the width is dropped."""
        if weight < self.width:
            heapq.heappush(self._columns[weight], (time, next(self._order), bit))

    def _name(self, name: str, value: Value) -> Signal:
        signal = Signal(name=name)
        self._m.d.comb += signal.eq(value)
        return signal

    def add_up(self) -> tuple[Value, Value]:
        """Return two numbers whose sum is that of all bits, modulo ``2**width``.

        A tree of full adders that takes, in each column, the three bits that are ready first.
        """
        for weight, column in enumerate(self._columns):
            while len(column) > 2:
                (t_a, _, a), (t_b, _, b), (t_c, _, c) = (heapq.heappop(column) for _ in range(3))
                time = max(t_a + XOR_DELAY, t_b + XOR_DELAY, t_c + _LAST)
                name = f"{weight}_{len(column)}"
                differ = self._name(f"differ_{name}", a ^ b)
                self.put(weight + 1, self._name(f"carry_{name}", Mux(differ, c, a)), time)
                self.put(weight, self._name(f"sum_{name}", differ ^ c), time)
        bits = [[bit for _, _, bit in column] + [Const(0, 1)] * 2 for column in self._columns]
        return Cat(*(column[0] for column in bits)), Cat(*(column[1] for column in bits))


def digit_layout() -> data.StructLayout:
    """Return a digit of -2..2: whether it is 1 or 2, and whether it is negative (0 may be, too)."""
    return data.StructLayout({"one": 1, "two": 1, "negative": 1})


def booth_digits(m: Module, factor: Value, name: str) -> Value:
    """Return the digits of radix 4 of an unsigned number of even width minus its half range."""
    digits = []
    below: Value = Const(0, 1)  # the bit below the digit
    for i in range(0, len(factor), 2):
        low, high = factor[i], factor[i + 1]
        if i + 2 == len(factor):
            high = ~high
        digit = Signal(digit_layout(), name=f"{name}_{i}")
        m.d.comb += [
            digit.one.eq(low ^ below), digit.negative.eq(high),
            digit.two.eq((high & ~low & ~below) | (~high & low & below)),
        ]
        digits.append(digit.as_value())
        below = high
    return Cat(*digits)


def factor_bits(bits: int, *, hard: bool) -> int:
    """Return the bits of an unsigned number as :class:`BoothProduct` takes it."""
    return bits if hard else bits // 2 * digit_layout().size


def as_factor(m: Module, value: Value, name: str, *, hard: bool) -> Value:
    """Return an unsigned number as :class:`BoothProduct` takes it."""
    return value if hard else booth_digits(m, value, name)


class BoothProduct(wiring.Component):
    """``a`` (signed) times an unsigned number of ``b_bits``, but for the last addition.

    Ports: ``a``, ``factor`` (:func:`as_factor` of the number); ``high`` + ``low`` is the product,
    modulo its width. Combinational.
    Numerics: each digit takes ``a`` times -2, -1, 0, 1 or 2; one more row is the half range that
    the digits leave out. ``hard``: two multiplications for DSP blocks instead, by half of
    the number each.
    """

    def __init__(self, a_bits: int, b_bits: int, *, hard: bool = False) -> None:
        self.width, self.hard = a_bits + b_bits, hard
        super().__init__({"a": In(signed(a_bits)),
                          "factor": In(factor_bits(b_bits, hard=hard)),
                          "high": Out(self.width), "low": Out(self.width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a_bits, b_bits = len(self.a), self.width - len(self.a)
        if self.hard:
            half = b_bits // 2
            m.d.comb += [self.low.eq(self.a * self.factor[:half]),
                         self.high.eq((self.a * self.factor[half:]) << half)]
            return m
        digits = data.View(ArrayLayout(digit_layout(), b_bits // 2), self.factor)
        columns = Columns(m, self.width)
        constant = 0
        for i in range(0, b_bits, 2):
            digit = digits[i // 2]
            row = Signal(a_bits + 1, name=f"row_{i}")
            m.d.comb += row.eq((Mux(digit.one, Cat(self.a, self.a[-1]), 0)
                                | Mux(digit.two, Cat(Const(0, 1), self.a), 0))
                               ^ digit.negative.replicate(a_bits + 1))
            for j in range(a_bits):
                columns.put(i + j, row[j], XOR_DELAY)
            # A sign s at a place is worth -s there, which is ~s - 1; and -x is ~x + 1.
            columns.put(i + a_bits, ~row[-1], XOR_DELAY)
            columns.put(i, digit.negative)
            constant -= 1 << (i + a_bits)
        for j in range(a_bits):
            columns.put(b_bits - 1 + j, self.a[j] if j < a_bits - 1 else ~self.a[j])
        constant -= 1 << (self.width - 2)
        for weight in range(self.width):
            if constant >> weight & 1:
                columns.put(weight, Const(1, 1))
        high, low = columns.add_up()
        m.d.comb += [self.high.eq(high), self.low.eq(low)]
        return m
