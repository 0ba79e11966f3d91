"""Who asks whom: this chip's host and those of others, for this chip's registers and memories."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.access import request_layout, response_layout
from hw.host.network_registers import NETWORK_REGISTERS
from hw.host.registers import OTHER_CHIP
from hw.host.request_arbiter import RequestArbiter
from hw.host.request_switch import RequestSwitch
from hw.network.config import COORDINATE_BITS
from hw.network.initiator import MEMORY_BITS, REGISTER_FLAG


class RemoteAccess(wiring.Component):
    """Sends the requests of the host's two AXI ports to this chip or to another one.

    Ports, each a request and a response (hw/host/access.py): ``lite_*``, ``window_*``: from the AXI
    ports; ``near_*``: from hosts of other chips, in one address space; ``registers_*``,
    ``memories_*``: this chip's; ``far_*``: to another chip (hw/network/initiator.py). ``target_x``,
    ``target_y``, ``target_remote``: TARGET_CHIP; ``node_x``, ``node_y``: this chip.

    Combinational. Of two that want the same port, each goes after one access of the other's.
    """

    def __init__(self) -> None:
        request, response = stream.Signature(request_layout()), stream.Signature(response_layout())
        members: dict[str, wiring.Member] = {}
        for name in ("lite", "window", "near"):
            members |= {f"{name}_request": In(request), f"{name}_response": Out(response)}
        for name in ("registers", "memories", "far"):
            members |= {f"{name}_request": Out(request), f"{name}_response": In(response)}
        super().__init__({
            **members, "target_remote": In(1),
            **{f"{of}_{axis}": In(COORDINATE_BITS) for of in ("target", "node") for axis in "xy"},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lite, window, near = (RequestSwitch() for _ in range(3))
        registers, memories, far = (RequestArbiter() for _ in range(3))
        for name, part in (("lite", lite), ("window", window), ("near", near)):
            m.submodules[f"{name}_switch"] = part
            wiring.connect(m, wiring.flipped(getattr(self, f"{name}_request")), part.request)
            wiring.connect(m, part.response, wiring.flipped(getattr(self, f"{name}_response")))
        for name, part in (("registers", registers), ("memories", memories), ("far", far)):
            m.submodules[f"{name}_arbiter"] = part
            wiring.connect(m, part.request, wiring.flipped(getattr(self, f"{name}_request")))
            wiring.connect(m, wiring.flipped(getattr(self, f"{name}_response")), part.response)
        remote = Signal()
        m.d.comb += remote.eq(self.target_remote & (
            (self.target_x != self.node_x) | (self.target_y != self.node_y)))
        for switch, i, arbiter, k in ((lite, 0, registers, 0), (lite, 1, far, 0),
                                      (window, 0, memories, 0), (window, 1, far, 1),
                                      (near, 0, registers, 1), (near, 1, memories, 1)):
            out, back = getattr(switch, f"request_{i}"), getattr(switch, f"response_{i}")
            into, gives = getattr(arbiter, f"request_{k}"), getattr(arbiter, f"response_{k}")
            address = out.payload.address
            if switch is lite and i == 0:
                # This chip is the other chip, too.
                address = Mux(remote, address, address & ~OTHER_CHIP)
            m.d.comb += [
                into.valid.eq(out.valid), out.ready.eq(into.ready), into.payload.eq(out.payload),
                into.payload.address.eq(address),
            ]
            wiring.connect(m, gives, back)
        asked = lite.request.payload
        rings = (asked.write & asked.strobe.all()
                 & (asked.address == NETWORK_REGISTERS["DOORBELL"].offset))
        assert REGISTER_FLAG == OTHER_CHIP
        m.d.comb += [
            lite.select.eq(remote & ((asked.address & OTHER_CHIP != 0) | rings)),
            # Below lie the other chip's registers, which belong to the other AXI port.
            window.select.eq(remote & window.request.payload.address[MEMORY_BITS:].any()),
            near.select.eq(near.request.payload.address[MEMORY_BITS:].any()),
        ]
        return m
