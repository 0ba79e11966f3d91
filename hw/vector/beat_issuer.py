"""The loops of a vector command: rows, segments, beats."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

BEAT_BITS = 12
SEGMENT_BITS = 7
ROW_BITS = 7


def beat_layout() -> data.StructLayout:
    """Return what travels through the pipeline with a beat.

    ``first`` and ``last`` of its segment; ``row_end``: the segment is the row's last;
    ``final``: the command's last beat.
    """
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "row_end": 1, "final": 1})


class BeatIssuer(wiring.Component):
    """Issues the beats of a command in order, one per cycle or one per two cycles.

    Ports:
        ``start``: begin a command of ``rows``, ``segments`` and ``beats`` (none is 0), which are
        held; the first beat comes in the next cycle. Not before the last ``final``.
        ``two_cycles``: a beat takes two cycles. ``spaced``: segments begin at least
        ``spacing`` cycles apart. Both are held. ``stop``: issue nothing from now on.
        ``beat``: valid in the first cycle of each beat.
    """

    def __init__(self, spacing: int) -> None:
        self.spacing = spacing
        super().__init__({
            "start": In(1), "stop": In(1), "two_cycles": In(1), "spaced": In(1),
            "rows": In(ROW_BITS), "segments": In(SEGMENT_BITS), "beats": In(BEAT_BITS),
            "beat": Out(beat_layout()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows_left = Signal(ROW_BITS, reset_less=True)
        segments_left = Signal(SEGMENT_BITS, reset_less=True)
        beats_left = Signal(BEAT_BITS, reset_less=True)
        first = Signal(reset_less=True)
        # Each count is compared with 1 a cycle before, when it is made.
        last_beat, last_segment, last_row = (
            Signal(name=f"last_{what}", reset_less=True) for what in ("beat", "segment", "row"))
        running, second_cycle, gap = Signal(), Signal(), Signal()
        spacing_left = Signal(range(self.spacing))
        beat = self.beat
        m.d.comb += [
            beat.valid.eq(running & ~second_cycle & ~gap & ~self.stop),
            beat.first.eq(first),
            beat.last.eq(last_beat),
            beat.row_end.eq(last_segment),
            beat.final.eq(last_beat & last_segment & last_row),
        ]
        with m.If(spacing_left != 0):
            m.d.sync += spacing_left.eq(spacing_left - 1)
        with m.If(running):
            m.d.sync += second_cycle.eq(self.two_cycles & ~second_cycle)
        with m.If(gap & (spacing_left == 0)):
            m.d.sync += [gap.eq(0), spacing_left.eq(self.spacing - 1)]
        with m.If(beat.valid):
            m.d.sync += [first.eq(beat.last), beats_left.eq(beats_left - 1),
                         last_beat.eq(beats_left == 2)]
            with m.If(beat.last):
                m.d.sync += [beats_left.eq(self.beats), last_beat.eq(self.beats == 1),
                             segments_left.eq(segments_left - 1),
                             last_segment.eq(segments_left == 2)]
                with m.If(self.spaced & (spacing_left != 0)):
                    m.d.sync += gap.eq(1)
                with m.Else():
                    m.d.sync += spacing_left.eq(self.spacing - 1)
                with m.If(beat.row_end):
                    m.d.sync += [segments_left.eq(self.segments),
                                 last_segment.eq(self.segments == 1),
                                 rows_left.eq(rows_left - 1), last_row.eq(rows_left == 2)]
            with m.If(beat.final):
                m.d.sync += running.eq(0)
        with m.If(self.start):
            m.d.sync += [
                running.eq(1), second_cycle.eq(0), gap.eq(0), first.eq(1),
                spacing_left.eq(self.spacing - 1),
                rows_left.eq(self.rows), segments_left.eq(self.segments),
                beats_left.eq(self.beats), last_beat.eq(self.beats == 1),
                last_segment.eq(self.segments == 1), last_row.eq(self.rows == 1),
            ]
        with m.If(self.stop):
            m.d.sync += running.eq(0)
        return m
