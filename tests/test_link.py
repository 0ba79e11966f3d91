"""The link in Verilator: every error of the wires, and what each must come to."""

import json
import random
from collections import deque

import hypothesis
import pytest
from hypothesis import strategies as st

from golden.link import Endpoint, Flit, Word, WordFormat
from hw.link.link import Link
from hw.link.page import page
from hw.link.wire import phit_bits, status_layout, training_data, wire_layout
from hw.network.config import NetworkConfig
from verif.link_bench import LinkBench
from verif.simulator import build

#: Fields of the configurations, each of which has a simulator.
CONFIGS = {
    "narrow": {"flit_bytes": 8},
    "phits": {"flit_bytes": 8, "phits_per_word": 4, "replay_flits": 8, "queue_flits": 8},
    "clocks": {"flit_bytes": 8, "phits_per_word": 2, "receive_clock": "link"},
    "full": {},
}


def run(name: str, flits: int, **arguments: object) -> None:
    fields = {"silence_cycles": 512, **CONFIGS[name]}
    simulation = build(LinkBench(NetworkConfig(**fields)), f"link_bench_{name}")
    simulation.run("verif.tb_link", environment={
        "TESSERA_LINK_CONFIG": json.dumps(fields), "TESSERA_FLITS": str(flits)}, **arguments)


@pytest.mark.sim
@pytest.mark.parametrize("name", ["narrow", "phits", "clocks"])
def test_link(name: str) -> None:
    """All cocotb tests."""
    run(name, 20_000)


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize("name", ["full"])
def test_soak(name: str) -> None:
    """A million flits of full width at each error rate, and with errors of every other kind."""
    run(name, 1_000_000, testcase=["without_errors", "with_errors"])


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
        (8, 4, 4, 1), (16, 64, 32, 2), (32, 16, 16, 4), (32, 16, 16, 1), (64, 8, 64, 8))]


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
    for first, second in [*zip(words, words, strict=True), (words[0], words[1]),
                          *zip(words[2:], words[3:], strict=False)]:
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
