"""Registers that a chip with a network has in addition."""

import dataclasses
from collections.abc import Iterator

from hw.collective.packet import EPOCH_BITS
from hw.collective.transport import CYCLES
from hw.collective.transport import ERROR_BITS as COLLECTIVE_ERROR_BITS
from hw.collective.transport import ERRORS as COLLECTIVE_ERRORS
from hw.control.isa import Ring
from hw.host.register import Access, Field, Register, flags, whole
from hw.link import link
from hw.link.training import LinkCause, LinkState
from hw.network.config import COORDINATE_BITS
from hw.network.initiator import TIMEOUT_BITS
from hw.network.interface import ERROR_BITS, ERRORS
from hw.network.link_control import DOWNS_BITS
from hw.router.port import LINKS, PORTS

_RO, _RW = Access.READ_ONLY, Access.READ_WRITE
#: Names of the links and of the router's ports.
LINK_NAMES = tuple(port.name.lower() for port in LINKS)
PORT_NAMES = tuple(port.name.lower() for port in PORTS)
#: Offsets of the router's and of the links' registers, and from one link to the next.
ROUTER_OFFSET, LINKS_OFFSET, LINK_STRIDE = 0x280, 0x300, 0x20


def _place(name: str, low: int, description: str, port: str) -> Field:
    return Field(name=name, low=low, bits=COORDINATE_BITS, description=description, port=port)


def _bit(name: str, low: int, description: str, port: str, reset: int = 0) -> Field:
    return Field(name=name, low=low, bits=1, description=description, port=port, reset=reset)


def _errors(offset: int) -> Iterator[Register]:
    assert ERROR_BITS == COLLECTIVE_ERROR_BITS
    for i, (name, description) in enumerate((ERRORS | COLLECTIVE_ERRORS).items()):
        yield whole(name.upper(), offset + 4 * i, _RO, f"{description}; modulo 2^{ERROR_BITS}",
                    bits=ERROR_BITS)


_RINGS = {
    Ring.ROW: "of the chips of a row, or of those that share a stage's tensors",
    Ring.COLUMN: "of the chips of a column", Ring.TORUS: "of all chips",
    Ring.PIPE: "from stage to stage",
}


def _collective(offset: int) -> Iterator[Register]:
    yield whole("COLLECTIVE_EPOCH", offset, _RW, "number of the run, the same on all chips that share "
                "it: a new one, after RESET_SEQUENCER and before START on all of them, forgets what is "
                "under way", bits=EPOCH_BITS)
    for ring, text in _RINGS.items():
        name = f"ring_{ring.name.lower()}"
        yield Register(name=name.upper(), offset=offset + 4 + 4 * ring.value, access=_RW,
                       description=f"the next chip of the ring {text}", fields=(
                           _place("X", 0, "its column", f"{name}_x"),
                           _place("Y", 8, "its row", f"{name}_y")))
    for i, (name, text) in enumerate(CYCLES.items()):
        register = whole(name.upper(), offset + 0x14 + 4 * i, _RO,
                         f"cycles in which the collective engine {text}; it goes on from run to run")
        yield dataclasses.replace(register, fields=(
            dataclasses.replace(register.fields[0], port=f"count_{name}"),))


def _router() -> Iterator[Register]:
    for i, port in enumerate(PORT_NAMES):
        offset = ROUTER_OFFSET + 8 * i
        yield whole(f"FLITS_OUT_{port.upper()}", offset, _RO, f"flits that left through {port}")
        yield whole(f"CYCLES_BLOCKED_{port.upper()}", offset + 4, _RO,
                    f"cycles in which a flit waited for {port} and none went")


def _links() -> Iterator[Register]:
    for i, name in enumerate(LINK_NAMES):
        offset, upper = LINKS_OFFSET + LINK_STRIDE * i, name.upper()
        yield Register(
            name=f"LINK_{upper}", offset=offset, access=_RO, description=f"the link {name}", fields=(
                Field(name="STATE", low=0, bits=LinkState.as_shape().width, port=f"link_{name}_state",
                      description=", ".join(f"{s.value} {s.name}" for s in LinkState)),
                Field(name="CAUSE", low=4, bits=LinkCause.as_shape().width, port=f"link_{name}_cause",
                      description="why it went down last: "
                      + ", ".join(f"{c.value} {c.name}" for c in LinkCause)),
                Field(name="DOWNS", low=8, bits=DOWNS_BITS, port=f"link_{name}_downs",
                      description=f"times that it went down, modulo 2^{DOWNS_BITS}")))
        for k, (counter, description) in enumerate(link.COUNTERS.items(), start=1):
            yield Register(
                name=f"LINK_{upper}_{counter.upper()}", offset=offset + 4 * k, access=_RO,
                description=description, fields=(Field(
                    name="VALUE", low=0, bits=link.COUNTER_BITS, description="",
                    port=f"link_{name}_{counter}"),))


