"""Configurations: the named ones, and what is refused."""

import pytest

from hw.config import CONFIGS, ChipletConfig, find_config
from hw.network.config import NetworkConfig


def test_named() -> None:
    """The issue's sizes."""
    assert {"tiny", "base", "large"} <= set(CONFIGS)
    assert (CONFIGS["tiny"].rows, CONFIGS["tiny"].columns) == (8, 8)
    assert (CONFIGS["base"].rows, CONFIGS["base"].columns) == (16, 16)
    assert (CONFIGS["large"].rows, CONFIGS["large"].columns) == (32, 32)
    assert CONFIGS["base"].weight_bytes >= 1 << 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 12}, "rows must be a power of two, not 12"),
        ({"rows": 256}, "rows must be between 4 and 128, not 256"),
        ({"lanes": 32}, r"lanes must be at most the smaller of rows and columns \(16\), not 32"),
        ({"rows_per_step": 32}, r"rows_per_step must be at most rows \(16\), not 32"),
        ({"sampler_lanes": 32}, r"sampler_lanes must be at most lanes \(8\), not 32"),
        ({"context": 100}, "context must be a multiple of the larger of rows and columns"),
        ({"longest_dot": 1000}, r"longest_dot must be a multiple of rows \(16\), not 1000"),
        ({"longest_dot": 128}, r"longest_dot must be between context \(256\) and 2\*\*16, not 128"),
        ({"bank_words": 4}, r"bank_words must be between 16 and 2\*\*20, not 4"),
        ({"program_words": 1 << 13}, "program_words must be between 16 and 4096, not 8192"),
        ({"max_rows": 0}, "max_rows must be a positive whole number, not 0"),
        ({"queue_depth": 1}, "queue_depth must be between 2 and 8, not 1"),
        ({"result_beats": 1 << 17}, r"result_beats must be between 16 and 2\*\*16, not 131072"),
        ({"lanes": 2.0}, "lanes must be a positive whole number, not 2.0"),
        ({"memory_macro": "8x8"}, "memory_macro must be empty or one of 32x512, 32x256, not '8x8'"),
        ({"memory_technology": 1}, "memory_technology must be a MemoryTechnology, not 1"),
        ({"network": 1}, "network must be a NetworkConfig or None, not 1"),
        ({"network": NetworkConfig(flit_bytes=16)},
         r"network.flit_bytes must be 4 \* lanes \(32\), not 16"),
        ({"name": "a b"}, "name must be an identifier, not 'a b'"),
    ],
)
def test_refused(changes: dict, message: str) -> None:
    """A bad field is refused with the rule that it breaks."""
    with pytest.raises(ValueError, match=message):
        CONFIGS["base"].replace(**changes)


def test_unknown_name() -> None:
    """The error names the configurations that exist."""
    with pytest.raises(ValueError, match="config must be one of tiny, base, large, fpga, fpga_small, not 'huge'"):
        find_config("huge")


def test_frozen() -> None:
    """A configuration cannot be changed behind the validation's back."""
    with pytest.raises(AttributeError):
        CONFIGS["base"].rows = 4  # type: ignore[misc]
    network = CONFIGS["tiny"].replace(network=NetworkConfig())
    for config in (CONFIGS["tiny"], network):
        assert ChipletConfig(**config.as_dict()) == config
