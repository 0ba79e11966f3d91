"""The chiplet behind a serial line: what a board needs that has no AXI host."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.chiplet import Chiplet
from hw.config import ChipletConfig
from hw.emit import instantiate
from hw.host.access import forward
from hw.host.uart_bridge import UartBridge, manager_members
from hw.network.chip_network import wire_members


class SerialChiplet(wiring.Component):
    """A chiplet whose registers and memories a serial line reaches (docs/serial.md).

    Ports: ``clk``, ``rst`` (synchronous, active high); ``rx``: the line from the host, asynchronous;
    ``tx``: the line to the host, from a flip-flop; ``irq``, ``running``, ``faulted``: the
    chiplet's. With a network, its wires and straps, as those of :class:`hw.chiplet.Chiplet`.
    Parameters: ``divisor``: clock cycles of a bit on the line (hw/host/uart.py, ``find_divisor``).
    """

    def __init__(self, config: ChipletConfig, divisor: int) -> None:
        self.config, self.divisor = config, divisor
        self.wires = {} if config.network is None else wire_members(config.network)
        super().__init__({"rx": In(1), "tx": Out(1), "irq": Out(1), "running": Out(1),
                          "faulted": Out(1), **self.wires})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chiplet, bridge = Chiplet(self.config), UartBridge(divisor=self.divisor)
        instantiate(m, "chiplet", "tessera_chiplet", chiplet, platform)
        instantiate(m, "bridge", "tessera_uart_bridge", bridge, platform)
        forward(m, self, chiplet, self.wires)
        for name, member in manager_members().items():
            source, target = (bridge, chiplet) if member.flow == Out else (chiplet, bridge)
            m.d.comb += getattr(target, name).eq(getattr(source, name))
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx), self.irq.eq(chiplet.irq),
                     self.running.eq(chiplet.running), self.faulted.eq(chiplet.faulted)]
        return m
