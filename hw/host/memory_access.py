"""From requests of the host to accesses of the memories (docs/registers.md)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.host.access import DATA_BYTES, AccessError, request_layout, response_layout
from hw.host.memory_map import BANKS_BASE, REGION_BYTES, SHARED, Region, memory_map

_REGION_BITS = (REGION_BYTES - 1).bit_length()


def memory_members(config: ChipletConfig) -> dict[str, wiring.Member]:
    """Return the ports towards the memories, as seen by :class:`MemoryAccess`.

    Of a memory NAME: ``NAME_select``: the host's access is under way; ``NAME_address``: word;
    ``NAME_read_enable``: read in this cycle; ``NAME_read_data``: comes one cycle later;
    ``NAME_write_mask`` (a bit per granule) and ``NAME_write_data`` (the same 32 bits in every
    place): write in this cycle, constant 0 if the host only reads.
    The banks have ``banks_row`` and ``banks_write_enable`` instead of a select, granules of a byte
    and words of ``columns`` bytes; their data come with ``banks_valid``, one cycle after the read
    or later. ``tokens_select`` asks for
    the memory: with ``tokens_grant`` the access happens in that cycle.
    """
    members: dict[str, wiring.Member] = {}
    for name, region in memory_map(config).regions.items():
        word_bytes = config.columns if name == "banks" else region.word_bytes
        members |= {f"{name}_address": Out(range(region.words)),
                    f"{name}_read_enable": Out(1), f"{name}_read_data": In(8 * word_bytes),
                    f"{name}_write_mask": Out(word_bytes // region.granule_bytes),
                    f"{name}_write_data": Out(8 * word_bytes)}
        if name != "banks":
            members[f"{name}_select"] = Out(1)
    return members | {"banks_row": Out(range(config.rows)), "banks_write_enable": Out(1),
                      "banks_valid": In(1), f"{SHARED}_grant": In(1)}


class MemoryAccess(wiring.Component):
    """Reads and writes 32 bits of any memory for the host.

    Ports: ``request``, ``response`` (hw/host/access.py); ``busy``: the chip runs, so that only
    ``tokens`` answers; ``exclusive``: an access to another memory is, or may be, under way; and
    :func:`memory_members`. Latency from request to response: error 2 cycles, write 3, read 4 and
    more where the banks are slower; for ``tokens`` the wait for its grant in addition. One
    outstanding. Nothing is written with an error.
    """

    request: stream.Interface
    response: stream.Interface

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "request": In(stream.Signature(request_layout())),
            "response": Out(stream.Signature(response_layout())),
            "busy": In(1), "exclusive": Out(1),
            **memory_members(config),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, regions = self.config, memory_map(self.config).regions
        request = Signal(request_layout(), reset_less=True)
        error = Signal(AccessError, reset_less=True)
        read_data = Signal(32, reset_less=True)
        selected = {name: Signal(name=f"{name}_selected") for name in regions}
        # Registers drive the memories, which are far apart; only the shared one waits for its grant.
        starts = {name: Signal(name=f"{name}_starts") for name in regions}
        accessing = Signal()

        m.d.comb += [
            self.response.payload.data.eq(read_data),
            self.response.payload.error.eq(error),
        ]
        with m.FSM():
            with m.State("Request"):
                m.d.comb += self.request.ready.eq(1)
                m.d.sync += [request.eq(self.request.payload), read_data.eq(0)]
                with m.If(self.request.valid):
                    m.next = "Decode"
            with m.State("Decode"):
                found = self._decode(m, request, regions)
                m.d.comb += self.exclusive.eq(1)
                m.d.sync += [error.eq(found), *(selected[name].eq(self._hits(request, region))
                                                for name, region in regions.items())]
                with m.If(found == AccessError.NONE):
                    m.d.sync += [starts[name].eq(self._hits(request, region))
                                 for name, region in regions.items()]
                    m.next = "Access"
                with m.Else():
                    m.next = "Response"
            with m.State("Access"):
                m.d.comb += [accessing.eq(~selected[SHARED] | getattr(self, f"{SHARED}_grant")),
                             self.exclusive.eq(~selected[SHARED])]
                with m.If(accessing):
                    m.d.sync += [start.eq(0) for start in starts.values()]
                    with m.If(request.write):
                        m.next = "Response"
                    with m.Else():
                        m.next = "Read"
                for name in regions:
                    if name != "banks":
                        m.d.comb += getattr(self, f"{name}_select").eq(selected[name])
            with m.State("Read"):
                m.d.comb += self.exclusive.eq(1)
                for name in regions:
                    if name not in (SHARED, "banks"):
                        m.d.comb += getattr(self, f"{name}_select").eq(selected[name])
                with m.If(~selected["banks"] | self.banks_valid):
                    m.d.sync += read_data.eq(self._word(request, regions, selected))
                    m.next = "Response"
            with m.State("Response"):
                m.d.comb += self.response.valid.eq(1)
                with m.If(self.response.ready):
                    m.next = "Request"

        for name, region in regions.items():
            grant = getattr(self, f"{SHARED}_grant") if name == SHARED else Const(1)
            self._drive(m, region, request, starts[name] & grant)
        row = request.address[(config.columns - 1).bit_length():][:(config.rows - 1).bit_length()]
        m.d.comb += [self.banks_row.eq(row),
                     self.banks_write_enable.eq(starts["banks"] & request.write)]
        return m

    @staticmethod
    def _hits(request: Value, region: Region) -> Value:
        if region.base == BANKS_BASE:
            return request.address[31]
        return request.address[_REGION_BITS:] == region.base >> _REGION_BITS

    @staticmethod
    def _index(request: Value, region: Region) -> Value:
        """Return the number of the word, with all of the address bits of the region."""
        top = 31 if region.base == BANKS_BASE else _REGION_BITS
        return request.address[(region.stride - 1).bit_length():top]

    def _decode(self, m: Module, request: Value, regions: dict[str, Region]) -> Signal:
        found = Signal(AccessError)
        m.d.comb += found.eq(AccessError.NO_ADDRESS)
        for name, region in regions.items():
            with m.If(self._hits(request, region) & (self._index(request, region) < region.words)):
                refused = request.write & (
                    self._partial(request.strobe, region) if region.writable else 1)
                if name != SHARED:
                    refused = refused | self.busy
                m.d.comb += found.eq(Mux(refused, AccessError.REFUSED, AccessError.NONE))
        return found

    @staticmethod
    def _partial(strobe: Value, region: Region) -> Value:
        """Return whether a write covers a granule in part."""
        size = min(region.granule_bytes, DATA_BYTES)
        if size == 1:
            return Const(0, 1)
        groups = [strobe[i:i + size] for i in range(0, min(region.word_bytes, DATA_BYTES), size)]
        return Cat(group.any() & ~group.all() for group in groups).any()

    def _drive(self, m: Module, region: Region, request: Value, now: Value) -> None:
        name = region.name
        m.d.comb += [
            getattr(self, f"{name}_address").eq(self._index(request, region)),
            getattr(self, f"{name}_read_enable").eq(now & ~request.write),
        ]
        if not region.writable:
            return  # its write ports stay 0
        mask, word = getattr(self, f"{name}_write_mask"), getattr(self, f"{name}_write_data")
        word_bytes = len(word) // 8
        parts = max(1, word_bytes // DATA_BYTES)
        part = request.address[2:][:(parts - 1).bit_length()]
        granules = request.strobe[::region.granule_bytes][:len(mask)]
        m.d.comb += word.eq(request.data.replicate(parts))
        for i in range(parts):
            m.d.comb += mask[i * len(granules):(i + 1) * len(granules)].eq(
                Mux(now & request.write & (part == i), granules, 0))

    def _word(self, request: Value, regions: dict[str, Region],
              selected: dict[str, Signal]) -> Value:
        """Return the 32 bits that the request reads."""
        result: Value = Const(0, 32)
        for name in regions:
            word = getattr(self, f"{name}_read_data")
            parts = max(1, len(word) // 32)
            part = word.word_select(request.address[2:][:(parts - 1).bit_length()], 32)
            result = result | Mux(selected[name], part if parts > 1 else word, 0)
        return result[:32]
