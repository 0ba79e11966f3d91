"""Feed-forward network of a layer: gate and up, SwiGLU, down, group by group.

All groups' gate and up (as many as there are buffers) come before the first down, so that the array
is busy while the vector unit works.
"""

from compiler.emitter import Value
from compiler.events import IN_FLIGHT, Event
from compiler.layer_base import LayerBase
from hw.control.isa import Opcode


class FeedForwardCode(LayerBase):
    """Emits the feed-forward network from the normed vectors to the residual."""

    def feed_forward(self) -> None:
        """Emit all groups, gate and up ahead of down by as many groups as there are buffers."""
        groups, ahead = self.g.groups, min(self.b.ffn_buffers, self.g.groups, len(IN_FLIGHT))
        for index in range(groups + ahead):
            if index < groups:
                self._gate_up(index)
                self._swiglu(index)
            if index >= ahead:
                self._down(index - ahead)

    def _result(self, group: int) -> int:
        """Return the result beat of a group's gate."""
        return self.b.ffn + group % self.b.ffn_buffers * self.b.ffn_stride

    def _gate_up(self, group: int) -> None:
        """Emit gate and up, in one product if they have the same shift."""
        g, buffers = self.g, self.b.ffn_buffers
        tiles, beats, columns = g.tiles(g.group, g.dim), g.beats(g.group), g.group // g.columns
        wait: dict[str, int] = {"wait_a": Event.NORM} if group == 0 else {}
        if group >= buffers:  # the buffer is free once its SwiGLU is done
            wait = {"wait_a": IN_FLIGHT[(group - buffers) % len(IN_FLIGHT)]}

        def emit(name: str, half: int, halves: int, **operands: int) -> int:
            first = 2 * group + half
            values: dict[str, Value] = {
                "weight": self.bank("gate_up", first * tiles), "n_tiles": halves * columns,
                "scale": self.scale("gate_up", first * beats),
                "dst": self._result(group) + half * beats, "dst_row_stride": 2 * beats,
            }  # fmt: skip
            return self.project(name, values, **operands)

        if self.shifts.merges_gate_and_up():
            pcs = [emit("w_gate", 0, 2, signal=Event.GATE_UP, **wait)] * 2
        else:
            pcs = [emit("w_gate", 0, 1, **wait), emit("w_up", 1, 1, signal=Event.GATE_UP)]
        start, stop = self.bounds[group]
        for half, name in enumerate(("gate", "up")):
            place = ("results", "int16", (self._result(group) + half * beats) * g.lanes)
            axis = (stop - start, 1)
            self.point(name, pcs[half], place, 2 * g.group, axis, part=(start, stop))

    def _swiglu(self, group: int) -> None:
        g, b = self.g, self.b
        beats, (start, stop) = g.beats(g.group), self.bounds[group]
        word = b.hidden + group * g.words(g.group)
        pc = self.vector(
            Opcode.SWIGLU,
            {
                "segments": 1, "beats": beats, "src": self._result(group),
                "src_row_stride": 2 * beats, "src_up": beats, "dst": self.beat(word),
                "dst_row_stride": g.groups * beats, "row_scale": b.hidden_scale + group,
                "row_scale_stride": g.groups,
            },
            wait_a=Event.GATE_UP, signal=IN_FLIGHT[group % len(IN_FLIGHT)],
        )  # fmt: skip
        place = ("activations", "int8", word * g.rows)
        axis = (stop - start, 1)
        self.point("hidden_int8", pc, place, g.groups * g.group, axis, part=(start, stop))
        part = (group, group + 1)
        self.scale_points("hidden_", pc, b.hidden_scale + group, g.groups, (1, 1), part=part)

    def _down(self, group: int) -> None:
        g, b, words = self.g, self.b, self.g.words(self.g.group)
        self.residual_add(
            "w_down",
            {
                "weight": self.bank("down", group * g.tiles(g.dim, g.group)),
                "weight_n_stride": words, "k_tiles": words, "x": b.hidden + group * words,
                "x_row_stride": g.groups * words, "row_scale": b.hidden_scale + group,
                "row_scale_stride": g.groups,
            },
            wait_a=IN_FLIGHT[group % len(IN_FLIGHT)], first=group == 0,
            last="residual" if group == g.groups - 1 else None,
        )  # fmt: skip
