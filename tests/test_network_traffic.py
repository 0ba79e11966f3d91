"""Networks of routers under random traffic: delivery, throughput, fairness, independent classes."""

from pathlib import Path

import pytest

from golden import router as golden
from hw.network.config import NetworkConfig
from hw.router.port import PORTS
from verif.network_simulation import NetworkSimulation, build_network
from verif.traffic_node import CLASSES

SHAPES = [(2, 2, False), (3, 3, True), (4, 1, True), (1, 4, True), (4, 4, True), (4, 4, False),
          (2, 4, True), (5, 3, True), (2, 1, False), (8, 8, True)]


@pytest.fixture(scope="module")
def program() -> Path:
    return build_network(NetworkConfig(flit_bytes=16), latency=3, name="network")


def _network(columns: int, rows: int, wrap: bool) -> golden.Network:
    return golden.Network(columns=columns, rows=rows, wrap_x=wrap, wrap_y=wrap)


@pytest.mark.sim
@pytest.mark.parametrize(("columns", "rows", "wrap"), SHAPES)
def test_everything_arrives(program: Path, columns: int, rows: int, wrap: bool) -> None:
    """Overload, links that are not always ready: all packets come, in order, on golden's ways."""
    _check_arrivals(program, _network(columns, rows, wrap), 800)


@pytest.mark.sim
@pytest.mark.parametrize(("dimensions", "shapes"), [
    (1, ((4, 1, True), (3, 1, False))),
    pytest.param(2, ((2, 2, False), (4, 4, True)), marks=pytest.mark.slow)])
def test_everything_arrives_by_narrow_links(
    dimensions: int, shapes: tuple[tuple[int, int, bool], ...]
) -> None:
    """The same with ports for links of several phits to a word, which take a flit in two cycles.

    In one dimension the routers have no ports to the north and south.
    """
    config = NetworkConfig(flit_bytes=16, queue_flits=4, phits_per_word=2, dimensions=dimensions)
    narrow = build_network(config, latency=3, name=f"network_narrow_{dimensions}")
    for shape in shapes:
        _check_arrivals(narrow, _network(*shape), 1600)


def _check_arrivals(program: Path, network: golden.Network, cycles: int) -> None:
    with NetworkSimulation(program, network) as simulation:
        simulation.set(hold=1, rate=65_535 // 5)
        simulation.run(cycles)
        simulation.drain()
        want = {(node, port.value): 0 for node in network.nodes() for port in PORTS}
        for (source, destination), packets in simulation.sent().items():
            for node, port, _ in golden.route(network, source, destination) if packets else ():
                want[node, port] += 4 * packets
        counts = simulation.counts()
        assert min(counts["received"]) > 100
        for i, node in enumerate(network.nodes()):
            for port in PORTS:
                got = counts[f"flits_out_{port.value}"][i]
                assert got == want[node, port.value], \
                    f"node {node}, {port.name}: {got} flits, want {want[node, port.value]}"
        # Packets of all sizes.
        simulation.set(length=0, length_mask=15, rate=65_535 // 10)
        simulation.run(cycles)
        simulation.drain()


@pytest.mark.sim
@pytest.mark.parametrize("blocked", range(CLASSES))
def test_blocked_class(program: Path, blocked: int) -> None:
    """A class that node 0 takes in no more fills its own channels, and no others."""
    network = _network(4, 4, True)
    with NetworkSimulation(program, network) as simulation:
        simulation.set(rate=65_535 // 40)
        simulation.block(1 << blocked)
        simulation.run(3000)
        before = simulation.counts()
        simulation.run(1500)
        after = simulation.counts()
        for k in range(CLASSES):
            came = [b - a for a, b in zip(before[f"class_{k}"], after[f"class_{k}"], strict=True)]
            if k == blocked:
                assert came[0] == 0
            else:  # one packet in 40 cycles
                assert min(came) > 18, f"class {k}: {came}"
        simulation.block(0)
        simulation.drain()


@pytest.mark.sim
@pytest.mark.parametrize(("classes", "load", "least"), [
    (7, 0.1, 0.095), (7, 0.6, 0.59), (7, 1.0, 0.75), (1, 1.0, 0.54)])
def test_throughput(program: Path, classes: int, load: float, least: float) -> None:
    """Uniform random packets of four flits on a 4 x 4 torus: accepted flits, each node's share."""
    with NetworkSimulation(program, _network(4, 4, True)) as simulation:
        rate = round(65_536 * load / 4 / classes.bit_count())
        simulation.set(classes=classes, rate=rate)
        simulation.run(2000)
        before = simulation.counts()
        simulation.run(6000)
        moved = {name: [(b - a) / 6000 for a, b in zip(before[name], counts, strict=True)]
                 for name, counts in simulation.counts().items()}
        accepted = sum(moved["received"]) / 16
        latency = sum(moved["latency_sum"]) / sum(moved["packets"])
        print(f"classes {classes}, load {load}: accepted {accepted:.3f}, least sent "
              f"{min(moved['sent']):.3f}, received {min(moved['received']):.3f}, latency {latency:.1f}")
        assert accepted >= least
        assert min(*moved["sent"], *moved["received"]) >= 0.7 * accepted  # no node starves
