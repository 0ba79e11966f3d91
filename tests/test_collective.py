"""The collective engines of whole chiplets in a ring: random commands against the simulated machine."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from compiler.assembler import assemble
from compiler.cluster import Cluster
from compiler.image import ChipImage
from compiler.share import chunk_beats
from compiler.torus import Chip, Layout
from golden.collective import all_reduce
from golden.router import EAST
from hw.collective.limits import MAX_CHUNK
from hw.control.isa import Fault, Ring
from hw.host.memory_map import memory_map
from verif.chips_simulation import CONFIG, Access, ChipsSimulation
from verif.collective_bench import command, cycles_of_reduce, program_image, reduce_text
from verif.torus_run import TRAINING_CYCLES, TorusChips, open_torus

pytestmark = pytest.mark.sim
#: Cycles within which random programs are over, and a watchdog that is longer than any wait.
LIMIT, WATCHDOG = 200_000, 20_000
REGIONS = memory_map(CONFIG).regions


def image(text: str, residual: np.ndarray | None = None) -> ChipImage:
    return program_image(CONFIG, text, residual)


def random_programs(layout: Layout, rng: random.Random, commands: int) -> list[str]:
    """Return a program for each chip, of commands in which all of them take part."""
    chips = layout.columns * layout.rows
    texts = [""] * chips
    for _ in range(commands):
        kind = rng.choice(["ALL_REDUCE", "ALL_REDUCE", "ALL_GATHER", "CHOOSE",
                           "broadcast" if chips > 1 else "ALL_GATHER"])
        ring = rng.choice(["TORUS", "ROW"])  # the same chips, but other memory of beats
        statistic = rng.choice(["NONE", "MAGNITUDE"])
        most = CONFIG.residual_beats
        segments = chips if kind != "broadcast" else rng.randrange(1, 4)
        beats = rng.randrange(segments, min(segments * MAX_CHUNK, most // 2) + 1)
        length, last = chunk_beats(beats, segments)
        stride = rng.randrange(beats, beats + 3)
        rows = rng.randrange(1, min(6, most // stride) + 1)
        values = {"rows": rows, "chips": segments, "beats": beats, "stride": stride, "length": length,
                  "last": last, "maximum": rng.randrange(CONFIG.row_slots - rows),
                  "src": rng.randrange(most - rows * stride + 1)}
        root = rng.randrange(chips)
        for rank in range(chips):
            # Some chips come late.
            texts[rank] += f"SET r1, r0, r0, {rng.choice([0, 0, 5, 60])}\nLOOP r1, wait{len(texts[rank])}\n"
            texts[rank] += f"wait{texts[rank].rsplit('wait', 1)[1].strip()}:\nEND\n"
            opcode, options = kind, f"ring={ring}"
            if kind == "broadcast":
                place = (rank - root) % chips
                opcode = "SEND" if place == 0 else "RECEIVE" if place == chips - 1 else "RELAY"
            if kind == "ALL_REDUCE":
                options += f", reduction={'SUM' if (beats + rows) % 3 else 'MAXIMUM'}"
            if opcode not in ("SEND", "CHOOSE"):
                options += f", statistic={statistic}"
            texts[rank] += command(opcode, own=rank * length, options=options, **values)
    return [text + "HALT ALWAYS" for text in texts]


def residual_of(simulation: ChipsSimulation, chip: Chip) -> np.ndarray:
    words = simulation.peek(chip, "residual", 0, CONFIG.residual_beats)
    return np.array(words, np.uint32).astype(np.int32).reshape(CONFIG.residual_beats, -1)


def number_of(rings: dict[Ring, dict[Chip, Chip]], chips: Sequence[Chip]) -> dict[Ring, dict[int, int]]:
    place = {chip: number for number, chip in enumerate(chips)}
    return {ring: {place[a]: place[b] for a, b in after.items()} for ring, after in rings.items()}


@pytest.mark.parametrize(("columns", "rows", "noise"), [
    (1, 1, 0.0), (2, 1, 0.0), (3, 1, 1e-4), (2, 2, 0.0), (2, 2, 1e-3)])
def test_random_commands(columns: int, rows: int, noise: float) -> None:
    """Residual and row maxima of every chip after random commands are the simulated machine's."""
    layout = Layout(columns=columns, rows=rows, tensor=columns * rows, pipeline=1)
    chips, rng = layout.chips, random.Random(columns * 10 + rows)
    values = np.random.default_rng(7).integers(
        -(2**31), 2**31, (len(chips), CONFIG.residual_beats, CONFIG.lanes))
    for run in range(2):
        texts = random_programs(layout, rng, 6)
        machines = [image(text, before).machine() for text, before in zip(texts, values, strict=True)]
        results = Cluster(machines, number_of(layout.rings(), chips)).run([1], 1)
        assert len(results) == len(chips)
        images = [image(text, before) for text, before in zip(texts, values, strict=True)]
        with open_torus(CONFIG, layout, images) as simulation:
            simulation.noise(noise, seed=run)
            simulation.run(TRAINING_CYCLES)
            torus = TorusChips(simulation, layout, images)
            torus.start([[1]], 1, watchdog=WATCHDOG)
            torus.finish(LIMIT)
            assert torus.faults() == {}
            for chip, machine in zip(chips, machines, strict=True):
                got, want = residual_of(simulation, chip), machine.memories.residual
                wrong = np.argwhere(got != want)
                assert not len(wrong), (
                    f"chip {chip}: beat, lane {wrong[0]}: got {got[tuple(wrong[0])]}, "
                    f"want {want[tuple(wrong[0])]} ({len(wrong)} differ)")
                host = simulation.host(chip)
                host.select(None)
                maxima = np.array(host.read_memory(REGIONS["row_maxima"].base, CONFIG.row_slots),
                                  np.uint32).astype(np.int32)
                written = sorted(_written(texts[chips.index(chip)]))
                assert maxima[written].tolist() == machine.memories.row_maxima[written].tolist()
                assert host.read("COLLECTIVE_WRONG") == host.read("COLLECTIVE_STALE") == 0
        values = np.stack([machine.memories.residual for machine in machines])


