"""Bench top: two links back to back, with traffic, and wires that make errors; all in hardware."""

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    ResetInserter,
    ResetSignal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.link import Link
from hw.link.wire import phit_bits
from hw.network.config import NetworkConfig
from hw.network.flit import arrival_members, departure_members
from verif.link_traffic import TIME_BITS, LinkTraffic
from verif.link_wires import LinkWires

SIDES = ("near", "far")


class LinkSide(wiring.Component):
    """A link and what stands in for the router.

    Ports: those of both, but for those between them; ``clear``: the traffic starts again.
    """

    def __init__(self, config: NetworkConfig, seed: int) -> None:
        self.link, self.traffic = Link(config), LinkTraffic(config, seed)
        self.between = departure_members(config) | arrival_members(config)
        self.outer = [
            (part, name, member) for part in (self.link, self.traffic)
            for name, member in part.signature.members.items() if name not in self.between]
        super().__init__({"clear": In(1), **{name: member for _, name, member in self.outer}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = self.link
        m.submodules.traffic = ResetInserter(self.clear)(self.traffic)
        for name, member in self.between.items():
            source, target = ((self.traffic, self.link) if member.flow == Out
                              else (self.link, self.traffic))
            m.d.comb += Value.cast(getattr(target, name)).eq(Value.cast(getattr(source, name)))
        for part, name, member in self.outer:
            inner, outer = getattr(part, name), getattr(self, name)
            target, source = (inner, outer) if member.flow == In else (outer, inner)
            m.d.comb += Value.cast(target).eq(Value.cast(source))
        return m


class LinkBench(wiring.Component):
    """Two sides, ``near`` and ``far``.

    Ports: of each side ``SIDE_PORT``, but for clock, wires and time; ``SIDE_reset``: reset of one
    side; of the wires that leave each side ``SIDE_PORT`` as well. ``now``: the cycle. With a
    ``receive_clock`` of "link", the far side has a clock of its own, ``far_clk``, and each side's
    clock goes over the wires, its edges in the middle of the phits.
    """

    _HIDDEN = ("phit_in", "phit_out", "link_clk", "phit_held", "now")

    def __init__(self, config: NetworkConfig, seed: int = 1) -> None:
        self.config = config
        self.sides = [LinkSide(config, seed * 2 + i) for i in range(2)]
        bits = phit_bits(config)
        self.wires = [LinkWires(bits, seed * 2 + i + 8) for i in range(2)]
        members: dict[str, wiring.Member] = {"now": Out(TIME_BITS)}
        self.ports = []
        for i, side in enumerate(SIDES):
            members[f"{side}_reset"] = In(1)
            for part in (self.sides[i], self.wires[i]):
                for name, member in part.signature.members.items():
                    if name not in self._HIDDEN and (part is self.sides[i] or name not in ("i", "o", "i_held", "o_held")):
                        members[f"{side}_{name}"] = member
                        self.ports.append((f"{side}_{name}", member, getattr(part, name)))
        self.own_clock = config.receive_clock == "link"
        if self.own_clock:
            members["far_clk"] = In(1)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.now.eq(self.now + 1)
        if self.own_clock:
            m.domains.far = far = ClockDomain("far", local=True)
            m.d.comb += [far.clk.eq(self.far_clk), far.rst.eq(ResetSignal("sync"))]
        for i, side in enumerate(SIDES):
            reset = getattr(self, f"{side}_reset")
            renamed = DomainRenamer("far" if i and self.own_clock else "sync")
            m.submodules[side] = renamed(ResetInserter(reset)(self.sides[i]))
            m.submodules[f"{side}_wires"] = renamed(self.wires[i])
            m.d.comb += [self.wires[i].i.eq(self.sides[i].phit_out),
                         self.sides[1 - i].phit_in.eq(self.wires[i].o),
                         self.sides[i].now.eq(self.now)]
        for name, member, inner in self.ports:
            outer = Value.cast(getattr(self, name))
            inner = Value.cast(inner)
            target, source = (inner, outer) if member.flow == In else (outer, inner)
            m.d.comb += target.eq(source)
        if self.own_clock:
            for i, clock in enumerate((ClockSignal("sync"), self.far_clk)):
                m.d.comb += [self.wires[i].i_held.eq(self.sides[i].phit_held),
                             self.sides[1 - i].link_clk.eq(~clock & ~self.wires[i].o_held)]
        return m
