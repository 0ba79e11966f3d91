"""Bench top: the vector unit's arithmetic blocks side by side, each with ports of its own."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vector.exponential_lane import ExponentialLane
from hw.vector.quantize_lane import QuantizeLane
from hw.vector.reciprocal_root import ReciprocalRoot
from hw.vector.transform_pair import TransformPair
from hw.vector.vector_scale import VectorScale

BLOCKS = {"scale": VectorScale, "quantize": QuantizeLane, "root": ReciprocalRoot,
          "exponential": ExponentialLane, "pair": TransformPair}


class VectorBlocksBench(wiring.Component):
    """Ports: those of each block, prefixed by its name in ``BLOCKS``."""

    def __init__(self) -> None:
        self.blocks = {name: block() for name, block in BLOCKS.items()}
        super().__init__({
            f"{name}_{path[0]}": (In if member.flow == In else Out)(member.shape)
            for name, block in self.blocks.items()
            for path, member, _ in block.signature.flatten(block)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Some blocks have no state of their own that is reset.
        alive = Signal()
        m.d.sync += alive.eq(1)
        for name, block in self.blocks.items():
            m.submodules[name] = block
            for path, member, value in block.signature.flatten(block):
                port = getattr(self, f"{name}_{path[0]}")
                m.d.comb += value.eq(port) if member.flow == In else port.eq(value)
        return m
