"""Tokenizers from their files: Hugging Face's tokenizer.json and llama2.c's tokenizer.bin."""

import heapq
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import tokenizers

from compiler.checkpoint_error import CheckpointError

#: A vocabulary may exceed its tokenizer by fewer rows than this: rows that pad it to a round size.
PADDING_ROWS = 128

#: The begin and end tokens of every llama2.c vocabulary.
LLAMA2C_BOS, LLAMA2C_EOS = 1, 2


class Tokenizer(Protocol):
    """Turns text into tokens and back."""

    @property
    def end_token(self) -> int | None:
        """Token after which generation stops."""

    @property
    def bos_token(self) -> int | None:
        """Token that starts every sequence; `encode` leaves adding it to the caller."""

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens, without begin or end token."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens' text; begin and end tokens have none."""


class HuggingFaceTokenizer:
    """A `tokenizer.json`, through the `tokenizers` library."""

    def __init__(self, path: Path, *, bos_token: int | None, end_token: int | None) -> None:
        self.bos_token = bos_token
        self.end_token = end_token
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # The library raises bare exceptions.
            raise CheckpointError(
                f"{path} is not a tokenizer.json that the tokenizers library can read "
                f"({error}): copy it again from the model's source"
            ) from error
        # Both are settings for training batches, and would cut or fill a prompt.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.size = 1 + max(self._tokenizer.get_vocab().values(), default=-1)

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens, without begin or end token."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens' text; begin and end tokens have none."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


class Llama2cTokenizer:
    """A llama2.c `tokenizer.bin`: scored pieces, merged best score first."""

    bos_token: int | None = LLAMA2C_BOS
    #: The begin token: llama2.c's models are trained on texts divided by it, and stop there.
    end_token: int | None = LLAMA2C_BOS

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self._pieces: list[bytes] = []
        self._scores: list[float] = []
        position = 4
        while position < len(data):
            if position + 8 > len(data):
                raise self._truncated(path)
            score, length = struct.unpack_from("<fi", data, position)
            position += 8
            if length < 0 or position + length > len(data) or not math.isfinite(score):
                raise self._truncated(path)
            self._pieces.append(data[position : position + length])
            self._scores.append(score)
            position += length
        self.size = len(self._pieces)
        if self.size <= LLAMA2C_EOS:
            raise self._truncated(path)
        self._ids: dict[bytes, int] = {}
        for index, piece in enumerate(self._pieces):
            self._ids.setdefault(piece, index)
        self._raw_bytes = {
            self._ids[name]: bytes([value])
            for value in range(256)
            if (name := b"<0x%02X>" % value) in self._ids
        }
        self._byte_ids = {raw: index for index, raw in self._raw_bytes.items()}

    @staticmethod
    def _truncated(path: Path) -> CheckpointError:
        return CheckpointError(
            f"{path} is truncated or not a llama2.c tokenizer: copy or export it again"
        )

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens, without begin or end token."""
        if not text:
            return []
        # The vocabulary was learned with a space before every word, the first one included.
        ids: list[int] = []
        for character in " " + text:
            piece = character.encode()
            if piece in self._ids:
                ids.append(self._ids[piece])
                continue
            for value in piece:
                if bytes([value]) not in self._byte_ids:
                    raise ValueError(
                        f"text must be made of the tokenizer's characters, not {character!r}"
                    )
                ids.append(self._byte_ids[bytes([value])])
        return self._merged(ids)

    def _merged(self, ids: list[int]) -> list[int]:
        """Merge neighbours, best score first and leftmost among equals, until none can be."""
        count = len(ids)
        following = [*range(1, count), -1]
        preceding = list(range(-1, count - 1))
        alive = [True] * count
        candidates: list[tuple[float, int, int, int, int]] = []

        def consider(left: int) -> None:
            right = following[left]
            if right < 0:
                return
            merged = self._ids.get(self._pieces[ids[left]] + self._pieces[ids[right]])
            if merged is not None:
                entry = (-self._scores[merged], left, ids[left], ids[right], merged)
                heapq.heappush(candidates, entry)

        for left in range(count - 1):
            consider(left)
        while candidates:
            _, left, left_id, right_id, merged = heapq.heappop(candidates)
            right = following[left]
            # Either half may have been merged into something else since.
            if not alive[left] or right < 0 or (ids[left], ids[right]) != (left_id, right_id):
                continue
            ids[left] = merged
            alive[right] = False
            following[left] = following[right]
            if following[right] >= 0:
                preceding[following[right]] = left
            consider(left)
            if preceding[left] >= 0:
                consider(preceding[left])
        return [token for token, keep in zip(ids, alive, strict=True) if keep]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens' text; begin and end tokens have none.

        The space that `encode` puts first is dropped again after a begin token, and only there.
        """
        text = bytearray()
        previous = None
        for token in ids:
            if token not in (LLAMA2C_BOS, LLAMA2C_EOS):
                piece = self._raw_bytes.get(token, self._pieces[token])
                if previous == LLAMA2C_BOS:
                    piece = piece.removeprefix(b" ")
                text += piece
            previous = token
        return text.decode(errors="replace")


def load_tokenizer(
    path: Path, vocab: int, *, bos_token: int | None, end_token: int | None
) -> Tokenizer:
    """Load either kind of tokenizer and compare its size with the model's vocabulary."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: give the model's tokenizer file")
    loaded: HuggingFaceTokenizer | Llama2cTokenizer
    if path.suffix == ".json":
        loaded = HuggingFaceTokenizer(path, bos_token=bos_token, end_token=end_token)
    else:
        loaded = Llama2cTokenizer(path)
    if not vocab - PADDING_ROWS < loaded.size <= vocab:
        raise CheckpointError(
            f"{path} has {loaded.size} tokens but the model's vocabulary has {vocab}: "
            "give the tokenizer that the model was trained with"
        )
    return loaded