def _written(text: str) -> set[int]:
    """Return the row-maximum slots that a program writes."""
    slots, rows, maximum = set(), 0, 0
    for line in text.splitlines():
        if line.startswith("SET v.rows"):
            rows = int(line.split(",")[-1])
        elif line.startswith("SET v.maximum"):
            maximum = int(line.split(",")[-1])
        elif "MAGNITUDE" in line:
            slots |= set(range(maximum, maximum + rows))
    return slots


@pytest.mark.parametrize(("chips", "rows", "beats", "limit"), [(2, 1, 36, 65), (4, 1, 36, 110),
                                                              (4, 2, 128, 470)])
def test_cycles(chips: int, rows: int, beats: int, limit: int) -> None:
    assert cycles_of_reduce(CONFIG, chips, rows, beats) <= limit


# What goes wrong

def check_sum(torus: TorusChips, beats: int) -> None:
    """Run reduce_text's program; every chip must have the sum of what all had."""
    chips = torus.layout.chips
    want = all_reduce([residual_of(torus.simulation, chip)[:beats] for chip in chips])
    assert np.any(want), "the chips must have numbers to add"
    torus.start([[1]], 1, watchdog=3000)
    torus.finish(20_000)
    assert torus.faults() == {}
    for chip in chips:
        assert np.array_equal(residual_of(torus.simulation, chip)[:beats], want), f"chip {chip}"


def _bad(changes: dict[str, int], opcode: str = "ALL_REDUCE", options: str = "ring=TORUS") -> str:
    values = {"rows": 1, "chips": 2, "beats": 8, "src": 0, "stride": 8, "length": 4, "own": 0, "last": 4,
              "maximum": 0} | changes
    return command(opcode, options=options, **values) + "HALT ALWAYS"


