"""Tables of the sampler: log2(1 + i / 32) and its steps (docs/numerics.md, section 8)."""

import math

#: Bits of a fraction that the table reads as 16 bits: 5 of index, 11 to interpolate.
FRACTION_BITS = 16
INDEX_BITS = 5
REMAINDER_BITS = FRACTION_BITS - INDEX_BITS

_T = [math.floor(65536 * math.log2(1 + i / 32) + 0.5) for i in range(33)]

#: T[i], i = 0..31, with 16 fraction bits; each fits 16 bits.
LOG2 = tuple(_T[:32])
#: T[i + 1] - T[i], i = 0..31; each fits 12 bits.
LOG2_STEP = tuple(_T[i + 1] - _T[i] for i in range(32))

assert max(LOG2) < 1 << 16
assert max(LOG2_STEP) < 1 << 12
