"""Bench top: a memory of every shape that a chiplet has, and of some odd ones."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.config import CONFIGS
from hw.memory.shapes import bank_shape, memory_shapes
from hw.memory.sram import Sram, SramShape

_ODD = (
    SramShape(words=12, bits=16, granule_bits=4, ports="1rw"),
    SramShape(words=12, bits=16, granule_bits=4, ports="1r1w"),
    SramShape(words=4, bits=348, granule_bits=348, ports="1r1w"),  # a command queue
    SramShape(words=600, bits=45, granule_bits=15, ports="1rw"),
    SramShape(words=1300, bits=45, granule_bits=9, ports="1r1w"),
)
#: Every shape; and some that together meet every case of an adapter, for quick builds.
SHAPES = {"all": tuple(sorted({*_ODD, *(
    shape for name in ("tiny", "base")
    for shape in (*memory_shapes(CONFIGS[name]).values(), bank_shape(CONFIGS[name])))})),
    "some": (*_ODD, SramShape(words=512, bits=64, granule_bits=8, ports="1rw"),
             SramShape(words=1024, bits=32, granule_bits=32, ports="1r1w"))}


class SramBench(wiring.Component):
    """One memory of each of ``SHAPES[which]``, called by its number; ports ``mN_PORT``."""

    def __init__(self, which: str) -> None:
        self.memories = [Sram.of(shape) for shape in SHAPES[which]]
        super().__init__({
            f"m{number}_{name}": member for number, memory in enumerate(self.memories)
            for name, member in memory.signature.members.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for number, memory in enumerate(self.memories):
            m.submodules[f"memory_{number}"] = memory
            for name, member in memory.signature.members.items():
                own, port = getattr(self, f"m{number}_{name}"), getattr(memory, name)
                if member.flow == In:
                    m.d.comb += port.eq(own)
                else:
                    m.d.comb += own.eq(port)
        return m
