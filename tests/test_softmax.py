"""Softmax: probabilities and the reciprocal of their sum by hand, masks, the float definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.softmax import reciprocal_scale, softmax


@pytest.mark.parametrize(
    ("distance", "p"),
    [
        (0, 127),
        (32, 90),  # 127 / sqrt(2) = 89.8
        (64, 64),  # 63.5: half up
        (128, 32),  # 31.75
        (448, 1),  # 0.992
        (511, 1),  # 0.5015
        (512, 0),  # 0.496
        (65535, 0),
    ],
)
def test_probability_by_distance_from_the_largest(distance: int, p: int) -> None:
    result = softmax([32767, 32767 - distance])
    assert result.p.tolist() == [127, p]
    assert int(result.total) == 127 + p


@pytest.mark.parametrize(
    ("total", "mantissa", "exponent"),
    [
        (127, 129, -14),  # index 508: 65536 / 508.5 = 128.9
        (255, 128, -15),  # index 510: 128.4
        (256, 255, -16),  # index 256: 255.5 is held at 255
        (381, 172, -16),  # 65536 / 381.5 = 171.8
        (511, 128, -16),  # 128.1
        (512, 255, -17),
        (513, 255, -17),  # the bits below the index are cut
        (127 * 256, 129, -22),
        (127 * 8192, 129, -27),
    ],
)
def test_reciprocal_of_the_sum(total: int, mantissa: int, exponent: int) -> None:
    scale = reciprocal_scale(total)
    assert (int(scale.mantissa), int(scale.exponent)) == (mantissa, exponent)


def test_every_reciprocal_is_close() -> None:
    total = np.arange(1, 127 * 1024)
    scale = reciprocal_scale(total)
    assert np.max(np.abs(scale.mantissa * 2.0**scale.exponent * total - 1)) < 1 / 200


def test_all_equal_scores_share_equally() -> None:
    result = softmax([[-7, -7, -7]])
    assert result.p.tolist() == [[127, 127, 127]]
    assert (result.scale.mantissa.tolist(), result.scale.exponent.tolist()) == ([172], [-16])


def test_a_single_position_gets_all() -> None:
    result = softmax([[-32768]])
    assert (result.p.tolist(), result.total.tolist()) == ([[127]], [127])


def test_masked_positions_get_nothing_and_do_not_set_the_maximum() -> None:
    scores = [[5, 32767, 5], [-32768, -32768, 7]]
    result = softmax(scores, [[True, False, True], [True, True, False]])
    assert result.p.tolist() == [[127, 0, 127], [127, 127, 0]]
    assert result.maximum.tolist() == [5, -32768]


@given(st.lists(st.integers(-2000, 2000), min_size=1, max_size=40))
def test_agrees_with_the_float_definition(scores: list[int]) -> None:
    result = softmax(scores)
    scale = float(result.scale.mantissa) * 2.0 ** float(result.scale.exponent)
    exact = 2.0 ** ((np.array(scores) - max(scores)) / 64)
    # Each term is rounded to 1/127 of the largest, so the sum is off by n/254 of it at most.
    tolerance = 1 / 254 + len(scores) / 254 / exact.sum() + 1 / 200
    assert np.max(np.abs(result.p * scale - exact / exact.sum())) <= tolerance


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=20), st.integers(1, 9))
def test_padding_changes_nothing(scores: list[int], padding: int) -> None:
    plain = softmax(scores)
    shown = [True] * len(scores) + [False] * padding
    padded = softmax(scores + [32767] * padding, shown)
    assert padded.p.tolist() == plain.p.tolist() + [0] * padding
    assert padded.total == plain.total
