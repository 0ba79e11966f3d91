"""Shifts that put a number's leading one at the top, and the 16-bit numbers they make."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed


def shift_to_top(m: Module, value: Value, name: str, *, step_bits: int = 0) -> tuple[Signal, Value]:
    """Shift ``value`` left until its top is not empty; return it and the count of steps.

    A step is ``2**step_bits`` bits, the top is as wide. For 0 every partial shift is taken.
    """
    width = len(value)
    powers = list(reversed(range(step_bits, (width - 1).bit_length())))
    # Per power, whether each block of that many bits is empty, from the top on. Blocks move with
    # the value: so all are compared with zero at once, before the first shift.
    blocks: dict[int, list[Value]] = {
        power: [value[max(0, end - (1 << power)):end] == 0
                for end in range(width, 0, -1 << power)]
        for power in powers}
    counts: list[Value] = []
    for power in powers:
        amount = 1 << power
        empty = Signal(name=f"{name}_empty_{amount}")
        shifted = Signal(width, name=f"{name}_shifted_{amount}")
        m.d.comb += [
            empty.eq(blocks[power][0]),
            shifted.eq(Mux(empty, value << amount, value)),
        ]
        for lower in powers[powers.index(power) + 1:]:
            flags = blocks[lower]
            moved = [*flags[amount >> lower:], *[Const(1, 1)] * (amount >> lower)]
            blocks[lower] = [Mux(empty, after, before)
                             for after, before in zip(moved, flags, strict=False)]
        counts.insert(0, empty)
        value = shifted
    return value, Cat(counts)


def normalize(m: Module, x: Value, shift: Value, name: str) -> Signal:
    """Return a 32-bit ``x`` with magnitude below ``2**(31 - shift)`` as 16 bits within +-32767.

    This is ``xn`` of docs/numerics.md, section 3, with ``shift = 31 - e``: shifting left and
    rounding at bit 16 is the same as either case there, since a left shift leaves zeros below.
    """
    # The longest shift first: what is shifted beyond the top, and lies below bit 15, needs no gates.
    aligned = x
    for i, bit in reversed(list(enumerate(shift))):
        shifted = Signal(32, name=f"{name}_shifted_{1 << i}")
        m.d.comb += shifted.eq(Mux(bit, aligned << (1 << i), aligned))
        aligned = shifted
    truncated = aligned[16:]
    increment = Signal(name=f"{name}_increment")
    # Saturation: 32767 is not rounded up, and -32768 always is.
    m.d.comb += increment.eq(
        Mux(truncated == 0x7FFF, 0, (truncated == 0x8000) | aligned[15]))
    normalized = Signal(signed(16), name=name)
    m.d.comb += normalized.eq(truncated + increment)
    return normalized
