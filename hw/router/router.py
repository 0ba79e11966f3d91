"""Router: five ports, wormhole switching with virtual channels (docs/router.md)."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import balanced_sum
from hw.network.config import COORDINATE_BITS, NetworkConfig
from hw.network.flit import arrival_members, departure_members
from hw.router.input_port import InputPort
from hw.router.output_port import COUNTER_BITS, OutputPort
from hw.router.port import LINKS, PORTS, SOURCES, TARGETS, Port, links_of
from hw.router.route import strap_members


def port_members(port: Port, config: NetworkConfig) -> dict[str, wiring.Member]:
    """Return the router's ports of one side, named ``<side>_in_valid`` and so on."""
    members = {**arrival_members(config), **departure_members(config),
               "flits_out": Out(COUNTER_BITS), "cycles_blocked": Out(COUNTER_BITS)}
    if port is not Port.LOCAL:
        members["in_idle"] = Out(1)
    return {f"{port.name.lower()}_{name}": member for name, member in members.items()}


class Router(wiring.Component):
    """Moves flits between four links and the local network interface.

    Ports of each side (``local``, ``north``, ``east``, ``south``, ``west``), with its name before:
    ``in_valid``, ``in_flit``, ``in_freed`` (:func:`hw.network.flit.arrival_members`), ``out_valid``,
    ``out_flit``, ``out_ready``, ``out_room`` (:func:`hw.network.flit.departure_members`), counters
    ``flits_out`` and ``cycles_blocked`` (:class:`hw.router.output_port.OutputPort`), and of a link
    ``in_idle``: nothing of it is queued and no packet is open, so that the link may come up.
    ``out_ready`` may fall only for reasons that have nothing to do with a channel. Straps as in :func:`hw.router.route.strap_members`; ``link_up``: a
    bit for each of NORTH, EAST, SOUTH, WEST. ``undeliverable``: since ``clear_errors`` a packet
    came whose way is not there; ``undeliverable_x``, ``undeliverable_y``: its destination, of the
    first; ``flits_discarded``: counter of flits that a failed link left over.

    Latency: LATENCY cycles from ``in_valid`` to ``out_valid`` in an empty router. Throughput: a flit
    per port and cycle. Of a side without a link (``dimensions`` 1) nothing is made; its ``link_up`` must
    be 0. Backpressure: ``out_ready`` reaches registers and memories through logic.
    All outputs but ``in_idle`` are registers.
    """

    LATENCY = InputPort.OFFER_LATENCY + OutputPort.LATENCY

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        members: dict[str, wiring.Member] = {}
        for port in PORTS:
            members |= port_members(port, config)
        super().__init__({
            **members, **strap_members(), "link_up": In(len(LINKS)), "clear_errors": In(1),
            "undeliverable": Out(1), "undeliverable_x": Out(COORDINATE_BITS),
            "undeliverable_y": Out(COORDINATE_BITS), "flits_discarded": Out(COUNTER_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ports = [port for port in PORTS if port in (Port.LOCAL, *links_of(self.config))]
        inputs = {port: InputPort(self.config, port) for port in ports}
        outputs = {port: OutputPort(self.config, port) for port in ports}
        for port in ports:
            m.submodules[f"input_{port.name.lower()}"] = inputs[port]
            m.submodules[f"output_{port.name.lower()}"] = outputs[port]
            self._outside(m, port, inputs[port], outputs[port])
        for source in ports:
            taken = inputs[source]
            targets = [target for target in TARGETS[source] if target in ports]
            m.d.comb += taken.stalled.eq(Cat(
                outputs[target].stalled[SOURCES[target].index(source)]
                for target in targets).any())
            for target in targets:
                self._join(m, taken, outputs[target], target, SOURCES[target].index(source))
        self._errors(m, [inputs[port] for port in ports])
        return m

    def _outside(self, m: Module, port: Port, taken: InputPort, given: OutputPort) -> None:
        """Connect one side's ports."""
        def own(name: str) -> Signal:
            return getattr(self, f"{port.name.lower()}_{name}")

        m.d.comb += [
            taken.in_valid.eq(own("in_valid")), taken.in_flit.eq(own("in_flit")),
            own("in_freed").eq(taken.in_freed), taken.link_up.eq(self.link_up),
            own("out_valid").eq(given.out_valid), own("out_flit").eq(given.out_flit),
            given.out_ready.eq(own("out_ready")), given.out_room.eq(own("out_room")),
            own("flits_out").eq(given.flits_out), own("cycles_blocked").eq(given.cycles_blocked),
            given.link_up.eq(1 if port is Port.LOCAL else self.link_up[LINKS.index(port)]),
            *(getattr(taken, name).eq(getattr(self, name)) for name in strap_members()),
        ]
        if port is not Port.LOCAL:
            m.d.comb += own("in_idle").eq(taken.idle)

    def _join(self, m: Module, taken: InputPort, given: OutputPort, target: Port, i: int) -> None:
        """Connect an input port to an output port, of which it is input ``i``."""
        o = target.value
        m.d.comb += [
            given.waiting[i].eq(taken.waiting[o]), given.wants[i].eq(taken.wants[o]),
            given.requests[i].eq(taken.request[o]), given.offers[i].eq(taken.offer),
            given.flits[i].eq(taken.flit), taken.grant[o].eq(given.grants[i]),
            taken.room[o].eq(given.out_room), taken.free[o].eq(given.free),
            taken.own[o].eq(given.own[i]), taken.won[o].eq(given.won[i]),
            taken.ready[o].eq(given.ready),
        ]

    def _errors(self, m: Module, inputs: list[InputPort]) -> None:
        """Keep the first packet that could not go its way; count the flits thrown away."""
        diverted = [Signal(2 * COORDINATE_BITS + 1, name=f"diverted_{i}") for i in range(len(inputs))]
        discarded = Signal(len(inputs))
        m.d.sync += discarded.eq(Cat(port.discarded for port in inputs))
        m.d.sync += self.flits_discarded.eq(self.flits_discarded + balanced_sum([*discarded]))
        with m.If(self.clear_errors):
            m.d.sync += self.undeliverable.eq(0)
        for kept, port in zip(diverted, inputs, strict=True):
            m.d.sync += kept.eq(Cat(port.diverted, port.diverted_x, port.diverted_y))
            with m.If(kept[0] & (~self.undeliverable | self.clear_errors)):
                m.d.sync += [self.undeliverable.eq(1),
                             Cat(self.undeliverable_x, self.undeliverable_y).eq(kept[1:])]
