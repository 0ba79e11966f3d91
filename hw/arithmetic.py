"""Small arithmetic helpers shared by the blocks."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Mux, Signal, Value, ValueLike, signed


def reduce_balanced(values: Sequence[ValueLike], combine: Callable[[Value, Value], Value]) -> Value:
    """Combine values as a balanced tree, so that depth grows with the logarithm."""
    level = [Value.cast(value) for value in values]
    while len(level) > 1:
        paired = [combine(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = paired + level[len(paired) * 2:]
    return level[0]


def balanced_sum(values: Sequence[ValueLike]) -> Value:
    """Return the exact sum of the values as a balanced tree."""
    return reduce_balanced(values, lambda a, b: a + b)


def larger(a: Value, b: Value) -> Value:
    """Return the larger of two values of the same signedness."""
    return Mux(a > b, a, b)


def delay(m: Module, value: ValueLike, cycles: int, name: str, *, reset_less: bool = False) -> Signal:
    """Return ``value`` as it was ``cycles`` ago (``cycles`` >= 1)."""
    cast = Value.cast(value)
    for i in range(cycles):
        stage = Signal(cast.shape(), name=f"{name}_{i + 1}", reset_less=reset_less)
        m.d.sync += stage.eq(cast)
        cast = stage
    return cast


def saturate(m: Module, value: Value, bits: int, name: str, low: int | None = None) -> tuple[Signal, Signal]:
    """Clip a signed value to ``bits``; return the clipped value and whether it was clipped.

    ``low`` replaces the lower bound -2**(bits-1).
    """
    high = (1 << (bits - 1)) - 1
    low = -high - 1 if low is None else low
    result = Signal(signed(bits), name=name)
    clipped = Signal(name=f"{name}_clipped")
    m.d.comb += result.eq(value)
    with m.If(value > high):
        m.d.comb += [result.eq(high), clipped.eq(1)]
    with m.Elif(value < low):
        m.d.comb += [result.eq(low), clipped.eq(1)]
    return result, clipped
