"""The routing function of the emitted hardware: against golden, and without deadlock."""

from collections import Counter

import numpy as np
import pytest

from golden import router as golden
from hw.router.port import PORTS, SOURCES, TARGETS, Port
from verif.channel_graph import (
    build,
    hardware_ways,
    look_up,
    networks,
    without_dateline,
)


@pytest.fixture(scope="module")
def ways() -> np.ndarray:
    return hardware_ways()


def _network(columns: int, rows: int, wrap: bool) -> golden.Network:
    return golden.Network(columns=columns, rows=rows, wrap_x=wrap, wrap_y=wrap)


def test_every_step(ways: np.ndarray) -> None:
    """Each input port, vc, node and destination, also outside, of rings and lines of every length.

    The dimensions are all lengths with themselves and one other; ``wrap`` is also given to rings
    of one and two, which are lines.
    """
    seen = 0
    for columns, rows in {(size, other) for size in range(1, 9) for other in (size, 9 - size)}:
        for wrap in (False, True):
            network = _network(columns, rows, wrap)
            cases = [(node, (x, y), port.value, vc) for node in network.nodes()
                     for x in range(8) for y in range(8) for port in PORTS for vc in (0, 1)]
            if len(cases) > 20_000:  # all of them take long in Python
                cases = cases[(columns + rows) % 5::5]
            table = np.array([(*node, *to, port, vc) for node, to, port, vc in cases])
            port, vc = look_up(
                ways, table[:, 4], node_x=table[:, 0], node_y=table[:, 1], last_x=columns - 1,
                last_y=rows - 1, destination_x=table[:, 2], destination_y=table[:, 3],
                wrap_x=int(wrap), wrap_y=int(wrap), vc=table[:, 5])
            for case, got in zip(cases, zip(port, vc, strict=True), strict=True):
                want = golden.step(network, *case)
                assert got == want, f"{network}, node, destination, source, vc {case}: {got}, want {want}"
                assert Port(got[0]) in TARGETS[PORTS[case[2]]]
            seen += len(cases)
    assert seen > 200_000


def test_no_ring_in_any_network(ways: np.ndarray) -> None:
    """No torus and no mesh up to 8 x 8 has channels that wait for each other; every way is shortest."""
    count = 0
    for network in networks():
        graph = build(ways, network)
        ring = graph.ring()
        assert not ring, f"{network}: {[graph.name(c) for c in ring]}"
        shortest = np.zeros_like(graph.hops)
        for axis, size, wrap in ((0, network.columns, network.wrap_x), (1, network.rows, network.wrap_y)):
            place = np.array(network.nodes())[:, axis]
            distance = np.abs(place[:, None] - place[None, :])
            shortest += np.minimum(distance, size - distance) if wrap else distance
        assert (graph.hops == shortest).all(), network
        count += 1
    assert count == 14 * 14


@pytest.mark.parametrize(("columns", "rows"), [(3, 1), (4, 1), (1, 5), (3, 3), (8, 8)])
def test_ring_without_dateline(ways: np.ndarray, columns: int, rows: int) -> None:
    """The check finds the deadlock of a torus whose packets all stay on one virtual channel."""
    graph = build(without_dateline(ways), _network(columns, rows, True))
    ring = graph.ring()
    assert bool(ring) == (max(columns, rows) > 3), ring
    for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
        assert graph.edges[a, b], (graph.name(a), graph.name(b))
    # A mesh needs no dateline.
    assert not build(without_dateline(ways), _network(columns, rows, False)).ring()


def test_both_virtual_channels_are_used() -> None:
    """Over all pairs of a 4 x 4 torus, each link but the closing ones has at most 3/4 on one."""
    network = _network(4, 4, True)
    load = Counter(hop for a in network.nodes() for b in network.nodes()
                   for hop in golden.route(network, a, b))
    for node in network.nodes():
        for link in (Port.EAST, Port.SOUTH):
            shares = [load[node, link.value, vc] for vc in (0, 1)]
            closing = node[0 if link is Port.EAST else 1] == 3
            assert max(shares) == sum(shares) if closing else max(shares) <= 0.75 * sum(shares), (
                node, link, shares)


def test_turns_fit() -> None:
    for target, sources in SOURCES.items():
        for source in PORTS:
            assert (source in sources) == (target in TARGETS[source])
    assert all(Port.LOCAL in TARGETS[port] for port in PORTS)
