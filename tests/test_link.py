"""The link in Verilator: every error of the wires, and what each must come to."""

import itertools
import json
import random
from collections import deque
from pathlib import Path

import hypothesis
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator
from hypothesis import strategies as st

from flows.structure.clock_domains import crossings, unsafe
from flows.structure.netlist import flat_design
from flows.structure.ports import port_paths
from golden.crc import CRC_BITS, crc
from golden.link import Endpoint, Flit, Word, WordFormat
from hw.emit import emit
from hw.link.crossing import Crossing
from hw.link.deserializer import Deserializer
from hw.link.link import Link
from hw.link.page import page
from hw.link.serializer import Serializer
from hw.link.wire import phit_bits, status_layout, training_data, wire_layout, word_bits
from hw.network.config import NetworkConfig
from verif.link_bench import LinkBench
from verif.link_measure import measure
from verif.simulator import build

ROOT = Path(__file__).resolve().parents[1]
#: Fields of the configurations, each of which has a simulator.
CONFIGS = {
    "narrow": {"flit_bytes": 8},
    "clocks": {"flit_bytes": 8, "phits_per_word": 4, "receive_clock": "link"},
    "phits": {"flit_bytes": 8, "phits_per_word": 2},
    # The checksum is made phit by phit.
    "board": {"flit_bytes": 8, "phits_per_word": 32, "receive_clock": "link",
              "silence_cycles": 2048},
    "full": {"silence_cycles": NetworkConfig().silence_cycles},
}


def run(name: str, flits: int, **arguments: object) -> None:
    fields = {"silence_cycles": 512, **CONFIGS[name]}
    simulation = build(LinkBench(NetworkConfig(**fields)), f"link_bench_{name}")
    simulation.run("verif.tb_link", environment={
        "TESSERA_LINK_CONFIG": json.dumps(fields), "TESSERA_FLITS": str(flits)}, **arguments)


@pytest.mark.sim
@pytest.mark.parametrize("name", [
    "narrow", "clocks", pytest.param("phits", marks=pytest.mark.slow)])
def test_link(name: str) -> None:
    """All cocotb tests."""
    run(name, 20_000)


@pytest.mark.sim
def test_link_of_many_phits() -> None:
    run("board", 1_000)


@pytest.mark.parametrize("sizes", [{"flit_bytes": 8, "phits_per_word": 32},
                                   {"flit_bytes": 16, "queue_flits": 4, "replay_flits": 8,
                                    "phits_per_word": 32},
                                   {"flit_bytes": 8, "phits_per_word": 4}])
def test_words_on_the_wires(sizes: dict[str, int]) -> None:
    """Words of random messages have golden's checksum; those with an error are not delivered."""
    rng = random.Random(2)
    config = NetworkConfig(**sizes)
    phits, width, below = config.phits_per_word, phit_bits(config), word_bits(config) - CRC_BITS
    serializer, deserializer = Serializer(config), Deserializer(config)
    top = Module()
    top.submodules += [serializer, deserializer]
    messages = [rng.getrandbits(below) for _ in range(60)]
    damaged = {i for i in range(20, 60) if rng.random() < 0.3}
    wires, delivered = [], []

    async def bench(ctx) -> None:
        ctx.set(deserializer.phit_valid, 1)
        waiting, first = list(messages), 0
        while len(wires) < (len(messages) + 1) * phits:
            phit, loads = ctx.get(serializer.phit), ctx.get(serializer.slot)
            if loads and not first:
                first = len(wires) + 2  # where the first message's first phit will be
            wires.append(phit)
            word, place = divmod(len(wires) - 1 - first, phits)
            bad = word in damaged and place == word % phits
            ctx.set(deserializer.phit, phit ^ bad << word % width)
            if ctx.get(deserializer.good):
                delivered.append(ctx.get(deserializer.message.as_value()))
            await ctx.tick()
            if loads and waiting:
                ctx.set(serializer.message.as_value(), waiting.pop(0))
        del wires[:first]

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for i, message in enumerate(messages[:-1]):
        word = sum(phit << k * width for k, phit in enumerate(wires[i * phits:(i + 1) * phits]))
        want = message | crc(message, below) << below
        assert word == want, f"word {i}: got {word:#x}, want {want:#x}"
    whole = [message for i, message in enumerate(messages) if i not in damaged]
    aligned = whole.index(delivered[0])
    assert aligned <= 3
    assert delivered == whole[aligned:aligned + len(delivered)]
    assert len(delivered) >= len(whole) - 5


@pytest.mark.sim
@pytest.mark.slow
def test_soak() -> None:
    """A million flits of full width at each error rate, and with errors of every other kind."""
    run("full", 1_000_000)


@pytest.mark.sim
def test_goodput() -> None:
    """A flit per word without errors, and at least nine of ten at one bad bit in a million."""
    config = NetworkConfig(flit_bytes=8, silence_cycles=512)
    figures = measure(config, (0.0, 1e-6, 1e-3), 20_000, "link_bench_narrow")
    for each in figures:
        least = {0.0: 0.99, 1e-6: 0.9, 1e-3: 0.1}[each.bit_error_rate]
        assert each.goodput >= least, each
    assert figures[0].mean_latency == figures[1].mean_latency == Link.latency(config) == 4


@pytest.mark.sim
@pytest.mark.parametrize("seed", [1, 2])
def test_hardware_and_golden(seed: int) -> None:
    """One end in hardware, the other in the golden model, with errors in both directions."""
    fields = {"flit_bytes": 8, "silence_cycles": 512, "replay_flits": 32, "queue_flits": 8}
    simulation = build(Link(NetworkConfig(**fields)), "link_alone")
    simulation.run("verif.tb_link_golden", environment={
        "TESSERA_LINK_CONFIG": json.dumps(fields), "TESSERA_SEED": str(seed)})


