"""A product without its last addition: Booth's partial products, added up to two numbers."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.data import ArrayLayout

from hw.carry_save import compress_rows

#: Operand width, signed, of a hard multiplier.
HARD_BITS = 18


def digit_layout() -> data.StructLayout:
    """Return a digit of -2..2: whether it is 1 or 2, and whether it is negative (0 may be, too)."""
    return data.StructLayout({"one": 1, "two": 1, "negative": 1})


def booth_digits(m: Module, factor: Value, name: str) -> Value:
    """Return the digits of radix 4 of a number of even width; of an unsigned one minus its half range."""
    digits = []
    below: Value = Const(0, 1)  # the bit below the digit
    for i in range(0, len(factor), 2):
        low, high = factor[i], factor[i + 1]
        if i + 2 == len(factor) and not factor.shape().signed:
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
    """Return the bits of an unsigned number as :func:`booth_product` takes it."""
    return bits if hard else bits // 2 * digit_layout().size


def as_factor(m: Module, value: Value, name: str, *, hard: bool) -> Value:
    """Return an unsigned number as :func:`booth_product` takes it."""
    return value if hard else booth_digits(m, value, name)


def booth_product(
    m: Module, a: Value, factor: Value, bits: int, name: str, *, signed_factor: bool = False,
    extra: Sequence[tuple[Value, int]] = (), constant: int = 0, hard: bool = False,
) -> tuple[Value, Value]:
    """Return two numbers whose sum is ``a`` (signed) times a number, plus more, modulo 2**bits.

    ``factor`` is :func:`as_factor` of the number, unsigned or, ``signed_factor``, signed. What is
    more: ``constant`` and ``extra``, bits with their positions. ``hard``: a multiplication for a DSP
    block instead, or two, of the lowest 17 bits of ``a`` and of the others; what is more costs an
    addition there.
    """
    if hard:
        return _hard_product(m, a, factor, bits, name, signed_factor, extra, constant)
    # Each digit takes `a` times -2, -1, 0, 1 or 2; of an unsigned number the digits leave out the
    # half range, one more row.
    digits = data.View(ArrayLayout(digit_layout(), len(factor) // digit_layout().size), factor)
    rows: list[tuple[Value, int]] = []
    below: Value = Const(0, 0)
    for i in range(len(digits)):
        digit = digits[i]
        row = Signal(len(a) + 1, name=f"{name}_row_{i}")
        m.d.comb += row.eq((Mux(digit.one, Cat(a, a[-1]), 0)
                            | Mux(digit.two, Cat(Const(0, 1), a), 0))
                           ^ digit.negative.replicate(len(a) + 1))
        # Minus a number is its complement plus 1; that 1 has its place in the row above.
        rows.append((Cat(below, row).as_signed(), 2 * i - len(below)))
        below = Cat(digit.negative, Const(0, 1))
    last = 2 * (len(digits) - 1)
    rows.append((digit.negative, last) if signed_factor
                else (Cat(digit.negative, a).as_signed(), last))
    return compress_rows(m, [*rows, *extra], constant, bits, name)


def _hard_product(
    m: Module, a: Value, factor: Value, bits: int, name: str, signed_factor: bool,
    extra: Sequence[tuple[Value, int]], constant: int,
) -> tuple[Value, Value]:
    a = a.as_signed()
    number = factor.as_signed() if signed_factor else factor.as_unsigned()
    more = sum((bit << position for bit, position in extra), Const(constant))
    low, high = Signal(bits, name=f"{name}_low"), Signal(bits, name=f"{name}_high")
    # In a signed multiplier of 18 bits an unsigned number may have 17.
    cut = HARD_BITS - 1
    if len(a) <= HARD_BITS:
        m.d.comb += [low.eq(a * number), high.eq(more)]
    else:
        m.d.comb += [low.eq(a[:cut] * number + more),
                     high.eq((a[cut:].as_signed() * number) << cut)]
    return high, low
