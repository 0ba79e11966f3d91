"""The decode program: one loop over blocks of tokens, in it a loop over layers.

A block is as much of the prompt as fits, or the one token that was just drawn. Blocks of the prompt
and single tokens run the same layer code (layer_code.py), laid out for their own sizes.

Registers: r1 position of the block, r2 its tokens, r3 tokens of the prompt left (a drawn token is a
prompt of one), r4 tokens still to generate, r5 and r6 the layer's bank word and multiplier beat,
r7 number of layers, r8..r10 score tiles, probability tiles and softmax beats that cover the
positions, r11..r13 the layer's shifts, r14 end of the block, r15 scratch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.debug import DebugPoint
from compiler.emitter import Emitter, Expression, Value, register
from compiler.events import Event
from compiler.geometry import Buffers
from compiler.layer_code import LayerCode
from compiler.placement import CapacityError, Placement
from compiler.share import Share, check_chunks, chunks_of_row
from compiler.shifts import ShiftTable
from golden.quantized import QuantizedLlama
from hw.control.isa import SHARE_UNIT, Opcode, Ring

#: Blocks and tokens that one run can have: the largest loop count.
FOREVER = (1 << 24) - 1


@dataclass(frozen=True, eq=False)
class CompiledProgram:
    """Program words, and what tools need to know about them."""

    words: NDArray[np.uint64]
    points: tuple[DebugPoint, ...]
    phases: tuple[tuple[int, str], ...]  #: (first address, name)
    notes: dict[int, str]


class ProgramBuilder:
    """Emits the program of one model, or of a chip's share of it, on one placement."""

    #: Register with the number of layers when their loop begins.
    layers_register = "r7"

    def __init__(
        self, model: QuantizedLlama, placement: Placement, share: Share, *, single: bool
    ) -> None:
        self.model, self.p, self.g, self.single = model, placement, placement.g, single
        self.share = share
        self.e = Emitter()
        self.shifts = ShiftTable(model, placement)

    def build(self) -> CompiledProgram:
        """Emit everything."""
        self._start()
        self.e.loop("r15", self._block)
        self.e.program.emit(Opcode.HALT)
        return CompiledProgram(
            self.e.program.words(), tuple(self.e.points), tuple(self.e.phases), self.e.program.notes
        )

    def _start(self) -> None:
        """Read the host's registers; stop if there is nothing to do or no room for it."""
        e, program = self.e, self.e.program
        e.phase("start")
        for name, special in (
            ("r1", "START_POSITION"), ("r3", "PROMPT_LENGTH"), ("r4", "TOKEN_LIMIT"),
        ):  # fmt: skip
            e.scalar(Opcode.GET, name, imm=special)
        program.emit(Opcode.HALT, condition="EQUAL", rs="r3")
        # Compared one by one, because their sum could wrap.
        program.emit(Opcode.HALT, condition="NOT_LESS", rs="r1", imm=self.g.context)
        e.put("r14", self.g.context)
        e.scalar(Opcode.SUB, "r14", rs="r14", rt="r1")
        program.emit(Opcode.HALT, condition="NOT_LESS", rs="r3", rt="r14", imm=1)
        e.put("r7", self.g.shape.layers)
        e.put("r15", FOREVER)

    def _block(self) -> None:
        """Emit a block: emit the drawn token, embed, all layers, logits if the prompt ends."""
        e, b, share = self.e, self.p.block, self.share
        e.phase("next token")
        if share.embeds:
            self._prepare_embedding()
        e.unless("NOT_EQUAL", "r3", 0, self._take_token)
        e.scalar(Opcode.MIN, "r2", rs="r3", imm=b.rows)
        e.put("m.rows", register("r2"))
        if share.chips > 1:
            e.put("v.rows", register("r2"))
        if share.embeds:
            e.phase("embedding")
            self._embed()
        else:
            self._receive()
            e.put("m.position", register("r1"))
        e.scalar(Opcode.SUB, "r3", rs="r3", rt="r2")
        self._cover_positions()
        self._all_layers()
        e.put("r1", register("r14"))
        if not share.samples:
            self._send()
        e.unless("NOT_EQUAL", "r3", 0, self._logits if share.samples else self._agree)

    def _prepare_embedding(self) -> None:
        """Set what the embedding needs besides the number of rows."""
        e, g, p = self.e, self.g, self.p
        values: dict[str, Value] = {
            "weight": p.banks["embedding"], "weight_k_stride": g.vocab // g.columns,
            "k_tiles": g.words(g.dim), "position": register("r1"),
            "scale": p.multipliers["embedding"], "token_scale": p.multipliers["token_scale"],
            "shift": self.model.embedding.shift, "dst": 0, "dst_row_stride": g.beats(g.dim),
            "maximum": p.block.residual_maximum, "limit": g.shape.vocab,
        }  # fmt: skip
        if self.share.tensor > 1:
            values |= {"x": self.share.first_token // SHARE_UNIT,
                       "x_row_stride": self.share.vocab - 1}  # fmt: skip
        for name, value in values.items():
            e.put(f"m.{name}", value)

    def _take_token(self) -> None:
        """Wait for the drawn token, emit it unless the context is full, and stop where asked."""
        e, program = self.e, self.e.program
        program.emit(Opcode.SYNC, wait_a=Event.TOKEN)
        program.emit(Opcode.HALT, condition="NOT_LESS", rs="r1", imm=self.g.context)
        program.emit(Opcode.EMIT, rs="r1")
        program.emit(Opcode.HALT, condition="END_TOKEN")
        e.scalar(Opcode.SUB, "r4", rs="r4", imm=-1)
        program.emit(Opcode.HALT, condition="EQUAL", rs="r4")
        e.put("r3", 1)

    def _embed(self) -> None:
        e, g, p = self.e, self.g, self.p
        # The network may still be at work on the block before.
        wait = {"wait_a": Event.RESIDUAL} if self.share.chips > 1 else {}
        if self.share.tensor == 1:
            pc = e.command(
                Opcode.EMBED, {}, destination="RESIDUAL_SET", statistic="MAGNITUDE",
                signal=Event.RESIDUAL, **wait,
            )  # fmt: skip
        else:
            e.command(
                Opcode.EMBED_SHARE, {}, destination="RESIDUAL_SET", signal=Event.PARTIAL, **wait
            )
            pc = LayerCode(self.model, p, p.block, e, self.shifts, "", self.share).all_reduce()
        e.points.append(
            DebugPoint(
                name="embedding", pc=pc, memory="residual", format="int32", base=0,
                row_stride=g.dim, axes=((g.shape.dim, 1),), per_layer=False,
            )
        )  # fmt: skip

    def _all_layers(self) -> None:
        """Emit the layers, for single tokens with code of their own."""
        b = self.p.block
        if self.single and b.rows > 1:
            self.e.unless(
                "NOT_EQUAL", "r2", 1, lambda: self._layers(self.p.single, "token"),
                lambda: self._layers(self.p.block, "block"),
            )  # fmt: skip
        else:
            self._layers(b, "block")

    def _receive(self) -> None:
        self.e.phase("from the stage before")
        self._pass_on(
            Opcode.RECEIVE, wait_a=Event.RESIDUAL, signal=Event.RESIDUAL, statistic="MAGNITUDE"
        )

    def _send(self) -> None:
        self.e.phase("to the next stage")
        self._pass_on(Opcode.SEND, wait_a=Event.RESIDUAL, signal=Event.RESIDUAL)

    def _pass_on(self, opcode: Opcode, **operands: int | str) -> None:
        """Hand the residual from one stage to the next."""
        beats = self.g.beats(self.g.dim)
        count, length, last = chunks_of_row(beats)
        self.e.command(
            opcode,
            {"rows": register("r2"), "segments": count, "beats": beats, "src": 0,
             "src_row_stride": beats, "src_segment_stride": length, "dst_segment_stride": last,
             "maximum": self.p.block.residual_maximum},
            ring=Ring.PIPE.name, **operands,
        )  # fmt: skip

    def _agree(self, *, own: bool = False) -> None:
        """Let all chips have the token; one without logits of its `own` has none to offer."""
        if not own:
            self.e.phase("token")
            self.e.program.emit(Opcode.HALT, condition="EQUAL", rs="r4")
        self.e.command(
            Opcode.CHOOSE, {"rows": 1, "segments": self.share.chips, "beats": 1},
            wait_a=Event.TOKEN if own else 0, signal=Event.TOKEN, ring=Ring.TORUS.name,
        )  # fmt: skip

    def _cover_positions(self) -> None:
        """Set what depends on the block's place in the sequence."""
        e, g = self.e, self.g
        e.put("v.rows", register("r2"))
        e.put("v.position", register("r1"))
        e.put("r14", Expression("r1", "r2"))
        e.multiply("r15", "r1", g.beats(g.head))
        e.put("v.table", register("r15"))
        side = g.side.bit_length() - 1
        # Tiles of P positions; then columns, rows and beats of them.
        for name, unit in (("r8", g.columns), ("r9", g.rows), ("r10", g.lanes)):
            e.put(name, Expression("r14", imm=g.side - 1, amount=side))
            for _ in range((g.side // unit).bit_length() - 1):
                e.put(name, Expression(name, name))

    def _layers(self, buffers: Buffers, mode: str) -> None:
        e, p = self.e, self.p
        if self.layers_register != "r7":
            e.put(self.layers_register, self.g.shape.layers)
        e.put("r5", p.bank_base(0))
        e.put("r6", p.multiplier_base(0))
        code = LayerCode(self.model, p, buffers, e, self.shifts, mode, self.share)

        def body() -> None:
            self._enter_layer()
            code.emit()
            e.put("r5", register("r5", p.bank_stride))
            e.put("r6", register("r6", p.multiplier_stride))

        e.loop(self.layers_register, body)

    def _enter_layer(self) -> None:
        """Emit what a layer needs besides its code."""

    def _logits(self) -> None:
        """Emit the logits of the block's last row; only fill the cache if no token is wanted."""
        e, g, p, b = self.e, self.g, self.p, self.p.block
        e.phase("logits")
        e.program.emit(Opcode.HALT, condition="EQUAL", rs="r4")
        e.program.emit(Opcode.DRAW)
        e.put("r15", register("r2", -1))
        e.put("v.maximum", register("r15", b.residual_maximum))
        e.multiply("r14", "r15", g.beats(g.dim))
        norm = e.command(
            Opcode.NORM,
            {"rows": 1, "segments": 1, "beats": g.beats(g.dim), "src": register("r14"),
             "dst": b.norm * (g.rows // g.lanes), "row_scale": b.norm_scale},
            wait_a=Event.RESIDUAL, signal=Event.NORM,
        )  # fmt: skip
        tiles = g.vocab // g.columns
        place: dict[str, Value] = {}
        if p.config.network is not None:
            place = {"position": self.share.first_token // SHARE_UNIT}
        pc = e.command(
            Opcode.MATMUL,
            place
            | {"rows": 1, "subrows": 1, "weight": p.banks["lm_head"], "weight_n_stride": 1,
             "weight_k_stride": tiles, "n_tiles": tiles, "k_tiles": g.words(g.dim), "x": b.norm,
             "scale": p.multipliers["lm_head"], "row_scale": b.norm_scale,
             "shift": self.model.lm_head.shift, "dst": p.logits, "limit": g.shape.vocab},
            destination="LOGITS", masked=1, wait_a=Event.NORM, signal=Event.TOKEN,
        )  # fmt: skip
        self._last_row("final_norm.q", norm, ("activations", "int8", b.norm * g.rows), g.shape.dim)
        for form in ("mantissa", "exponent"):
            self._last_row(f"final_norm.{form}", norm, ("row_scales", form, b.norm_scale))
        self._last_row("logits", pc, ("residual", "int32", p.logits * g.lanes), g.shape.vocab)
        self._agree_on_own()

    def _agree_on_own(self) -> None:
        """Let all chips have the token that was just made."""
        if self.share.chips > 1:
            self._agree(own=True)

    def _last_row(self, name: str, pc: int, place: tuple[str, str, int], *counts: int) -> None:
        """Note where an intermediate of the block's last row lies."""
        memory, form, base = place
        self.e.points.append(
            DebugPoint(
                name=name, pc=pc, memory=memory, format=form, base=base, row_stride=0,
                axes=tuple((count, 1) for count in counts), per_layer=False, last_row=True,
            )
        )  # fmt: skip


def build_program(
    model: QuantizedLlama, placement: Placement, share: Share | None = None
) -> CompiledProgram:
    """Emit the program; give single tokens code of their own if the program memory holds it."""
    from compiler.batch_program import BatchProgramBuilder  # noqa: PLC0415 - it is one of these

    limit, share = placement.config.program_words, share or Share()
    builder = ProgramBuilder if placement.g.sequences == 1 else BatchProgramBuilder
    if share.tensor > 1:
        check_chunks(placement.g.beats(placement.g.dim), share.tensor)
    for single in (True, False):
        program = builder(model, placement, share, single=single).build()
        if len(program.words) <= limit:
            return program
    raise CapacityError(
        f"the model needs {len(program.words) - limit} more program_words than the {limit} of "
        f"configuration {placement.config.name}: raise program_words to {len(program.words)}"
    )
