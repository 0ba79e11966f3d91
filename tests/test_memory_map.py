"""The memory window: its map, and the RTL behind it for several shapes of the chip."""

import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from amaranth.sim import Simulator as AmaranthSimulator
from amaranth.sim._async import SimulatorContext

from hw.config import CONFIGS, ChipletConfig
from hw.host.access import AccessError
from hw.host.memory_access import MemoryAccess
from hw.host.memory_map import WRITABLE, memory_map
from hw.memory.shapes import memory_shapes


def shaped(rows: int, columns: int, lanes: int) -> ChipletConfig:
    """Return a configuration of this geometry whose memories end between powers of two."""
    return ChipletConfig(
        name="bench", rows=rows, columns=columns, lanes=lanes, rows_per_step=4, bank_words=19,
        activation_words=24, output_words=20, result_beats=18, residual_beats=20,
        multiplier_beats=22, rope_beats=17, row_slots=19, program_words=21,
        context=3 * max(rows, columns))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_map(config: ChipletConfig) -> None:
    """Regions are apart, in the documented places, and addresses go there and back."""
    regions = memory_map(config).regions
    assert set(regions) == {"banks", *memory_shapes(config)}
    assert regions["banks"].base == 0x8000_0000
    assert [region.base for name, region in regions.items() if name != "banks"] == [
        0x0100_0000 * i for i in range(1, len(regions))]
    ordered = sorted(regions.values(), key=lambda region: region.base)
    for region, following in pairwise(ordered):
        assert region.end <= following.base
    for name, region in regions.items():
        assert region.writable == (name in WRITABLE)
        assert region.stride & (region.stride - 1) == 0
        assert region.stride >= max(4, region.word_bytes)
        last = region.address(region.words - 1, region.word_bytes - 1)
        assert memory_map(config).find(last) == (region, region.words - 1, region.word_bytes - 1)
        assert memory_map(config).find(region.end) is None
    assert memory_map(config).find(0) is None
    rows, columns = config.rows, config.columns
    assert memory_map(config).bank_address(3, 2, 1) == 0x8000_0000 + (3 * rows + 2) * columns + 1


def test_refused() -> None:
    """Addresses outside, and memories too large for the window, are refused."""
    the_map = memory_map(CONFIGS["tiny"])
    with pytest.raises(ValueError, match="byte 0 of word 128 is outside of tokens"):
        the_map.regions["tokens"].address(128)
    with pytest.raises(ValueError, match="row 8, column 0 is outside of a tile"):
        the_map.bank_address(0, 8, 0)
    wide = {"rows": 128, "columns": 128, "lanes": 128, "context": 256}
    with pytest.raises(ValueError, match="bank_words must be at most 131072 for the host's"):
        memory_map(ChipletConfig(name="big", **wide, bank_words=1 << 18))
    with pytest.raises(ValueError, match="words of residual must be at most 32768 for the host's"):
        memory_map(ChipletConfig(name="big", **wide, residual_beats=1 << 16))


