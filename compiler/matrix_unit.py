"""The matrix unit in numpy: docs/machine.md, section 2."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.assembler import Instruction
from compiler.memories import CommandAccesses, Memories, grid
from compiler.sequencer import MachineFaultError
from golden.integer import IntArray, clamp, round_shift, saturate, saturate_int8
from golden.matmul import int8_matmul
from golden.requantizer import SCALE_SHIFT, SHIFT_MAX, add_to_residual
from golden.sampler import gumbel_noise
from hw.config import ChipletConfig
from hw.control.isa import SHARE_UNIT, Destination, Fault, Opcode, Source, Statistic

_MASKED_SCORE = -(2**15)
_SATURATION = {
    Destination.RESULT: 16, Destination.RESIDUAL_SET: 24, Destination.RESIDUAL_ADD: 24,
    Destination.LOGITS: 32,
}  # fmt: skip
_MEMORY = {Destination.RESULT: "results", Destination.OUTPUT: "outputs"}
#: Matrices kept as float32, ready to multiply, at most so many elements together.
_CACHE_ELEMENTS = 1 << 27

Fields = dict[str, int]


class MatrixUnit:
    """Executes MATMUL, EMBED and the stores on the memories."""

    def __init__(self, config: ChipletConfig, memories: Memories) -> None:
        self.c, self.mem = config, memories
        self.temperature = 0
        self.sampler_state = 1
        self.token = 0  #: the sampler's token, or the one that the chips chose
        #: What CHOOSE offers: noisy logit and token; None: nothing was sampled since the last one.
        self.candidate: tuple[int, int] | None = None
        self.logits: NDArray[np.int32] | None = None  #: of a LOGITS product just made
        self.saturations = 0
        self._stored = np.zeros(config.bank_words, bool)  # words that stores wrote
        self._cache: dict[tuple[int, ...], NDArray[np.float32]] = {}
        self._cached = 0

    def used(self, i: Instruction, f: Fields) -> Iterator[str]:
        """Yield the descriptors that a command reads."""
        yield from ("rows", "k_tiles", "weight")
        rows = [] if f["rows"] == 1 else ["row"]
        if i.opcode in (Opcode.STORE_KEYS, Opcode.STORE_VALUES):
            stride = "weight_k_stride" if i.opcode == Opcode.STORE_KEYS else "weight_n_stride"
            yield from ("x", "position", stride, *(f"x_{each}_stride" for each in rows))
            return
        yield from ("scale", "shift", "dst", *(f"dst_{each}_stride" for each in rows))
        if f["k_tiles"] > 1:
            yield "weight_k_stride"
        if i["statistic"]:
            yield "maximum"
        if i.opcode in (Opcode.EMBED, Opcode.EMBED_SHARE):
            yield from ("position", "token_scale", "limit")
            if i.opcode == Opcode.EMBED_SHARE:
                yield from ("x", "x_row_stride")
            return
        if i["destination"] == Destination.LOGITS.value and self.c.network is not None:
            yield "position"
        subs = ["sub"] if f["subrows"] > 1 else []
        yield from ("x", "n_tiles", "subrows", "row_scale")
        yield from (f"{name}_{each}_stride" for name in ("x", "dst") for each in subs)
        yield from (name for _ in rows for name in ("x_row_stride", "row_scale_stride"))
        if f["n_tiles"] > 1:
            yield "weight_n_stride"
        if i["masked"]:
            yield "limit"

    def execute(self, i: Instruction, f: Fields) -> CommandAccesses:
        """Execute a command; return what it touched."""
        sizes = ["rows", "k_tiles"]
        if i.opcode == Opcode.MATMUL:
            sizes += ["n_tiles", "subrows"]
        if any(f[name] == 0 for name in sizes):
            raise MachineFaultError(Fault.EMPTY_COMMAND, 0)
        if i.opcode == Opcode.MATMUL and f["k_tiles"] * self.c.rows > self.c.longest_dot:
            raise MachineFaultError(Fault.DOT_LENGTH, 0)
        match i.opcode:
            case Opcode.MATMUL:
                return self._matmul(i, f)
            case Opcode.EMBED | Opcode.EMBED_SHARE:
                return self._embed(i, f)
            case Opcode.STORE_KEYS:
                return self._store_keys(i, f)
            case _:
                return self._store_values(i, f)

    def _word_beats(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the beats of words of activations or outputs."""
        return (words[..., None] * self.c.row_beats + np.arange(self.c.row_beats)).reshape(
            *words.shape[:-1], -1
        )

    def _vectors(self, i: Instruction, words: NDArray[np.int64]) -> tuple[str, IntArray, IntArray]:
        """Read int8 words [..., k]; return memory, beats and elements [..., k * rows]."""
        memory = Source(i["source"]).name.lower()
        beats = self._word_beats(words)
        self.mem.check(memory, beats)
        values = getattr(self.mem, memory)[beats]
        return memory, beats, values.reshape(*words.shape[:-1], -1)

    def _weights(self, f: Fields) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the bank words of a product and its matrix [K, N]."""
        n, k = f["n_tiles"], f["k_tiles"]
        words = self.mem.check(
            "banks", grid(f["weight"], (n, f["weight_n_stride"] if n > 1 else 0),
                          (k, f["weight_k_stride"] if k > 1 else 0)))  # fmt: skip
        key = tuple(
            f[x] for x in ("weight", "n_tiles", "k_tiles", "weight_n_stride", "weight_k_stride")
        )
        constant = not self._stored[words].any()
        if constant and key in self._cache:
            return words, self._cache[key]
        tiles = self.mem.banks[words].reshape(n, k, self.c.rows, self.c.columns)
        matrix = tiles.transpose(1, 2, 0, 3).reshape(k * self.c.rows, -1).astype(np.float32)
        if constant and self._cached + matrix.size <= _CACHE_ELEMENTS:
            self._cache[key] = matrix
            self._cached += matrix.size
        return words, matrix

    def _matmul(self, i: Instruction, f: Fields) -> CommandAccesses:
        subs = (f["subrows"], f["x_sub_stride"])
        x_words = grid(f["x"], (f["rows"], f["x_row_stride"]), subs, (f["k_tiles"], 1))
        memory, x_beats, x = self._vectors(i, x_words)
        words, matrix = self._weights(f)
        acc = int8_matmul(x.astype(np.float32), matrix)  # [rows, subrows, N]
        slots = grid(f["row_scale"], (f["rows"], f["row_scale_stride"]), (f["subrows"], 1))
        scale = self.mem.row_scales[self.mem.check("row_scales", slots).reshape(slots.shape)]
        accesses = CommandAccesses(
            reads=[(memory, x_beats.reshape(-1)), ("banks", words)],
            late_reads=[("row_scales", slots.reshape(-1))],
        )
        count = f["n_tiles"] * self.c.column_beats
        dst = grid(f["dst"], (f["rows"], f["dst_row_stride"]), (f["subrows"], f["dst_sub_stride"]),
                   (count, 1))  # fmt: skip
        self._drain(i, f, acc, scale.astype(np.int64), dst, accesses)
        return accesses

    def _embed(self, i: Instruction, f: Fields) -> CommandAccesses:
        c, rows = self.c, f["rows"]
        places = self.mem.check("tokens", grid(f["position"], (rows, 1)))
        tokens = self.mem.tokens[places].astype(np.int64)
        known = np.ones(len(tokens), bool)
        if i.opcode == Opcode.EMBED_SHARE:
            if np.any(tokens > f["x_row_stride"]):
                raise MachineFaultError(Fault.TOKEN_ADDRESS, 0, f"token {int(tokens.max())}")
            tokens = tokens - f["x"] * SHARE_UNIT
            known = (tokens >= 0) & (tokens < f["limit"])
            tokens = np.where(known, tokens, 0)
        if np.any(tokens >= f["limit"]):
            raise MachineFaultError(Fault.TOKEN_ADDRESS, 0, f"token {int(tokens.max())}")
        words = (
            grid(f["weight"], (f["k_tiles"], f["weight_k_stride"])) + tokens[:, None] // c.columns
        )
        self.mem.check("banks", words)
        x = self.mem.banks[words, :, (tokens % c.columns)[:, None]]  # [rows, k, rows of the array]
        scale_beats = f["token_scale"] + tokens // c.lanes
        self.mem.check("multipliers", scale_beats)
        scale = self.mem.multipliers[scale_beats, tokens % c.lanes].astype(np.int64)
        scale = np.where(known, scale, 0)
        accesses = CommandAccesses(
            reads=[("tokens", places), ("banks", words.reshape(-1))],
            late_reads=[("multipliers", scale_beats)],
        )
        beats = f["k_tiles"] * c.row_beats
        dst = grid(f["dst"], (rows, f["dst_row_stride"]), (1, 0), (beats, 1))
        acc = x.reshape(rows, 1, -1).astype(np.int64)
        self._drain(i, f, acc, scale[:, None], dst, accesses)
        return accesses

    def _drain(self, i: Instruction, f: Fields, acc: IntArray, scale: IntArray,
               dst: NDArray[np.int64], accesses: CommandAccesses) -> None:  # fmt: skip
        """Requantize accumulators [rows, subrows, N] with row scales [rows, subrows] and write."""
        destination = Destination(i["destination"])
        memory = _MEMORY.get(destination, "residual")
        beats = self.mem.check("multipliers", grid(f["scale"], (dst.shape[-1], 1)))
        multiplier = self.mem.multipliers[beats].reshape(-1).astype(np.int64)
        accesses.late_reads.append(("multipliers", beats))
        self.mem.check(memory, dst)
        exponent = ((scale >> 8) ^ 0x80) - 0x80
        channel = round_shift(multiplier * (scale & 0xFF)[..., None], SCALE_SHIFT)
        right = clamp(f["shift"] - exponent - SCALE_SHIFT, 0, SHIFT_MAX)
        y = round_shift(acc * channel, right[..., None])
        shown = np.ones(y.shape, bool)
        if i.operands.get("masked"):
            limits = f["limit"] + np.arange(len(y))
            shown = np.broadcast_to(np.arange(y.shape[-1]) < limits[:, None, None], y.shape)
        if destination == Destination.OUTPUT:
            clipped, _ = saturate_int8(y)
        else:
            clipped, _ = saturate(y, _SATURATION[destination])
        self.saturations += int(np.count_nonzero((y != clipped) & shown))
        y = clipped
        if destination == Destination.RESIDUAL_ADD:
            accesses.late_reads.append((memory, dst.reshape(-1)))
            # The residual has one read port: the vector unit must not read meanwhile.
            accesses.writes.append(("residual port", np.zeros(1, np.int64)))
            y = add_to_residual(self.mem.residual[dst].reshape(y.shape), y)
        if destination == Destination.RESULT:
            y = np.where(shown, y, _MASKED_SCORE)
        target = getattr(self.mem, memory)
        target[dst] = y.reshape(*dst.shape, self.c.lanes).astype(target.dtype)
        accesses.writes.append((memory, dst.reshape(-1)))
        if memory == "residual":
            accesses.writes.append(("residual write port", np.zeros(1, np.int64)))
        if destination == Destination.LOGITS:
            first = f["position"] * SHARE_UNIT if self.c.network is not None else 0
            self._sample(y, shown, first, accesses)
        self._statistic(i, f, y, shown, accesses)

    def _sample(
        self, y: IntArray, shown: NDArray[np.bool_], first: int, accesses: CommandAccesses
    ) -> None:
        """Pass the logits of the last row to the sampler, as those of tokens from `first` on."""
        logits, visible = y[-1, -1], shown[-1, -1]
        ids = first + np.arange(len(logits))
        noisy = logits + gumbel_noise(ids, self.sampler_state, self.temperature).noise
        best = int(np.argmax(np.where(visible, noisy, -(2**62))))
        self.token = first + best
        self.candidate = (int(noisy[best]), self.token)
        self.logits = logits[visible].astype(np.int32)
        accesses.late_reads.append(("sampler", np.zeros(1, np.int64)))
        accesses.writes.append(("sampler", np.zeros(1, np.int64)))

    def _statistic(self, i: Instruction, f: Fields, y: IntArray, shown: NDArray[np.bool_],
                   accesses: CommandAccesses) -> None:  # fmt: skip
        statistic = Statistic(i["statistic"])
        if statistic == Statistic.NONE:
            return
        values = np.abs(y) if statistic == Statistic.MAGNITUDE else y
        low = -(2**31) if statistic == Statistic.MAXIMUM else 0
        slots = self.mem.check("row_maxima", grid(f["maximum"], (y.shape[0] * y.shape[1], 1)))
        self.mem.row_maxima[slots] = np.max(np.where(shown, values, low), axis=-1).reshape(-1)
        accesses.writes.append(("row_maxima", slots))

    def _store_keys(self, i: Instruction, f: Fields) -> CommandAccesses:
        c = self.c
        memory, beats, x = self._vectors(
            i, grid(f["x"], (f["rows"], f["x_row_stride"]), (f["k_tiles"], 1))
        )
        places = f["position"] + np.arange(f["rows"])
        words = (
            grid(f["weight"], (f["k_tiles"], f["weight_k_stride"])) + places[:, None] // c.columns
        )
        self.mem.check("banks", words)
        x = x.reshape(f["rows"], f["k_tiles"], c.rows)
        self.mem.banks[words, :, (places % c.columns)[:, None]] = x
        return self._stored_words(memory, beats, words)

    def _store_values(self, i: Instruction, f: Fields) -> CommandAccesses:
        c = self.c
        memory, beats, x = self._vectors(
            i, grid(f["x"], (f["rows"], f["x_row_stride"]), (f["k_tiles"], 1))
        )
        places = (f["position"] + np.arange(f["rows"]))[:, None]
        element = np.arange(f["k_tiles"] * c.rows)
        words = f["weight"] + element // c.columns * f["weight_n_stride"] + places // c.rows
        self.mem.check("banks", words)
        self.mem.banks[words, places % c.rows, element % c.columns] = x
        return self._stored_words(memory, beats, np.unique(words))

    def _stored_words(
        self, memory: str, beats: IntArray, words: NDArray[np.int64]
    ) -> CommandAccesses:
        flat = words.reshape(-1)
        self._stored[flat] = True
        return CommandAccesses(reads=[(memory, beats.reshape(-1))], early_writes=[("banks", flat)])
