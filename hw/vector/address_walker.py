"""Addresses of a command's beats."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vector.beat_issuer import BEAT_BITS, ROW_BITS, SEGMENT_BITS, beat_layout

BASE_BITS = 16
#: Holds base + 126 row strides + 126 segment strides + 4094, so that no address wraps round.
ADDRESS_BITS = BASE_BITS + 8
assert (1 + (1 << ROW_BITS) - 2 + (1 << SEGMENT_BITS) - 2) * ((1 << BASE_BITS) - 1) + (
    1 << BEAT_BITS) < 1 << ADDRESS_BITS


class AddressWalker(wiring.Component):
    """base + row * row_stride + segment * segment_stride + beat, for beats in order.

    Ports:
        ``start``: begin at ``base``. ``row_stride``, ``segment_stride``: held.
        ``beat``: a beat that uses ``address`` in this cycle.
        ``address``: of that beat; the next beat's one cycle later.
    """

    start: In(1)
    base: In(BASE_BITS)
    row_stride: In(BASE_BITS)
    segment_stride: In(BASE_BITS)
    beat: In(beat_layout())
    address: Out(ADDRESS_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row = Signal(ADDRESS_BITS, reset_less=True)
        segment = Signal(ADDRESS_BITS, reset_less=True)
        next_row = row + self.row_stride
        next_segment = segment + self.segment_stride
        with m.If(self.start):
            m.d.sync += [row.eq(self.base), segment.eq(self.base), self.address.eq(self.base)]
        with m.Elif(self.beat.valid):
            with m.If(~self.beat.last):
                m.d.sync += self.address.eq(self.address + 1)
            with m.Elif(~self.beat.row_end):
                m.d.sync += [segment.eq(next_segment), self.address.eq(next_segment)]
            with m.Else():
                m.d.sync += [row.eq(next_row), segment.eq(next_row), self.address.eq(next_row)]
        return m
