"""A chip's share of a model that several chips run, and the images of all of them.

Chips of one stage of the pipeline form a ring: after each part of a layer ALL_REDUCE adds up what
they made for the residual. Stages hand the residual on by SEND and RECEIVE. After the logits CHOOSE
agrees on the token; each chip then goes on with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.split import Part, SplitError, split
from golden.quantized import QuantizedLlama
from hw.collective.limits import MAX_CHUNK
from hw.control.isa import Ring


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of a model a chip runs; all of it by default."""

    rank: int = 0  #: among the chips of its stage
    tensor: int = 1  #: chips of a stage
    stage: int = 0
    pipeline: int = 1  #: stages
    first_token: int = 0  #: of the chip's share of the vocabulary
    vocab: int = 0  #: tokens of all shares; 0: there are no others

    @classmethod
    def of(cls, part: Part, vocab: int) -> "Share":
        """Return the share that a part of a model is."""
        return cls(
            rank=part.rank, tensor=part.tensor, stage=part.stage, pipeline=part.pipeline,
            first_token=part.first_token, vocab=vocab,
        )  # fmt: skip

    @property
    def chips(self) -> int:
        """Chips that run the model."""
        return self.tensor * self.pipeline

    @property
    def embeds(self) -> bool:
        """Whether the chip embeds tokens."""
        return self.stage == 0

    @property
    def samples(self) -> bool:
        """Whether the chip makes logits."""
        return self.stage == self.pipeline - 1

    @property
    def tensor_ring(self) -> Ring:
        """Ring of the chips of a stage."""
        return Ring.TORUS if self.pipeline == 1 else Ring.ROW


def chunk_beats(beats: int, chips: int) -> tuple[int, int]:
    """Cut a row into chunks: return the beats of each but the last, and where the last begins."""
    length = -(-beats // chips)
    if (chips - 1) * length >= beats:
        length = beats // chips
    return length, (chips - 1) * length


def chunks_of_row(beats: int) -> tuple[int, int, int]:
    """Cut a row into as few packets as do: return their number, and as `chunk_beats`."""
    count = -(-beats // MAX_CHUNK)
    return count, *chunk_beats(beats, count)


def check_chunks(beats: int, chips: int) -> None:
    """Refuse a model whose residual does not go round a ring in packets."""
    length, last = chunk_beats(beats, chips)
    if not (length and max(length, beats - last) <= MAX_CHUNK):
        raise SplitError(
            f"the residual of {beats} beats must be in chunks of 1 to {MAX_CHUNK} beats, one for "
            f"each of the {chips} chips of a stage: use {-(-beats // MAX_CHUNK)} to {beats} chips"
        )


def shares(
    model: QuantizedLlama, tensor: int, pipeline: int
) -> Sequence[tuple[QuantizedLlama, Share]]:
    """Cut a model; return each chip's part and share, stage by stage."""
    vocab = model.shape.vocab
    return [
        (part.model, Share.of(part, vocab))
        for stage in split(model, tensor, pipeline)
        for part in stage
    ]
