"""Padded sizes of a model on an array, and the memories that a block of tokens passes through."""

from dataclasses import dataclass, field

from golden.model import LlamaShape
from hw.config import ChipletConfig


def padded(size: int, unit: int) -> int:
    """Round a size up to a multiple of a unit."""
    return -(-size // unit) * unit


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of a model, padded for an array of `rows` x `columns` and beats of `lanes`."""

    shape: LlamaShape
    rows: int
    columns: int
    lanes: int
    groups: int  #: groups of hidden channels
    context: int  #: positions of the KV cache
    tied: bool  #: embedding and logits share their weights
    sequences: int = 1  #: that run side by side, each with a KV cache of its own

    @property
    def side(self) -> int:
        """Unit of padding, P."""
        return max(self.rows, self.columns)

    @property
    def dim(self) -> int:
        """Padded model dimension."""
        return padded(self.shape.dim, self.side)

    @property
    def head(self) -> int:
        """Padded channels of a head."""
        return padded(self.shape.head_dim, self.side)

    @property
    def queries(self) -> int:
        """Padded channels of all query heads."""
        return self.shape.heads * self.head

    @property
    def keys(self) -> int:
        """Padded channels of all KV heads."""
        return self.shape.kv_heads * self.head

    @property
    def group(self) -> int:
        """Padded channels of a group."""
        return padded(-(-self.shape.hidden // self.groups), self.side)

    @property
    def vocab(self) -> int:
        """Padded vocabulary."""
        return padded(self.shape.vocab, self.columns)

    @property
    def positions(self) -> int:
        """Padded positions of the KV cache."""
        return padded(self.context, self.side)

    @property
    def cache_words(self) -> int:
        """Bank words of a layer's keys and values, of one sequence."""
        return self.words(self.keys) * (self.positions // self.columns) + (
            self.keys // self.columns
        ) * (self.positions // self.rows)

    @property
    def cache_beats(self) -> int:
        """Multiplier beats of a layer's keys, of one sequence."""
        return self.shape.kv_heads * self.beats(self.positions)

    def words(self, channels: int) -> int:
        """Return the int8 words (`rows` elements) of so many channels."""
        return channels // self.rows

    def beats(self, channels: int) -> int:
        """Return the beats of so many channels."""
        return channels // self.lanes

    def tiles(self, outputs: int, inputs: int) -> int:
        """Return the tiles of a matrix."""
        return (outputs // self.columns) * (inputs // self.rows)


@dataclass(frozen=True, kw_only=True)
class Buffers:
    """Layout of the memories that a block of at most `rows` tokens passes through.

    The normed vectors, their row scales, the residual's maxima and the slot `one` are where
    `shared_rows` tokens need them, so that programs for different block sizes share them.
    """

    g: Geometry
    rows: int
    shared_rows: int
    score_buffers: int  #: KV heads whose scores are kept at once
    probability_buffers: int  #: KV heads whose probabilities are kept at once
    ffn_buffers: int  #: groups whose gate and up are kept at once
    one: int = field(default=0, init=False)  #: row-scale slot that holds the constant ONE
    norm_scale: int = field(default=1, init=False)
    norm: int = field(default=0, init=False)  #: activation word of the normed vectors
    residual_maximum: int = field(default=0, init=False)

    @property
    def score_stride(self) -> int:
        """Result beats of one KV head's scores."""
        return self.rows * self.g.shape.heads_per_kv * self.g.beats(self.g.positions)

    @property
    def probability_stride(self) -> int:
        """Activation words of one KV head's probabilities."""
        return self.rows * self.g.shape.heads_per_kv * self.g.words(self.g.positions)

    @property
    def ffn_stride(self) -> int:
        """Result beats of one group's gate and up."""
        return self.rows * 2 * self.g.beats(self.g.group)

    @property
    def q(self) -> int:
        """Activation word of the queries."""
        return self.norm + self.shared_rows * self.g.words(self.g.dim)

    @property
    def k(self) -> int:
        """Activation word of the keys."""
        return self.q + self.rows * self.g.words(self.g.queries)

    @property
    def probabilities(self) -> int:
        """Activation word of the probabilities."""
        return self.k + self.rows * self.g.words(self.g.keys)

    @property
    def hidden(self) -> int:
        """Activation word of the hidden channels: attention is over when they come."""
        return self.q

    @property
    def q_result(self) -> int:
        """Result beat of the queries."""
        return 0

    @property
    def k_result(self) -> int:
        """Result beat of the keys."""
        return self.rows * self.g.beats(self.g.queries)

    @property
    def scores(self) -> int:
        """Result beat of the scores; queries may still be read when the first scores come."""
        return self.k_result + self.rows * self.g.beats(self.g.keys)

    @property
    def ffn(self) -> int:
        """Result beat of gate and up."""
        return 0

    @property
    def v(self) -> int:
        """Output word of the values."""
        return 0

    @property
    def attention(self) -> int:
        """Output word of the attention's result."""
        return self.rows * self.g.words(self.g.keys)

    @property
    def q_scale(self) -> int:
        """Row-scale slot of the queries."""
        return self.norm_scale + self.shared_rows

    @property
    def probability_scale(self) -> int:
        """Row-scale slot of the probabilities."""
        return self.q_scale + self.rows * self.g.shape.heads

    @property
    def hidden_scale(self) -> int:
        """Row-scale slot of the hidden groups."""
        return self.q_scale

    @property
    def score_maximum(self) -> int:
        """Row-maximum slot of the scores."""
        return self.residual_maximum + self.shared_rows

    def needs(self) -> dict[str, int]:
        """Return the size of each memory that this layout takes, by configuration field."""
        g, slots = self.g, self.rows * self.g.shape.heads
        after_scores = self.scores + self.score_buffers * self.score_stride
        after_p = self.probabilities + self.probability_buffers * self.probability_stride
        after_hidden = self.hidden + self.rows * g.groups * g.words(g.group)
        return {
            "activation_words": max(after_p, after_hidden),
            "output_words": self.attention + self.rows * g.words(g.queries),
            "result_beats": max(after_scores, self.ffn + self.ffn_buffers * self.ffn_stride),
            "row_slots": max(
                self.probability_scale + slots,
                self.hidden_scale + self.rows * g.groups,
                self.score_maximum + slots,
            ),
            "residual_beats": max(self.shared_rows * g.beats(g.dim), g.beats(g.vocab)),
        }

    def fits(self, config: ChipletConfig) -> bool:
        """Whether every memory is large enough."""
        return all(size <= getattr(config, name) for name, size in self.needs().items())
