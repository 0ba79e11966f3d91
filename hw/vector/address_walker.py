"""Addresses of a command's beats."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vector.beat_issuer import beat_layout


def narrow(value: Value, bits: int) -> Value:
    """Keep ``bits`` bits of a value, and one above them: the value is 2**bits or more.

    What is compared with the size of a memory needs no more, and no address wraps round.
    """
    return Cat(value[:bits], value[bits:].any())


def advance(address: Value, step: Value) -> Value:
    """Add to a narrowed address; it stays beyond 2**bits once it is."""
    bits = len(address) - 1
    total = address[:bits] + step[:bits]
    return Cat(total[:bits], total[bits:].any() | address[bits] | step[bits:].any())


class AddressWalker(wiring.Component):
    """base + row * row_stride + segment * segment_stride + beat, for beats in order.

    Ports, all of them addresses narrowed to ``bits``:
        ``start``: begin at ``base``. ``row_stride``, ``segment_stride``: held.
        ``beat``: a beat that uses ``address`` in this cycle.
        ``address``: of that beat; the next beat's one cycle later.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__({
            "start": In(1), "base": In(bits + 1), "row_stride": In(bits + 1),
            "segment_stride": In(bits + 1), "beat": In(beat_layout()), "address": Out(bits + 1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row = Signal(self.bits + 1, reset_less=True)
        segment = Signal(self.bits + 1, reset_less=True)
        address = Signal(self.bits + 1, reset_less=True)
        m.d.comb += self.address.eq(address)
        # One adder: what follows the beat, the segment or the row.
        origin = Signal(self.bits + 1)
        stride = Signal(self.bits + 1)
        following = Signal(self.bits + 1)
        with m.If(~self.beat.last):
            m.d.comb += [origin.eq(address), stride.eq(1)]
        with m.Elif(~self.beat.row_end):
            m.d.comb += [origin.eq(segment), stride.eq(self.segment_stride)]
        with m.Else():
            m.d.comb += [origin.eq(row), stride.eq(self.row_stride)]
        m.d.comb += following.eq(Mux(self.start, self.base, advance(origin, stride)))
        with m.If(self.start | self.beat.valid):
            m.d.sync += address.eq(following)
        with m.If(self.start | (self.beat.valid & self.beat.last)):
            m.d.sync += segment.eq(following)
        with m.If(self.start | (self.beat.valid & self.beat.last & self.beat.row_end)):
            m.d.sync += row.eq(following)
        return m
