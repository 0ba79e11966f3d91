"""Models on several simulated chips: the bits of one, and packets that fit together."""

import itertools

import numpy as np
import pytest

from compiler.assembler import assemble
from compiler.cluster import Cluster
from compiler.compile import compile_model, compile_shares
from compiler.machine import Machine, MachineFaultError, ProgramError
from compiler.memories import Memories
from compiler.quantize import quantize
from compiler.share import check_chunks, chunk_beats, chunks_of_row
from compiler.split import SplitError
from golden.collective import all_gather, all_reduce
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from golden.sampler import Sampler, temperature_register
from hw.collective.limits import MAX_CHUNK
from hw.config import CONFIGS
from hw.control.isa import Fault, Ring
from hw.network.config import NetworkConfig

CONFIG = CONFIGS["tiny"].replace(
    name="little", lanes=4, program_words=1024, network=NetworkConfig(flit_bytes=16))
UNEVEN = LlamaShape(dim=24, hidden=30, layers=4, heads=12, kv_heads=6, head_dim=4, vocab=69,
                    context=32, tied=True)  # fmt: skip
UNTIED = LlamaShape(dim=32, hidden=40, layers=2, heads=4, kv_heads=4, head_dim=8, vocab=80,
                    context=32, tied=False)  # fmt: skip
MODELS = {name: quantize(random_weights(shape, 3)) for name, shape in
          (("uneven", UNEVEN), ("untied", UNTIED))}
PROMPT = [1, 5, 60, 7, 33]


