"""RMSNorm: sums and roots worked by hand, the extremes, and the float definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.rms_norm import reciprocal_root, rms_norm


@pytest.mark.parametrize(
    ("x", "epsilon", "q", "row"),
    [
        # The sum counts as 1: u = 2^14, j = -7, y0 = 31790, y = 32724; 9 y = 294516.
        ([0, 0, 0], 0, [0, 0, 0], (144, 7)),
        # The same root of a sum of 4 * 16384^2 = 2^30: j = 8.
        ([1024] * 4, 0, [113] * 4, (144, -8)),
        # Epsilon moves left by 8 bits and doubles the sum: y0 = 22817, y = 23163, 9 y = 208467.
        ([1024] * 4, 2**22, [113] * 4, (204, -9)),
        # e = 21: epsilon moves right by 12 bits; the sum is 2^28 + 2^28 = 2^29, j = 7.
        ([2**20], 2**40, [113], (204, -8)),
    ],
)
def test_worked_examples(x: list[int], epsilon: int, q: list[int], row: tuple[int, int]) -> None:
    norm = rms_norm(x, epsilon)
    assert norm.q.tolist() == q
    assert (int(norm.scale.mantissa), int(norm.scale.exponent)) == row


@pytest.mark.parametrize(
    ("total", "u", "j", "y"),
    [
        (0, 2**14, -7, 32724),
        (1, 2**14, -7, 32724),
        (2**14, 2**14, 0, 32724),
        (2**15, 2**15, 0, 23163),
        (2**16, 2**14, 1, 32724),
        (2**48 - 1, 2**16 - 1, 16, 16383),
    ],
)
def test_root_is_normalized_to_15_or_16_bits(total: int, u: int, j: int, y: int) -> None:
    root = reciprocal_root(total)
    assert (int(root.u), int(root.j)) == (u, j)
    assert int(root.y) == pytest.approx(y, abs=1)


@given(st.integers(1, 2**48 - 1))
def test_root_is_within_two_parts_in_a_thousand(total: int) -> None:
    root = reciprocal_root(total)
    value = float(root.y) * 2.0 ** (-22 - float(root.j))
    assert value == pytest.approx(total**-0.5, rel=2e-3)


@given(
    st.integers(0, 23),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
def test_agrees_with_the_float_definition(bits: int, dim: int, epsilon: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-(2**bits), 2**bits, dim)
    norm = rms_norm(x, epsilon)
    row = float(norm.scale.mantissa) * 2.0 ** float(norm.scale.exponent)
    # The sum is limited to 48 bits, which epsilon of a vector of tiny values reaches.
    shift = 2.0 ** (2 * (15 - int(norm.quantized.e)))
    total = min(float(np.sum(x.astype(float) ** 2) + epsilon) * shift, 2.0**48 - 1) / shift
    expected = x / np.sqrt(max(total, 1.0 / shift))
    step = np.max(np.abs(expected)) / 113  # at least 8/9 of the int8 range is used
    error = np.abs(norm.q * row / 127 - expected)
    assert np.max(error) <= 0.51 * step + 0.007 * np.max(np.abs(expected)) + 1e-12


def test_mantissa_always_has_eight_bits() -> None:
    values = np.random.default_rng(3).integers(-(2**23), 2**23, (20000, 3))
    values >>= np.random.default_rng(4).integers(0, 24, (20000, 1))
    scale = rms_norm(values, 1).scale
    assert scale.mantissa.min() == 128
    assert scale.mantissa.max() == 255
    assert scale.exponent.min() >= -17
    assert scale.exponent.max() <= 8


def test_padding_changes_nothing() -> None:
    x = np.random.default_rng(5).integers(-(2**20), 2**20, (4, 11))
    plain, padded = rms_norm(x, 77), rms_norm(np.pad(x, ((0, 0), (0, 5))), 77)
    assert np.array_equal(padded.q[:, :11], plain.q)
    assert np.array_equal(padded.scale.mantissa, plain.scale.mantissa)
    assert np.array_equal(padded.sum_squares, plain.sum_squares)
