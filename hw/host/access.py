"""The simple port behind both AXI interfaces: one request, then its response."""

from amaranth.hdl import Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

DATA_BITS = 32
DATA_BYTES = DATA_BITS // 8


class AccessError(enum.Enum, shape=2):
    """Outcome of an access; of several, the largest counts."""

    NONE = 0
    #: the address exists, the access is not allowed (AXI: SLVERR)
    REFUSED = 1
    #: no such address (AXI: DECERR)
    NO_ADDRESS = 2


def axi_response(error: Value) -> Value:
    """Return the two AXI response bits of an AccessError's bits: 0 OKAY, 2 SLVERR, 3 DECERR."""
    return ((error != 0) << 1 | error[1])[:2]


def request_layout() -> data.StructLayout:
    """Return the payload of a request. A read ignores data and strobe."""
    return data.StructLayout({"write": 1, "address": 32, "data": DATA_BITS, "strobe": DATA_BYTES})


def response_layout() -> data.StructLayout:
    """Return the payload of a response; data is that of a read, and 0 with an error."""
    return data.StructLayout({"data": DATA_BITS, "error": AccessError})


def forward(m: object, outer: wiring.Component, inner: wiring.Component,
            members: dict[str, wiring.Member]) -> None:
    """Connect ports of ``outer`` to those of the same names of ``inner``, inside ``outer``."""
    for name, member in members.items():
        near, far = getattr(outer, name), getattr(inner, name)
        target, source = (far, near) if member.flow == In else (near, far)
        m.d.comb += Value.cast(target).eq(Value.cast(source))  # type: ignore[attr-defined]


def axi_lite_members(prefix: str, address_bits: int) -> dict[str, wiring.Member]:
    """Return the ports of an AXI4-Lite subordinate, named ``<prefix>_awaddr`` and so on."""
    ports = {
        "awaddr": In(address_bits), "awvalid": In(1), "awready": Out(1),
        "wdata": In(DATA_BITS), "wstrb": In(DATA_BYTES), "wvalid": In(1), "wready": Out(1),
        "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
        "araddr": In(address_bits), "arvalid": In(1), "arready": Out(1),
        "rdata": Out(DATA_BITS), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
    }
    return {f"{prefix}_{name}": member for name, member in ports.items()}


def axi_members(prefix: str, address_bits: int, id_bits: int) -> dict[str, wiring.Member]:
    """Return the ports of an AXI4 subordinate, named ``<prefix>_awaddr`` and so on."""
    ports: dict[str, wiring.Member] = {}
    for channel in ("aw", "ar"):
        ports |= {
            f"{channel}id": In(id_bits), f"{channel}addr": In(address_bits),
            f"{channel}len": In(8), f"{channel}size": In(3), f"{channel}burst": In(2),
            f"{channel}valid": In(1), f"{channel}ready": Out(1),
        }
    ports |= {
        "wdata": In(DATA_BITS), "wstrb": In(DATA_BYTES), "wlast": In(1), "wvalid": In(1),
        "wready": Out(1),
        "bid": Out(id_bits), "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
        "rid": Out(id_bits), "rdata": Out(DATA_BITS), "rresp": Out(2), "rlast": Out(1),
        "rvalid": Out(1), "rready": In(1),
    }
    return {f"{prefix}_{name}": member for name, member in ports.items()}
