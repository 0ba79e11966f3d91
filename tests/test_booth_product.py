"""Products in carry-save form against Python's."""

import random

import pytest
from amaranth.hdl import Module, Shape, Signal, signed
from amaranth.sim import Simulator
from amaranth.sim._async import SimulatorContext

from hw.booth_product import as_factor, booth_product


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("signed_factor", [False, True])
@pytest.mark.parametrize(
    ("a_bits", "b_bits", "bits", "constant"),
    [(17, 8, 25, 128), (26, 16, 42, 0), (26, 24, 50, 5), (9, 2, 11, 1), (16, 16, 33, 7)])
def test_product(
    a_bits: int, b_bits: int, bits: int, constant: int, signed_factor: bool, hard: bool,
) -> None:
    """Random operands, and the ends of both ranges."""
    rng = random.Random(1)
    m = Module()
    a, b, bit = Signal(signed(a_bits)), Signal(Shape(b_bits, signed_factor)), Signal()
    high, low = booth_product(
        m, a, as_factor(m, b, "digit", hard=hard), bits, "product", signed_factor=signed_factor,
        extra=[(bit, 3), (bit, 1)], constant=constant, hard=hard)
    total = Signal(bits)
    m.d.comb += total.eq(high + low)
    half, least = 1 << (a_bits - 1), -(1 << (b_bits - 1)) if signed_factor else 0
    top = least + (1 << b_bits)
    ends = (least, least + 1, 0, 1, (least + top) // 2, top - 1)
    pairs = [(x, y) for x in (-half, -1, 0, 1, half - 1) for y in ends]
    pairs += [(rng.randrange(-half, half), rng.randrange(least, top)) for _ in range(100)]

    async def bench(ctx: SimulatorContext) -> None:
        for x, y in pairs:
            more = rng.randrange(2)
            ctx.set(a, x)
            ctx.set(b, y)
            ctx.set(bit, more)
            await ctx.delay(1e-9)
            want = (x * y + constant + 10 * more) % (1 << bits)
            assert ctx.get(total) == want, f"{x} * {y} + {constant} + {10 * more}"

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
