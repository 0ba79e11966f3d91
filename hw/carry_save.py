"""Sums of many numbers with one carry chain at their end."""

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