@pytest.mark.parametrize("geometry", [(4, 4, 4), (8, 4, 4), (4, 32, 4), (32, 16, 16)])
def test_access(geometry: tuple[int, int, int]) -> None:
    """Every access touches the word, row and granules that the map says, or none."""
    config = shaped(*geometry)
    the_map = memory_map(config)
    access = MemoryAccess(config)
    simulator = AmaranthSimulator(access)
    simulator.add_clock(2e-9)
    rng = random.Random(repr(geometry))
    contents = {region.address(word, byte): rng.getrandbits(8)
                for region in the_map.regions.values()
                for word in range(region.words) for byte in range(region.word_bytes)}
    memories = dict(contents)
    touched: list[str] = []

    def word_address(ctx: SimulatorContext, name: str) -> tuple[int, int]:
        """Return address and bytes of the word that a memory's ports name."""
        region, word = the_map.regions[name], ctx.get(getattr(access, f"{name}_address"))
        if name == "banks":
            return the_map.bank_address(word, ctx.get(access.banks_row), 0), config.columns
        return region.address(word), region.word_bytes

    def memory(name: str) -> Callable[[SimulatorContext], Awaitable[None]]:
        """Return a process that plays one memory."""
        async def play(ctx: SimulatorContext) -> None:
            await play_memory(ctx, name)
        return play

    async def play_memory(ctx: SimulatorContext, name: str) -> None:
        region = the_map.regions[name]
        delay = 3 if name == "banks" else 0
        data = getattr(access, f"{name}_read_data")
        while True:
            await ctx.tick()
            mask = ctx.get(getattr(access, f"{name}_write_mask"))
            enable = ctx.get(getattr(access, f"{name}_read_enable"))
            if name == "banks":
                assert not (mask or enable) or ctx.get(access.banks_write_enable) == (not enable)
            else:
                assert ctx.get(getattr(access, f"{name}_select")) or not (mask or enable), name
            if mask:
                touched.append(name)
                address, _ = word_address(ctx, name)
                written = ctx.get(getattr(access, f"{name}_write_data"))
                for i in range(mask.bit_length()):
                    if mask >> i & 1:
                        for byte in range(i * region.granule_bytes, (i + 1) * region.granule_bytes):
                            memories[address + byte] = written >> (8 * byte) & 255
            if enable:
                touched.append(name)
                address, size = word_address(ctx, name)
                value = sum(memories[address + i] << (8 * i) for i in range(size))
                await ctx.tick().repeat(1 + delay)
                ctx.set(data, value)
                if delay:
                    ctx.set(access.banks_valid, 1)
                await ctx.tick()
                ctx.set(data, rng.getrandbits(8 * size))
                if delay:
                    ctx.set(access.banks_valid, 0)

    def expected(address: int, strobe: int, write: bool, busy: bool) -> AccessError:
        found = the_map.find(address)
        if found is None:
            return AccessError.NO_ADDRESS
        region = found[0]
        if busy and region.name != "tokens":
            return AccessError.REFUSED
        if write:
            size = min(region.granule_bytes, 4)
            groups = [strobe >> i & (1 << size) - 1
                      for i in range(0, min(region.word_bytes, 4), size)]
            if not region.writable or any(g not in (0, (1 << size) - 1) for g in groups):
                return AccessError.REFUSED
        return AccessError.NONE

    async def requests(ctx: SimulatorContext) -> None:
        regions = list(the_map.regions.values())
        ctx.set(access.tokens_grant, 1)
        ctx.set(access.response.ready, 1)
        for i in range(320):
            region = regions[i % len(regions)]
            address = rng.choice((region.base, region.end - 4, region.end,
                                  *[rng.randrange(region.base, region.end)] * 5)) & ~3
            write, strobe = rng.getrandbits(1), rng.choice((15, 15, 3, rng.getrandbits(4)))
            busy, data = rng.random() < 0.15, rng.getrandbits(32)
            ctx.set(access.busy, busy)
            ctx.set(access.request.payload, {"write": write, "address": address, "data": data,
                                             "strobe": strobe})
            ctx.set(access.request.valid, 1)
            touched.clear()
            await ctx.tick().until(access.request.ready)
            ctx.set(access.request.valid, 0)
            got, = await ctx.tick().sample(access.response.payload).until(access.response.valid)
            error = expected(address, strobe, bool(write), busy)
            where = f"memory_access: write {write} at {address:#x}, strobe {strobe:04b}"
            assert got.error == error, f"{where}: got {got.error}, want {error}"
            if error != AccessError.NONE:
                assert not touched and got.data == 0, f"{where}: touched {touched}"
                continue
            assert set(touched) <= {region.name}, f"{where}: touched {touched}"
            if write:
                for lane in range(4):
                    if strobe >> lane & 1 and address + lane in contents:
                        contents[address + lane] = data >> (8 * lane) & 255
            else:
                want = sum(contents.get(address + lane, 0) << (8 * lane) for lane in range(4))
                assert got.data == want, f"{where}: got {got.data:#x}, want {want:#x}"
        assert memories == contents

    for name in the_map.regions:
        simulator.add_testbench(memory(name), background=True)
    simulator.add_testbench(requests)
    simulator.run()
