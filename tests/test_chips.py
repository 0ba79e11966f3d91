"""Networks of whole chiplets: one host reaches registers and memories of every chip."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.compile import compile_model
from compiler.quantize import quantize
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from golden.router import NORTH, SOUTH, WEST, Network
from hw.host.memory_map import memory_map
from hw.host.network_registers import LINK_NAMES, PORT_NAMES
from hw.host.registers import NETWORK_REGISTERS, OFFSETS, OTHER_CHIP
from hw.link.training import LinkCause, LinkState
from verif import chips_loader
from verif.chips_simulation import (
    CONFIG,
    DECERR,
    OKAY,
    SLVERR,
    Access,
    AccessError,
    Chip,
    ChipHost,
    ChipsSimulation,
    build_chips,
)

REGIONS = memory_map(CONFIG).regions
WRITABLE = [region for region in REGIONS.values() if region.writable and region.word_bytes >= 4]
#: Cycles within which links are up after reset, and after they went down.
TRAINING = 100
TIMEOUT = 3000

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def program() -> Path:
    return build_chips()


def _network(columns: int, rows: int, wrap: bool = False) -> Network:
    return Network(columns=columns, rows=rows, wrap_x=wrap, wrap_y=wrap)


def _refused(what: Callable[[], object]) -> int:
    with pytest.raises(AccessError) as raised:
        what()
    return raised.value.response


def _errors(host: ChipHost) -> dict[str, int]:
    names = [name for name, register in NETWORK_REGISTERS.items()
             if 0x228 <= register.offset < OFFSETS["COLLECTIVE_EPOCH"]]
    return {name: value for name in names if (value := host.read(name))}


@pytest.mark.parametrize(("columns", "rows", "wrap", "noise"), [
    (2, 2, False, 0.0), (1, 2, False, 1e-4), (3, 1, True, 1e-4), (2, 2, False, 1e-4)])
def test_every_chip(program: Path, columns: int, rows: int, wrap: bool, noise: float) -> None:
    """What host (0, 0) writes to each chip is there, as it and the chip's own host see it."""
    network = _network(columns, rows, wrap)
    rng = random.Random(columns * 8 + rows)
    with ChipsSimulation(program, network) as simulation:
        simulation.noise(noise)
        simulation.run(TRAINING)
        host = simulation.host()
        seeds, memories = {}, {}
        for chip in network.nodes():
            host.select(chip)
            identity = host.fields("NETWORK_ID", far=True)
            assert (identity["NODE_X"], identity["NODE_Y"]) == chip
            assert (identity["LAST_X"], identity["LAST_Y"]) == (columns - 1, rows - 1)
            seeds[chip] = rng.getrandbits(32)
            host.write("SEED", seeds[chip], far=True)
            for region in WRITABLE:
                # Across the border of 4 KiB, where there is one.
                words = min(region.words * region.stride // 4, 40)
                address = region.base + 4 * rng.randrange(region.words * region.stride // 4 - words + 1)
                memories[chip, address] = [rng.getrandbits(32) for _ in range(words)]
                host.write_memory(address, memories[chip, address])
        for (chip, address), want in memories.items():
            host.select(chip)
            own = simulation.host(chip)
            for reader in (host, own):
                got = reader.read_memory(address, len(want))
                assert got == want, f"chip {chip}, {address:#x}, read at {reader.chip}"
            assert host.read("SEED", far=True) == own.read("SEED") == seeds[chip]
            # Bytes: only those with a strobe change.
            old = host.read_memory(REGIONS["banks"].base, 1)[0]
            host.one(Access(address=REGIONS["banks"].base, window=True, data=(0x11223344,), strobe=5))
            new = own.read_memory(REGIONS["banks"].base, 1)[0]
            assert new == old & 0xFF00FF00 | 0x00220044, f"chip {chip}: {old:#x} -> {new:#x}"
        for chip in network.nodes():
            own = simulation.host(chip)
            assert _errors(own) == {}, chip
            wrong = sum(own.read(f"LINK_{name.upper()}_ERRORS") for name in LINK_NAMES)
            assert bool(wrong) == bool(noise), f"chip {chip}: {wrong} words with errors"
            for name in LINK_NAMES:
                assert own.fields(f"LINK_{name.upper()}")["DOWNS"] == 0


def test_latency(program: Path) -> None:
    """Cycles from AR or AW to R or B, for this chip and the next ones."""
    with ChipsSimulation(program, _network(3, 1)) as simulation:
        simulation.run(TRAINING)
        host = simulation.host()
        took = []
        for chip in ((0, 0), (1, 0), (2, 0)):
            host.select(chip)
            took.append([
                host.one(Access(address=OTHER_CHIP)).took,
                host.one(Access(address=OTHER_CHIP + OFFSETS["SEED"], data=(1,))).took,
                host.one(Access(address=REGIONS["banks"].base, window=True)).took,
                host.one(Access(address=REGIONS["banks"].base, window=True, data=(1,))).took])
        assert all(value < 14 for value in took[0])
        assert all(value < 48 for value in took[1])
        # Another chip on the way costs a router and a link, there and back.
        assert [b - a for a, b in zip(took[1], took[2], strict=True)] == [14] * 4


def test_own_chip_needs_no_packets(program: Path) -> None:
    """With TARGET_CHIP at reset, or this chip, all is as without a network."""
    with ChipsSimulation(program, _network(2, 2)) as simulation:
        simulation.run(TRAINING)
        host = simulation.host((1, 0))
        for target in (None, (1, 0)):
            host.select(target)
            host.write("SEED", 7, far=True)
            assert host.read("SEED") == 7
            host.write_memory(REGIONS["banks"].base, [1, 2, 3])
            assert host.read_memory(REGIONS["banks"].base, 3) == [1, 2, 3]
            host.write("DOORBELL", 5 + (target is None))
            assert host.read("DOORBELL_VALUE") == 5 + (target is None)
            for address in (0x08C, OTHER_CHIP + 0x08C, 0x7FC, OTHER_CHIP + 0x7FC):
                assert _refused(lambda: host.one(Access(address=address))) == DECERR  # noqa: B023
        for port in PORT_NAMES:
            assert host.read(f"FLITS_OUT_{port.upper()}") == 0


def test_doorbell(program: Path) -> None:
    """A value rings at the other chip, also 0, with its interrupt there; parts of a word do not."""
    with ChipsSimulation(program, _network(1, 2)) as simulation:
        simulation.run(TRAINING)
        for ringer, rung in (((0, 0), (0, 1)), ((0, 1), (0, 0))):
            host, other = simulation.host(ringer), simulation.host(rung)
            other.write("NETWORK_IRQ_ENABLE", DOORBELL=1)
            host.select(rung)
            for value in (0xFEDC_BA98, 0):
                host.write("DOORBELL", value)
                assert simulation.wait_interrupt(rung, 10), "no interrupt"
                assert other.read("DOORBELL_VALUE") == value
                assert other.fields("NETWORK_IRQ_STATUS") == {"LINK_DOWN": 0, "DOORBELL": 1, "ERROR": 0}
                other.write("NETWORK_IRQ_STATUS", DOORBELL=1)
                assert not simulation.wait_interrupt(rung, 10)
            part = Access(address=OFFSETS["DOORBELL"], data=(9,), strobe=3)
            assert _refused(lambda: host.one(part)) == SLVERR  # noqa: B023
            assert host.read("DOORBELL") == 0
            assert host.fields("NETWORK_IRQ_STATUS")["DOORBELL"] == 0
            assert other.fields("NETWORK_IRQ_STATUS")["DOORBELL"] == 0


def test_errors(program: Path) -> None:
    """What is refused at another chip is refused here, and a chip that is not there is no address."""
    with ChipsSimulation(program, _network(2, 2)) as simulation:
        simulation.run(TRAINING)
        host = simulation.host()
        host.write("NETWORK_IRQ_ENABLE", ERROR=1)
        host.select((1, 1))
        bank, results = REGIONS["banks"], REGIONS["results"]
        for access, want in (
            (Access(address=OTHER_CHIP + 0x08C), DECERR), (Access(address=OTHER_CHIP + 0x7FC), DECERR),
            (Access(address=OTHER_CHIP + OFFSETS["STATUS"], data=(1,)), SLVERR),
            (Access(address=OTHER_CHIP + OFFSETS["CONTROL"], data=(1,), strobe=1), SLVERR),
            (Access(address=0x0000_0040, window=True), DECERR),
            (Access(address=0x00FF_FFFC, window=True, data=(1,)), DECERR),
            (Access(address=bank.end, window=True), DECERR),
            (Access(address=results.base, window=True, data=(1,)), SLVERR),
            (Access(address=REGIONS["program"].base, window=True, data=(1,), strobe=7), SLVERR),
        ):
            assert _refused(lambda: host.one(access)) == want, access  # noqa: B023
        assert _errors(host) == {} and not simulation.wait_interrupt((0, 0), 1)
        # No such chip: the router gives the request back, and the interface answers it.
        for absent in ((2, 0), (0, 2), (7, 7)):
            host.select(absent)
            for access in (Access(address=OTHER_CHIP), Access(address=bank.base, window=True)):
                assert _refused(lambda: host.one(access)) == DECERR  # noqa: B023
            assert _refused(lambda: host.write("DOORBELL", 1)) == DECERR
        assert _errors(host) == {"REQUESTS_MISDELIVERED": 9}
        assert host.fields("UNDELIVERABLE") == {"X": 2, "Y": 0, "SET": 1}
        assert simulation.wait_interrupt((0, 0), 10)
        host.write("NETWORK_CONTROL", CLEAR_UNDELIVERABLE=1)
        host.write("NETWORK_IRQ_STATUS", ERROR=1)
        assert host.fields("UNDELIVERABLE")["SET"] == 0
        assert not simulation.wait_interrupt((0, 0), 10)
        host.select((1, 0))
        assert host.read("ID", far=True) == host.read("ID")


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("automatic", [False, True])
def test_link_cut(program: Path, both: bool, automatic: bool) -> None:
    """Wires are cut under way: accesses end with errors in bounded time; trained anew, all works."""
    with ChipsSimulation(program, _network(1, 2)) as simulation:
        simulation.run(TRAINING)
        hosts = [simulation.host((0, 0)), simulation.host((0, 1))]
        for i, host in enumerate(hosts):
            host.write("NETWORK_OPTIONS", AUTO_RETRAIN=int(automatic))
            host.write("REPLY_TIMEOUT", TIMEOUT)
            host.write("NETWORK_IRQ_ENABLE", LINK_DOWN=1)
            host.select((0, 1 - i))
        reads = [((0, i), Access(address=OTHER_CHIP)) for i in range(2) for _ in range(3)]
        assert {o.response for o in simulation.access(reads)} == {OKAY}
        simulation.cut((0, 0), SOUTH)
        if both:
            simulation.cut((0, 1), NORTH)
        outcomes = simulation.access(reads)
        assert {o.response for o in outcomes} <= {OKAY, SLVERR, DECERR}
        assert all(o.response == DECERR for o in outcomes[2::3])
        assert max(o.took for o in outcomes) < TIMEOUT + 60
        simulation.run(2000)
        for host, name, other in zip(hosts, ("SOUTH", "NORTH"), ("NORTH", "SOUTH"), strict=True):
            assert simulation.wait_interrupt(host.chip, 1)
            link = host.fields(f"LINK_{name}")
            assert link["STATE"] == (LinkState.TRAINING if automatic else LinkState.DOWN).value
            assert link["DOWNS"] == 1
            assert link["CAUSE"] in (LinkCause.SILENCE.value, LinkCause.PEER.value)
            assert host.fields(f"LINK_{other}") == {"STATE": 0, "CAUSE": 0, "DOWNS": 0}
            host.write("NETWORK_IRQ_STATUS", LINK_DOWN=1, ERROR=1)
        simulation.cut((0, 0), SOUTH, False)
        simulation.cut((0, 1), NORTH, False)
        if not automatic:
            simulation.run(500)
            assert all(h.fields(f"LINK_{n}")["STATE"] == LinkState.DOWN.value
                       for h, n in zip(hosts, ("SOUTH", "NORTH"), strict=True))
            hosts[1].write("NETWORK_CONTROL", RETRAIN_NORTH=1)
            simulation.run(500)
            assert _refused(lambda: hosts[0].read("ID", far=True)) == DECERR
            hosts[0].write("NETWORK_CONTROL", RETRAIN_SOUTH=1)
        simulation.run(TRAINING)
        assert {o.response for o in simulation.access(reads)} == {OKAY}
        for host, name in zip(hosts, ("SOUTH", "NORTH"), strict=True):
            assert host.fields(f"LINK_{name}")["STATE"] == LinkState.UP.value
            assert host.fields(f"LINK_{name}")["DOWNS"] == 1
            assert not simulation.wait_interrupt(host.chip, 1)


def test_link_cut_elsewhere(program: Path) -> None:
    """A link on the way of some fails while hosts are at work: others go on, and all ends."""
    with ChipsSimulation(program, _network(2, 2)) as simulation:
        simulation.run(TRAINING)
        hosts = {chip: simulation.host(chip) for chip in simulation.network.nodes()}
        for host in hosts.values():
            host.write("REPLY_TIMEOUT", TIMEOUT)
        hosts[0, 0].select((1, 1))
        hosts[0, 1].select((1, 1))
        reads = [(chip, Access(address=OTHER_CHIP)) for chip in ((0, 0), (0, 1)) for _ in range(60)]
        simulation.noise(1e-4)
        simulation.cut((1, 0), WEST)
        outcomes = simulation.access(reads)
        assert {o.response for o in outcomes[:60]} >= {DECERR}
        assert {o.response for o in outcomes[60:]} == {OKAY}
        assert max(o.took for o in outcomes) < TIMEOUT + 60
        assert hosts[0, 0].fields("LINK_SOUTH")["STATE"] == LinkState.UP.value
        simulation.cut((1, 0), WEST, False)
        simulation.run(TRAINING)
        assert {o.response for o in simulation.access(reads)} == {OKAY}
        # A chip is reset alone: its neighbours' links train again by themselves.
        simulation.reset((1, 1))
        simulation.run(2 * TRAINING)
        assert {o.response for o in simulation.access(reads)} == {OKAY}
        assert hosts[0, 1].fields("LINK_EAST")["CAUSE"] == LinkCause.PEER.value


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_all_hosts_at_once(program: Path, noise: float) -> None:
    """The hosts of all chips write and read the memories of one, and its own does too."""
    network = _network(2, 2)
    base, words = REGIONS["banks"].base, 24
    rng = random.Random(5)
    target: Chip = (1, 0)
    with ChipsSimulation(program, network) as simulation:
        simulation.noise(noise)
        simulation.run(TRAINING)
        for chip in network.nodes():
            simulation.host(chip).select(target)
        wanted = []
        for i, chip in enumerate(network.nodes()):
            for k in range(words):
                address = base + 4 * (words * i + k)
                value = rng.getrandbits(32)
                wanted += [((chip, Access(address=address, window=True, data=(value,))), None),
                           ((chip, Access(address=address, window=True)), value),
                           ((chip, Access(address=OTHER_CHIP)), 0x54455353)]
        outcomes = simulation.access([access for access, _ in wanted])
        ends: dict[Chip, int] = {}
        for (access, value), outcome in zip(wanted, outcomes, strict=True):
            assert outcome.response == OKAY, access
            assert value is None or outcome.data == (value,), f"{access}: got {outcome.data}"
            ends[access[0]] = outcome.cycle
        # No host starves: those far away end not much later than each other.
        far = [end for chip, end in ends.items() if chip != target]
        assert max(far) < 2 * min(far)
        for chip in network.nodes():
            assert _errors(simulation.host(chip)) == {}


def test_model_at_another_chip(program: Path) -> None:
    """A model is loaded through chip (0, 0) into another, over links with errors, and runs there."""
    shape = LlamaShape(dim=16, hidden=32, layers=1, heads=4, kv_heads=2, head_dim=4, vocab=40,
                       context=32, tied=True)
    quantized = quantize(random_weights(shape, 3))
    image = compile_model(quantized, CONFIG)
    prompt, count = [3, 17, 31, 8, 22], 6
    want, _ = GoldenLlama(quantized).generate(prompt, count)
    with ChipsSimulation(program, _network(3, 3, True)) as simulation:
        simulation.noise(1e-4)
        simulation.run(TRAINING)
        host = simulation.host()
        chip = (1, 2)
        written = chips_loader.load(host, chip, image)
        chips_loader.start(host, image, prompt, count)
        # While it runs, its host and we may look at the tokens only.
        busy = [_refused(lambda: reader.read_memory(REGIONS["banks"].base, 1))  # noqa: B023
                for reader in (host, simulation.host(chip))]
        assert busy == [SLVERR, SLVERR]
        status = chips_loader.wait(host, 400_000)
        assert status["DONE"] and not status["FAULTED"], status
        got = chips_loader.tokens(host, image, len(prompt), count)
        assert got == want, f"tokens: got {got}, want {want}"
        assert host.read("TOKEN_COUNT", far=True) == count and host.read("TOKEN_COUNT") == 0
        assert written > 1000 and _errors(host) == {}
        assert simulation.host((1, 0)).read("FLITS_OUT_EAST") == 0
