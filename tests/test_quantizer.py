"""Dynamic quantization: vectors worked by hand, the extremes, the error bound, padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.quantizer import quantize_key, quantize_vector


@pytest.mark.parametrize(
    ("x", "q", "m", "e", "row"),
    [
        ([0, 0], [0, 0], 9, 0, (144, -8)),
        # xn = 16384, times 28900 (127 * 2048 / 9), 2^-22: 112.9
        ([0, 1], [0, 113], 9, 1, (144, -7)),
        # xn = 25600, -12800, 6400; times 20007: 122.1, -61.1, 30.5
        ([100, -50, 25], [122, -61, 31], 13, 7, (208, -1)),
        # m = 16 is written as mantissa 128 with the next exponent; 32767 * 16256 * 2^-22 = 127.0
        ([32767, -32767, 1], [127, -127, 0], 16, 15, (128, 8)),
        # e = 16: 65535 / 2 rounds to 32768 and is held at 32767
        ([65535, -65535], [127, -127], 16, 16, (128, 9)),
        ([2**31 - 1], [127], 16, 31, (128, 24)),
        ([-(2**31), 0], [-127, 0], 16, 31, (128, 24)),  # the largest magnitude is held at 2^31 - 1
    ],
)
def test_worked_examples(x: list[int], q: list[int], m: int, e: int, row: tuple[int, int]) -> None:
    result = quantize_vector(x)
    assert result.q.tolist() == q
    assert (int(result.m), int(result.e)) == (m, e)
    assert (int(result.scale.mantissa), int(result.scale.exponent)) == row


@pytest.mark.parametrize(
    ("x", "q", "multiplier"),
    [
        ([0, 0], [0, 0], 9),  # e is 5 at least
        # e = 5: xn = 15 << 10 = 15360, below 9/16 of the range; times 28900: 105.8
        ([15, -15], [106, -106], 9),
        ([31], [123], 16),  # xn = 31744, m = 16: 123.03
        ([100, -50, 25], [122, -61, 31], 13 << 2),
        # the largest that a rotation makes: e = 16, xn = 23171, times 21675: 119.7
        ([46341], [120], 12 << 11),
    ],
)
def test_keys_have_a_multiplier(x: list[int], q: list[int], multiplier: int) -> None:
    result = quantize_key(x)
    assert result.q.tolist() == q
    assert int(result.key_multiplier) == multiplier


def test_each_vector_has_its_own_scale() -> None:
    result = quantize_vector([[[100, -50, 25], [0, 1, 0]]])
    assert result.q.tolist() == [[[122, -61, 31], [0, 113, 0]]]
    assert result.m.tolist() == [[13, 9]]


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=12))
def test_error_is_about_half_a_step(x: list[int]) -> None:
    result = quantize_vector(x)
    step = int(result.m) * 2.0 ** (int(result.e) - 4) / 127
    # Half a step, and the rounding to 16 bits before it (below 1/250 of a step each way).
    assert np.max(np.abs(result.q * step - np.array(x, float))) <= 0.51 * step
    value = float(result.scale.mantissa) * 2.0 ** float(result.scale.exponent) / 127
    assert value == pytest.approx(step)


@given(st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=8), st.integers(1, 9))
def test_zeros_of_padding_change_nothing(x: list[int], padding: int) -> None:
    plain, padded = quantize_vector(x), quantize_vector(x + [0] * padding)
    assert padded.q.tolist() == plain.q.tolist() + [0] * padding
    assert padded.scale.mantissa == plain.scale.mantissa
    assert padded.scale.exponent == plain.scale.exponent


def test_nothing_exceeds_127_for_any_16_bit_maximum() -> None:
    x = np.arange(-32767, 32768)[:, None]
    result = quantize_vector(x)
    assert np.max(np.abs(result.q)) == 127
    # A lone element is its vector's maximum: it uses at least 8/9 of the range.
    assert np.min(np.abs(result.q[np.abs(x) > 0])) == 113
