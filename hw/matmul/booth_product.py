"""A product without its last addition: Booth's partial products, added up to two numbers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hw.carry_save import compress_rows

#: Operand width, signed, of a hard multiplier.
HARD_BITS = 18


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
    """``a`` (signed) times an unsigned number of ``b_bits`` plus ``constant``, but for the last addition.

    Ports: ``a``, ``factor`` (:func:`as_factor` of the number); ``high`` + ``low`` is the result,
    modulo its width. Combinational.
    Numerics: each digit takes ``a`` times -2, -1, 0, 1 or 2; one more row is the half range that
    the digits leave out. ``hard``: two multiplications for DSP blocks instead, of the lowest 17 bits
    of ``a`` and of the others; ``constant`` costs an addition there.
    """

    def __init__(self, a_bits: int, b_bits: int, *, constant: int = 0, hard: bool = False) -> None:
        self.width, self.constant, self.hard = a_bits + b_bits, constant, hard
        super().__init__({"a": In(signed(a_bits)),
                          "factor": In(factor_bits(b_bits, hard=hard)),
                          "high": Out(self.width), "low": Out(self.width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a_bits, b_bits = len(self.a), self.width - len(self.a)
        if self.hard:
            # In a signed multiplier of 18 bits an unsigned number may have 17.
            if a_bits <= HARD_BITS:
                m.d.comb += [self.low.eq(self.a * self.factor), self.high.eq(self.constant)]
                return m
            cut = HARD_BITS - 1
            m.d.comb += [
                self.low.eq(self.a[:cut] * self.factor + self.constant),
                self.high.eq((self.a[cut:].as_signed() * self.factor) << cut),
            ]
            return m
        digits = data.View(ArrayLayout(digit_layout(), b_bits // 2), self.factor)
        rows: list[tuple[Value, int]] = []
        below: Value = Const(0, 0)
        for i in range(0, b_bits, 2):
            digit = digits[i // 2]
            row = Signal(a_bits + 1, name=f"row_{i}")
            m.d.comb += row.eq((Mux(digit.one, Cat(self.a, self.a[-1]), 0)
                                | Mux(digit.two, Cat(Const(0, 1), self.a), 0))
                               ^ digit.negative.replicate(a_bits + 1))
            # Minus a number is its complement plus 1; that 1 has its place in the row above.
            rows.append((Cat(below, row).as_signed(), i - len(below)))
            below = Cat(digit.negative, Const(0, 1))
        rows.append((Cat(digit.negative, self.a).as_signed(), b_bits - 2))
        high, low = compress_rows(m, rows, self.constant, self.width, "product")
        m.d.comb += [self.high.eq(high), self.low.eq(low)]
        return m
