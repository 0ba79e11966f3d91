"""Command queue of a unit: a FIFO in SRAM whose head waits for its events."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.control.isa import EVENT_COUNT_BITS, matrix_command_layout
from hw.memory.sram import Sram

#: Width of a program counter (see ChipletConfig.program_words).
PC_BITS = 12


def wait_layout() -> data.StructLayout:
    """Return an event to wait for: completed when its count has reached ``count``; 0 is none."""
    return data.StructLayout({"event": 4, "count": EVENT_COUNT_BITS})


def waits_layout() -> data.StructLayout:
    """Return the events that a command waits for."""
    return data.StructLayout({"a": wait_layout(), "b": wait_layout()})


def in_flight_layout(command: data.StructLayout) -> data.StructLayout:
    """Return a command in a unit: with its place in the program and the event that it signals."""
    return data.StructLayout({"command": command, "pc": PC_BITS, "signal": 4})


def queued_layout(command: data.StructLayout) -> data.StructLayout:
    """Return a command in a queue: with the events that it waits for."""
    return data.StructLayout({"flight": in_flight_layout(command), "waits": waits_layout()})


def command_in_flight_layout() -> data.StructLayout:
    """Return a matrix command in the matrix unit."""
    return in_flight_layout(matrix_command_layout())


class CommandQueue(wiring.Component):
    """FIFO of ``depth`` commands behind the head.

    The commands lie in SRAM, and the head is its output: who takes it registers it. What the head
    waits for is kept in flip-flops, since the scoreboard looks at it in every cycle.

    Ports: ``push`` with ``entry`` while not ``full``; ``head`` and ``waits`` with ``head_valid``;
    ``pop``; ``waiting``: commands are behind the head.
    Latency: 2 cycles from ``push`` to ``head_valid``. Throughput: 1 per cycle.
    """

    LATENCY = 2

    def __init__(self, command: data.StructLayout, depth: int) -> None:
        self.depth = depth
        super().__init__({
            "push": In(1), "entry": In(queued_layout(command)), "full": Out(1),
            "waiting": Out(1), "head": Out(in_flight_layout(command)), "head_valid": Out(1),
            "waits": Out(waits_layout()), "pop": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.head.as_value())
        words = max(1 << (self.depth - 1).bit_length(), 2)
        m.submodules.memory = memory = Sram(words=words, bits=bits, granule_bits=bits,
                                            ports="1r1w")
        waits = Array(Signal(waits_layout(), name=f"waits_{i}", reset_less=True)
                      for i in range(words))
        head_waits = Signal(waits_layout(), reset_less=True)
        write_at, read_at = Signal(range(words)), Signal(range(words))
        stored = Signal(range(self.depth + 1))
        push, fetch = Signal(), Signal()
        m.d.comb += [
            self.full.eq(stored == self.depth), self.waiting.eq(stored != 0),
            push.eq(self.push & ~self.full),
            memory.write_address.eq(write_at), memory.write_data.eq(self.entry.flight),
            memory.write_mask.eq(push),
            fetch.eq((stored != 0) & (self.pop | ~self.head_valid)),
            memory.read_address.eq(read_at), memory.read_enable.eq(fetch),
            self.head.eq(memory.read_data), self.waits.eq(head_waits),
        ]
        m.d.sync += stored.eq(stored + push - fetch)
        with m.If(push):
            m.d.sync += [write_at.eq(write_at + 1), waits[write_at].eq(self.entry.waits)]
        with m.If(fetch):
            m.d.sync += [read_at.eq(read_at + 1), head_waits.eq(waits[read_at]),
                         self.head_valid.eq(1)]
        with m.Elif(self.pop):
            m.d.sync += self.head_valid.eq(0)
        return m
