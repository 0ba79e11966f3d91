"""AXI4 subordinate in front of a request port: each beat of a burst becomes one request."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.access import (
    DATA_BYTES,
    AccessError,
    axi_members,
    axi_response,
    request_layout,
    response_layout,
)

PREFIX = "s_axi"
ADDRESS_BITS = 32
#: A burst stays within 4 KiB: only these bits of the address count up.
_PAGE_BITS = 12


class Burst(enum.Enum, shape=2):
    """AXI burst types."""

    FIXED = 0
    INCR = 1
    WRAP = 2
    RESERVED = 3


class _Address:
    """Registers of one address channel, and the walk through its burst."""

    def __init__(self, m: Module, window: "AxiWindow", channel: str) -> None:
        self.m, self.name = m, channel
        id_bits = window.id_bits
        port = {name: getattr(window, f"{PREFIX}_{channel}{name}")
                for name in ("id", "addr", "len", "size", "burst", "valid", "ready")}
        self.port = port
        self.id = Signal(id_bits, name=f"{channel}_id", reset_less=True)
        self.address = Signal(ADDRESS_BITS, name=f"{channel}_address", reset_less=True)
        #: Beats after this one.
        self.left = Signal(8, name=f"{channel}_left", reset_less=True)
        self.size = Signal(3, name=f"{channel}_size", reset_less=True)
        self.burst = Signal(Burst, name=f"{channel}_burst", reset_less=True)
        self.legal = Signal(name=f"{channel}_legal", reset_less=True)
        #: Address bits that change in the burst.
        self.walk = Signal(_PAGE_BITS, name=f"{channel}_walk", reset_less=True)

    def take(self) -> Value:
        """Accept an address; return whether one came."""
        self.m.d.comb += self.port["ready"].eq(1)
        with self.m.If(self.port["valid"]):
            self.m.d.sync += [
                self.id.eq(self.port["id"]), self.address.eq(self.port["addr"]),
                self.left.eq(self.port["len"]), self.size.eq(self.port["size"]),
                self.burst.eq(self.port["burst"]),
            ]
        return self.port["valid"]

    def check(self) -> Value:
        """Find out whether the burst is legal, and which address bits it changes."""
        m, name = self.m, self.name
        unaligned = Signal(2, name=f"{name}_unaligned")  # address bits below the size
        extent = Signal(13, name=f"{name}_extent")  # bytes from the first beat to the last beat
        end = Signal(14, name=f"{name}_end")
        legal = Signal(name=f"{name}_legal_now")
        m.d.comb += [
            unaligned.eq(self.address[:2] & self._below_size()),
            extent.eq(self.left << self.size[:2]),
            end.eq(Cat(self.address[:2] & ~self._below_size(), self.address[2:_PAGE_BITS])
                   + extent),
        ]
        with m.Switch(self.burst):
            with m.Case(Burst.FIXED):
                m.d.comb += legal.eq(1)
                m.d.sync += self.walk.eq(0)
            with m.Case(Burst.INCR):
                m.d.comb += legal.eq(end < 1 << _PAGE_BITS)
                m.d.sync += self.walk.eq((1 << _PAGE_BITS) - 1)
            with m.Case(Burst.WRAP):
                length = self.left.matches(1, 3, 7, 15)
                m.d.comb += legal.eq(length & (unaligned == 0))
                m.d.sync += self.walk.eq(extent | self._below_size())
        large = self.size > 2
        m.d.sync += self.legal.eq(legal & ~large)
        return legal & ~large

    def advance(self) -> None:
        """Go on to the next beat."""
        aligned = Cat(self.address[:2] & ~self._below_size(), self.address[2:_PAGE_BITS])
        following = aligned + (self._below_size() + 1)
        low = self.address[:_PAGE_BITS]
        self.m.d.sync += [
            low.eq((low & ~self.walk) | (following & self.walk)),
            self.left.eq(self.left - 1),
        ]

    def lanes(self) -> Value:
        """Return the byte lanes that belong to the beat."""
        first = self.address[:2]
        last = first | self._below_size()
        return Cat((first <= lane) & (lane <= last) for lane in range(DATA_BYTES))

    def _below_size(self) -> Value:
        """Return the mask of address bits within one beat's size."""
        return Cat(self.size[:2] != 0, self.size[1])


