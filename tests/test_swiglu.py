"""SwiGLU: silu by hand and over its whole range, the widest product, the groups."""

import numpy as np
import pytest

from golden.swiglu import group_bounds, silu, swiglu


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (0, 0),
        (1024, 749),  # SILU[8] = 4406, / 16 = 275.4; silu(1) = 0.731 * 1024 = 748.6
        (-1024, -275),
        (64, 34),  # halfway to SILU[1] = 960: 480 (and a half, cut after rounding) / 16 = 30
        (-64, -30),
        (16384, 16384),  # 16.0: the table has ended
        (-16384, 0),
        (32767, 32767),
        (-32767, 0),
        (-32768, 0),
    ],
)
def test_silu_worked_examples(gate: int, expected: int) -> None:
    assert silu(gate) == expected


def test_silu_over_all_int16_is_within_two_units() -> None:
    gate = np.arange(-32768, 32768)
    exact = gate / (1 + np.exp(-gate / 1024))
    assert np.max(np.abs(silu(gate) - exact)) < 2


def test_product_is_exact_in_32_bits() -> None:
    assert swiglu([32767, -1024, 1024], [-32768, -32768, 7]).tolist() == [
        -32767 * 32768,
        275 * 32768,
        749 * 7,
    ]


@pytest.mark.parametrize(
    ("hidden", "groups", "expected"),
    [
        (8, 4, ((0, 2), (2, 4), (4, 6), (6, 8))),
        (172, 4, ((0, 43), (43, 86), (86, 129), (129, 172))),
        (10, 4, ((0, 3), (3, 6), (6, 9), (9, 10))),  # the last is shorter
        (3, 3, ((0, 1), (1, 2), (2, 3))),
        (5, 1, ((0, 5),)),
    ],
)
def test_groups(hidden: int, groups: int, expected: tuple[tuple[int, int], ...]) -> None:
    assert group_bounds(hidden, groups) == expected
