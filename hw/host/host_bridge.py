"""The host port: registers behind AXI4-Lite, memories behind AXI4, interrupt and counters."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.host import axi_lite, axi_window
from hw.host.access import axi_lite_members, axi_members, forward
from hw.host.axi_lite import AxiLite
from hw.host.axi_window import AxiWindow
from hw.host.counters import Counters, event_members
from hw.host.memory_access import MemoryAccess, memory_members
from hw.host.network_registers import CONTROLLED, REPORTED
from hw.host.registers import COUNTERS, REGISTERS, Access, RegisterFile
from hw.host.remote_access import RemoteAccess
from hw.network.chip_network import host_members
from hw.router.route import strap_members

ID_BITS = 4
#: Cycles after a start or resume within which ``idle`` has to fall.
SETTLE_CYCLES = 4

#: What the chip reports: status levels and the fault.
STATUS = tuple(field.port for name in ("STATUS", "FAULT_CAUSE", "FAULT_PC")
               for field in REGISTERS[name].fields)
#: Registers whose values go to the chip.
PARAMETERS = tuple(
    field.port for register in REGISTERS.values() for field in register.fields
    if register.access is Access.READ_WRITE and register.name not in ("IRQ_ENABLE", "END_TOKEN"))
_INTERRUPTS = {"done": "done", "fault": "faulted", "paused": "paused"}


def bus_members() -> dict[str, wiring.Member]:
    """Return the ports towards the host: ``s_axil_*``, ``s_axi_*`` and ``irq``."""
    return {**axi_lite_members(axi_lite.PREFIX, axi_lite.ADDRESS_BITS),
            **axi_members(axi_window.PREFIX, axi_window.ADDRESS_BITS, ID_BITS), "irq": Out(1)}


def core_members(config: ChipletConfig) -> dict[str, wiring.Member]:
    """Return the ports towards the chip besides those of the memories.

    Outputs: pulses ``start``, ``resume``, ``reset_sequencer``; the values of the registers from
    PROMPT_LENGTH to OPTIONS (``end_token`` is the whole register, bit 31 set: none). Inputs: levels ``running``, ``done``, ``faulted``, ``paused``,
    ``idle``; ``fault_cause``, ``fault_pc``; what the counters see (hw/host/counters.py).
    """
    fields = {field.port: field for register in REGISTERS.values() for field in register.fields}
    return {
        "start": Out(1), "resume": Out(1), "reset_sequencer": Out(1),
        **{name: Out(fields[name].bits) for name in PARAMETERS}, "end_token": Out(32),
        **event_members(config.lanes),
        **{name: In(fields[name].bits) for name in STATUS},
    }


def network_members(config: ChipletConfig) -> dict[str, wiring.Member]:
    """Return the ports towards the network, if there is one.

    Those of :func:`hw.network.chip_network.host_members`, seen from the other side, and the straps.
    """
    if config.network is None:
        return {}
    flipped = {name: member.flip() for name, member in host_members().items()}
    return flipped | strap_members()


class HostBridge(wiring.Component):
    """Everything between the host's two AXI ports and the chip.

    Ports: :func:`bus_members`, :func:`core_members`, :func:`network_members`, and
    :func:`hw.host.memory_access.memory_members`; a parent hands the first on with
    :func:`hw.host.access.forward`.

    The host may access every memory while ``idle`` is high, and ``tokens`` at any time. ``idle``
    falls at most SETTLE_CYCLES after ``start`` or ``resume``; these come only when no access is
    under way, and from the host's write on no other begins.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({**bus_members(), **core_members(config), **network_members(config),
                          **memory_members(config)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.axi_lite = lite = AxiLite()
        m.submodules.axi_window = window = AxiWindow(id_bits=ID_BITS)
        m.submodules.registers = registers = RegisterFile(self.config)
        m.submodules.memory_access = access = MemoryAccess(self.config)
        m.submodules.counters = counters = Counters(self.config.lanes)
        forward(m, self, lite, axi_lite_members(axi_lite.PREFIX, axi_lite.ADDRESS_BITS))
        forward(m, self, window,
                axi_members(axi_window.PREFIX, axi_window.ADDRESS_BITS, ID_BITS))
        forward(m, self, access, memory_members(self.config))
        events = event_members(self.config.lanes)
        running = events.pop("running")
        assert running.flow == In
        forward(m, self, counters, events)
        if self.config.network is None:
            for asks, answers in ((lite, registers), (window, access)):
                wiring.connect(m, asks.request, answers.request)
                wiring.connect(m, answers.response, asks.response)
        else:
            self._network(m, lite, window, registers, access)

        m.d.comb += [getattr(registers, name).eq(getattr(self, name)) for name in STATUS]
        m.d.comb += [
            getattr(self, name).eq(getattr(registers, name)) for name in PARAMETERS]
        m.d.comb += [
            self.end_token.eq(Cat(registers.end_token,
                                  Const(0, 31 - len(registers.end_token)),
                                  registers.end_token_none)),
            counters.running.eq(self.running & ~self.paused),
            counters.clear.eq(self.start),
            registers.token_count.eq(counters.token_count),
            registers.last_token.eq(counters.last_token),
        ]
        for name in COUNTERS:
            for half in ("lo", "hi"):
                m.d.comb += getattr(registers, f"{name}_{half}").eq(
                    getattr(counters, f"{name}_{half}"))
        self._control(m, registers, access)
        self._interrupts(m, registers)
        self._errors(m, registers)
        return m

    def _network(self, m: Module, lite: AxiLite, window: AxiWindow, registers: RegisterFile,
                 access: MemoryAccess) -> None:
        """Let the host reach other chips, and their hosts this one; keep what the doorbell said."""
        m.submodules.remote_access = remote = RemoteAccess()
        for name, asks in (("lite", lite), ("window", window)):
            wiring.connect(m, asks.request, getattr(remote, f"{name}_request"))
            wiring.connect(m, getattr(remote, f"{name}_response"), asks.response)
        for name, answers in (("registers", registers), ("memories", access)):
            wiring.connect(m, getattr(remote, f"{name}_request"), answers.request)
            wiring.connect(m, answers.response, getattr(remote, f"{name}_response"))
        wiring.connect(m, wiring.flipped(self.near_request), remote.near_request)
        wiring.connect(m, remote.near_response, wiring.flipped(self.near_response))
        wiring.connect(m, remote.far_request, wiring.flipped(self.far_request))
        wiring.connect(m, wiring.flipped(self.far_response), remote.far_response)
        m.d.comb += [
            remote.target_remote.eq(registers.target_remote),
            *(getattr(remote, f"target_{axis}").eq(getattr(registers, f"target_{axis}"))
              for axis in "xy"),
            *(getattr(remote, f"node_{axis}").eq(getattr(self, f"node_{axis}")) for axis in "xy"),
            *(getattr(self, name).eq(getattr(registers, name)) for name in CONTROLLED),
            *(getattr(registers, name).eq(getattr(self, name))
              for name in (*REPORTED, *strap_members())),
            registers.set_network_irq_link_down.eq(self.link_fell),
            registers.set_network_irq_error.eq(self.network_error),
            registers.set_network_irq_doorbell.eq(registers.doorbell_written),
        ]
        with m.If(registers.doorbell_written):
            m.d.sync += registers.doorbell_value.eq(registers.doorbell)

    def _control(self, m: Module, registers: RegisterFile, access: MemoryAccess) -> None:
        start_waits, resume_waits = Signal(), Signal()
        settle = Signal(SETTLE_CYCLES)
        m.d.comb += [
            self.start.eq(start_waits & ~access.exclusive),
            self.resume.eq(resume_waits & ~access.exclusive),
            self.reset_sequencer.eq(registers.reset_sequencer),
            access.busy.eq(~self.idle | start_waits | resume_waits | settle.any()),
        ]
        m.d.sync += settle.eq(Cat(self.start | self.resume, settle[:-1]))
        with m.If(registers.start & self.idle & ~self.running):
            m.d.sync += start_waits.eq(1)
        with m.If(registers.resume & self.paused):
            m.d.sync += resume_waits.eq(1)
        with m.If(self.start | registers.reset_sequencer):
            m.d.sync += start_waits.eq(0)
        with m.If(self.resume | registers.reset_sequencer):
            m.d.sync += resume_waits.eq(0)

    def _interrupts(self, m: Module, registers: RegisterFile) -> None:
        for interrupt, level in _INTERRUPTS.items():
            before = Signal(name=f"{level}_before")
            now = getattr(self, level)
            m.d.sync += before.eq(now)
            m.d.comb += getattr(registers, f"set_irq_{interrupt}").eq(now & ~before)
        m.d.comb += registers.set_irq_token.eq(self.token_valid)
        pending = Cat(
            getattr(registers, f"irq_{name}") & getattr(registers, f"irq_enable_{name}")
            for name in ("done", "fault", "token", "paused"))
        if self.config.network is not None:
            pending = Cat(pending, *(
                getattr(registers, f"network_irq_{name}")
                & getattr(registers, f"network_irq_enable_{name}")
                for name in ("link_down", "doorbell", "error")))
        m.d.sync += self.irq.eq(pending.any())

    def _errors(self, m: Module, registers: RegisterFile) -> None:
        count = Signal(16)
        decerr, write, in_window = (Signal(name=f"last_error_{name}")
                                    for name in ("decerr", "write", "window"))
        refused: list[Value] = []
        for prefix in (axi_lite.PREFIX, axi_window.PREFIX):
            for channel in "br":
                valid, ready, code = (getattr(self, f"{prefix}_{channel}{name}")
                                      for name in ("valid", "ready", "resp"))
                event = Signal(name=f"{prefix}_{channel}_refused")
                m.d.comb += event.eq(valid & ready & code[1])
                with m.If(event):
                    m.d.sync += [decerr.eq(code[0]), write.eq(channel == "b"),
                                 in_window.eq(prefix == axi_window.PREFIX)]
                refused.append(event)
        total = Signal(17)
        m.d.comb += total.eq(count + (refused[0] + refused[1]) + (refused[2] + refused[3]))
        m.d.sync += count.eq(Mux(total[16], 0xFFFF, total))
        with m.If(registers.clear_host_errors):
            m.d.sync += [count.eq(0), decerr.eq(0), write.eq(0), in_window.eq(0)]
        m.d.comb += [
            registers.host_error_count.eq(count), registers.host_error_decerr.eq(decerr),
            registers.host_error_write.eq(write), registers.host_error_window.eq(in_window),
        ]
