"""The program of several sequences that run side by side, so that each stage of a pipeline has work.

In each step every sequence in turn takes a block through the layers: while one stage is at a sequence,
the stages behind it are at those before. All sequences have prompts of one length, and make as many
tokens. The last stage draws a token and, on a ring with the first stage (Ring.COLUMN), hands it back;
the first stage takes it when the sequence's turn comes again.

Registers besides those of program.py: r7 number of the sequence; r3 is 0 once the prompt is over. In the
layers r14 and r15 are what lies before the sequence's KV cache, in bank words and in multiplier beats.
"""

from compiler.debug import DebugPoint
from compiler.emitter import Expression, register
from compiler.events import Event
from compiler.layer_base import CACHE_BEATS_BEFORE, CACHE_WORDS_BEFORE
from compiler.program import ProgramBuilder
from hw.control.isa import Opcode, Ring


class BatchProgramBuilder(ProgramBuilder):
    """Emits the program of a chip's share for as many sequences as its geometry has."""

    #: Free at the loop's begin; within it, it says where the cache is.
    layers_register = CACHE_WORDS_BEFORE

    def _block(self) -> None:
        """Emit a step: a block of every sequence."""
        e, program, share = self.e, self.e.program, self.share
        e.phase("next step")

        def decode() -> None:
            """Go on with the tokens that were made, unless no stage has to."""
            ends = self.g.context if share.embeds and not share.samples else self.g.context - 1
            program.emit(Opcode.HALT, condition="NOT_LESS", rs="r1", imm=ends)
            if share.samples or share.embeds:
                program.emit(Opcode.HALT, condition="EQUAL", rs="r4")
            else:
                self._count()
            e.put("r2", 1)

        def prompt() -> None:
            e.scalar(Opcode.MIN, "r2", rs="r3", imm=self.p.block.rows)

        e.unless("NOT_EQUAL", "r3", 0, decode, prompt)
        e.put("r7", 0)
        e.put("r15", self.g.sequences)
        e.loop("r15", self._sequence)
        e.put("r1", Expression("r1", "r2"))

        def after_prompt() -> None:
            e.scalar(Opcode.SUB, "r3", rs="r3", rt="r2")
            if share.samples:
                e.unless("NOT_EQUAL", "r3", 0, self._count)

        counts = self._count if share.samples or share.embeds else None
        e.unless("EQUAL", "r3", 0, after_prompt, counts)

    def _count(self) -> None:
        """Count a token of each sequence, and stop after the last."""
        program = self.e.program
        program.emit(Opcode.HALT, condition="EQUAL", rs="r4")
        self.e.scalar(Opcode.SUB, "r4", rs="r4", imm=-1)
        program.emit(Opcode.HALT, condition="EQUAL", rs="r4")

    def _sequence(self) -> None:
        """Emit the block of one sequence."""
        e, share = self.e, self.share
        if share.embeds and not share.samples:
            e.put("r14", 1)
            e.unless("NOT_EQUAL", "r3", 0, self._take_back)
            e.unless("EQUAL", "r14", 0, self._compute)
        else:
            self._compute()
        e.put("r7", register("r7", 1))

    def _take_back(self) -> None:
        """Take the token of this sequence; clear r14 if nobody needs what would come of it."""
        e = self.e
        self._choose()
        self._emit_at("r1")
        e.unless("NOT_EQUAL", "r4", 1, lambda: e.put("r14", 0))
        e.unless("LESS", "r1", self.g.context - 1, lambda: e.put("r14", 0))

    def _choose(self, *, own: bool = False) -> None:
        """Let the chips of the last and the first stage have the token."""
        share = self.share
        several = share.pipeline > 1
        self.e.command(
            Opcode.CHOOSE, {"rows": 1, "segments": share.tensor * (1 + several), "beats": 1},
            wait_a=Event.TOKEN if own else 0, signal=Event.TOKEN,
            ring=(Ring.COLUMN if several else share.tensor_ring).name,
        )  # fmt: skip

    def _emit_at(self, *registers: str) -> None:
        """Wait for the token, and emit it at the sum of registers in this sequence."""
        e = self.e
        e.multiply("r15", "r7", self.g.context)
        for name in registers:
            e.put("r15", Expression("r15", name))
        e.program.emit(Opcode.SYNC, wait_a=Event.TOKEN)
        e.program.emit(Opcode.EMIT, rs="r15")

    def _compute(self) -> None:
        """Take the sequence's block through this chip's layers."""
        e, share = self.e, self.share
        e.put("m.rows", register("r2"))
        e.put("v.rows", register("r2"))
        if share.embeds:
            e.phase("embedding")
            self._prepare_embedding()
            e.multiply("r15", "r7", self.g.context)
            e.put("m.position", Expression("r1", "r15"))
            self._embed()
        else:
            self._receive()
        e.put("m.position", register("r1"))
        self._cover_positions()
        e.multiply(CACHE_BEATS_BEFORE, "r7", self.g.cache_beats)
        self._all_layers()
        if share.samples:
            e.unless("NOT_LESS", "r3", 1, self._token, rt="r2")
        else:
            self._send()

    def _enter_layer(self) -> None:
        self.e.multiply(CACHE_WORDS_BEFORE, "r7", self.g.cache_words)

    def _token(self) -> None:
        """Make a token if one is wanted, and has a place."""
        e = self.e

        def make() -> None:
            self._logits()
            self._emit_at("r1", "r2")

        def make_if_it_has_a_place() -> None:
            e.put("r15", Expression("r1", "r2"))
            e.unless("NOT_LESS", "r15", self.g.context, make)

        e.unless("EQUAL", "r4", 0, make_if_it_has_a_place)

    def _agree_on_own(self) -> None:
        if self.share.chips > 1:
            self._choose(own=True)

    def _note(self, point: DebugPoint) -> None:
        """Leave out debug points: they know one sequence."""
