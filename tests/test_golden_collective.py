"""Collective operations in golden: known answers, and the order that does not matter."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from golden.collective import all_gather, all_reduce, choose

_NUMBERS = st.integers(-(2**31), 2**31 - 1)


def test_known_answers() -> None:
    assert all_reduce([[1, -2, 2**31 - 1], [5, -7, 1]]).tolist() == [6, -9, -(2**31)]
    assert all_reduce([[1, -2, 3], [5, -7, 1]], maximum=True).tolist() == [5, -2, 3]
    rows = np.arange(8).reshape(4, 2)
    assert all_gather([rows, rows + 10], [0, 1, 4]).tolist() == [[0, 1], [12, 13], [14, 15], [16, 17]]
    assert choose([(5, 9), None, (7, 3), (7, 2)]) == 2
    assert choose([None, None]) is None
    assert choose([(-4, 1), (-5, 0)]) == 1


@given(st.lists(st.lists(_NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5), st.randoms())
def test_any_order_and_any_grouping(parts: list[list[int]], random: object) -> None:
    want = all_reduce(parts)
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert np.array_equal(all_reduce(shuffled), want)
    total = shuffled[0]
    for part in shuffled[1:]:
        total = all_reduce([total, part])
    assert np.array_equal(all_reduce([total]), want)