FORMATS = [
    {"flit_bytes": size, "queue_flits": queue, "replay_flits": replay, "phits_per_word": phits}
    for size, queue, replay, phits in (
        (8, 4, 4, 1), (16, 64, 32, 2), (16, 4, 8, 32), (32, 16, 16, 4), (32, 16, 16, 1), (64, 8, 64, 8))]


@pytest.mark.parametrize("sizes", FORMATS)
def test_hardware_and_golden_have_one_format(sizes: dict[str, int]) -> None:
    """Every field is at the same place, and words come back from their bits."""
    rng = random.Random(1)
    form, config = WordFormat(**sizes), NetworkConfig(**sizes)
    layout = wire_layout(config)
    assert (form.bits, form.bits // form.phits_per_word) == (layout.size, phit_bits(config))
    for _ in range(20):
        values = {name: rng.getrandbits(bits) for name, bits in form.fields()}
        values["kind"] = rng.choice([1, 2, 3])
        flit = Flit(**{name: values.pop(name) for name in ("channel", "head", "tail", "data")})
        word = Word(**values, flit=flit)
        bits = form.encode(word)
        assert form.decode(bits) == word
        message = layout.from_bits(bits).message
        status = {name: getattr(message.status, name) for name in status_layout(config).members}
        assert word == Word(
            kind=message.kind.value, sequence=message.sequence, epoch=message.epoch, **status,
            flit=Flit(**{name: getattr(message.flit, name) for name in vars(flit)}))
    assert form.training(0).flit.data == training_data(config)


@pytest.mark.parametrize("sizes", [sizes for sizes in FORMATS if sizes["phits_per_word"] > 1])
def test_no_word_inside_others(sizes: dict[str, int]) -> None:
    """Between two training words, or idle ones, no other phit begins what looks like a word."""
    form = WordFormat(**sizes)
    words = [form.encode(form.training(echo)) for echo in (0, 1)]
    words += [form.encode(Word(kind=2, sequence=number, acknowledge=number, credit_channel=channel,
                               credit_count=number % 4))
              for number in range(sizes["replay_flits"]) for channel in range(6)]
    width = form.bits // form.phits_per_word
    for first, second in [*((word, word) for word in words), *itertools.pairwise(words)]:
        for phit in range(1, form.phits_per_word):
            window = (first | second << form.bits) >> phit * width & (1 << form.bits) - 1
            assert form.decode(window) is None


@hypothesis.given(
    events=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 7), st.integers(0, 7)),
                    max_size=300),
    delay=st.integers(1, 12), sizes=st.sampled_from(FORMATS[:1]))
@hypothesis.settings(max_examples=60, deadline=None)
def test_golden_link_loses_nothing(events: list, delay: int, sizes: dict[str, int]) -> None:
    """Two golden ends, any words bad, any flits offered and queues emptied at any time."""
    form = WordFormat(**sizes)
    ends, wires = [Endpoint(form), Endpoint(form)], [deque([0] * delay), deque([0] * delay)]
    sent, arrived = [[], []], [[], []]
    quiet = [(False, False, 7, channel % 6) for channel in range(40 * delay + 200)]
    for bad_0, bad_1, offered, freed in [*events, *quiet]:
        for side, bad in ((0, bad_0), (1, bad_1)):
            end = ends[side]
            flit = end.take(wires[1 - side].popleft())
            if flit is not None:
                arrived[side].append(flit)
            new = None
            if offered < 6 and end.can_send(offered):
                new = Flit(channel=offered, data=len(sent[side]))
                sent[side].append(new)
            wires[side].append(form.encode(end.word(new)) ^ bad)
            if freed < 6 and end.queues[freed]:
                end.free(freed)
    assert arrived == sent[::-1]


def test_no_unsafe_crossing_of_clocks(tmp_path: Path) -> None:
    """Positions pass through two flip-flops; nothing else passes but what they say is there."""
    config = NetworkConfig(phits_per_word=4, receive_clock="link")
    design = flat_design(emit(Link(config), "link"), tmp_path)
    assert len({storage.clock for storage in design.storage}) == 2
    found = crossings(design)
    assert found
    assert unsafe(found) == []


def test_no_logic_from_wires_to_wires(tmp_path: Path) -> None:
    """No output of a link is a function of an input."""
    design = flat_design(emit(Link(NetworkConfig(flit_bytes=8)), "link"), tmp_path)
    assert {path.name: path.through for path in port_paths(design) if path.through} == {}


def test_clock_of_the_wires_needs_narrow_phits() -> None:
    with pytest.raises(ValueError, match="phits_per_word must be more than 1 for receive_clock"):
        Crossing(NetworkConfig(receive_clock="link"))


@pytest.mark.parametrize(("field", "value", "rule"), [
    ("replay_flits", 12, "a power of two between 4 and 64"),
    ("phits_per_word", 3, "a power of two between 1 and 32"),
    ("silence_cycles", 1000, "a power of two between 64"),
    ("max_retries", 0, "between 1 and 255"),
    ("dimensions", 3, "1 or 2"),
    ("receive_clock", "other", "one of core, link"),
])
def test_config(field: str, value: object, rule: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be {rule}"):
        NetworkConfig(**{field: value})


def test_page_is_current() -> None:
    assert (ROOT / "docs/link.md").read_text() == page(), "run `make docs`"
