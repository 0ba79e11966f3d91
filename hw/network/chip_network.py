"""The network of one chip: interface, router and links."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.collective.engine import network_members as engine_members
from hw.collective.transport import CYCLES, CollectiveTransport
from hw.collective.transport import ERRORS as COLLECTIVE_ERRORS
from hw.config import ChipletConfig
from hw.control.isa import Ring
from hw.emit import instantiate
from hw.host.access import request_layout, response_layout
from hw.host.network_registers import (
    CONTROLLED,
    LINK_NAMES,
    NETWORK_REGISTERS,
    PORT_NAMES,
    REPORTED,
)
from hw.link import link
from hw.link.link import Link
from hw.link.wire import phit_bits
from hw.network.config import NetworkConfig
from hw.network.flit import arrival_members, departure_members
from hw.network.interface import ERRORS, NetworkInterface
from hw.network.link_control import LinkControl
from hw.router.port import links_of
from hw.router.route import strap_members
from hw.router.router import Router


def link_names(config: NetworkConfig) -> list[str]:
    """Return the sides on which a chip has links."""
    return [port.name.lower() for port in links_of(config)]


def wire_members(config: NetworkConfig) -> dict[str, wiring.Member]:
    """Return the ports to the neighbours, ``<link>_phit_in`` and so on, and the straps."""
    clock = link.clock_members(config)
    bits = phit_bits(config)
    return {**{f"{name}_{port}": member for name in link_names(config) for port, member in (
        {"phit_in": In(bits), "phit_out": Out(bits)} | clock).items()}, **strap_members()}


def host_members() -> dict[str, wiring.Member]:
    """Return the ports towards the host bridge.

    ``far_request``, ``far_response``, ``near_request``, ``near_response``: as
    :class:`hw.network.interface.NetworkInterface`; what the registers tell the network, and what
    it tells them; ``link_fell``, ``network_error``: events.
    """
    request, response = stream.Signature(request_layout()), stream.Signature(response_layout())
    return {
        "far_request": In(request), "far_response": Out(response),
        "near_request": Out(request), "near_response": In(response),
        **{name: In(bits) for name, bits in CONTROLLED.items()},
        **{name: Out(bits) for name, bits in REPORTED.items()},
        "link_fell": Out(1), "network_error": Out(1),
    }


def core_members(config: ChipletConfig) -> dict[str, wiring.Member]:
    """Return the ports towards the core: those of its collective engine, seen from here."""
    return {f"collective_{name}": member.flip() for name, member in engine_members(config).items()}


class ChipNetwork(wiring.Component):
    """Everything between the host bridge, the core's collective engine and the wires to the neighbours.

    Ports: :func:`wire_members`, :func:`host_members`, :func:`core_members`; ``core_reset``: the
    engine is being reset. All outputs to the wires come from registers.
    """

    def __init__(self, config: ChipletConfig) -> None:
        assert config.network is not None
        self.chiplet, self.config = config, config.network
        super().__init__({**wire_members(self.config), **host_members(), **core_members(config),
                          "core_reset": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        interface = NetworkInterface(config, NETWORK_REGISTERS["DOORBELL"].offset)
        m.submodules.interface = interface
        router = Router(config)
        instantiate(m, "router", "tessera_router", router, platform)
        m.d.comb += [getattr(router, name).eq(getattr(self, name)) for name in strap_members()]
        self._between(m, router, "local_", interface)
        fell = Signal(len(LINK_NAMES))
        for name in link_names(config):
            i = LINK_NAMES.index(name)
            one = Link(config)
            instantiate(m, f"link_{name}", "tessera_link", one, platform)
            control = m.submodules[f"control_{name}"] = LinkControl()
            self._between(m, router, f"{name}_", one)
            m.d.comb += [
                getattr(self, f"{name}_phit_out").eq(one.phit_out),
                one.phit_in.eq(getattr(self, f"{name}_phit_in")),
                control.state.eq(one.state), control.cause.eq(one.cause),
                control.in_idle.eq(getattr(router, f"{name}_in_idle")),
                control.demand.eq(getattr(self, f"retrain_{name}")),
                control.automatic.eq(self.auto_retrain), one.retrain.eq(control.retrain),
                router.link_up[i].eq(control.up), fell[i].eq(control.fell),
                getattr(self, f"link_{name}_state").eq(one.state),
                getattr(self, f"link_{name}_cause").eq(control.last_cause),
                getattr(self, f"link_{name}_downs").eq(control.downs),
                *(getattr(self, f"link_{name}_{counter}").eq(getattr(one, f"count_{counter}"))
                  for counter in link.COUNTERS),
            ]
            if config.receive_clock == "link":
                m.d.comb += [one.link_clk.eq(getattr(self, f"{name}_link_clk")),
                             getattr(self, f"{name}_phit_held").eq(one.phit_held)]

        wiring.connect(m, wiring.flipped(self.far_request), interface.far_request)
        wiring.connect(m, interface.far_response, wiring.flipped(self.far_response))
        wiring.connect(m, interface.near_request, wiring.flipped(self.near_request))
        wiring.connect(m, wiring.flipped(self.near_response), interface.near_response)
        transport = self._collective(m, interface, platform)
        undeliverable_before = Signal()
        m.d.sync += undeliverable_before.eq(router.undeliverable)
        m.d.comb += [
            *(getattr(interface, name).eq(getattr(self, name)) for name in (
                "node_x", "node_y", "target_x", "target_y")),
            interface.timeout.eq(self.reply_timeout),
            router.clear_errors.eq(self.clear_undeliverable),
            *(getattr(self, name).eq(getattr(router, name)) for name in (
                "undeliverable", "undeliverable_x", "undeliverable_y", "flits_discarded")),
            *(getattr(self, name).eq(getattr(interface, f"count_{name}")) for name in ERRORS),
            self.link_fell.eq(fell.any()),
            self.network_error.eq(Cat(
                interface.error, transport.error,
                router.undeliverable & ~undeliverable_before).any()),
            *(getattr(self, f"{counter}_{name}").eq(getattr(router, f"{name}_{counter}"))
              for name in PORT_NAMES for counter in ("flits_out", "cycles_blocked")),
        ]
        return m

    def _collective(self, m: Module, interface: NetworkInterface,
                    platform: object) -> CollectiveTransport:
        """Join the core's collective engine and the network interface."""
        transport = CollectiveTransport(self.config)
        instantiate(m, "transport", "tessera_collective_transport", transport, platform)
        for name, member in engine_members(self.chiplet).items():
            own, other = getattr(self, f"collective_{name}"), getattr(transport, name)
            if member.is_signature:
                wiring.connect(m, wiring.flipped(own), other)
            else:
                target, source = (own, other) if member.flow == In else (other, own)
                m.d.comb += Value.cast(target).eq(Value.cast(source))
        for ring in Ring:
            for axis in "xy":
                m.d.comb += getattr(transport.next[ring.value], axis).eq(
                    getattr(self, f"ring_{ring.name.lower()}_{axis}"))
        m.d.comb += [
            transport.abandon.eq(self.core_reset), transport.epoch.eq(self.collective_epoch),
            transport.node.x.eq(self.node_x), transport.node.y.eq(self.node_y),
            interface.collective_send_valid.eq(transport.send.valid),
            transport.send.ready.eq(interface.collective_send_ready),
            *(getattr(interface.collective_send_flit, name).eq(getattr(transport.send.payload, name))
              for name in ("head", "tail", "data")),
            transport.receive_valid.eq(interface.collective_receive_valid),
            transport.receive_flit.eq(interface.collective_receive_flit),
            *(getattr(self, f"count_{name}" if name in CYCLES else name).eq(getattr(transport, name))
              for name in (*COLLECTIVE_ERRORS, *CYCLES)),
        ]
        return transport

    def _between(self, m: Module, router: Router, prefix: str, other: wiring.Component) -> None:
        """Connect a port of the router to the link or interface behind it."""
        for name, member in (departure_members(self.config) | arrival_members(self.config)).items():
            near, far = getattr(router, prefix + name), getattr(other, name)
            target, source = (far, near) if member.flow == Out else (near, far)
            m.d.comb += Value.cast(target).eq(Value.cast(source))
