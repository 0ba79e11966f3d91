"""Top module for the ULX3S board: oscillator, PLL, reset, serial line, LEDs, links to other boards."""

from dataclasses import replace

from amaranth.back import verilog
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.emit import EmittedVerilog, emit
from hw.fpga_links import CHIP, LinkPins, pin_members
from hw.fpga_pll import Pll
from hw.network.chip_network import wire_members
from hw.network.config import NetworkConfig
from hw.serial_chiplet import SerialChiplet
from hw.verilog_text import compact

TOP = "tessera_ulx3s"
CHIPLET = "tessera_serial_chiplet"
#: Cycles of the core clock in which a LED shows that something happened: a quarter of a second.
_SECOND_SHARE = 4


class Ulx3s(wiring.Component):
    """A chiplet with a serial line on a ULX3S.

    Ports, named as the board's constraints name them: ``clk_25mhz``: oscillator; ``ftdi_txd``: line
    from the host; ``ftdi_rxd``: line to the host; ``btn``: held down, it resets everything but the
    memories' contents; ``led``: 0 heartbeat (about 1 Hz), 1 the program runs, 2 fault, 3 interrupt,
    4 bytes from the host, 5 bytes to the host, 6 unused, 7 reset; ``wifi_gpio0``: 1 keeps the
    board's other processor from resetting the FPGA.

    The core clock comes from the PLL. Reset: asserted at once while the PLL is not locked or the
    button is down, released with the core clock; synchronous in the chiplet.
    Parameters: ``pll``: core clock; ``divisor``: core clock cycles of a bit on the line;
    ``network`` and ``torus``: of a chiplet with a network. Then there are the ports of
    hw/fpga_links.py on the headers, and ``wifi_en``: 0 holds the board's other processor in reset,
    because some of the headers' pins are also its own.
    """

    def __init__(self, pll: Pll, divisor: int, network: NetworkConfig | None = None,
                 torus: tuple[int, int] = (1, 1)) -> None:
        self.pll, self.divisor = pll, divisor
        self.network = network
        headers = {}
        if network is not None:
            self.links = LinkPins(network, torus)
            headers = {**pin_members(network), "wifi_en": Out(1)}
        super().__init__({
            "clk_25mhz": In(1), "ftdi_txd": In(1), "ftdi_rxd": Out(1), "btn": In(1), "led": Out(8),
            "wifi_gpio0": Out(1), **headers})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain("sync")
        locked = self._pll(m)
        m.submodules.reset = ResetSynchronizer(~locked | self.btn)

        sent, running, faulted, irq = (
            Signal(name=name) for name in ("sent", "running", "faulted", "irq"))
        m.submodules.chiplet = Instance(
            CHIPLET, i_clk=ClockSignal(), i_rst=ResetSignal(), i_rx=self.ftdi_txd, o_tx=sent,
            o_irq=irq, o_running=running, o_faulted=faulted, **self._wires(m))
        m.d.comb += [self.ftdi_rxd.eq(sent), self.wifi_gpio0.eq(1)]

        # The line's bits are too short to be seen.
        period = round(self.pll.core_mhz * 1e6 / _SECOND_SHARE)
        count, tick = Signal(range(period), name="count"), Signal()
        quarter = Signal(range(_SECOND_SHARE))
        m.d.sync += [tick.eq(count == period - 1), count.eq(count + 1)]
        with m.If(tick):
            m.d.sync += [count.eq(0), quarter.eq(quarter + 1)]
        received = Signal(init=1)
        m.submodules.line_led = FFSynchronizer(self.ftdi_txd, received, init=1)
        leds = Signal(8)
        m.d.sync += leds.eq(Cat(quarter[-1], running, faulted, irq,
                                self._stretch(m, "from_host", ~received, tick),
                                self._stretch(m, "to_host", ~sent, tick), Const(0, 1),
                                Const(0, 1)))
        m.d.comb += self.led.eq(Cat(leds[:7], ResetSignal()))
        return m

    def _wires(self, m: Module) -> dict[str, object]:
        """Join the chiplet's links and the pins; return the chiplet's ports."""
        if self.network is None:
            return {}
        m.submodules.links = self.links
        for name, member in pin_members(self.network).items():
            pin, inner = getattr(self, name), getattr(self.links, name)
            target, source = (inner, pin) if member.flow == In else (pin, inner)
            m.d.comb += target.eq(source)
        return {f"{'i' if member.flow == In else 'o'}_{name}": getattr(self.links, f"{CHIP}{name}")
                for name, member in wire_members(self.network).items()}

    def _stretch(self, m: Module, name: str, event: Signal, tick: Signal) -> Signal:
        """Return whether an event came since the last tick but one."""
        now, shown = Signal(name=f"{name}_now"), Signal(name=f"{name}_shown")
        with m.If(tick):
            m.d.sync += [shown.eq(now), now.eq(event)]
        with m.Elif(event):
            m.d.sync += [now.eq(1), shown.eq(1)]
        return shown

    def _pll(self, m: Module) -> Signal:
        """Make the core clock; return whether it is stable."""
        pll, clock, locked = self.pll, Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            # Values of the analog part as Lattice's own generator chooses them for these dividers.
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD", p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=pll.input_divider, p_CLKFB_DIV=pll.feedback_divider,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=pll.output_divider,
            p_CLKOP_CPHASE=pll.output_divider // 2, p_CLKOP_FPHASE=0,
            i_RST=Const(0, 1), i_STDBY=Const(0, 1), i_CLKI=self.clk_25mhz, i_CLKFB=clock,
            i_PHASESEL0=Const(0, 1), i_PHASESEL1=Const(0, 1), i_PHASEDIR=Const(1, 1),
            i_PHASESTEP=Const(1, 1), i_PHASELOADREG=Const(1, 1), i_PLLWAKESYNC=Const(0, 1),
            i_ENCLKOP=Const(0, 1), o_CLKOP=clock, o_LOCK=locked)
        m.d.comb += ClockSignal().eq(clock)
        return locked


def emit_board(config: ChipletConfig, pll: Pll, divisor: int,
               torus: tuple[int, int] = (1, 1)) -> EmittedVerilog:
    """Convert the board's top module and everything below it; `torus`: of boards with a network."""
    inside = emit(SerialChiplet(config, divisor), CHIPLET)
    top = Ulx3s(pll, divisor, config.network, torus)
    ports = [getattr(top, name) for name in top.signature.members]
    text = verilog.convert(top, name=TOP, emit_src=False, strip_internal_attrs=True, ports=ports)
    return replace(inside, top=TOP, logic=f"{inside.logic}\n{compact(text)}")