class AxiWindow(wiring.Component):
    """Turns AXI4 bursts into requests, one per beat.

    Ports: ``s_axi_*`` (hw/host/access.py); ``request``, ``response``.

    Bursts FIXED, INCR (up to 256 beats) and WRAP, sizes of 1, 2 and 4 bytes, an unaligned first
    beat. A reserved type, a larger size, an INCR beyond 4 KiB and a WRAP of other than 2, 4, 8 or
    16 beats or off its alignment are refused as a whole: all its beats pass, none becomes a
    request, and SLVERR answers. WLAST that does not agree with the length ends the burst with
    SLVERR. Strobes outside of a beat's lanes are ignored. B is the worst error of the burst; R
    carries the error of each beat.

    Throughput: before MemoryAccess a write beat every 4 and a read beat every 7 cycles. Reads and
    writes are independent and take turns at the port beat by beat: neither a slow W nor a slow R
    stops the other. Backpressure: no path from an input to an output.
    """

    request: stream.Interface
    response: stream.Interface

    def __init__(self, *, id_bits: int = 4) -> None:
        self.id_bits = id_bits
        super().__init__({
            **axi_members(PREFIX, ADDRESS_BITS, id_bits),
            "request": Out(stream.Signature(request_layout())),
            "response": In(stream.Signature(response_layout())),
        })

    def _port(self, name: str) -> Signal:
        return getattr(self, f"{PREFIX}_{name}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The port: a request is being sent, or its response awaited; for whom.
        sending, awaiting, for_write = Signal(), Signal(), Signal()
        write_waits, read_waits = Signal(), Signal()
        write_request = Signal(data.StructLayout({"address": 32, "data": 32, "strobe": 4}),
                               reset_less=True)
        answered = Signal()
        read, write = _Address(m, self, "ar"), _Address(m, self, "aw")
        sent = self.request.payload
        m.d.comb += [
            self.request.valid.eq(sending),
            sent.write.eq(for_write),
            sent.address.eq(Mux(for_write, write_request.address, read.address)),
            sent.data.eq(write_request.data),
            sent.strobe.eq(Mux(for_write, write_request.strobe, 0)),
            self.response.ready.eq(awaiting),
            answered.eq(awaiting & self.response.valid),
        ]
        with m.If(sending & self.request.ready):
            m.d.sync += [sending.eq(0), awaiting.eq(1)]
        with m.If(answered):
            m.d.sync += awaiting.eq(0)
        taken = Signal()
        m.d.comb += taken.eq(sending & self.request.ready)
        with m.If(~sending & (~awaiting | answered) & (write_waits | read_waits)):
            # The other one than last time, if both wait.
            m.d.sync += [sending.eq(1), for_write.eq(Mux(for_write, ~read_waits, write_waits))]

        self._write(m, write, write_request, write_waits, taken & for_write, answered & for_write,
                    (sending | awaiting) & for_write)
        self._read(m, read, read_waits, taken & ~for_write, answered & ~for_write)
        return m

    def _write(self, m: Module, address: _Address, request: data.View, waits: Signal,
               taken: Value, answered: Value, under_way: Value) -> None:
        worst = Signal(AccessError, reset_less=True)
        cut = Signal(reset_less=True)  # WLAST and the length do not agree
        # The request stays until the port took it; meanwhile no further beat is accepted.
        with m.If(taken):
            m.d.sync += waits.eq(0)
        with m.If(answered & (self.response.payload.error.as_value() > worst.as_value())):
            m.d.sync += worst.eq(self.response.payload.error)
        with m.FSM(name="write"):
            with m.State("Address"):
                with m.If(address.take()):
                    m.next = "Check"
            with m.State("Check"):
                legal = address.check()
                m.d.sync += worst.eq(Mux(legal, AccessError.NONE, AccessError.REFUSED))
                m.next = "Data"
            with m.State("Data"):
                m.d.comb += self._port("wready").eq(~waits)
                with m.If(self._port("wvalid") & ~waits):
                    address.advance()
                    m.d.sync += [
                        waits.eq(address.legal),
                        request.address.eq(address.address),
                        request.data.eq(self._port("wdata")),
                        request.strobe.eq(self._port("wstrb") & address.lanes()),
                    ]
                    end = address.left == 0
                    with m.If(end | self._port("wlast")):
                        m.next = "Finish"
                    m.d.sync += cut.eq(end != self._port("wlast"))
            with m.State("Finish"):
                with m.If(~waits & ~under_way):
                    with m.If(cut & (worst == AccessError.NONE)):
                        m.d.sync += worst.eq(AccessError.REFUSED)
                    m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += self._port("bvalid").eq(1)
                with m.If(self._port("bready")):
                    m.next = "Address"
        m.d.comb += [
            self._port("bid").eq(address.id),
            self._port("bresp").eq(axi_response(worst.as_value())),
        ]

    def _read(self, m: Module, address: _Address, waits: Signal, taken: Value,
              answered: Value) -> None:
        result, error = Signal(32, reset_less=True), Signal(AccessError, reset_less=True)
        with m.FSM(name="read"):
            with m.State("Address"):
                with m.If(address.take()):
                    m.next = "Check"
            with m.State("Check"):
                legal = address.check()
                m.d.sync += [result.eq(0), error.eq(AccessError.REFUSED)]
                with m.If(legal):
                    m.next = "Request"
                with m.Else():
                    m.next = "Data"
            with m.State("Request"):
                m.d.comb += waits.eq(1)
                with m.If(taken):
                    m.next = "Wait"
            with m.State("Wait"):
                with m.If(answered):
                    m.d.sync += [result.eq(self.response.payload.data),
                                 error.eq(self.response.payload.error)]
                    m.next = "Data"
            with m.State("Data"):
                m.d.comb += self._port("rvalid").eq(1)
                with m.If(self._port("rready")):
                    address.advance()
                    with m.If(address.left == 0):
                        m.next = "Address"
                    with m.Elif(address.legal):
                        m.next = "Request"
        m.d.comb += [
            self._port("rid").eq(address.id),
            self._port("rdata").eq(result),
            self._port("rresp").eq(axi_response(error.as_value())),
            self._port("rlast").eq(address.left == 0),
        ]
