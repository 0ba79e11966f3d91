"""Registers that start unknown, or with random values, instead of their initial ones.

Icarus shows X where a value was never set: in registers without a reset and in memories until they
are first written. Nothing of that may reach a port, a token, or the bench's reads.
"""

import re
from random import Random

_INITIAL = re.compile(r"^( *reg (?:\[(\d+):0\] )?(?:\\\S+ |\w+)) *= [^;]+;$", re.MULTILINE)


def without_initial_values(logic: str) -> str:
    """Return the emitted logic with registers that start unknown."""
    return _INITIAL.sub(r"\1;", logic)


def with_random_values(logic: str, seed: int) -> str:
    """Return the emitted logic with registers that start with random values."""
    random = Random(seed)

    def value(match: re.Match[str]) -> str:
        bits = int(match[2] or 0) + 1
        return f"{match[1]} = {bits}'h{random.getrandbits(bits):x};"

    return _INITIAL.sub(value, logic)
