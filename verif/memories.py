"""Back-door access to the SRAM models of a running simulation."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.memory.adapter import Tiling, tile_name
from hw.memory.open_macro import OPEN_MACROS

#: Control-file lines that make every memory reachable from Python.
PUBLIC_MEMORIES = "\n".join(
    f'public_flat_rw -module "{module}" -var "mem"'
    for module in ("tessera_sram_*", *(macro.module for macro in OPEN_MACROS.values())))


def descend(scope: Any, *names: str) -> Any:
    """Return the instance that a path leads to.

    Synthesis flattens modules: the names of an instance in one, and of the module, are then one
    name with an underscore between them.
    """
    joined = ""
    for name in names:
        joined = f"{joined}_{name}" if joined else name
        found = getattr(scope, joined, None)
        if found is not None:
            scope, joined = found, ""
    if joined:
        raise AttributeError(f"no instance {joined} in {scope}")
    return scope


class MemoryHandle:
    """The words of one SRAM instance (the component ``Sram``), as Python integers.

    ``path`` leads to it from ``scope``. ``tiling``: how they lie in macros; None when the memory is
    one array.
    """

    def __init__(self, scope: Any, tiling: Tiling | None = None,
                 path: Sequence[str] = ()) -> None:
        self.tiling = tiling
        memory = descend(scope, *path, "memory")
        if tiling is None:
            self.words = memory.mem
        else:
            self.tiles = [[getattr(memory, tile_name(bank, part)).mem
                           for part in range(tiling.slices)] for bank in range(tiling.banks)]

    def read(self, address: int) -> int:
        """Return one word."""
        if self.tiling is None:
            return self.words[address].value.to_unsigned()
        bank, row = self.tiling.place(address)
        return self.tiling.gather([tile[row].value.to_unsigned() for tile in self.tiles[bank]])

    def write(self, address: int, word: int) -> None:
        """Replace one word at once."""
        if self.tiling is None:
            self.words[address].value = word
            return
        bank, row = self.tiling.place(address)
        for tile, part in zip(self.tiles[bank], self.tiling.spread(word), strict=True):
            tile[row].value = part

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


def split_hex(path: Path, tiling: Tiling) -> None:
    """Replace a memory's $readmemh file by those of its tiles, ``NAME.tile_BANK_SLICE.hex``."""
    words = [tiling.spread(int(line, 16)) for line in path.read_text().splitlines()]
    digits = -(-tiling.macro.bits // 4)
    for bank in range(-(-len(words) // tiling.macro.words)):
        rows = words[bank * tiling.macro.words:(bank + 1) * tiling.macro.words]
        for part in range(tiling.slices):
            path.with_suffix(f".{tile_name(bank, part)}.hex").write_text(
                "".join(f"{row[part]:0{digits}x}\n" for row in rows))
    path.unlink()
