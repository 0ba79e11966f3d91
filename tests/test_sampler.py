"""The sampler: generator and noise by hand, ties, and frequencies against softmax."""

import numpy as np
import pytest

from golden.sampler import (
    Sampler,
    gumbel_noise,
    log2_fraction,
    mix,
    negative_log2,
    next_state,
    temperature_register,
)


def test_generator_is_the_known_xorshift() -> None:
    state, states = 1, []
    for _ in range(4):
        state = next_state(state)
        states.append(state)
    assert states == [270369, 67634689, 2647435461, 307599695]
    assert next_state(0) == 270369  # 0 counts as 1


def test_mix_by_hand() -> None:
    # token 0, state 0: (x, y) = ffff 0000, fffe fffe, fdff 0204, 01fc 09ec and last x = 01eb
    assert mix(0, 0) == 0x01EB


def test_mix_is_a_16_bit_word_for_the_largest_operands() -> None:
    mixed = mix([0, 65535], 0xFFFFFFFF)
    assert mixed.min() >= 0
    assert mixed.max() <= 65535


def test_log2_table_and_interpolation() -> None:
    # T[31] = 64047, T[32] = 65536; 1152/2048 and 2047/2048 of the way
    assert log2_fraction([0, 64640, 65535]).tolist() == [0, 64884, 65535]
    fraction = np.arange(65536)
    exact = 65536 * np.log2(1 + fraction / 65536)
    assert np.max(np.abs(log2_fraction(fraction) - exact)) < 14  # 2e-4


@pytest.mark.parametrize(
    ("value", "one_bits", "expected"),
    [
        (1, 17, 17 << 16),
        (131071, 17, 1),  # the likeliest number of all
        (1017, 17, 459404),
        (1, 16, 16 << 16),
        (65536, 16, 0),
        (17 << 16, 16, -267876),  # 21 bits: the lowest four are cut
        (459404, 16, -184116),
    ],
)
def test_negative_log2(value: int, one_bits: int, expected: int) -> None:
    assert negative_log2(value, one_bits) == expected


def test_noise_by_hand() -> None:
    noise = gumbel_noise(0, 0, temperature_register(1.0))
    assert int(noise.mixed) == 491
    assert int(noise.exponential) == 462619
    assert int(noise.gumbel) == -184772
    assert int(noise.noise) == -128068  # -184772 * 2839 / 4096 = -128068.3


def test_temperature_register() -> None:
    assert temperature_register(0) == 0
    assert temperature_register(1.0) == 2839
    assert temperature_register(23.0) == 65300
    for wrong in (-0.1, 24.0):
        with pytest.raises(ValueError, match=r"temperature must be in 0..23"):
            temperature_register(wrong)


def test_greedy_takes_the_lowest_of_equals() -> None:
    assert Sampler().choose([-5, 7, 7, 3]) == 1
    assert Sampler().choose([-(2**31), -(2**31)]) == 0


def test_greedy_is_sampling_without_noise() -> None:
    cold = gumbel_noise(np.arange(9), 12345, 0)
    assert not cold.noise.any()


def test_same_seed_same_tokens() -> None:
    logits = np.zeros(50, np.int32)
    runs = [[s.choose(logits) for _ in range(20)] for s in (Sampler(2839, 5), Sampler(2839, 5))]
    assert runs[0] == runs[1]
    other = Sampler(2839, 6)
    assert [other.choose(logits) for _ in range(20)] != runs[0]


def test_choose_adds_the_noise_of_the_stepped_state() -> None:
    logits = np.arange(0, 40000, 1000)
    noisy = logits + gumbel_noise(np.arange(40), next_state(77), 2839).noise
    assert Sampler(2839, seed=77).choose(logits) == int(np.argmax(noisy))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("vocab", [8, 300])
def test_frequencies_follow_softmax(temperature: float, vocab: int) -> None:
    logits = np.random.default_rng(vocab).normal(scale=1.5, size=vocab)
    shares = np.exp(logits / temperature)
    shares /= shares.sum()
    draws = 15000
    states, state = [], 1
    for _ in range(draws):
        state = next_state(state)
        states.append(state)
    noise = gumbel_noise(
        np.arange(vocab), np.array(states)[:, None], temperature_register(temperature)
    ).noise
    chosen = np.argmax(np.floor(logits * 65536 + 0.5).astype(np.int64) + noise, axis=1)
    expected = draws * shares
    frequent = expected >= 5
    count = np.bincount(chosen, minlength=vocab)
    chi_square = np.sum(((count - expected) ** 2 / expected)[frequent])
    freedom = np.count_nonzero(frequent) - 1
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)
