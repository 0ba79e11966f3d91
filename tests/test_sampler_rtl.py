"""The sampler's RTL equals golden/sampler.py bit for bit."""

import numpy as np
import pytest

from golden import tables
from golden.sampler import negative_log2
from hw.vector import sampler_tables
from verif.simulator import build
from verif.tb_sampler import SamplerBench


def test_tables() -> None:
    """The hardware's tables are the specification's."""
    assert list(sampler_tables.LOG2) == tables.LOG2[:32].tolist()
    assert list(sampler_tables.LOG2_STEP) == np.diff(tables.LOG2).tolist()


def test_exponential_needs_no_maximum() -> None:
    """-log2 of the uniform number is at least 1 by itself: the RTL leaves the maximum out."""
    assert negative_log2(2 * np.arange(1 << 16) + 1, 17).min() == 1


@pytest.mark.sim
def test_sampler() -> None:
    """Tokens, noise and latency of several widths."""
    build(SamplerBench(), "sampler_bench").run("verif.tb_sampler")
