"""The drain: scaling by hand, ties, every destination's limits, the shift's clamp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.integer import int64
from golden.requantizer import ONE, Destination, RowScale, add_to_residual, drain, requantize


def scale(mantissa: int, exponent: int) -> RowScale:
    """Make the row scale of one vector."""
    return RowScale(int64(mantissa), int64(exponent))


@pytest.mark.parametrize(
    ("acc", "multiplier", "shift", "row", "expected"),
    [
        (1000, 32768, 22, (128, -7), 8),  # 1000 * 2^-7 = 7.8125
        (-1000, 32768, 22, (128, -7), -8),
        (4, 32768, 18, (128, -7), 1),  # 0.5: half up
        (-4, 32768, 18, (128, -7), 0),
        (12, 32768, 18, (128, -7), 2),  # 1.5
        (-12, 32768, 18, (128, -7), -1),
        (3, 50000, 20, (200, -10), 0),  # 3 * 39063 / 2^22
        (100, 65535, 20, (255, -4), 100),  # 100 * 65279 / 2^16 = 99.6
        (5, 7, 3, (129, 10), 20),  # 903 / 256 is 4; shift - exponent - 8 = -15 counts as 0
        (1000, 1, 8, (128, 0), 1000),  # 128 / 256: half up
        (1000, 1, 8, (255, 0), 1000),
        (1000, 3, 8, (128, 0), 2000),
        (-(2**31), 65535, 46, (255, -8), -2),  # 2^31 * 65279 / 2^46 = 1.99
        (-(2**31), 65535, 47, (255, -8), -1),
        (2**31 - 1, 65535, 100, (255, -8), 0),  # 100 counts as 63
    ],
)
def test_worked_examples(
    acc: int, multiplier: int, shift: int, row: tuple[int, int], expected: int
) -> None:
    y = requantize([acc], [multiplier], shift, scale(*row))
    assert y.tolist() == [expected]


@pytest.mark.parametrize(
    ("destination", "low", "high"),
    [
        (Destination.INT8, -127, 127),
        (Destination.INT16, -(2**15), 2**15 - 1),
        (Destination.RESIDUAL, -(2**23), 2**23 - 1),
        (Destination.LOGIT, -(2**31), 2**31 - 1),
    ],
)
def test_full_scale_accumulators_saturate(destination: Destination, low: int, high: int) -> None:
    acc = [-(2**31), -1, 0, 1, 2**31 - 1]
    values, clipped = drain(acc, np.full(5, 65535, np.uint16), 20, scale(255, 0), destination)
    one = (65279 + 2**11) >> 12
    assert values.tolist() == [low, -one, 0, one, high]
    assert clipped == 2


def test_one_multiplier_per_channel_and_one_scale_per_row() -> None:
    acc = [[64, 64], [64, 64]]
    rows = RowScale(int64([128, 192]), int64([-7, -6]))  # 1 and 3
    assert requantize(acc, [32768, 49152], 15, rows).tolist() == [[64, 96], [192, 288]]


def test_one_is_one() -> None:
    assert requantize([-77, 77], [32768, 32768], 15, ONE).tolist() == [-77, 77]


def test_only_the_drain_saturates() -> None:
    y, clipped = drain([2**30], [65535], 0, ONE, Destination.RESIDUAL)
    assert (y.tolist(), clipped) == ([2**23 - 1], 1)
    assert add_to_residual([-1], y).tolist() == [2**23 - 2]
    assert add_to_residual([1, -(2**23)], [2**23 - 1, -1]).tolist() == [2**23, -(2**23) - 1]
    assert add_to_residual([2**31 - 1, -(2**31)], [1, -1]).tolist() == [-(2**31), 2**31 - 1]


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 65535),
    st.integers(0, 63),
    st.integers(128, 255),
    st.integers(-128, 127),
)
def test_equals_arithmetic_of_unlimited_width(
    acc: int, multiplier: int, shift: int, mantissa: int, exponent: int
) -> None:
    right = min(max(shift - exponent - 8, 0), 63)
    factor = (multiplier * mantissa + 128) // 256
    expected = (2 * acc * factor + (1 << right)) // (2 << right)
    assert requantize([acc], [multiplier], shift, scale(mantissa, exponent)).tolist() == [expected]
