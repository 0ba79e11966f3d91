"""The integer primitives: worked answers, and the identity each of them states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.integer import (
    bit_length,
    clamp,
    int64,
    round_shift,
    saturate,
    saturate_int8,
    shift_left_or_right,
)


@pytest.mark.parametrize(
    ("x", "shift", "expected"),
    [
        (5, 0, 5),
        (-5, 0, -5),
        (5, 1, 3),  # 2.5: half goes up
        (-5, 1, -2),  # -2.5: up is towards zero here
        (-3, 1, -1),
        (7, 2, 2),  # 1.75
        (-7, 2, -2),
        (-6, 2, -1),  # -1.5
        (2**55, 63, 0),
        (-(2**55), 63, 0),
        (2**55 - 1, 55, 1),
    ],
)
def test_round_shift_rounds_half_up(x: int, shift: int, expected: int) -> None:
    assert round_shift(x, shift) == expected


@given(st.integers(-(2**56), 2**56), st.integers(0, 63))
def test_round_shift_is_the_floor_of_x_plus_half(x: int, shift: int) -> None:
    assert int(round_shift(x, shift)) == (2 * x + (1 << shift)) // (2 << shift)


def test_round_shift_takes_a_shift_per_row() -> None:
    assert round_shift([[10, 11], [10, 11]], [[1], [2]]).tolist() == [[5, 6], [3, 3]]


def test_shift_left_or_right() -> None:
    assert shift_left_or_right([3, -3, 5], [2, 2, 0]).tolist() == [12, -12, 5]
    assert shift_left_or_right([7, -7], [-1, -1]).tolist() == [3, -4]  # rounds down


def test_saturate_counts_only_what_changes() -> None:
    values, clipped = saturate([-32769, -32768, 0, 32767, 32768], 16)
    assert values.tolist() == [-32768, -32768, 0, 32767, 32767]
    assert clipped == 2


def test_int8_is_symmetric() -> None:
    values, clipped = saturate_int8([-128, -127, 127, 128])
    assert values.tolist() == [-127, -127, 127, 127]
    assert clipped == 2


def test_clamp() -> None:
    assert clamp([-1, 0, 63, 64], 0, 63).tolist() == [0, 0, 63, 63]


def test_bit_length_of_every_power_and_its_neighbours() -> None:
    numbers = sorted({0} | {n for b in range(63) for n in (2**b - 1, 2**b, 2**b + 1)})
    assert bit_length(numbers).tolist() == [n.bit_length() for n in numbers]


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match="x must hold integers, not float64"):
        int64(np.array([1.0]))