@pytest.mark.parametrize(("changes", "options", "fault"), [
    ({"length": 0}, "", Fault.CHUNK_LENGTH), ({"length": MAX_CHUNK + 1}, "", Fault.CHUNK_LENGTH),
    ({"last": 8}, "", Fault.CHUNK_LENGTH), ({"last": 60000}, "", Fault.CHUNK_LENGTH),
    ({"beats": MAX_CHUNK + 5}, "", Fault.CHUNK_LENGTH),
    ({"beats": 0}, "", Fault.EMPTY_COMMAND), ({"chips": 0}, "", Fault.EMPTY_COMMAND),
    ({"own": 3}, "", Fault.RESIDUAL_ADDRESS), ({"src": 65530}, "", Fault.RESIDUAL_ADDRESS),
    ({"maximum": CONFIG.row_slots}, ", statistic=MAGNITUDE", Fault.ROW_SLOT),
    ({"maximum": CONFIG.row_slots - 1, "rows": 2}, ", statistic=MAGNITUDE", Fault.ROW_SLOT),
])  # fmt: skip
def test_bad_commands(changes: dict[str, int], options: str, fault: Fault) -> None:
    """Each stops both chips, with its cause, and nothing beyond the residual is written."""
    layout = Layout(columns=2, rows=1, tensor=2, pipeline=1)
    images = [image(_bad(changes, options="ring=TORUS" + options)) for _ in range(2)]
    with open_torus(CONFIG, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        torus = TorusChips(simulation, layout, images)
        torus.start([[1]], 1, watchdog=2000)
        simulation.run(4000)
        causes = {why.split()[0] for why in torus.faults().values()}
        assert len(torus.faults()) == 2 and fault.name in causes and causes <= {fault.name, "WATCHDOG"}


def test_magnitude_is_the_only_statistic() -> None:
    with pytest.raises(ValueError, match="statistic must name something"):
        assemble("ALL_REDUCE statistic=MAXIMUM, ring=ROW")


def test_partner_that_does_not_come_and_recovery() -> None:
    """The watchdog stops a chip that waits; after a reset and a new epoch all is right again."""
    layout = Layout(columns=2, rows=1, tensor=2, pipeline=1)
    good = [reduce_text(rank, 2, 3, 20) for rank in range(2)]
    values = np.random.default_rng(3).integers(-1000, 1000, (2, CONFIG.residual_beats, CONFIG.lanes))
    images = [image(text, before) for text, before in zip(good, values, strict=True)]
    program = REGIONS["program"]
    with open_torus(CONFIG, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        torus = TorusChips(simulation, layout, images)
        host = torus.host

        def halts_at_once(chip: Chip, on: bool) -> None:
            words = assemble("HALT ALWAYS") if on else images[layout.chips.index(chip)].contents["program"]
            host.select(chip)
            host.write_memory(program.base, [int(words[0]) & 0xFFFFFFFF, int(words[0]) >> 32])

        halts_at_once((1, 0), True)
        torus.start([[1]], 1, watchdog=1000)
        simulation.run(3000)
        assert {chip: why.split()[0] for chip, why in torus.faults().items()} == {(0, 0): "WATCHDOG"}
        torus.reset()
        halts_at_once((1, 0), False)
        check_sum(torus, 60)


def test_packets_of_another_epoch_are_not_taken() -> None:
    layout = Layout(columns=2, rows=1, tensor=2, pipeline=1)
    images = [image(reduce_text(rank, 2, 1, 4)) for rank in range(2)]
    with open_torus(CONFIG, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        torus = TorusChips(simulation, layout, images)
        torus.start([[1]], 1, watchdog=1000, at_once=True)
        torus.finish()
        simulation.host((1, 0)).write("COLLECTIVE_EPOCH", 77)
        start = Access(address=0x040, data=(1,))
        simulation.access([(chip, start) for chip in layout.chips])
        simulation.run(3000)
        assert {why.split()[0] for why in torus.faults().values()} == {"WATCHDOG"}
        assert simulation.host((1, 0)).read("COLLECTIVE_STALE") == 1
        assert simulation.host((0, 0)).read("COLLECTIVE_STALE") == 1


def test_reset_within_a_packet() -> None:
    """What a chip began to send is ended when its core is reset; the other one counts it as wrong."""
    layout = Layout(columns=2, rows=1, tensor=2, pipeline=1)
    rows = CONFIG.residual_beats // 40
    values = np.random.default_rng(5).integers(-9, 9, (2, CONFIG.residual_beats, CONFIG.lanes))
    images = [image(reduce_text(rank, 2, rows, 40), values[rank]) for rank in range(2)]
    seen = set()
    with open_torus(CONFIG, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        torus = TorusChips(simulation, layout, images)
        for wait in range(150, 190, 3):
            torus.start([[1]], 1, watchdog=1000, at_once=True)
            simulation.run(wait)
            before = simulation.host((0, 0)).read("COLLECTIVE_WRONG")
            simulation.host((1, 0)).write("CONTROL", RESET_SEQUENCER=1)
            simulation.run(1500)
            seen.add(simulation.host((0, 0)).read("COLLECTIVE_WRONG") - before)
            torus.reset()
        assert seen == {0, 1}, seen
        check_sum(torus, 40)


def test_cut_wire_stops_every_chip() -> None:
    """A wire cut for good: each chip stops with a cause; after repair the next run is right."""
    layout = Layout(columns=2, rows=2, tensor=4, pipeline=1)
    values = np.random.default_rng(4).integers(-1000, 1000, (4, CONFIG.residual_beats, CONFIG.lanes))
    images = [image(reduce_text(rank, 4, 6, 16), values[rank]) for rank in range(4)]
    with open_torus(CONFIG, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        torus = TorusChips(simulation, layout, images)
        torus.start([[1]], 1, watchdog=3000, at_once=True)
        simulation.run(250)
        simulation.cut((0, 0), EAST)
        simulation.run(8000)
        assert {why.split()[0] for why in torus.faults().values()} == {"WATCHDOG"}
        assert set(torus.faults()) == set(layout.chips)
        # Both ends know of the link.
        for chip, link in (((0, 0), "EAST"), ((1, 0), "WEST")):
            assert simulation.host(chip).fields(f"LINK_{link}")["DOWNS"] >= 1
        simulation.cut((0, 0), EAST, on=False)
        simulation.run(3000)
        torus.reset()
        check_sum(torus, 96)


