"""Sums of many numbers with one carry chain at their end, and products made of few of them."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value


def compress_rows(
    m: Module, rows: Sequence[tuple[Value, int]], constant: int, bits: int, name: str,
) -> tuple[Value, Value]:
    """Return two numbers whose sum is that of ``rows`` and ``constant``, modulo 2**bits.

    A row is a value and the position of its lowest bit; neighbours should lie at similar positions.
    """
    # Bits of each row from position 0 on. Rows of one bit and the constant fill gaps of others.
    table: list[list[Value | None]] = []
    single: list[tuple[int, Value]] = []
    for value, position in rows:
        row: list[Value | None] = [None] * position + [*value]
        # A sign bit s counts -s, which is ~s - 1: so it need not be repeated up to the top.
        if value.shape().signed:
            constant -= 1 << (position + len(value) - 1)
            row[-1] = ~value[-1]
        if len(value) == 1:
            single.append((position, row[-1]))
        else:
            table.append((row + [None] * bits)[:bits])
    single += [(i, Const(1, 1)) for i in range(bits) if constant >> i & 1]
    for position, bit in single:
        free = next((row for row in table if row[position] is None), None)
        if free is None:
            free = [None] * bits
            table.append(free)
        free[position] = bit
    level: list[Value] = [Cat(Const(0, 1) if bit is None else bit for bit in row) for row in table]
    depth = 0
    while len(level) > 2:
        following: list[Value] = []
        whole = len(level) // 3 * 3
        for i in range(0, whole, 3):
            a, b, c = level[i:i + 3]
            total = Signal(bits, name=f"{name}_sum_{depth}_{i}")
            carry = Signal(bits, name=f"{name}_carry_{depth}_{i}")
            m.d.comb += [total.eq(a ^ b ^ c), carry.eq(((a & b) | (c & (a ^ b))) << 1)]
            following += [total, carry]
        level = following + level[whole:]
        depth += 1
    return level[0], level[1]


def add_rows(
    m: Module, rows: Sequence[tuple[Value, int]], constant: int, bits: int, name: str,
) -> Signal:
    """Return the sum of ``rows`` and ``constant`` modulo 2**bits (see :func:`compress_rows`)."""
    total = Signal(bits, name=name)
    a, b = compress_rows(m, rows, constant, bits, name)
    m.d.comb += total.eq(a + b)
    return total


def booth_rows(
    m: Module, multiples: Sequence[Value], factor: Value, digit_bits: int, name: str, *,
    negate: bool = False,
) -> list[tuple[Value, int]]:
    """Return rows for :func:`compress_rows` that add up to ``multiples[0]`` times ``factor``.

    ``multiples`` holds 1, 2, 3, ... 2**(digit_bits - 1) times an unsigned number. ``factor`` is
    signed and is cut into digits of -2**(digit_bits - 1)..2**(digit_bits - 1). ``negate``: they add
    up to minus that.
    """
    rows: list[tuple[Value, int]] = []
    width = max(len(multiple) for multiple in multiples)
    extended = [*factor, *[factor[-1]] * digit_bits]
    below: Value = Const(0, 0)
    for position in range(0, len(factor), digit_bits):
        bits = Cat(Const(0, 1) if position == 0 else extended[position - 1],
                   *extended[position:position + digit_bits])
        sign = bits[-1]
        negative = Signal(name=f"{name}_negative_{position}")
        m.d.comb += negative.eq(~sign if negate else sign)
        # The digit's magnitude is half of what lies below the sign, read from zero on, rounded up.
        level = bits[:-1] ^ sign.replicate(digit_bits)
        chosen: Value = Const(0, width)
        for k, multiple in enumerate(multiples, 1):
            hit = Signal(name=f"{name}_is_{k}_{position}")
            m.d.comb += hit.eq((level == 2 * k - 1) | (level == 2 * k)
                               if 2 * k < 1 << digit_bits else level == 2 * k - 1)
            chosen = chosen | (multiple & hit.replicate(width))
        # Minus a number is its complement plus 1; that 1 has its place in the row above.
        row = Signal(width, name=f"{name}_row_{position}")
        m.d.comb += row.eq(chosen ^ negative.replicate(width))
        rows.append((Cat(below, row, negative).as_signed(), position - len(below)))
        below = Cat(negative, Const(0, digit_bits - 1))
    rows.append((negative, position))
    return rows
