"""Bench top: a 1RW and a 1R1W memory."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.memory.sram import Sram


class SramBench(wiring.Component):
    """Memory ``one`` (1RW) and memory ``two`` (1R1W), 12 words of 16 bits in granules of 4."""

    def __init__(self) -> None:
        super().__init__({
            f"{name}_{port}": In(bits) for name in ("one", "two")
            for port, bits in (("address", 4), ("read_address", 4), ("enable", 1),
                               ("write_mask", 4), ("write_data", 16))
        } | {f"{name}_read_data": Out(16) for name in ("one", "two")})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.one = one = Sram(words=12, bits=16, granule_bits=4, ports="1rw")
        m.submodules.two = two = Sram(words=12, bits=16, granule_bits=4, ports="1r1w")
        m.d.comb += [
            one.address.eq(self.one_address), one.enable.eq(self.one_enable),
            one.write_mask.eq(self.one_write_mask), one.write_data.eq(self.one_write_data),
            self.one_read_data.eq(one.read_data),
            two.write_address.eq(self.two_address), two.read_address.eq(self.two_read_address),
            two.read_enable.eq(self.two_enable), two.write_mask.eq(self.two_write_mask),
            two.write_data.eq(self.two_write_data), self.two_read_data.eq(two.read_data),
        ]
        return m
