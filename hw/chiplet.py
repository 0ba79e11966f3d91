"""The chiplet: the core behind its host port."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import delay
from hw.config import ChipletConfig
from hw.control.isa import Fault
from hw.core import CONTROLS, COUNTED, Core
from hw.emit import instantiate
from hw.host.access import forward
from hw.host.host_bridge import HostBridge, bus_members
from hw.host.memory_access import memory_members
from hw.matmul.systolic_array import SystolicArray
from hw.network.chip_network import ChipNetwork, core_members, host_members, wire_members
from hw.router.route import strap_members


class Chiplet(wiring.Component):
    """One chiplet with AXI4-Lite registers, an AXI4 memory window, and an interrupt.

    Ports: ``clk``, ``rst`` (synchronous, active high); ``s_axil_*``: registers (docs/registers.md);
    ``s_axi_*``: memories; ``irq``; ``running``, ``faulted``: what the STATUS register says, for
    lamps. All outputs come from registers or from a few gates behind them.
    With a network (docs/network.md), for each of the links north, east, south and west:
    ``<link>_phit_in``, ``<link>_phit_out``, and with a ``receive_clock`` of "link"
    ``<link>_link_clk`` and ``<link>_phit_held``; the straps ``node_x``, ``node_y``, ``last_x``,
    ``last_y``, ``wrap_x``, ``wrap_y``. With one dimension there are only east and west.
    The registers' RESET_SEQUENCER resets the core and leaves bridge, network and memories alone.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        wires = {} if config.network is None else wire_members(config.network)
        super().__init__(bus_members() | {"running": Out(1), "faulted": Out(1)} | wires)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bridge, core = HostBridge(config), Core(config)
        core_reset = Signal(init=1)
        m.d.sync += core_reset.eq(bridge.reset_sequencer)
        instantiate(m, "bridge", "tessera_host_bridge", bridge, platform)
        instantiate(m, "core", "tessera_core", core, platform, reset=core_reset)
        forward(m, self, bridge, bus_members())
        if config.network is not None:
            network = ChipNetwork(config)
            m.d.comb += network.core_reset.eq(core_reset)
            instantiate(m, "network", "tessera_network", network, platform)
            forward(m, self, network, wire_members(config.network))
            m.d.comb += [getattr(bridge, name).eq(getattr(self, name)) for name in strap_members()]
            sides = [(bridge, host_members()), (core, core_members(config))]
            for side, name, member in (
                    (side, *item) for side, members in sides for item in members.items()):
                near, far = getattr(side, name), getattr(network, name)
                if member.is_signature:
                    wiring.connect(m, near, far)
                else:
                    target, source = (far, near) if member.flow == In else (near, far)
                    m.d.comb += Value.cast(target).eq(Value.cast(source))

        for name in memory_members(config):
            if name == "banks_valid":
                # Counted here, so that a reset of the core cannot lose the answer.
                m.d.comb += bridge.banks_valid.eq(delay(
                    m, bridge.banks_read_enable, SystolicArray.sums_latency(config),
                    "bank_answer"))
            elif name == "tokens_grant":
                m.d.comb += bridge.tokens_grant.eq(core.tokens_grant)
            elif name.endswith("_read_data"):
                m.d.comb += getattr(bridge, name).eq(getattr(core, f"host_{name}"))
            else:
                m.d.comb += getattr(core, f"host_{name}").eq(getattr(bridge, name))
        for name in ("start", "resume", *CONTROLS):
            m.d.comb += getattr(core, name).eq(getattr(bridge, name))
        m.d.comb += [getattr(bridge, f"count_{name}").eq(getattr(core, name)) for name in COUNTED]
        faulted = core.fault != Fault.NONE
        m.d.comb += [
            bridge.saturations.eq(core.saturations), bridge.token_valid.eq(core.token_event),
            bridge.token.eq(core.token), bridge.running.eq(core.running & ~faulted),
            bridge.done.eq(core.done), bridge.faulted.eq(faulted),
            bridge.paused.eq(core.paused), bridge.idle.eq(core.idle),
            self.running.eq(bridge.running), self.faulted.eq(faulted),
            bridge.fault_cause.eq(core.fault), bridge.fault_pc.eq(core.fault_pc),
        ]
        return m
