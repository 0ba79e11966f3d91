"""A product without its last addition: Booth's partial products, added up to two numbers."""

import heapq
import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
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


class BoothProduct(wiring.Component):
    """``a`` (signed) times ``b`` (unsigned, of even width), but for the last addition.

    Ports: ``a``, ``b``; ``high`` + ``low`` is the product, modulo its width. Combinational.
    Numerics: ``b`` is taken as its half range plus a signed number, whose bits, two by two
    (radix 4), take ``a`` times -2, -1, 0, 1 or 2.
    """

    def __init__(self, a_bits: int, b_bits: int) -> None:
        self.width = a_bits + b_bits
        super().__init__({"a": In(signed(a_bits)), "b": In(b_bits),
                          "high": Out(self.width), "low": Out(self.width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a_bits, b_bits = len(self.a), len(self.b)
        columns = Columns(m, self.width)
        constant = 0
        below: Value = Const(0, 1)  # the bit of b below the digit
        for i in range(0, b_bits, 2):
            low, high = self.b[i], self.b[i + 1]
            if i + 2 == b_bits:
                high = ~high
            one, two = Signal(name=f"one_{i}"), Signal(name=f"two_{i}")
            row = Signal(a_bits + 1, name=f"row_{i}")
            m.d.comb += [
                one.eq(low ^ below), two.eq((high & ~low & ~below) | (~high & low & below)),
                row.eq((Mux(one, Cat(self.a, self.a[-1]), 0) | Mux(two, Cat(Const(0, 1), self.a), 0))
                       ^ high.replicate(a_bits + 1)),
            ]
            for j in range(a_bits):
                columns.put(i + j, row[j], XOR_DELAY)
            # A sign s at a place is worth -s there, which is ~s - 1; and -x is ~x + 1.
            columns.put(i + a_bits, ~row[-1], XOR_DELAY)
            columns.put(i, high)
            constant -= 1 << (i + a_bits)
            below = high
        for j in range(a_bits):
            columns.put(b_bits - 1 + j, self.a[j] if j < a_bits - 1 else ~self.a[j])
        constant -= 1 << (self.width - 2)
        for weight in range(self.width):
            if constant >> weight & 1:
                columns.put(weight, Const(1, 1))
        high, low = columns.add_up()
        m.d.comb += [self.high.eq(high), self.low.eq(low)]
        return m
