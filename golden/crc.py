"""The checksum of the link's words, bit by bit (docs/link.md)."""

CRC_BITS = 24
POLYNOMIAL = 0x5D6DCB
INVERTED = 0x5A5A5A


def crc(message: int, bits: int) -> int:
    """Return the checksum of a message of so many bits: its highest bit is divided first."""
    register = 0
    for i in reversed(range(bits)):
        out = register >> CRC_BITS - 1 ^ message >> i & 1
        register = register << 1 & (1 << CRC_BITS) - 1
        if out:
            register ^= POLYNOMIAL
    return register ^ INVERTED