def rings(tensor: int, pipeline: int) -> dict[Ring, dict[int, int]]:
    """Return the rings of chips that are numbered stage by stage."""
    chips = range(tensor * pipeline)
    ends = [*chips[-tensor:], *(chips[:tensor] if pipeline > 1 else ())]
    return {
        Ring.COLUMN: dict(itertools.pairwise([*ends, ends[0]])),
        Ring.TORUS: {i: (i + 1) % len(chips) for i in chips},
        Ring.ROW: {i: i // tensor * tensor + (i + 1) % tensor for i in chips},
        Ring.PIPE: {i: (i + tensor) % len(chips) for i in chips},
    }


@pytest.mark.parametrize("max_block", [None, 2])
@pytest.mark.parametrize(("tensor", "pipeline"), [(2, 1), (4, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("name", MODELS)
def test_bits_of_one_chip(name: str, tensor: int, pipeline: int, max_block: int | None) -> None:
    """Every logit and token equals golden's, and no two accesses race."""
    model, temperature, seed, count = MODELS[name], 0.7, 3, 5
    images = compile_shares(model, CONFIG, tensor, pipeline, max_block=max_block)
    chips = [image.machine() for image in images]
    runs = Cluster(chips, rings(tensor, pipeline)).run(
        PROMPT, count, temperature=temperature, seed=seed)
    golden, block, tokens = GoldenLlama(model), PROMPT, []
    sampler = Sampler(temperature_register(temperature), seed)
    for n in range(count):
        want = golden.step_block(block)[-1]
        got = np.concatenate([run.logits[n] for run in runs if run.logits])
        assert np.array_equal(got, want), f"logits of token {n} at {np.flatnonzero(got != want)[:3]}"
        tokens.append(sampler.choose(want))
        block = tokens[-1:]
    assert [run.tokens for run in runs] == [tokens] * len(runs)
    assert [sorted(chip.checker.races) for chip in chips if chip.checker] == [[]] * len(chips)


@pytest.mark.parametrize("max_block", [None, 2])
@pytest.mark.parametrize(("tensor", "pipeline", "sequences"), [
    (1, 1, 2), (2, 1, 3), (1, 2, 2), (2, 2, 2), (1, 4, 4), (1, 2, 3)])
def test_sequences_side_by_side(
    tensor: int, pipeline: int, sequences: int, max_block: int | None
) -> None:
    """Each sequence's logits are those that it has alone; draws take turns."""
    model, config = MODELS["uneven"], CONFIG.replace(program_words=2048)
    prompts = [[(7 * i + 11 * b) % 69 for i in range(5)] for b in range(sequences)]
    images = compile_shares(model, config, tensor, pipeline, max_block=max_block, sequences=sequences)
    chips = [image.machine() for image in images]
    for chip, image in zip(chips, images, strict=True):
        for b, prompt in enumerate(prompts):
            chip.memories.tokens[b * image.context:][:5] = prompt
    runs = Cluster(chips, rings(tensor, pipeline)).run(prompts[0], 3, temperature=0.7, seed=3)
    goldens, blocks = [GoldenLlama(model) for _ in prompts], list(prompts)
    sampler, tokens = Sampler(temperature_register(0.7), 3), []
    for n in range(3 * sequences):
        b = n % sequences
        want = goldens[b].step_block(blocks[b])[-1]
        got = np.concatenate([run.logits[n] for run in runs if run.logits])
        assert np.array_equal(got, want), f"token {n // sequences} of sequence {b}"
        tokens.append(sampler.choose(want))
        blocks[b] = tokens[-1:]
    # Stages between the first and the last have no tokens.
    ends = {*range(tensor), *range(len(runs) - tensor, len(runs))}
    assert [run.tokens for run in runs] == [tokens if i in ends else [] for i in range(len(runs))]
    assert [sorted(chip.checker.races) for chip in chips if chip.checker] == [[]] * len(chips)


@pytest.mark.parametrize(("prompt", "limit", "tokens"), [
    (31, 5, 1), (32, 5, 0), (30, 5, 2), (5, 0, 0), (0, 3, 0), (33, 3, 0)])
@pytest.mark.parametrize("pipeline", [1, 2, 4])
def test_sequences_that_fill_the_context(pipeline: int, prompt: int, limit: int, tokens: int) -> None:
    """Every chip comes to its end, and no packet is left."""
    images = compile_shares(MODELS["uneven"], CONFIG.replace(program_words=2048), 1, pipeline,
                            sequences=2, context=32)
    chips = [image.machine() for image in images]
    for chip in chips:
        chip.memories.tokens[:] = 1
    runs = Cluster(chips, rings(1, pipeline)).run([1] * prompt, limit)
    assert len(runs[0].tokens) == 2 * tokens


def test_sequences_share_the_context() -> None:
    image = compile_model(MODELS["uneven"], CONFIG.replace(program_words=2048), sequences=8)
    assert (image.context, image.sequences) == (CONFIG.context // 8, 8)
    with pytest.raises(ValueError, match="sequences must be in"):
        compile_model(MODELS["uneven"], CONFIG, sequences=0)


def test_end_token_stops_every_chip() -> None:
    images = compile_shares(MODELS["untied"], CONFIG, 2)
    whole = [image.machine() for image in images]
    tokens = Cluster(whole, rings(2, 1)).run(PROMPT, 6)[0].tokens
    runs = Cluster([image.machine() for image in images], rings(2, 1)).run(
        PROMPT, 6, end_token=tokens[2])
    assert [run.tokens for run in runs] == [tokens[:tokens.index(tokens[2]) + 1]] * 2


def test_whole_model_on_a_chip_with_a_network() -> None:
    image = compile_model(MODELS["untied"], CONFIG)
    want = GoldenLlama(MODELS["untied"]).step_block(PROMPT)[-1]
    assert np.array_equal(image.machine().run(PROMPT, 1).logits[0], want)


def test_blocks_are_of_one_size() -> None:
    """The chip with the least room decides."""
    images = compile_shares(MODELS["uneven"], CONFIG.replace(result_beats=192), 4)
    assert len({image.max_block for image in images}) == 1


def test_split_needs_a_network() -> None:
    with pytest.raises(SplitError, match="configuration tiny must have a network for a model on 2"):
        compile_shares(MODELS["untied"], CONFIGS["tiny"], 2)


def test_token_of_no_share_faults() -> None:
    images = compile_shares(MODELS["untied"], CONFIG, 2)
    with pytest.raises(MachineFaultError, match="TOKEN_ADDRESS"):
        Cluster([image.machine() for image in images], rings(2, 1)).run([80], 1)


def test_chunks() -> None:
    assert chunk_beats(36, 4) == (9, 27)
    assert chunk_beats(9, 4) == (2, 6)  # the last has three
    assert chunk_beats(34, 4) == (9, 27)
    assert chunks_of_row(36) == (2, 18, 18)
    with pytest.raises(SplitError, match="residual of 72 beats must be in chunks of 1 to 32"):
        check_chunks(72, 2)
    with pytest.raises(SplitError, match="use 1 to 3 chips"):
        check_chunks(3, 4)


# Commands by hand

_REDUCE = """
    SET v.rows, r0, r0, 2
    SET v.segments, r0, r0, {chips}
    SET v.beats, r0, r0, {beats}
    SET v.src, r0, r0, 3
    SET v.src_row_stride, r0, r0, 20
    SET v.src_segment_stride, r0, r0, {length}
    SET v.src_up, r0, r0, {own}
    SET v.dst_segment_stride, r0, r0, {last}
    SET v.maximum, r0, r0, 5
    {command}
    HALT ALWAYS
"""


def _chip(text: str, seed: int, config: object = CONFIG) -> Machine:
    words = np.zeros(CONFIG.program_words, np.uint64)
    found = assemble(text)
    words[: len(found)] = found
    return Machine(config, Memories(config, {"program": words}, seed), {"epsilon": 5})  # type: ignore[arg-type]


def _reduce(chips: int, beats: int, command: str) -> list[Machine]:
    length, last = chunk_beats(beats, chips)
    machines = [
        _chip(_REDUCE.format(chips=chips, beats=beats, length=length, own=rank * length, last=last,
                             command=command), rank)
        for rank in range(chips)
    ]
    for rank, machine in enumerate(machines):
        random = np.random.default_rng(rank)
        machine.memories.residual[:] = random.integers(-(2**31), 2**31, machine.memories.residual.shape)
    return machines


def _rows(machine: Machine, beats: int) -> np.ndarray:
    return np.stack([machine.memories.residual[3 + 20 * t:][:beats] for t in range(2)]).astype(np.int64)


@pytest.mark.parametrize(("chips", "beats"), [(1, 5), (2, 7), (3, 12), (4, 9), (5, 11)])
@pytest.mark.parametrize("reduction", ["SUM", "MAXIMUM"])
def test_all_reduce(chips: int, beats: int, reduction: str) -> None:
    machines = _reduce(chips, beats, f"ALL_REDUCE statistic=MAGNITUDE, ring=TORUS, reduction={reduction}")
    before = np.stack([_rows(machine, beats) for machine in machines])
    want = all_reduce(before, maximum=reduction == "MAXIMUM")
    Cluster(machines, rings(chips, 1)).run([1], 1)
    for machine in machines:
        assert np.array_equal(_rows(machine, beats), want)
        maxima = np.minimum(np.abs(want).max((1, 2)), 2**31 - 1)
        assert machine.memories.row_maxima[5:7].tolist() == maxima.tolist()


@pytest.mark.parametrize("chips", [2, 3, 4])
def test_all_gather(chips: int) -> None:
    beats = 3 * chips + 1
    machines = _reduce(chips, beats, "ALL_GATHER ring=TORUS")
    length, last = chunk_beats(beats, chips)
    before = [_rows(machine, beats) for machine in machines]
    bounds = [*range(0, last + 1, length), beats]
    want = all_gather(before, bounds)
    Cluster(machines, rings(chips, 1)).run([1], 1)
    for machine in machines:
        assert np.array_equal(_rows(machine, beats), want)


def test_broadcast() -> None:
    commands = ["SEND ring=TORUS", "RELAY ring=TORUS", "RECEIVE ring=TORUS, statistic=MAGNITUDE"]
    machines = [_chip(_REDUCE.format(chips=2, beats=11, length=5, own=0, last=5, command=command), rank)
                for rank, command in enumerate(commands)]
    want = _rows(machines[0], 11)
    Cluster(machines, rings(3, 1)).run([1], 1)
    for machine in machines:
        assert np.array_equal(_rows(machine, 11), want)
    assert machines[2].memories.row_maxima[5] == np.abs(want[0]).max()


def test_commands_that_do_not_fit() -> None:
    ring = rings(2, 1)
    machines = _reduce(2, 7, "ALL_REDUCE ring=TORUS")
    other = _reduce(2, 9, "ALL_REDUCE ring=TORUS")
    with pytest.raises(ProgramError, match="a packet must have"):
        Cluster([machines[0], other[1]], ring).run([1], 1)
    with pytest.raises(ProgramError, match="every packet must be taken, but 4 were left"):
        Cluster([_chip(_REDUCE.format(chips=2, beats=4, length=2, own=0, last=2,
                                      command="SEND ring=TORUS"), 1), _chip("HALT ALWAYS", 2)],
                ring).run([1], 1)
    with pytest.raises(ProgramError, match=r"must not wait for packets at once: \{0: 'TORUS'\}"):
        Cluster([machines[0], _chip("HALT ALWAYS", 2)], ring).run([1], 1)
    with pytest.raises(ProgramError, match="must run in a cluster"):
        _reduce(2, 7, "ALL_REDUCE ring=TORUS")[0].run([1], 1)


@pytest.mark.parametrize(("values", "fault"), [
    ({"length": 0}, Fault.CHUNK_LENGTH), ({"length": MAX_CHUNK + 1}, Fault.CHUNK_LENGTH),
    ({"last": 7}, Fault.CHUNK_LENGTH), ({"beats": 0}, Fault.EMPTY_COMMAND),
    ({"beats": MAX_CHUNK + 5}, Fault.CHUNK_LENGTH), ({"own": 3000}, Fault.RESIDUAL_ADDRESS),
])  # fmt: skip
def test_faults(values: dict[str, int], fault: Fault) -> None:
    usual = {"chips": 2, "beats": 7, "length": 4, "own": 0, "last": 4} | values
    text = _REDUCE.format(command="ALL_REDUCE ring=TORUS", **usual)
    with pytest.raises(MachineFaultError) as raised:
        Cluster([_chip(text, 1), _chip(text, 2)], rings(2, 1)).run([1], 1)
    assert raised.value.fault is fault


def test_chip_without_a_network_knows_no_network_commands() -> None:
    with pytest.raises(MachineFaultError, match="ILLEGAL_INSTRUCTION"):
        _chip("CHOOSE ring=TORUS", 1, CONFIG.replace(network=None)).run([1], 1)
