"""CRC-24 over a word of the link: in one step as a matrix of XORs, or phit by phit."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value

CRC_BITS = 24
#: x**24 and the terms below it. It finds every error of 1 to 5 bits in words of up to 2,024 bits.
POLYNOMIAL = 0x15D6DCB
#: XORed with the checksum, so that wires stuck at 0 or at 1 are no word.
INVERTED = 0x5A5A5A
#: Outputs whose sums are shared: this many have so few patterns that most inputs meet another.
_ROWS = 6


def columns(bits: int) -> list[int]:
    """Return, for each bit of a message, the checksum of that bit alone; bit 0 is sent last."""
    found, remainder = [], POLYNOMIAL & ((1 << CRC_BITS) - 1)
    for _ in range(bits):
        found.append(remainder)
        remainder <<= 1
        if remainder >> CRC_BITS:
            remainder ^= POLYNOMIAL
    return found


def checksum(m: Module, message: Value, name: str) -> Value:
    """Return the checksum of a message: bits that follow it, above its highest."""
    return _product(m, message, columns(len(message)), name) ^ INVERTED


def is_good(m: Module, word: Value, name: str) -> Value:
    """Return whether a word, a message below its checksum, is without error."""
    bits = len(word) - CRC_BITS
    syndrome = _product(m, word, [*columns(bits), *(1 << i for i in range(CRC_BITS))], name)
    return syndrome == INVERTED


def goes_by_phits(phit_bits: int, phits: int) -> bool:
    """Return whether the checksum is whole phits, so that it can be made phit by phit."""
    return phits > 1 and CRC_BITS % phit_bits == 0


def next_sum(m: Module, total: Value, phit: Value, bits: int, name: str,
             gone: Value | None = None) -> Value:
    """Return the sum over a message's phits when one more has passed, the lowest first.

    ``bits``: of the message. The sum starts at 0; after all phits it is the checksum but for
    ``INVERTED``. With ``gone`` it slides on: over as many phits as before, without that one.
    """
    width, weights = len(phit), columns(bits)
    down = [_divided(1 << i, width) for i in range(CRC_BITS)]
    terms, patterns = Cat(total, phit), [*down, *weights[bits - width:]]
    if gone is not None:
        terms = Cat(terms, gone)
        patterns += [_divided(weight, width) for weight in weights[:width]]
    return _product(m, terms, patterns, name)


def _divided(remainder: int, power: int) -> int:
    """Return a remainder divided by x**power."""
    for _ in range(power):
        remainder = (remainder ^ POLYNOMIAL if remainder & 1 else remainder) >> 1
    return remainder


def _product(m: Module, message: Value, column: Sequence[int], name: str) -> Value:
    """Return, for each bit of the checksum, the XOR of the bits of ``message`` that it depends on."""
    result = []
    for low in range(0, CRC_BITS, _ROWS):
        terms = [(message[i], pattern >> low) for i, pattern in enumerate(column)]
        result += _rows(m, terms, min(_ROWS, CRC_BITS - low), f"{name}_{low}")
    return Cat(result)


def _rows(m: Module, terms: Sequence[tuple[Value, int]], rows: int, name: str) -> list[Value]:
    """Return the lowest ``rows`` sums: terms that belong to the same ones are added up first."""
    groups: dict[int, list[Value]] = {}
    for value, pattern in terms:
        if pattern & ((1 << rows) - 1):
            groups.setdefault(pattern & ((1 << rows) - 1), []).append(value)
    sums = _sums(m, groups, name)
    if rows == 1:
        return [sums.get(1, Const(0, 1))]
    half = rows // 2
    halves = ((half, 0), (rows - half, half))
    return [each for count, shift in halves for each in _rows(
        m, [(value, pattern >> shift) for pattern, value in sums.items()], count,
        f"{name}_{shift}of{rows}")]


def _sums(m: Module, groups: Mapping[int, list[Value]], name: str) -> dict[int, Value]:
    sums: dict[int, Value] = {}
    for pattern, values in sorted(groups.items()):
        sums[pattern] = values[0]
        if len(values) > 1:
            sums[pattern] = Signal(name=f"{name}_sum_{pattern}")
            m.d.comb += sums[pattern].eq(Cat(values).xor())
    return sums
