"""The next token from the logits: greedy, or Gumbel noise and argmax (docs/numerics.md, section 8).

Adding T * Gumbel noise to each logit and taking the largest draws from softmax(logits / T).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from golden.integer import IntArray, bit_length, int64, round_shift, shift_left_or_right
from golden.tables import LOG2

MASK16 = 0xFFFF
MASK32 = 0xFFFFFFFF
ROUNDS = 5
TEMPERATURE_FRACTION_BITS = 12


@dataclass(frozen=True)
class Noise:
    """Noise of each token id and what led to it, all of the shape of ids and states together."""

    mixed: IntArray  #: 16 random bits
    exponential: IntArray  #: -log2 of the uniform number, 16 fraction bits, at least 1
    gumbel: IntArray  #: -log2 of the above, 16 fraction bits
    noise: IntArray  #: gumbel times the temperature, added to the logit


def next_state(state: int) -> int:
    """Step the xorshift generator (32 bits); a state of 0 counts as 1."""
    state = (state & MASK32) or 1
    state ^= (state << 13) & MASK32
    state ^= state >> 17
    state ^= (state << 5) & MASK32
    return state


def mix(token: ArrayLike, state: ArrayLike) -> IntArray:
    """Hash token ids with the generator's state to 16 bits: four rounds on two 16-bit words."""
    token, state = int64(token), int64(state)
    x, y = token & MASK16, ~token & MASK16
    for i in range(ROUNDS):
        key = ((state >> (16 * (i & 1))) & MASK16) ^ i
        x = ((((x >> 7) | (x << 9)) + y) & MASK16) ^ key
        y = (((y << 2) | (y >> 14)) & MASK16) ^ x
    return x


def log2_fraction(fraction: ArrayLike) -> IntArray:
    """Compute log2(1 + fraction), 16 fraction bits each, by interpolating in 32 intervals."""
    fraction = int64(fraction)
    index = fraction >> 11
    left, right = LOG2[index], LOG2[index + 1]
    return left + (((right - left) * (fraction & 2047)) >> 11)


def negative_log2(value: ArrayLike, one_bits: int) -> IntArray:
    """Compute -log2(value / 2^one_bits), 16 fraction bits; value > 0."""
    value = int64(value)
    bits = bit_length(value)
    fraction = shift_left_or_right(value, 17 - bits) & MASK16  # leading one at bit 16, cut off
    return ((one_bits + 1 - bits) << 16) - log2_fraction(fraction)


def gumbel_noise(token: ArrayLike, state: ArrayLike, temperature: int) -> Noise:
    """Make the noise of token ids from generator states (32 bits) and the temperature register."""
    mixed = mix(token, state)
    exponential = np.maximum(negative_log2(2 * mixed + 1, 17), 1)
    gumbel = negative_log2(exponential, 16)
    noise = round_shift(gumbel * temperature, TEMPERATURE_FRACTION_BITS)
    return Noise(mixed=mixed, exponential=exponential, gumbel=gumbel, noise=noise)


def temperature_register(temperature: float) -> int:
    """Encode a temperature: round(T * ln 2 * 2^12), 16 bits. 0 is greedy."""
    register = int(np.floor(temperature * np.log(2) * 2**TEMPERATURE_FRACTION_BITS + 0.5))
    if not 0 <= register <= MASK16:
        raise ValueError(f"temperature must be in 0..23, not {temperature!r}")
    return register


class Sampler:
    """Chooses tokens one after the other; the generator steps once per chosen token.

    `temperature` is the register's value; with 0 the choice is greedy.
    """

    def __init__(self, temperature: int = 0, seed: int = 1) -> None:
        self.temperature = temperature
        self.state = (seed & MASK32) or 1

    def choose(self, logits: ArrayLike) -> int:
        """Return the id of the largest noisy logit [vocab], ties to the lowest id."""
        logits = int64(logits)
        self.state = next_state(self.state)
        if self.temperature:
            ids = np.arange(logits.size)
            logits = logits + gumbel_noise(ids, self.state, self.temperature).noise
        return int(np.argmax(logits))
