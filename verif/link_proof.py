"""Proof that the link's protocol loses nothing, whatever the wires do.

The hardware's own Transmitter, Receiver and CreditReturn stand around wires of some delay, on which
any word of either direction may be found bad at any time, or the one before it comes again in its place,
and words may come at any pace. What is
proved, for runs of any length, is that no state can be reached in which ``bad`` is 1:

- "order": a flit arrives that is not the next one. Of the flits one, at any place, is marked: its
  data are 1, those before it 0, those behind it 2; they must arrive as 0...0 1 2...2. If any flit
  could be lost, come twice or overtake another, it could with the mark at its place. Here flits are
  sent without regard to credits, so that more can happen than does.
- "room": a flit arrives at a full queue. Here flits arrive at any time after their transfer, each
  once, as "order" allows, and acknowledgements are arbitrary.
- "acknowledge": a flit is acknowledged that was not sent.
- "memory": the replay buffer reads a flit while it is written.

Data do not steer the protocol, so that three values are enough. The sizes are small: the checksum is
taken to find every error, there is one channel, and the link stays up. Yosys turns the components
into an and-inverter graph, and ABC's `pdr` finds an inductive invariant, or a run to ``bad``.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flows import yosys
from hw.emit import emit
from hw.link.credit_return import CreditReturn
from hw.link.receiver import Receiver
from hw.link.transmitter import Transmitter
from hw.link.wire import message_layout, status_layout
from hw.network.config import NetworkConfig
from hw.network.flit import ROOM_FLITS

#: Debian's package and program; the ABC of the Yosys wheel reads no and-inverter graphs.
PROVER = "berkeley-abc"


#: Errors that the proof must find, and with which property.
PLANTED = {
    "window": "order",  # as many flits on their way as there are numbers
    "sequence": "order",  # the highest bit of the number is not compared
    "credit": "room",  # a credit goes back when a flit arrives, not when it leaves
    "room": "room",  # one more flit than there is room for
}


@dataclass(frozen=True, kw_only=True)
class ProofConfig(NetworkConfig):
    """A link too small for a chip: two bits of data, and any sizes."""

    delay: int = 1
    #: Words come at any pace, not in each cycle.
    paced: bool = False
    #: The word before may come again in the place of any.
    repeats: bool = True
    #: What is proved: "order", "room", "acknowledge" or "memory".
    proved: str = "order"
    #: An error planted into the hardware, one of PLANTED; "": none.
    planted: str = ""

    def __post_init__(self) -> None:
        """Accept any sizes."""

    @property
    def flit_bits(self) -> int:
        """Values 0, 1 and 2."""
        return 2


class LinkProof(wiring.Component):
    """One direction of a link with arbitrary errors.

    Ports: ``grant``: a flit may be offered, if there is room; ``offer``: one is there; ``mark``: it is the marked one; ``slot``: a word is made, of
    each direction; ``lost``: the word that arrives is bad, of each direction; ``repeated``: it is the one before it;
    ``free``: a flit
    leaves the queue; ``other``: what "room" leaves open. All are arbitrary. ``bad``: something is
    wrong.
    """

    grant: In(1)
    offer: In(1)
    mark: In(1)
    slot: In(2)
    lost: In(2)
    repeated: In(2)
    free: In(1)
    other: In(6)
    bad: Out(1)

    def __init__(self, config: ProofConfig) -> None:
        self.config = config
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.transmitter = transmitter = Transmitter(config, channels=1)
        m.submodules.receiver = receiver = Receiver(config)
        m.submodules.credit_return = credit_return = CreditReturn(config, channels=1)
        planted = config.planted
        if planted == "window":
            transmitter.window += 1
        if planted == "room":
            transmitter.places += 1
        slots = self.slot if config.paced else Const(3, 2)

        # A word stays on its way for ``delay`` cycles behind the one that makes it; instead of it
        # the one before it may come again.
        def wires(values: Value, slot: Value, lost: Value, repeated: Value,
                  name: str) -> tuple[Value, Value]:
            valid = Signal(name=f"{name}_made")
            m.d.sync += valid.eq(slot)
            for i in range(config.delay):
                stage = Signal(len(values), name=f"{name}_{i}")
                stage_valid = Signal(name=f"{name}_valid_{i}")
                m.d.sync += [stage.eq(values), stage_valid.eq(valid)]
                values, valid = stage, stage_valid
            before, arriving = (Signal(len(values), name=f"{name}_{part}")
                                for part in ("before", "arriving"))
            m.d.comb += arriving.eq(Mux(repeated, before, values))
            was_valid, is_valid = (Signal(name=f"{name}_{part}") for part in ("was", "is"))
            m.d.comb += is_valid.eq(Mux(repeated, was_valid, valid))
            if config.repeats:
                m.d.sync += [before.eq(arriving), was_valid.eq(is_valid)]
                return arriving, is_valid & ~lost
            return values, valid & ~lost

        sent = transmitter.message
        word, word_good = wires(Value.cast(sent), slots[0], self.lost[0], self.repeated[0], "forward")
        message = Signal(message_layout(config))
        status, told = Signal(status_layout(config)), Signal(status_layout(config))
        m.d.comb += [
            status.acknowledge.eq(receiver.acknowledge), status.negative.eq(receiver.negative),
            status.echo.eq(receiver.echo), status.credit_count.eq(credit_return.count),
        ]
        with m.If(slots[1]):
            m.d.sync += told.eq(status)
        back, back_good = wires(Value.cast(told), slots[1], self.lost[1], self.repeated[1],
                                "backward")

        # What was granted while there was room may be offered at any time.
        granted, grants = Signal(range(ROOM_FLITS + 1)), Signal()
        m.d.comb += grants.eq(self.grant & transmitter.out_room[0] & (granted < ROOM_FLITS))
        held = Signal(range(config.queue_flits + 1))
        freed = Signal()
        transfer, arrives = Signal(), Signal()
        peer = Signal(status_layout(config))
        m.d.comb += [Value.cast(peer).eq(back), arrives.eq(receiver.in_valid)]
        if config.proved == "room":
            # Flits arrive at any time after their transfer, and anything may be acknowledged.
            travelling = Signal(range(2 * config.queue_flits))
            m.d.sync += travelling.eq(travelling + transfer - arrives)
            m.d.comb += [
                arrives.eq(self.other[0] & (travelling != 0)), peer.negative.eq(self.other[1]),
                peer.echo.eq(self.other[2]), peer.acknowledge.eq(self.other[3:]),
            ]
        marked = Signal()  # the marked flit was sent
        m.d.comb += [
            transmitter.up.eq(1), receiver.up.eq(1), credit_return.up.eq(1),
            transmitter.slot.eq(slots[0]), credit_return.take.eq(slots[1]),
            Value.cast(message).eq(word), receiver.message.eq(message), receiver.good.eq(word_good),
            transmitter.peer_valid.eq(back_good), transmitter.peer.eq(peer),
            # Nothing but the room in the queue depends on credits: without them, more can happen.
            transmitter.out_valid.eq(
                self.offer & ((granted != 0) | (config.proved != "room"))),
            transfer.eq(transmitter.out_valid & transmitter.out_ready),
            transmitter.out_flit.data.eq(Mux(marked, 2, self.mark)),
            freed.eq(self.free & (held != 0)),
            credit_return.freed.eq(arrives if planted == "credit" else freed),
        ]
        if planted == "sequence":
            m.d.comb += receiver.message.sequence[-1].eq(receiver.acknowledge[-1])
        with m.If(transfer & self.mark):
            m.d.sync += marked.eq(1)

        seen = Signal()  # the marked flit has arrived
        data = receiver.in_flit.data
        buffer, collision = transmitter.buffer, Signal()
        m.d.comb += collision.eq(buffer.read_enable & buffer.write_mask
                                 & (buffer.read_address == buffer.write_address))
        m.d.comb += self.bad.eq({
            "order": arrives & (data != Mux(seen, 2, data[0])),
            "room": arrives & (held == config.queue_flits),
            "acknowledge": transmitter.bad_acknowledge,
            "memory": collision,
        }[config.proved])
        m.d.sync += [held.eq(held + arrives - freed), granted.eq(granted + grants - transfer)]
        with m.If(arrives & (data == 1)):
            m.d.sync += seen.eq(1)
        return m


_SCRIPT = """\
read_verilog -sv logic.v
hierarchy -check -top proof
proc -norom
flatten
opt -full
memory -nomap; memory_map
opt -full
async2sync
dffunmap
opt -full
techmap; opt -full
abc -g AND; opt_clean -purge
zinit -all
dffunmap
aigmap
opt_clean -purge
stat
write_aiger -zinit proof.aig
"""
_WRAPPER = """
module proof(input clk, input grant, input offer, input mark, input [1:0] slot, input [1:0] lost, input [1:0] repeated,
             input free,
             input [5:0] other, output bad);
  link_proof all(.rst(1'b0), .*);
endmodule
"""


def write_graph(config: ProofConfig, place: Path) -> Path:
    """Write the and-inverter graph of a configuration to the directory ``place``."""
    emitted = emit(LinkProof(config), "link_proof")
    place.mkdir(parents=True, exist_ok=True)
    (place / "logic.v").write_text(emitted.sram_models + emitted.logic + _WRAPPER)
    yosys.run(place, _SCRIPT)
    return place / "proof.aig"


def prove(graph: Path, seconds: int = 280) -> tuple[bool | None, str]:
    """Return whether ``bad`` stays 0 for ever (None: not decided in time), and what ABC said."""
    program = shutil.which(PROVER)
    assert program is not None
    commands = f"read_aiger {graph.name}; fold; strash; scorr; pdr -T {seconds}; print_status"
    said = subprocess.run([program, "-c", commands], cwd=graph.parent, capture_output=True,
                          text=True, check=True).stdout
    verdict = re.search(r"Status = (-?\d+)", said)
    # 1 means unsatisfiable: no run reaches ``bad``.
    return {"1": True, "0": False}.get(verdict[1] if verdict else ""), said
