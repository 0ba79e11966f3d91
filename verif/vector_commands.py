"""Commands of the vector unit, what golden expects of them, and random ones."""

import dataclasses
import json
import os
import random

import numpy as np

from golden.quantizer import quantize_key, quantize_vector
from golden.rms_norm import rms_norm
from golden.rope import rope
from golden.softmax import softmax
from golden.swiglu import swiglu
from hw.config import ChipletConfig
from hw.control.isa import VECTOR_DESCRIPTORS, Opcode, vector_command_layout
from hw.vector.schedule import segment_beats

#: The chiplet under test.
CONFIG = ChipletConfig(**json.loads(os.environ.get("CHIPLET_CONFIG", '{"name": "none"}')))
L = CONFIG.lanes
_LAYOUT = vector_command_layout()


@dataclasses.dataclass
class Command:
    """A command, and what it must leave behind."""

    opcode: Opcode
    fields: dict[str, int]
    epsilon: int = 0
    #: (memory, element) -> (value, step)
    expected: dict[tuple[str, int], tuple[int, str]] = dataclasses.field(default_factory=dict)

    def __getattr__(self, name: str) -> int:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def bits(self) -> int:
        """Return the payload."""
        values = {name: self.fields.get(name, 0) for name in VECTOR_DESCRIPTORS}
        return _LAYOUT.const({"opcode": self.opcode, **values}).as_bits()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, segments, beats."""
        return self.rows, self.segments, self.beats

    def address(self, base: str, row: int, segment: int) -> int:
        """Return the first beat of a segment; ``base`` is src or dst."""
        return (self.fields[base] + row * self.fields[f"{base}_row_stride"]
                + segment * self.fields[f"{base}_segment_stride"])


class Memories:
    """The memories' contents: written to the simulation by the back door, and expected of it."""

    ELEMENTS = {"results": (L, 16, True), "residual": (L, 32, True), "rope": (L, 16, True),
                "row_maxima": (1, 32, True), "activations": (CONFIG.rows, 8, True),
                "multipliers": (L, 16, False), "row_scales": (1, 16, False)}
    WORDS = {"results": CONFIG.result_beats, "residual": CONFIG.residual_beats,
             "rope": CONFIG.rope_beats, "row_maxima": CONFIG.row_slots,
             "activations": CONFIG.activation_words, "multipliers": CONFIG.multiplier_beats,
             "row_scales": CONFIG.row_slots}

    def __init__(self, dut) -> None:
        self.handles = {name: dut[name]["memory"]["mem"] for name in self.ELEMENTS}
        self.contents = {name: np.zeros(self.WORDS[name] * elements, np.int64)
                         for name, (elements, _, _) in self.ELEMENTS.items()}
        # Nothing that is not written may change: start from a pattern.
        for name in ("activations", "multipliers", "row_scales"):
            elements, bits, is_signed = self.ELEMENTS[name]
            rng = np.random.default_rng(1)
            low = -(1 << bits - 1) if is_signed else 0
            for word in range(self.WORDS[name]):
                self.write(name, word, rng.integers(low, low + (1 << bits), elements))

    def write(self, name: str, word: int, values: np.ndarray) -> None:
        """Set a word."""
        elements, bits, _ = self.ELEMENTS[name]
        self.contents[name][word * elements:(word + 1) * elements] = values
        packed = 0
        for value in reversed(np.atleast_1d(values).tolist()):
            packed = packed << bits | int(value) & (1 << bits) - 1
        self.handles[name][word].value = packed

    def beats(self, name: str, address: int, count: int) -> np.ndarray:
        """Return the elements of some beats, as written."""
        return self.contents[name][address * L:(address + count) * L].copy()

    def read_word(self, name: str, word: int) -> np.ndarray:
        """Return the elements of a word of the simulation."""
        elements, bits, is_signed = self.ELEMENTS[name]
        packed = self.handles[name][word].value.to_unsigned()
        raw = [(packed >> bits * i) & (1 << bits) - 1 for i in range(elements)]
        if is_signed:
            raw = [v - (1 << bits) if v >> bits - 1 else v for v in raw]
        return np.array(raw)

    def check(self, expected: dict[tuple[str, int], tuple[int, str]], what: str) -> None:
        """Compare the elements that a command wrote."""
        for name, word in sorted({(n, e // self.ELEMENTS[n][0]) for n, e in expected}):
            elements = self.ELEMENTS[name][0]
            got = self.read_word(name, word)
            for i in range(elements):
                want = expected.get((name, word * elements + i))
                if want is None:
                    continue
                assert got[i] == want[0], (
                    f"{what}: {want[1]}: {name} word {word} element {i}: got {got[i]}, want {want[0]}")
                self.contents[name][word * elements + i] = want[0]

    def check_all(self, what: str) -> None:
        """Compare every element of the memories that the unit writes."""
        for name in ("activations", "multipliers", "row_scales"):
            elements = self.ELEMENTS[name][0]
            for word in range(self.WORDS[name]):
                got = self.read_word(name, word)
                want = self.contents[name][word * elements:(word + 1) * elements]
                assert (got == want).all(), f"{what}: {name} word {word}: got {got}, want {want}"


def _scale_bits(scale: object, index: tuple[int, ...] = ()) -> int:
    return int(scale.mantissa[index]) | (int(scale.exponent[index]) & 0xFF) << 8


def expect(command: Command, memories: Memories) -> None:
    """Fill in what golden says of a command, given the sources as they are."""
    n = command.beats * L
    for t in range(command.rows):
        for s in range(command.segments):
            src, dst = command.address("src", t, s), command.address("dst", t, s)
            source = "residual" if command.opcode == Opcode.NORM else "results"
            x = memories.beats(source, src, command.beats)
            step = f"{command.opcode.name} row {t} segment {s}"
            slot = command.row_scale + t * command.row_scale_stride + s
            scale = multiplier = None
            if command.opcode == Opcode.NORM:
                result = rms_norm(x, command.epsilon)
                q, scale = result.q, result.scale
            elif command.opcode == Opcode.SOFTMAX:
                visible = np.arange(n) <= command.position + t
                result = softmax(x, visible)
                q, scale = result.p, result.scale
            elif command.opcode == Opcode.SWIGLU:
                up = memories.beats("results", src + command.src_up, command.beats)
                quantized = quantize_vector(swiglu(x, up))
                q, scale = quantized.q, quantized.scale
            else:
                table = memories.beats("rope", command.table + t * command.beats, command.beats)
                rotated = rope(x, table[0::2], table[1::2])
                if command.opcode == Opcode.ROPE_KEY:
                    quantized = quantize_key(rotated)
                    multiplier = int(quantized.key_multiplier)
                else:
                    quantized = quantize_vector(rotated)
                    scale = quantized.scale
                q = quantized.q
            for i in range(n):
                command.expected["activations", dst * L + i] = (int(q[i]), f"{step} element {i}")
            if scale is not None:
                command.expected["row_scales", slot] = (_scale_bits(scale), f"{step} row scale")
            if multiplier is not None:
                p = command.position + t
                beat = command.key_scale + s * command.key_scale_stride + p // L
                command.expected["multipliers", beat * L + p % L] = (
                    multiplier, f"{step} key multiplier")


class Generator:
    """Random commands and sources for them."""

    def __init__(self, memories: Memories, seed: int) -> None:
        self.memories = memories
        self.random = random.Random(seed)
        self.rng = np.random.default_rng(seed)

    def _layout(self, base: str, words: int, rows: int, segments: int, beats: int) -> dict[str, int]:
        """Choose where segments lie: rows outside or inside, apart from each other."""
        room = self.random.choice((0, 0, 1, 3))
        if self.random.random() < 0.5:
            segment = beats + room
            row = segments * segment + self.random.choice((0, 2))
        else:
            row = beats + room
            segment = rows * row + self.random.choice((0, 2))
        size = (rows - 1) * row + (segments - 1) * segment + beats
        assert size <= words, (size, words)
        first = self.random.choice((0, words - size, self.random.randint(0, words - size)))
        return {base: first, f"{base}_row_stride": row, f"{base}_segment_stride": segment}

    def _vector(self, n: int, bits: int) -> np.ndarray:
        """Return signed numbers of at most ``bits`` bits, all of about the same size."""
        size = self.random.randint(0, bits - 1)
        values = self.rng.integers(-(1 << size), (1 << size) + 1, n)
        kind = self.random.random()
        if kind < 0.05:
            values[:] = 0
        elif kind < 0.25:
            extremes = (-(1 << bits - 1), (1 << bits - 1) - 1, 1 << size, -(1 << size), 1 - (1 << size))
            values[self.random.randrange(n)] = self.random.choice(extremes)
        return np.clip(values, -(1 << bits - 1), (1 << bits - 1) - 1)

    def _fill(self, command: Command, name: str, offset: int, bits: int) -> None:
        for t in range(command.rows):
            for s in range(command.segments):
                x = self._vector(command.beats * L, bits)
                address = command.address("src", t, s) + offset
                for i in range(command.beats):
                    self.memories.write(name, address + i, x[i * L:(i + 1) * L])

    def command(self, opcode: Opcode | None = None) -> Command:
        """Return a command whose sources are in place."""
        pick = self.random.choice
        if opcode is None:
            opcode = pick((Opcode.NORM, Opcode.ROPE_QUERY, Opcode.ROPE_KEY, Opcode.SOFTMAX,
                           Opcode.SWIGLU))
        rows, segments = pick((1, 1, 2, 3, 5)), pick((1, 1, 2, 4))
        beats = pick((1, 1, 2, 3, 4, 7, 12))
        if self.random.random() < 0.03:
            rows, segments, beats = 1, pick((1, 2)), segment_beats(CONFIG)
        norm, swiglu = opcode == Opcode.NORM, opcode == Opcode.SWIGLU
        source_words = CONFIG.residual_beats if norm else CONFIG.result_beats // (1 + swiglu)
        activation_beats = CONFIG.activation_words * CONFIG.row_beats
        stride = segments + pick((0, 3))
        slots = (rows - 1) * stride + segments
        fields = {
            "rows": rows, "segments": segments, "beats": beats,
            **self._layout("src", source_words, rows, segments, beats),
            **self._layout("dst", activation_beats, rows, segments, beats),
            "src_up": CONFIG.result_beats // 2 if swiglu else self.random.getrandbits(16),
            "row_scale": self.random.randint(0, CONFIG.row_slots - slots),
            "row_scale_stride": stride,
            "maximum": self.random.randint(0, CONFIG.row_slots - rows * segments),
            "table": self.random.randint(0, CONFIG.rope_beats - rows * beats),
            "position": self.random.randint(0, beats * L + 3 if opcode == Opcode.SOFTMAX else 100),
            "key_scale_stride": pick((20, 32)),
        }
        keys = (segments - 1) * fields["key_scale_stride"] + (fields["position"] + rows) // L + 1
        fields["key_scale"] = self.random.randint(0, CONFIG.multiplier_beats - keys)
        command = Command(opcode, fields)
        getattr(self, f"_fill_{opcode.name.lower()}")(command)
        return command

    def _fill_norm(self, command: Command) -> None:
        self._fill(command, "residual", 0, self.random.choice((24, 24, 32)))
        self.set_magnitudes(command)

    def set_magnitudes(self, command: Command) -> None:
        """Write the largest magnitude of each row and segment of NORM."""
        for t in range(command.rows):
            for s in range(command.segments):
                x = self.memories.beats("residual", command.address("src", t, s), command.beats)
                self.memories.write("row_maxima", command.maximum + t * command.segments + s,
                                    min(np.abs(x).max(), 2**31 - 1))

    def _fill_table(self, command: Command, legal: bool) -> None:
        for i in range(command.rows * command.beats):
            angle = self.rng.uniform(0, 2 * np.pi, L // 2)
            table = np.round(16384 * np.stack((np.cos(angle), np.sin(angle)), -1)).reshape(-1)
            if not legal:
                table = self.rng.choice((-32768, 32767, 0, 12345, 1), L)
            self.memories.write("rope", command.table + i, table.astype(np.int64))

    def _fill_rope_query(self, command: Command) -> None:
        self._fill(command, "results", 0, 16)
        self._fill_table(command, self.random.random() < 0.8)

    def _fill_rope_key(self, command: Command) -> None:
        self._fill(command, "results", 0, 16)
        self._fill_table(command, True)

    def _fill_softmax(self, command: Command) -> None:
        for t in range(command.rows):
            for s in range(command.segments):
                n = command.beats * L
                top = self.random.randint(-32768, 32767)
                width = self.random.choice((0, 30, 300, 700, 5000, 65535))
                x = np.clip(top - self.rng.integers(0, width + 1, n), -32768, 32767)
                if self.random.random() < 0.5:
                    x[command.position + t + 1:] = -32768
                elif self.random.random() < 0.5:
                    x[command.position + t + 1:] = 32767
                for i in range(command.beats):
                    self.memories.write("results", command.address("src", t, s) + i,
                                        x[i * L:(i + 1) * L])
        for t in range(command.rows):
            for s in range(command.segments):
                x = self.memories.beats("results", command.address("src", t, s), command.beats)
                self.memories.write("row_maxima", command.maximum + t * command.segments + s,
                                    x[:command.position + t + 1].max())

    def _fill_swiglu(self, command: Command) -> None:
        self._fill(command, "results", 0, 16)
        self._fill(command, "results", command.src_up, 16)
