"""Performance counters of the host port."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.host.registers import COUNTERS, HIGH_BITS, TOKEN_BITS

#: Counters that go up by one in a cycle with ``count_<name>``.
EVENTS = tuple(name for name in COUNTERS if name not in ("cycles", "token_cycles", "saturations"))


def event_members(lanes: int) -> dict[str, wiring.Member]:
    """Return what the counters see of the chip; ``saturations``: of drain and vector unit."""
    return {
        **{f"count_{name}": In(1) for name in EVENTS},
        "saturations": In(range(2 * lanes + 1)),
        "token_valid": In(1), "token": In(TOKEN_BITS), "running": In(1),
    }


class Counters(wiring.Component):
    """Counts events; ``clear`` restarts all.

    Ports: :func:`event_members`, of a chip with so many lanes; ``clear``; of each counter ``<name>_lo`` and ``<name>_hi``;
    ``token_count``, ``last_token``. ``token_valid`` comes in the cycle of a new ``token``.
    A counter carries from its low into its high part one cycle late: the high part of the value
    whose low part is read in one cycle is there in the next.
    """

    def __init__(self, lanes: int) -> None:
        super().__init__({
            "clear": In(1), **event_members(lanes),
            **{f"{name}_lo": Out(32) for name in COUNTERS},
            **{f"{name}_hi": Out(HIGH_BITS) for name in COUNTERS},
            "token_count": Out(32), "last_token": Out(TOKEN_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._count(m, "cycles", self.running)
        for name in EVENTS:
            self._count(m, name, getattr(self, f"count_{name}"))
        self._count(m, "saturations", self.saturations)

        token_before = Signal()
        m.d.sync += token_before.eq(self.token_valid & ~self.clear)
        with m.If(self.token_valid):
            m.d.sync += [self.token_count.eq(self.token_count + 1), self.last_token.eq(self.token),
                         self.token_cycles_lo.eq(self.cycles_lo)]
        with m.If(token_before):
            m.d.sync += self.token_cycles_hi.eq(self.cycles_hi)
        with m.If(self.clear):
            m.d.sync += [self.token_count.eq(0), self.last_token.eq(0),
                         self.token_cycles_lo.eq(0), self.token_cycles_hi.eq(0)]
        return m

    def _count(self, m: Module, name: str, amount: Value) -> None:
        low, high = getattr(self, f"{name}_lo"), getattr(self, f"{name}_hi")
        carry = Signal(name=f"{name}_carry")
        total = Signal(33, name=f"{name}_total")
        m.d.comb += total.eq(low + amount)
        m.d.sync += [
            low.eq(Mux(self.clear, 0, total[:32])),
            carry.eq(total[32] & ~self.clear),
            high.eq(Mux(self.clear, 0, high + carry)),
        ]
