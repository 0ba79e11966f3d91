"""Attention of a layer: projections, RoPE, the KV cache, scores, softmax, weighted values.

The order keeps the array busy while the vector unit works: keys come before queries and queries
before values, and all score products (as many as there are buffers) before the first product with
values.
"""

import itertools

from compiler.debug import POSITIONS
from compiler.emitter import Value, register
from compiler.events import IN_FLIGHT, Event, rotated_event
from compiler.layer_base import LayerBase
from hw.control.isa import Opcode

#: Parts into which a single token's product of the queries is cut, so that the first are rotated
#: while the array makes the others.
QUERY_PARTS = 2


class AttentionCode(LayerBase):
    """Emits attention from the normed vectors to the residual."""

    def attention(self) -> None:
        """Emit everything of attention but its norm."""
        phase, mode = self.e.phase, self.mode
        phase(f"{mode}: keys")
        self._keys()
        phase(f"{mode}: queries")
        for index, part in enumerate(self._query_parts()):
            self._queries(index, part)
        phase(f"{mode}: values")
        self._store_keys()
        self._values()
        phase(f"{mode}: scores")
        self._heads()
        phase(f"{mode}: attention output")
        self._output()

    def _output(self) -> None:
        """Add each group's output to the residual; only the first finds the array waiting."""
        words, groups = self.g.words(self.g.queries), self.attention_groups
        part = words // groups
        for group in range(groups):
            wait = {"wait_a": Event.ATTENTION} if group == 0 else {}
            self.residual_add(
                "wo",
                {
                    "weight": self.bank("wo", group * part), "weight_n_stride": words,
                    "k_tiles": part, "x": self.b.attention + group * part, "x_row_stride": words,
                    "row_scale": self.b.one, "row_scale_stride": 0,
                },
                source="OUTPUTS", first=group == 0,
                last="residual_mid" if group == groups - 1 else None, **wait,
            )  # fmt: skip

    # Projections

    def _project_heads(
        self, name: str, first: int, heads: int, dst: int, dst_row: int, **operands: int | str
    ) -> int:
        """Emit the projection of some heads to consecutive beats."""
        g = self.g
        values: dict[str, Value] = {
            "weight": self.bank(name, first * g.tiles(g.head, g.dim)),
            "n_tiles": heads * (g.head // g.columns),
            "scale": self.scale(name, first * g.beats(g.head)), "dst": dst,
            "dst_row_stride": dst_row,
        }  # fmt: skip
        return self.project(name, values, **operands)

    def _rotate(
        self, opcode: Opcode, src: int, dst: int, heads: int, row: int, more: dict[str, Value],
        **operands: int | str,
    ) -> int:  # fmt: skip
        """Emit the rotation of some heads; src and dst are beats, rows are as far apart in both."""
        beats = self.g.beats(self.g.head)
        values: dict[str, Value] = {
            "segments": heads, "beats": beats, "src": src, "src_row_stride": row,
            "src_segment_stride": beats, "dst": dst, "dst_row_stride": row,
            "dst_segment_stride": beats,
        }  # fmt: skip
        return self.vector(opcode, values | more, **operands)

    def _keys(self) -> None:
        g, b, s = self.g, self.b, self.s
        row, axes = g.beats(g.keys), ((s.kv_heads, g.head), (s.head_dim, 1))
        pc = self._project_heads(
            "wk", 0, s.kv_heads, b.k_result, row, wait_a=Event.NORM, signal=Event.KEY
        )
        self.point("k", pc, ("results", "int16", b.k_result * g.lanes), g.keys, *axes)
        pc = self._rotate(
            Opcode.ROPE_KEY, b.k_result, self.beat(b.k), s.kv_heads, row,
            {"key_scale": self.scale("keys"), "key_scale_stride": g.beats(g.positions)},
            wait_a=Event.KEY, signal=Event.KEY_ROTATED,
        )  # fmt: skip
        self.point("k_int8", pc, ("activations", "int8", b.k * g.rows), g.keys, *axes)
        first = self.p.multiplier_base(0) + self.p.layer_multipliers["keys"]
        self.point(
            "k_multiplier", pc, ("multipliers", "uint16", first * g.lanes), 1,
            (s.kv_heads, g.positions), position_stride=1,
            layer_stride=self.p.multiplier_stride * g.lanes,
        )  # fmt: skip

    def _query_parts(self) -> list[range]:
        """Return the KV heads whose queries are made together."""
        kv = self.s.kv_heads
        count = min(QUERY_PARTS, kv) if self.b.rows == 1 else 1
        cuts = [index * kv // count for index in range(count + 1)]
        return [range(a, b) for a, b in itertools.pairwise(cuts)]

    def _queries(self, index: int, part: range) -> None:
        """Emit the queries of some KV heads and their rotation."""
        g, b, s = self.g, self.b, self.s
        first, heads = part.start * s.heads_per_kv, len(part) * s.heads_per_kv
        row, offset = g.beats(g.queries), first * g.beats(g.head)
        axes, bounds = ((heads, g.head), (s.head_dim, 1)), (first, first + heads)
        src = b.q_result + offset
        pc = self._project_heads("wq", first, heads, src, row, signal=Event.QUERY)
        self.point("q", pc, ("results", "int16", src * g.lanes), g.queries, *axes, part=bounds)
        dst = self.beat(b.q) + offset
        pc = self._rotate(
            Opcode.ROPE_QUERY, src, dst, heads, row,
            {"row_scale": b.q_scale + first, "row_scale_stride": s.heads},
            wait_a=Event.QUERY, signal=rotated_event(index),
        )  # fmt: skip
        place = ("activations", "int8", dst * g.lanes)
        self.point("q_int8", pc, place, g.queries, *axes, part=bounds)
        self.scale_points("q_", pc, b.q_scale + first, s.heads, (heads, 1), part=bounds)

    def _values(self) -> None:
        g, b, s = self.g, self.b, self.s
        pc = self._project_heads(
            "wv", 0, s.kv_heads, self.beat(b.v), g.beats(g.keys),
            destination="OUTPUT", signal=Event.VALUE,
        )  # fmt: skip
        axes = ((s.kv_heads, g.head), (s.head_dim, 1))
        self.point("v", pc, ("outputs", "int8", b.v * g.rows), g.keys, *axes)

    # KV cache

    def _store_keys(self) -> None:
        g, words = self.g, self.g.words(self.g.keys)
        self.store(
            Opcode.STORE_KEYS,
            {
                "weight": self.bank("keys"), "weight_k_stride": g.positions // g.columns,
                "k_tiles": words, "x": self.b.k, "x_row_stride": words,
            },
            wait_a=Event.KEY_ROTATED,
        )  # fmt: skip

    def _store_values(self) -> None:
        g, words = self.g, self.g.words(self.g.keys)
        self.store(
            Opcode.STORE_VALUES,
            {
                "weight": self.bank("values"), "weight_n_stride": g.positions // g.rows,
                "k_tiles": words, "x": self.b.v, "x_row_stride": words,
            },
            source="OUTPUTS", wait_a=Event.VALUE,
        )  # fmt: skip

    # Heads

    def _heads(self) -> None:
        """Emit scores, softmax and weighted values of all KV heads, overlapped."""
        b, kv = self.b, self.s.kv_heads
        ahead = min(b.score_buffers, b.probability_buffers, kv, len(IN_FLIGHT))
        for head in range(kv + ahead):
            if head < kv:
                self._scores(head)
            if head == max(ahead - 2, 0):
                self._store_values()
            if head == ahead:
                self.e.phase(f"{self.mode}: weighted values")
            if head >= ahead:
                self._weighted_values(head - ahead)
            if head < kv:
                self._softmax(head)

    def _score_beat(self, head: int) -> int:
        return self.b.scores + head % self.b.score_buffers * self.b.score_stride

    def _probability_word(self, head: int) -> int:
        return self.b.probabilities + head % self.b.probability_buffers * self.b.probability_stride

    def _score_waits(self, head: int) -> dict[str, int]:
        """Return what a head's scores wait for: rotated queries and a free buffer.

        Keys and their multipliers are there: the store of the keys waited for them.
        """
        parts = enumerate(self._query_parts())
        waits = [rotated_event(index) for index, part in parts if head == part.start]
        if head >= self.b.score_buffers:
            waits.append(IN_FLIGHT[(head - self.b.score_buffers) % len(IN_FLIGHT)])
        return dict(zip(("wait_a", "wait_b"), waits, strict=False))

    def _scores(self, head: int) -> None:
        g, b, s = self.g, self.b, self.s
        per, beats, words = s.heads_per_kv, g.beats(g.positions), g.words(g.head)
        tiles, first = g.positions // g.columns, head * s.heads_per_kv
        dst = self._score_beat(head)
        pc = self.matmul(
            "score",
            {
                "weight": self.bank("keys", head * words * tiles), "weight_n_stride": 1,
                "weight_k_stride": tiles, "n_tiles": register("r8"), "k_tiles": words,
                "subrows": per, "x": b.q + first * words, "x_row_stride": g.words(g.queries),
                "x_sub_stride": words, "scale": self.scale("keys", head * beats),
                "row_scale": b.q_scale + first, "row_scale_stride": s.heads, "dst": dst,
                "dst_row_stride": per * beats, "dst_sub_stride": beats, "limit": register("r1", 1),
                "maximum": b.score_maximum + b.rows * first,
            },
            masked=1, statistic="MAXIMUM", signal=Event.SCORES, **self._score_waits(head),
        )  # fmt: skip
        axes, part = ((per, g.positions), (POSITIONS, 1)), (first, first + per)
        place = ("results", "int16", dst * g.lanes)
        self.point("scores", pc, place, per * g.positions, *axes, part=part)

    def _softmax(self, head: int) -> None:
        g, b, s = self.g, self.b, self.s
        per, beats, word = s.heads_per_kv, g.beats(g.positions), self._probability_word(head)
        first = head * per
        waits: dict[str, int] = {"wait_a": Event.SCORES}
        if head >= b.probability_buffers:  # the buffer is free once its product is made
            waits["wait_b"] = Event.ATTENTION
        pc = self.vector(
            Opcode.SOFTMAX,
            {
                "segments": per, "beats": register("r10"), "src": self._score_beat(head),
                "src_row_stride": per * beats, "src_segment_stride": beats,
                "dst": self.beat(word), "dst_row_stride": per * beats,
                "dst_segment_stride": beats, "row_scale": b.probability_scale + first,
                "row_scale_stride": s.heads, "maximum": b.score_maximum + b.rows * first,
            },
            signal=IN_FLIGHT[head % len(IN_FLIGHT)], **waits,
        )  # fmt: skip
        axes, part = ((per, g.positions), (POSITIONS, 1)), (first, first + per)
        place = ("activations", "int8", word * g.rows)
        self.point("probabilities", pc, place, per * g.positions, *axes, part=part)
        slot = b.probability_scale + first
        self.scale_points("attention_", pc, slot, s.heads, (per, 1), part=part)

    def _weighted_values(self, head: int) -> None:
        g, b, s = self.g, self.b, self.s
        per, words, tiles = s.heads_per_kv, g.words(g.positions), g.positions // g.rows
        columns, beats, first = g.head // g.columns, g.beats(g.head), head * s.heads_per_kv
        dst = self.beat(b.attention) + first * beats
        pc = self.matmul(
            "attention",
            {
                "weight": self.bank("values", head * columns * tiles), "weight_n_stride": tiles,
                "n_tiles": columns, "k_tiles": register("r9"), "subrows": per,
                "x": self._probability_word(head), "x_row_stride": per * words,
                "x_sub_stride": words, "scale": self.scale("attention", head * beats),
                "row_scale": b.probability_scale + first, "row_scale_stride": s.heads, "dst": dst,
                "dst_row_stride": g.beats(g.queries), "dst_sub_stride": beats,
            },
            destination="OUTPUT", wait_a=IN_FLIGHT[head % len(IN_FLIGHT)], signal=Event.ATTENTION,
        )  # fmt: skip
        axes, part = ((per, g.head), (s.head_dim, 1)), (first, first + per)
        self.point("attention", pc, ("outputs", "int8", dst * g.lanes), g.queries, *axes, part=part)
