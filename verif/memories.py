"""Back-door access to the SRAM models of a running simulation."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Control-file line that makes every memory reachable from Python.
PUBLIC_MEMORIES = 'public_flat_rw -module "tessera_sram_*" -var "mem"'


class MemoryHandle:
    """The words of one SRAM instance (the component ``Sram``), as Python integers."""

    def __init__(self, handle: Any) -> None:
        self.words = handle.memory.mem

    def read(self, address: int) -> int:
        """Return one word."""
        return self.words[address].value.to_unsigned()

    def write(self, address: int, word: int) -> None:
        """Replace one word at once."""
        self.words[address].value = word

    def read_elements(self, addresses: Iterable[int], count: int, bits: int) -> NDArray[np.int64]:
        """Return ``count`` signed elements of ``bits`` bits of each word: [words, count]."""
        rows = [split(self.read(address), count, bits) for address in addresses]
        return np.array(rows, np.int64)


def split(word: int, count: int, bits: int) -> list[int]:
    """Return the signed elements of a word, lowest first."""
    sign = 1 << (bits - 1)
    mask = (1 << bits) - 1
    return [((word >> (i * bits) & mask) ^ sign) - sign for i in range(count)]


def join(elements: Sequence[int], bits: int) -> int:
    """Return the word whose elements, lowest first, are these (signed or not)."""
    word = 0
    for element in reversed([int(e) for e in elements]):
        word = word << bits | element & ((1 << bits) - 1)
    return word
