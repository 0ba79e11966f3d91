"""One end of the link in hardware, the other in golden/link.py, word by word, with errors."""

import json
import os
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from golden.link import IDLE, TRAINING, Endpoint, Flit, WordFormat
from hw.link.training import LinkState
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS, flit_layout
from verif.simulator import CLOCK_PERIOD_NS

CONFIG = NetworkConfig(**json.loads(os.environ.get("TESSERA_LINK_CONFIG", "{}")))
FORM = WordFormat(flit_bytes=CONFIG.flit_bytes, queue_flits=CONFIG.queue_flits,
                  replay_flits=CONFIG.replay_flits)
LAYOUT = flit_layout(CONFIG)


def random_flit(rng: random.Random) -> Flit:
    return Flit(channel=rng.randrange(CHANNELS), head=rng.getrandbits(1), tail=rng.getrandbits(1),
                data=rng.getrandbits(CONFIG.flit_bits))


def pack(flit: Flit) -> int:
    return LAYOUT.const(vars(flit)).as_value().value


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def hardware_and_golden(dut) -> None:
    """Each takes the other's words; what is sent arrives, in both directions, with and without errors."""
    rng = random.Random(int(os.environ.get("TESSERA_SEED", "1")))
    for name in ("out_valid", "out_flit", "in_freed", "phit_in", "retrain"):
        dut[name].value = 0
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    edge = RisingEdge(dut.clk)
    for _ in range(3):
        await edge
    dut.rst.value = 0

    other = Endpoint(FORM)
    up, echo, offered = False, 0, None
    to_golden: deque[Flit] = deque()
    to_hardware: deque[Flit] = deque()
    held: list[int] = []
    arrived, damaged = 0, 0
    for cycle in range(6000):
        await edge
        # The cycle that ends here: what the hardware showed.
        error_rate = 0.15 if cycle % 2000 > 1000 else 0.0
        phit = dut.phit_out.value.to_unsigned() if dut.phit_out.value.is_resolvable else 0
        if offered is not None and str(dut.out_ready.value) == "1":
            to_golden.append(offered)
            offered = None
        if str(dut.in_valid.value) == "1":
            got, want = dut.in_flit.value.to_unsigned(), pack(to_hardware.popleft())
            assert got == want, f"cycle {cycle}: hardware got {got:#x}, want {want:#x}"
            held.append(LAYOUT.from_bits(got).channel)
            assert held.count(held[-1]) <= CONFIG.queue_flits, f"cycle {cycle}: overflow"
        if rng.random() < error_rate:
            phit ^= 1 << rng.randrange(FORM.bits)
            damaged += 1
        word = FORM.decode(phit)
        if not up:
            if word is not None and word.kind == TRAINING:
                assert word == FORM.training(word.echo), f"cycle {cycle}: {word}"
                up, echo = bool(word.echo), 1
            sent = FORM.training(echo)
        if up:
            if word is not None and word.kind == IDLE:
                assert word.flit == Flit(), f"cycle {cycle}: {word}"
            delivered = other.take(phit)
            if delivered is not None:
                want_flit = to_golden.popleft()
                assert delivered == want_flit, f"cycle {cycle}: golden got {delivered}, want {want_flit}"
                arrived += 1
            flit = random_flit(rng)
            if rng.random() < 0.8 and other.can_send(flit.channel) and cycle < 5500:
                to_hardware.append(flit)
                sent = other.word(flit)
            else:
                sent = other.word()
            channel = rng.randrange(CHANNELS)
            if other.queues[channel] and cycle % 1000 > 200:
                other.free(channel)

        # The next cycle: its room is seen before it is used.
        await FallingEdge(dut.clk)
        bits = FORM.encode(sent)
        if rng.random() < error_rate:
            bits ^= 1 << rng.randrange(FORM.bits)
        dut.phit_in.value = bits
        freed = rng.choice(held) if held and rng.random() < 0.9 else None
        if freed is not None:
            held.remove(freed)
        dut.in_freed.value = 0 if freed is None else 1 << freed
        if offered is None and rng.random() < 0.8 and cycle < 5500:
            offered = random_flit(rng)
        room = int(str(dut.out_room.value), 2) if offered is not None else 0
        if offered is not None and room >> offered.channel & 1:
            dut.out_valid.value = 1
            dut.out_flit.value = pack(offered)
        else:
            dut.out_valid.value, offered = 0, None
    assert LinkState(dut.state.value.to_unsigned()) == LinkState.UP
    assert not to_golden and not to_hardware, f"{len(to_golden)}, {len(to_hardware)} did not arrive"
    # Nothing but a damaged word makes the hardware go back, and only once.
    replays = dut.count_replays.value.to_unsigned()
    assert 50 < replays <= damaged, f"{replays} replays of {damaged} damaged words"
    assert arrived > 1000 and other.replays > 50
