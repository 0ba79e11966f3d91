"""Addresses of a command's beats."""

from amaranth.hdl import Module, Mux, Signal
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
        address = Signal(ADDRESS_BITS, reset_less=True)
        m.d.comb += self.address.eq(address)
        # One adder: what follows the beat, the segment or the row.
        origin = Signal(ADDRESS_BITS)
        stride = Signal(BASE_BITS)
        following = Signal(ADDRESS_BITS)
        with m.If(~self.beat.last):
            m.d.comb += [origin.eq(address), stride.eq(1)]
        with m.Elif(~self.beat.row_end):
            m.d.comb += [origin.eq(segment), stride.eq(self.segment_stride)]
        with m.Else():
            m.d.comb += [origin.eq(row), stride.eq(self.row_stride)]
        m.d.comb += following.eq(Mux(self.start, self.base, origin + stride))
        with m.If(self.start | self.beat.valid):
            m.d.sync += address.eq(following)
        with m.If(self.start | (self.beat.valid & self.beat.last)):
            m.d.sync += segment.eq(following)
        with m.If(self.start | (self.beat.valid & self.beat.last & self.beat.row_end)):
            m.d.sync += row.eq(following)
        return m
