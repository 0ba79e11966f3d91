"""Contents of the vector unit's tables, made from docs/numerics.md; entries are integers."""

import math
from collections.abc import Sequence

from amaranth.hdl import Array, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import data


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


#: Section 3, index m - 9 for m = 9..16: 127 / m with 11 fraction bits.
RECIPROCAL = tuple(_rounded(127 * 2048 / m) for m in range(9, 17))

#: The entries above in digits of base 4, the lowest first. Of the digits that make an entry, these let
#: most positions do without a choice of sign or of magnitude.
RECIPROCAL_DIGITS = (
    (0, 1, -2, 0, 1, 0, -1, 2),
    (-2, -1, 2, -2, 2, 1, 2, 1),
    (1, -1, 2, 1, 0, -1, -2, 2),
    (-1, -1, -1, -1, 1, 1, 1, 1),
    (-1, -2, -1, 1, 2, -1, 1, 1),
    (-2, 1, 1, -2, 1, 2, 0, 1),
    (0, -1, 0, -1, 0, 1, 0, 1),
    (0, 0, 0, -2, 0, 0, 0, 1),
)

#: Section 5, index (U >> 11) - 8: 2**22 / sqrt(U) at the middle of the interval.
RSQRT = tuple(_rounded(2**22 / math.sqrt((i + 0.5) * 2**11)) for i in range(8, 32))
#: (Y0 * Y0) >> 15 of each entry above.
RSQRT_SQUARED = tuple(y * y >> 15 for y in RSQRT)

#: Section 6, index is the fraction of the distance to the largest score, in 1/64.
EXP2 = tuple(_rounded(127 * 256 * 2 ** (-f / 64)) for f in range(64))

#: Section 6, index is the sum without its leading one, 8 bits; every entry is in 128..255.
RECIP = tuple(min(255, _rounded(65536 / (i + 256.5))) for i in range(256))

_SILU = [*(_rounded(2**14 * (i / 8) / (1 + math.exp(i / 8))) for i in range(128)), 0]
#: Section 7, index is the magnitude of the gate in 1/8.
SILU = tuple(_SILU[:128])
#: SILU[i + 1] - SILU[i].
SILU_STEP = tuple(_SILU[i + 1] - _SILU[i] for i in range(128))

RECIPROCAL_BITS = max(RECIPROCAL).bit_length()
DIGITS = len(RECIPROCAL_DIGITS[0])
RSQRT_BITS = max(RSQRT).bit_length()
EXP2_BITS = max(EXP2).bit_length()
SILU_BITS = max(SILU).bit_length()
SILU_STEP_BITS = max(value.bit_length() for value in SILU_STEP) + 1


def reciprocal_layout() -> data.StructLayout:
    """Return a reciprocal as it is multiplied with: which digits are +-1, +-2, and negative."""
    return data.StructLayout({"one": DIGITS, "two": DIGITS, "negative": DIGITS})


def reciprocal_code(digits: Sequence[int]) -> int:
    """Return the digits of a reciprocal in :func:`reciprocal_layout`."""
    return reciprocal_layout().const({
        "one": sum((abs(digit) == 1) << i for i, digit in enumerate(digits)),
        "two": sum((abs(digit) == 2) << i for i, digit in enumerate(digits)),
        "negative": sum((digit < 0) << i for i, digit in enumerate(digits)),
    }).as_bits()


def look_up(m: Module, table: Sequence[int], index: Value, name: str) -> Signal:
    """Return ``table[index]`` as a named signal, wide enough for every entry."""
    negative = min(table) < 0
    bits = max(value.bit_length() for value in table)
    shape = signed(bits + 1) if negative else unsigned(bits)
    entry = Signal(shape, name=name)
    m.d.comb += entry.eq(Array(Const(value, shape) for value in table)[index])
    return entry
