"""A node of a simulated network: router, traffic, and the links that leave it."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS, flit_layout
from hw.router.port import LINKS, PORTS
from hw.router.route import strap_members
from hw.router.router import Router
from verif.pipeline_link import PipelineLink
from verif.traffic_node import TrafficNode


class NetworkNode(wiring.Component):
    """A router with traffic at its local port and a link on each side; all outputs are registers.

    Ports: straps; ``link_up``; settings and counters of the traffic, as in
    :class:`verif.traffic_node.TrafficNode`; ``flits_out_<port>``: the router's counters;
    ``overrun``, ``discarded``: never set. For each link: ``arrival_valid_<link>``,
    ``arrival_<link>``: flits to the neighbour there, ``freed_<link>`` credits from it,
    ``in_valid_<link>``, ``in_flit_<link>``, ``in_freed_<link>`` the same in the other direction;
    ``hold``: links that are not ready.
    """

    def __init__(self, config: NetworkConfig, latency: int) -> None:
        self.config, self.latency = config, latency
        self.traffic = {name: member for name, member in TrafficNode.ports(config).items()
                        if not name.startswith(("to_", "from_"))}
        members = {**self.traffic, **strap_members(), "link_up": In(len(LINKS)),
                   "hold": In(len(LINKS)), "overrun": Out(1), "discarded": Out(1)}
        flit = flit_layout(config)
        for port in PORTS:
            members[f"flits_out_{port.name.lower()}"] = Out(32)
        for link in LINKS:
            name = link.name.lower()
            members |= {
                f"arrival_valid_{name}": Out(1), f"arrival_{name}": Out(flit),
                f"freed_{name}": In(CHANNELS), f"in_valid_{name}": In(1), f"in_flit_{name}": In(flit),
                f"in_freed_{name}": Out(CHANNELS)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.router = router = Router(self.config)
        m.submodules.traffic = node = TrafficNode(self.config)
        overruns = []
        m.d.comb += [
            *(getattr(router, name).eq(getattr(self, name)) for name in strap_members()),
            router.link_up.eq(self.link_up), self.discarded.eq(router.flits_discarded != 0),
            *(getattr(self, f"flits_out_{name}").eq(getattr(router, f"{name}_flits_out"))
              for name in (port.name.lower() for port in PORTS)),
            router.local_in_valid.eq(node.to_valid), router.local_in_flit.eq(node.to_flit),
            node.to_freed.eq(router.local_in_freed),
            node.from_valid.eq(router.local_out_valid), node.from_flit.eq(router.local_out_flit),
            router.local_out_ready.eq(node.from_ready), router.local_out_room.eq(node.from_room),
        ]
        for name, member in self.traffic.items():
            target, source = (node, self) if member.flow == In else (self, node)
            m.d.comb += getattr(target, name).eq(getattr(source, name))
        for i, name in enumerate(link.name.lower() for link in LINKS):
            m.submodules[f"link_{name}"] = link = PipelineLink(self.config, self.latency)
            m.d.comb += [
                link.valid.eq(getattr(router, f"{name}_out_valid")),
                link.flit.eq(getattr(router, f"{name}_out_flit")), link.hold.eq(self.hold[i]),
                getattr(router, f"{name}_out_ready").eq(link.ready),
                getattr(router, f"{name}_out_room").eq(link.room),
                link.freed.eq(getattr(self, f"freed_{name}")),
                getattr(self, f"arrival_valid_{name}").eq(link.arrival_valid),
                getattr(self, f"arrival_{name}").eq(link.arrival),
                getattr(router, f"{name}_in_valid").eq(getattr(self, f"in_valid_{name}")),
                getattr(router, f"{name}_in_flit").eq(getattr(self, f"in_flit_{name}")),
                getattr(self, f"in_freed_{name}").eq(getattr(router, f"{name}_in_freed")),
            ]
            overruns.append(link.overrun)
        m.d.comb += self.overrun.eq(overruns[0] | overruns[1] | overruns[2] | overruns[3])
        return m
