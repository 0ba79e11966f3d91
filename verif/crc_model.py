"""The checksum's logic in Amaranth's own simulator."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from hw.link.crc import CRC_BITS, checksum, is_good


def model_of(bits: int) -> Callable[[Sequence[tuple[int, int]]], list[tuple[int, bool]]]:
    """Return a function from pairs of message and word to the message's checksum and whether the word is good."""
    m = Module()
    message, word = Signal(bits), Signal(bits + CRC_BITS)
    out, good = Signal(CRC_BITS), Signal()
    m.d.comb += [out.eq(checksum(m, message, "checksum")), good.eq(is_good(m, word, "syndrome"))]

    def run(cases: Sequence[tuple[int, int]]) -> list[tuple[int, bool]]:
        found = []

        async def process(context: object) -> None:
            for each, each_word in cases:
                context.set(message, each)
                context.set(word, each_word)
                await context.delay(1e-9)
                found.append((context.get(out), bool(context.get(good))))

        simulator = Simulator(m)
        simulator.add_testbench(process)
        simulator.run()
        return found

    return run
