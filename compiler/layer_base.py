"""What the code of a layer is made of: commands with their descriptors, and debug points."""

from compiler.debug import DebugPoint
from compiler.emitter import Emitter, Expression, Value, register
from compiler.events import Event
from compiler.geometry import Buffers
from compiler.placement import Placement
from compiler.share import Share, chunk_beats
from compiler.shifts import ShiftTable
from golden.quantized import QuantizedLlama
from hw.control.isa import Opcode

#: With several sequences: bank words and multiplier beats from the first one's cache to this one's.
CACHE_WORDS_BEFORE, CACHE_BEATS_BEFORE = "r14", "r15"
#: Axes of a debug point: (count, stride).
Axis = tuple[int, int]


class LayerBase:
    """Emits commands of a layer for blocks that `buffers` hold; `mode` names them in listings.

    The layer's bank word is in r5, its multiplier beat in r6, its shifts in r11 to r13. Of several
    sequences, r14 and r15 say which one's cache.
    """

    def __init__(
        self, model: QuantizedLlama, placement: Placement, buffers: Buffers, emitter: Emitter,
        shifts: ShiftTable, mode: str, share: Share,
    ) -> None:  # fmt: skip
        self.p, self.g, self.b, self.e = placement, placement.g, buffers, emitter
        self.s, self.shifts, self.mode, self.share = model.shape, shifts, mode, share
        self.bounds, self.attention_groups = model.group_bounds(), model.attention_groups

    def bank(self, name: str, offset: int = 0) -> Expression:
        """Return the bank word of one of the layer's matrices or caches."""
        imm = self.p.layer_banks[name] + offset
        if self.g.sequences > 1 and name in ("keys", "values"):
            return Expression(CACHE_WORDS_BEFORE, "r5", imm)
        return register("r5", imm)

    def scale(self, name: str, offset: int = 0) -> Expression:
        """Return the beat of one of the layer's multipliers."""
        imm = self.p.layer_multipliers[name] + offset
        if self.g.sequences > 1 and name == "keys":
            return Expression(CACHE_BEATS_BEFORE, "r6", imm)
        return register("r6", imm)

    def beat(self, word: int) -> int:
        """Return the beat at which a word of activations or outputs starts."""
        return word * (self.g.rows // self.g.lanes)

    def matmul(self, shift: str, values: dict[str, Value], **operands: int | str) -> int:
        """Emit a product; return its address."""
        usual: dict[str, Value] = {
            "weight_k_stride": 1, "subrows": 1, "shift": self.shifts.value(shift),
        }  # fmt: skip
        return self.e.command(Opcode.MATMUL, self._needed(usual | values), **operands)

    def store(self, opcode: Opcode, values: dict[str, Value], **operands: int | str) -> None:
        """Emit a store into the KV cache."""
        self.e.command(opcode, self._needed(values), **operands)

    def vector(self, opcode: Opcode, values: dict[str, Value], **operands: int | str) -> int:
        """Emit a command of the vector unit; return its address."""
        return self.e.command(opcode, self._needed(values), **operands)

    def _needed(self, values: dict[str, Value]) -> dict[str, Value]:
        """Leave out the strides that a single row does not use."""
        if self.b.rows > 1:
            return values
        unused = ("x_row_stride", "dst_row_stride", "src_row_stride", "row_scale_stride")
        return {name: value for name, value in values.items() if name not in unused}

    def point(
        self, name: str, pc: int, place: tuple[str, str, int], row: int, *axes: Axis,
        part: tuple[int, int] | None = None, layer_stride: int = 0, position_stride: int = 0,
    ) -> None:  # fmt: skip
        """Note where (memory, format, element) an intermediate lies, and its strides."""
        memory, form, base = place
        self.e.points.append(
            DebugPoint(
                name=name, pc=pc, memory=memory, format=form, base=base, row_stride=row, axes=axes,
                part=part, layer_stride=layer_stride, position_stride=position_stride,
            )
        )  # fmt: skip

    def scale_points(
        self, name: str, pc: int, slot: int, row: int, *axes: Axis,
        part: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """Note where row scales lie."""
        for form in ("mantissa", "exponent"):
            self.point(name + form, pc, ("row_scales", form, slot), row, *axes, part=part)

    def norm(self, name: str) -> None:
        """Normalize the residual."""
        g, b, beats = self.g, self.b, self.g.beats(self.g.dim)
        pc = self.vector(
            Opcode.NORM,
            {
                "segments": 1, "beats": beats, "src": 0, "src_row_stride": beats,
                "dst": self.beat(b.norm), "dst_row_stride": beats, "row_scale": b.norm_scale,
                "row_scale_stride": 1, "maximum": b.residual_maximum,
            },
            wait_a=Event.RESIDUAL, signal=Event.NORM,
        )  # fmt: skip
        place = ("activations", "int8", b.norm * g.rows)
        self.point(f"{name}.q", pc, place, g.dim, (self.s.dim, 1))
        self.scale_points(f"{name}.", pc, b.norm_scale, 1)

    def project(self, name: str, values: dict[str, Value], **operands: int | str) -> int:
        """Multiply the normed vectors: `values` say which weights, scales and destination."""
        words = self.g.words(self.g.dim)
        usual: dict[str, Value] = {
            "weight_n_stride": words, "k_tiles": words, "x": self.b.norm, "x_row_stride": words,
            "row_scale": self.b.norm_scale, "row_scale_stride": 1,
        }  # fmt: skip
        return self.matmul(name, usual | values, **operands)

    def residual_add(
        self, name: str, values: dict[str, Value], *, first: bool, last: str | None = None,
        **operands: int | str,
    ) -> None:  # fmt: skip
        """Add a product to the residual, as the `first` or another one of those added up.

        `last` names the sum when nothing more is added. Of the chips of a stage one adds to the
        residual; the others' sums begin with zero, and a ring of all makes the whole.
        """
        g = self.g
        usual: dict[str, Value] = {
            "n_tiles": g.dim // g.columns, "scale": self.scale(name),
            "dst": 0, "dst_row_stride": g.beats(g.dim),
        }  # fmt: skip
        alone = self.share.tensor == 1
        if last and alone:
            usual["maximum"] = self.b.residual_maximum
            operands |= {"statistic": "MAGNITUDE", "signal": Event.RESIDUAL}
        elif last:
            operands |= {"signal": Event.PARTIAL}
        begins = first and self.share.rank > 0
        pc = self.matmul(
            name, usual | values, destination="RESIDUAL_SET" if begins else "RESIDUAL_ADD",
            **operands,
        )  # fmt: skip
        if last and not alone:
            pc = self.all_reduce()
        if last:
            self.point(last, pc, ("residual", "int32", 0), g.dim, (self.s.dim, 1))

    def all_reduce(self) -> int:
        """Add up what the chips of the stage made of the residual; return the address."""
        share, beats = self.share, self.g.beats(self.g.dim)
        length, last = chunk_beats(beats, share.tensor)
        return self.vector(
            Opcode.ALL_REDUCE,
            {
                "segments": share.tensor, "beats": beats, "src": 0, "src_row_stride": beats,
                "src_segment_stride": length, "src_up": share.rank * length,
                "dst_segment_stride": last, "maximum": self.b.residual_maximum,
            },
            wait_a=Event.PARTIAL, signal=Event.RESIDUAL, statistic="MAGNITUDE",
            ring=share.tensor_ring.name,
        )  # fmt: skip
