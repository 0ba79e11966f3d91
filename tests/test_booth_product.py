"""Products in carry-save form against Python's."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from amaranth.sim._async import SimulatorContext

from hw.matmul.booth_product import BoothProduct, as_factor


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    ("a_bits", "b_bits", "constant"), [(17, 8, 128), (26, 16, 0), (26, 24, 5), (9, 2, 1)])
def test_product(a_bits: int, b_bits: int, constant: int, hard: bool) -> None:
    """Random operands, and the ends of both ranges."""
    rng = random.Random(1)
    m = Module()
    m.submodules.product = product = BoothProduct(
        a_bits, b_bits, constant=constant, hard=hard)
    b = Signal(b_bits)
    m.d.comb += product.factor.eq(as_factor(m, b, "digit", hard=hard))
    half, top = 1 << (a_bits - 1), 1 << b_bits
    pairs = [(x, y) for x in (-half, -1, 0, 1, half - 1) for y in (0, 1, top // 2, top - 1)]
    pairs += [(rng.randrange(-half, half), rng.randrange(top)) for _ in range(300)]

    async def bench(ctx: SimulatorContext) -> None:
        for x, y in pairs:
            ctx.set(product.a, x)
            ctx.set(b, y)
            await ctx.delay(1e-9)
            got = (ctx.get(product.high) + ctx.get(product.low)) % (1 << product.width)
            assert got == (x * y + constant) % (1 << product.width), f"{x} * {y}"

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
