"""RoPE: rotations worked by hand, rounding, the widest result, and the float rotation."""

import numpy as np
import pytest

from golden.rope import rope

ONE = 1 << 14


@pytest.mark.parametrize(
    ("x", "cos", "sin", "expected"),
    [
        ([100, 50], ONE, 0, [100, 50]),
        ([100, 50], 0, ONE, [-50, 100]),  # a quarter turn
        ([100, 50], -ONE, 0, [-100, -50]),
        ([100, 50], 11585, 11585, [35, 106]),  # 35.36, 106.07
        ([1, 0], 8192, 0, [1, 0]),  # 0.5: half up
        ([-1, 0], 8192, 0, [0, 0]),  # -0.5
        ([32767, -32768], 11585, 11585, [46339, -1]),  # 17 bits; -0.7 rounds to -1
        ([-32768, -32768], 11585, 11585, [0, -46340]),
    ],
)
def test_worked_examples(x: list[int], cos: int, sin: int, expected: list[int]) -> None:
    assert rope(x, [cos], [sin]).tolist() == expected


def test_pairs_are_adjacent_and_turn_by_their_own_angle() -> None:
    assert rope([1, 2, 3, 4], [ONE, 0], [0, ONE]).tolist() == [1, 2, -4, 3]


def test_angles_go_with_tokens_not_heads() -> None:
    x = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])  # [tokens, heads, head_dim]
    cos, sin = np.array([[[ONE]], [[0]]]), np.array([[[0]], [[ONE]]])
    assert rope(x, cos, sin).tolist() == [[[1, 2], [3, 4]], [[-6, 5], [-8, 7]]]


def test_agrees_with_the_float_rotation() -> None:
    random = np.random.default_rng(0)
    x = random.integers(-8192, 8192, (50, 8))
    angle = random.uniform(0, 7, (50, 4))
    table = np.round(np.stack([np.cos(angle), np.sin(angle)]) * ONE).astype(np.int16)
    turned = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angle)
    result = rope(x, *table)
    # Half a unit of rounding and half a unit of each table entry times 2^13 / 2^14.
    assert np.max(np.abs(result[:, 0::2] - turned.real)) <= 1.0
    assert np.max(np.abs(result[:, 1::2] - turned.imag)) <= 1.0
