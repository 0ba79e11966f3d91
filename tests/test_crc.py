"""The link's checksum: what it finds, and that hardware and golden model agree."""

import random

import numpy as np
import pytest

from golden import crc as golden
from golden.link import WordFormat
from hw.link import crc
from hw.link.wire import word_bits
from hw.network.config import NetworkConfig
from verif.crc_model import model_of

LENGTHS = {size: word_bits(NetworkConfig(flit_bytes=size)) for size in (8, 16, 32, 64)}


def syndromes(bits: int) -> np.ndarray:
    """Return what each single error does to the checksum, from the golden model."""
    below = bits - golden.CRC_BITS
    zero = golden.crc(0, below)
    found = [golden.crc(1 << i, below) ^ zero for i in range(below)]
    return np.array([*found, *(1 << i for i in range(golden.CRC_BITS))])


@pytest.mark.parametrize("bits", [*LENGTHS.values(), 2024])
def test_all_errors_of_up_to_five_bits_are_found(bits: int) -> None:
    """No two pairs of errors look the same, and an odd number of errors never looks like none."""
    single = syndromes(bits)
    assert 0 not in single
    first, second = np.triu_indices(bits, 1)
    pairs = np.sort(single[first] ^ single[second])
    assert pairs[0] != 0, "two errors cancel"
    assert (np.diff(pairs) != 0).all(), "four errors cancel"
    # Every single error changes an odd number of the checksum's bits, and so do three or five.
    assert all(each.bit_count() % 2 == 1 for each in single.tolist())


@pytest.mark.parametrize("bits", LENGTHS.values())
def test_columns(bits: int) -> None:
    assert crc.columns(bits - 24) == syndromes(bits)[:-24].tolist()
    assert (crc.POLYNOMIAL, crc.INVERTED) == (1 << 24 | golden.POLYNOMIAL, golden.INVERTED)


@pytest.mark.parametrize("bits", [31, LENGTHS[8]])
def test_hardware(bits: int) -> None:
    """Random messages, and words with errors of up to five bits."""
    rng = random.Random(bits)
    model = model_of(bits)
    cases = []
    for number in range(60):
        message = rng.getrandbits(bits) if number > 1 else number * ((1 << bits) - 1)
        word = message | golden.crc(message, bits) << bits
        flips = rng.sample(range(bits + 24), number % 6)
        cases.append((message, word ^ sum(1 << flip for flip in flips), not flips))
    for step, ((message, _, good), (checksum, is_good)) in enumerate(
            zip(cases, model([case[:2] for case in cases]), strict=True)):
        want = golden.crc(message, bits)
        assert checksum == want, f"message {step}: checksum {checksum:#x}, want {want:#x}"
        assert is_good == good, f"word {step}: good {is_good}, want {good}"


@pytest.mark.parametrize("size", LENGTHS)
def test_wires_that_are_stuck_are_no_word(size: int) -> None:
    form = WordFormat(flit_bytes=size)
    assert form.decode(0) is None
    assert form.decode((1 << form.bits) - 1) is None
