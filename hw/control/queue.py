"""Command queue of a unit: a FIFO in SRAM, and a head in registers that waits for its events."""

from collections.abc import Collection

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import matrix_command_layout
from hw.memory.sram import Sram

#: Width of a program counter (see ChipletConfig.program_words).
PC_BITS = 12
#: Commands that a unit holds at most, from its queue's head to their completions.
_IN_UNIT = 10


def wait_bits(config: ChipletConfig) -> int:
    """Return the bits that hold the number of commands outstanding at a unit."""
    return (config.queue_depth + 1 + _IN_UNIT).bit_length()


def wait_layout(config: ChipletConfig) -> data.StructLayout:
    """Return what a command waits for: so many more completions of each unit."""
    return data.StructLayout({"matrix": wait_bits(config), "vector": wait_bits(config)})


def in_flight_layout(command: data.StructLayout) -> data.StructLayout:
    """Return a command in a unit: with its place in the program."""
    return data.StructLayout({"command": command, "pc": PC_BITS})


def command_in_flight_layout() -> data.StructLayout:
    """Return a matrix command in the matrix unit."""
    return in_flight_layout(matrix_command_layout())


class CommandQueue(wiring.Component):
    """First-word-fall-through FIFO of ``queue_depth`` commands behind a head.

    Ports: ``push`` with ``entry`` and ``wait`` while not ``full``; ``matrix_done``,
    ``vector_done``: completions that the waits count; ``enable``: a head may start; ``head`` with
    ``head_valid``, and ``ready``: it has waited for all; ``pop`` while ``ready``; ``occupied``:
    commands are here. Of ``head``, the descriptors are the memory's output, to be registered by
    who pops; its other fields, ``head_valid`` and ``ready`` are registers.

    Latency: 2 cycles from the later of ``push`` and the previous ``pop`` to ``ready``, and from
    the last completion. Throughput: a command every 2 cycles, the least that the matrix unit needs
    for one where a vector of the drain has two beats or more.
    """

    #: From push to ready of a command that waits for nothing.
    LATENCY = 2
    #: From one pop to the next.
    SPACING = 2

    def __init__(self, command: data.StructLayout, config: ChipletConfig,
                 descriptors: Collection[str]) -> None:
        self.config, self.descriptors = config, descriptors
        layout = in_flight_layout(command)
        super().__init__({
            "push": In(1), "entry": In(layout), "wait": In(wait_layout(config)), "full": Out(1),
            "matrix_done": In(1), "vector_done": In(1), "enable": In(1),
            "occupied": Out(1), "head": Out(layout), "head_valid": Out(1), "ready": Out(1),
            "pop": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, bits = self.config.queue_depth, len(self.entry.as_value())
        words = 1 << (depth - 1).bit_length()
        m.submodules.memory = memory = Sram(words=words, bits=bits, granule_bits=bits, ports="1r1w")
        write_at, head_at = Signal(range(words)), Signal(range(words))
        count = Signal(range(depth + 2))
        pushed = Signal()
        # A command that finds nothing before it is read in the cycle after its push, the others
        # when the one before them is popped.
        alone = Signal()
        m.d.comb += [
            self.full.eq(count == depth + 1), self.occupied.eq(count != 0),
            alone.eq(pushed & (count == 1)),
            memory.write_address.eq(write_at), memory.write_data.eq(self.entry),
            memory.write_mask.eq(self.push),
            memory.read_address.eq(Mux(alone, head_at, head_at + 1)),
            memory.read_enable.eq(alone | (self.pop & (count > 1))),
        ]
        m.d.sync += [
            pushed.eq(self.push), count.eq(count + self.push - self.pop),
            self.head_valid.eq((count != 0) & ~self.pop),
        ]
        with m.If(self.push):
            m.d.sync += write_at.eq(write_at + 1)
        with m.If(self.pop):
            m.d.sync += head_at.eq(head_at + 1)
        self._head(m, alone, memory.read_data)
        clear = self._waits(m)
        m.d.sync += self.ready.eq((count != 0) & clear & self.enable & ~self.pop)
        return m

    def _head(self, m: Module, alone: Value, output: Value) -> None:
        """Form the head; what steers the unit passes the memory by, to come from a register."""
        stored = Signal(self.head.shape())
        m.d.comb += stored.eq(output)
        fields = [("pc",), *(("command", name) for name in stored.command.shape().members)]
        for path in fields:
            target, source, entry = (Value.cast(_field(view, path))
                                     for view in (self.head, stored, self.entry))
            if path[-1] in self.descriptors:
                m.d.comb += target.eq(source)
                continue
            before = Signal(len(target), name=f"pushed_{path[-1]}", reset_less=True)
            head = Signal(len(target), name=f"head_{path[-1]}", reset_less=True)
            m.d.sync += [before.eq(entry), head.eq(Mux(alone, before, source))]
            m.d.comb += target.eq(head)

    def _waits(self, m: Module) -> Value:
        """Count down what each command waits for; return whether the head waits for nothing."""
        places = self.config.queue_depth + 1
        first = Signal(places, init=1)  # one-hot: the head's place
        free = Signal(places, init=1)
        with m.If(self.pop):
            m.d.sync += first.eq(first.rotate_left(1))
        with m.If(self.push):
            m.d.sync += free.eq(free.rotate_left(1))
        heads = []
        for i in range(places):
            waits = Signal(wait_layout(self.config), name=f"waits_{i}", reset_less=True)
            for unit in ("matrix", "vector"):
                now = Signal(len(waits[unit]), name=f"now_{unit}_{i}")
                m.d.comb += now.eq(Mux(self.push & free[i], self.wait[unit], waits[unit]))
                m.d.sync += waits[unit].eq(now - (getattr(self, f"{unit}_done") & (now != 0)))
            heads.append(first[i] & (waits.as_value() == 0))
        return Cat(*heads).any()


def _field(view: data.View, path: tuple[str, ...]) -> Value:
    for name in path:
        view = view[name]
    return view