#: By name, in the order of the addresses.
NETWORK_REGISTERS: dict[str, Register] = {register.name: register for register in (
    Register(name="TARGET_CHIP", offset=0x200, access=_RW,
             description="whose registers and memories the host reaches", fields=(
                 _place("X", 0, "its column", "target_x"), _place("Y", 8, "its row", "target_y"),
                 _bit("REMOTE", 31, "0: this chip, whatever X and Y are", "target_remote"))),
    Register(name="NETWORK_ID", offset=0x204, access=_RO,
             description="the straps: place and size of the network", fields=(
                 _place("NODE_X", 0, "this chip's column", "node_x"),
                 _place("NODE_Y", 4, "this chip's row", "node_y"),
                 _place("LAST_X", 8, "columns, less 1", "last_x"),
                 _place("LAST_Y", 12, "rows, less 1", "last_y"),
                 _bit("WRAP_X", 16, "rows are rings", "wrap_x"),
                 _bit("WRAP_Y", 17, "columns are rings", "wrap_y"))),
    whole("DOORBELL", 0x208, Access.COMMAND, "rings at TARGET_CHIP: the value comes into its "
          "DOORBELL_VALUE; an error of the network answers the write"),
    whole("DOORBELL_VALUE", 0x20C, _RO, "value of the last ring"),
    flags("NETWORK_CONTROL", 0x210, Access.PULSE, "actions",
          **{f"retrain_{name}": f"train the link {name} anew" for name in LINK_NAMES},
          clear_undeliverable="clear UNDELIVERABLE"),
    flags("NETWORK_IRQ_ENABLE", 0x214, _RW, "which bits of NETWORK_IRQ_STATUS raise the interrupt",
          prefix="network_irq_enable_", link_down="of LINK_DOWN", doorbell="of DOORBELL",
          error="of ERROR"),
    flags("NETWORK_IRQ_STATUS", 0x218, Access.WRITE_ONE_CLEARS, "pending interrupts of the network",
          prefix="network_irq_", link_down="a link went down", doorbell="the doorbell rang",
          error="a counter from REQUESTS_REFUSED to COLLECTIVE_STALE went up, or UNDELIVERABLE "
                "was set"),
    whole("REPLY_TIMEOUT", 0x21C, _RW, "cycles after which an access to another chip ends with "
          "SLVERR", bits=TIMEOUT_BITS, reset=1 << 16),
    Register(name="NETWORK_OPTIONS", offset=0x220, access=_RW, description="how to work", fields=(
        _bit("AUTO_RETRAIN", 0, "train a link that went down by itself", "auto_retrain", reset=1),)),
    Register(name="UNDELIVERABLE", offset=0x224, access=_RO,
             description="a packet whose way is not there", fields=(
                 _place("X", 0, "destination of the first", "undeliverable_x"),
                 _place("Y", 8, "destination of the first", "undeliverable_y"),
                 _bit("SET", 31, "one came since NETWORK_CONTROL.CLEAR_UNDELIVERABLE",
                      "undeliverable"))),
    whole("FLITS_DISCARDED", 0x228, _RO, "flits that a failed link left over"),
    *_errors(0x230),
    *_collective(0x250),
    *_router(),
    *_links(),
)}


def _fields(*accesses: Access) -> dict[str, int]:
    """Return ports and widths of the fields that the network itself gives or takes."""
    return {field.port: field.bits for register in NETWORK_REGISTERS.values()
            if register.access in accesses for field in register.fields
            if field.port not in ("doorbell_value", "target_remote")
            and register.name not in ("NETWORK_IRQ_ENABLE", "NETWORK_ID")}


#: What the network reports, and what it is told: names of ports, and their widths.
REPORTED = _fields(_RO)
CONTROLLED = _fields(_RW, Access.PULSE)
