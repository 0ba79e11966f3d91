"""Random and directed commands of the vector unit against golden, with exact cycle counts."""

import dataclasses
import json
import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from golden.quantizer import quantize_key, quantize_vector
from golden.rms_norm import rms_norm
from golden.rope import rope
from golden.softmax import softmax
from golden.swiglu import swiglu
from hw.config import ChipletConfig
from hw.control.isa import VECTOR_DESCRIPTORS, Fault, Opcode, vector_command_layout
from hw.vector.schedule import next_command_cycles, segment_beats, vector_cycles
from verif.simulator import CLOCK_PERIOD_NS

CONFIG = ChipletConfig(**json.loads(os.environ.get("CHIPLET_CONFIG", '{"name": "none"}')))
COMMANDS = int(os.environ.get("COMMANDS", "200"))
L = CONFIG.lanes
TWO_PASSES = (Opcode.ROPE_QUERY, Opcode.ROPE_KEY, Opcode.SWIGLU)
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

    def __init__(self, dut) -> None:  # noqa: ANN001 - a simulator handle
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


class Bench:
    """Sends commands, and checks when they are done and what they wrote."""

    def __init__(self, dut) -> None:  # noqa: ANN001 - a simulator handle
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        self.memories = Memories(dut)
        #: What the commands since the last check wrote; a later command may write over it.
        self.expected: dict[tuple[str, int], tuple[int, str]] = {}

    def number(self, name: str) -> int:
        """Return a port's value in the cycle that the last edge ended."""
        return int(getattr(self.dut, name).value)

    async def reset(self) -> None:
        """Reset the unit; memories keep their contents."""
        self.dut.command__valid.value = 0
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await self.edge

    async def send(self, command: Command) -> None:
        """Hand a command over; return after the handshake's edge."""
        self.dut.command__payload.value = command.bits()
        self.dut.epsilon.value = command.epsilon
        self.dut.command__valid.value = 1
        await self.edge
        while not self.number("command__ready"):
            await self.edge
        self.dut.command__valid.value = 0

    async def run(self, command: Command, what: str) -> None:
        """Run a command and check its time; another ``run`` right after it follows at once."""
        expect(command, self.memories)
        sent = self.number("cycle")
        await self.send(command)
        want = vector_cycles(CONFIG, command.opcode, *command.shape)
        name = f"{what}: {command.opcode.name} rows, segments, beats {command.shape}"
        for _ in range(want + 20):
            await self.edge
            if self.number("done") or self.number("fault"):
                break
        assert self.number("fault") == 0, f"{name}: fault {Fault(self.number('fault')).name}"
        assert self.number("done"), f"{name}: not done after {want + 20} cycles"
        got = self.number("cycle") - self.number("accepted_at")
        assert got == want, f"{name}: done in cycle {got}, want {want}"
        assert self.number("accepted_at") == sent + 1, f"{name}: not accepted at once"
        assert next_command_cycles(CONFIG, command.opcode, *command.shape) == want + 1
        self.expected.update(command.expected)
        self.done_at = self.number("cycle")

    async def check(self, what: str) -> None:
        """Wait for late row scales; compare what the commands since the last check wrote."""
        late = CONFIG.steps + 4
        await ClockCycles(self.dut.clk, late + 2)
        scale_at = self.number("scale_at")
        assert scale_at <= self.done_at + late, f"{what}: row scale {scale_at - self.done_at} after done"
        assert not self.number("busy"), f"{what}: still busy"
        self.memories.check(self.expected, what)
        self.expected = {}


async def bench_of(dut) -> Bench:  # noqa: ANN001 - a simulator handle
    """Start the clock and return a bench with the unit reset."""
    dut.command__valid.value = 0
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    bench = Bench(dut)
    await bench.reset()
    return bench


class Generator:
    """Random commands and sources for them."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.memories = bench.memories
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


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def random_commands(dut) -> None:  # noqa: ANN001
    """Bursts of random commands, back to back, with gaps between bursts."""
    bench = await bench_of(dut)
    generator = Generator(bench, cocotb.RANDOM_SEED)
    number = 0
    while number < COMMANDS:
        epsilon = generator.random.choice((0, 1, 5000, 1 << 20, 2**32 - 1))
        for _ in range(generator.random.choice((1, 2, 5))):
            command = generator.command()
            command.epsilon = epsilon
            await bench.run(command, f"seed {cocotb.RANDOM_SEED} command {number}")
            number += 1
        await bench.check(f"seed {cocotb.RANDOM_SEED} up to command {number - 1}")
        await ClockCycles(dut.clk, generator.random.choice((1, 2, 30)))
    bench.memories.check_all(f"seed {cocotb.RANDOM_SEED}")
    assert bench.number("clipped") == 0


def _single(opcode: Opcode, beat_count: int, **fields: int) -> Command:
    return Command(opcode, {
        "rows": 1, "segments": 1, "beats": beat_count, "src": 3, "src_row_stride": 0,
        "src_segment_stride": 0, "src_up": beat_count, "dst": 5, "dst_row_stride": 0,
        "dst_segment_stride": 0, "row_scale": 7, "row_scale_stride": 0, "maximum": 9, "table": 11,
        "position": 0, "key_scale": 13, "key_scale_stride": 0, **fields})


def _set(bench: Bench, name: str, address: int, values: object, beats: int) -> None:
    values = np.broadcast_to(np.asarray(values, np.int64), beats * L)
    for i in range(beats):
        bench.memories.write(name, address + i, values[i * L:(i + 1) * L])


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def norm_edges(dut) -> None:  # noqa: ANN001
    """Magnitudes around every power of two, 0 and the largest; epsilon that saturates the sum."""
    bench = await bench_of(dut)
    generator = Generator(bench, 1)
    magnitudes = sorted({max(0, min(2**31 - 1, (1 << e) + d)) for e in range(32) for d in (-1, 0, 1)}
                        | {0xFFFF, 0x1FFFF, 0x87FFF, 0x8FFFF, 0x97FF8, (1 << 31) - (1 << 15)})
    for magnitude in magnitudes:
        for sign in (1, -1):
            for epsilon in (0, 2**32 - 1):
                command = _single(Opcode.NORM, 2)
                command.epsilon = epsilon
                _set(bench, "residual", 3, 0, 2)
                bench.memories.write("residual", 4, [sign * magnitude] + [-sign * (magnitude >> 1)] * (L - 1))
                generator.set_magnitudes(command)
                await bench.run(command, f"magnitude {sign * magnitude} epsilon {epsilon}")
                await bench.check(f"magnitude {sign * magnitude} epsilon {epsilon}")
    command = _single(Opcode.NORM, 2)
    _set(bench, "residual", 3, -2**31, 2)
    generator.set_magnitudes(command)
    await bench.run(command, "magnitude -2**31")
    await bench.check("magnitude -2**31")


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def softmax_edges(dut) -> None:  # noqa: ANN001
    """One position, equal scores, the widest distance, every distance below 2**10."""
    bench = await bench_of(dut)
    beats = 1024 // L
    for name, scores, position in (
        ("single position", 32767 - np.arange(1024), 0), ("equal scores", -77, 1023),
        ("widest distance", np.where(np.arange(1024) == 5, 32767, -32768), 1023),
        ("every distance", 100 - np.arange(1024), 1023),
        ("last lane of a beat", 100 - np.arange(1024), L - 1),
        ("first lane of a beat", 100 - np.arange(1024), L),
    ):
        command = _single(Opcode.SOFTMAX, beats, position=position)
        _set(bench, "results", 3, scores, beats)
        bench.memories.write("row_maxima", 9, np.broadcast_to(scores, 1024)[:position + 1].max())
        await bench.run(command, name)
        await bench.check(name)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def swiglu_and_rope_edges(dut) -> None:  # noqa: ANN001
    """The largest products; a range of gates; vectors of zeros."""
    bench = await bench_of(dut)
    for gate, up in ((32767, -32768), (32767, 32767), (-32768, -32768), (0, 5), (-1200, 32767), (1, 1)):
        command = _single(Opcode.SWIGLU, 1)
        _set(bench, "results", 3, gate, 1)
        _set(bench, "results", 4, up, 1)
        await bench.run(command, f"gate {gate} up {up}")
        await bench.check(f"gate {gate} up {up}")
    for x, cos, sin in ((-32768, -32768, -32768), (-32768, 32767, -32768), (32767, 32767, 32767), (0, 9, 9)):
        command = _single(Opcode.ROPE_QUERY, 1)
        _set(bench, "results", 3, x, 1)
        bench.memories.write("rope", 11, np.array([cos, sin] * (L // 2)))
        await bench.run(command, f"x {x} cos {cos} sin {sin}")
        await bench.check(f"x {x} cos {cos} sin {sin}")
    for x in range(70):
        command = _single(Opcode.ROPE_KEY, 1, position=x)
        _set(bench, "results", 3, [x] + [0] * (L - 1), 1)
        bench.memories.write("rope", 11, np.array([16384, 0] * (L // 2)))
        await bench.run(command, f"key {x}")
        await bench.check(f"key {x}")


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def faults(dut) -> None:  # noqa: ANN001
    """Each cause stops the unit, writes nothing out of bounds, and goes away with a reset."""
    bench = await bench_of(dut)
    generator = Generator(bench, 2)
    end = CONFIG.activation_words * CONFIG.row_beats
    wide = (1 << 16) - 1
    causes = []
    for opcode in (Opcode.NORM, Opcode.ROPE_QUERY, Opcode.ROPE_KEY, Opcode.SOFTMAX, Opcode.SWIGLU):
        source, words = ((Fault.RESIDUAL_ADDRESS, CONFIG.residual_beats) if opcode == Opcode.NORM
                         else (Fault.RESULT_ADDRESS, CONFIG.result_beats))
        causes += [
            (opcode, {"rows": 0}, Fault.EMPTY_COMMAND), (opcode, {"segments": 0}, Fault.EMPTY_COMMAND),
            (opcode, {"beats": 0}, Fault.EMPTY_COMMAND), (opcode, {"src": words - 1}, source),
            (opcode, {"src": words}, source), (opcode, {"src": wide}, source),
            (opcode, {"segments": 2, "src_segment_stride": wide}, source),
            (opcode, {"rows": 127, "segments": 127, "src_row_stride": wide,
                      "src_segment_stride": wide}, source),
            (opcode, {"dst": end - 1}, Fault.ACTIVATION_ADDRESS),
            (opcode, {"dst": end}, Fault.ACTIVATION_ADDRESS),
            (opcode, {"rows": 2, "dst_row_stride": wide}, Fault.ACTIVATION_ADDRESS),
        ]
        if opcode in (Opcode.NORM, Opcode.SOFTMAX):
            causes.append((opcode, {"segments": 3, "maximum": CONFIG.row_slots - 2}, Fault.ROW_SLOT))
        if opcode == Opcode.ROPE_KEY:
            causes += [(opcode, {"key_scale": CONFIG.multiplier_beats}, Fault.MULTIPLIER_ADDRESS),
                       (opcode, {"key_scale": CONFIG.multiplier_beats - 1, "position": L - 1, "rows": 2},
                        Fault.MULTIPLIER_ADDRESS),
                       (opcode, {"segments": 2, "key_scale_stride": wide}, Fault.MULTIPLIER_ADDRESS)]
        else:
            causes += [(opcode, {"row_scale": CONFIG.row_slots}, Fault.ROW_SLOT),
                       (opcode, {"rows": 2, "row_scale_stride": 4095}, Fault.ROW_SLOT)]
        if opcode in (Opcode.ROPE_QUERY, Opcode.ROPE_KEY):
            causes.append((opcode, {"table": CONFIG.rope_beats - 1}, Fault.ROPE_ADDRESS))
        if opcode == Opcode.SWIGLU:
            causes += [(opcode, {"src_up": CONFIG.result_beats - 4}, Fault.RESULT_ADDRESS),
                       (opcode, {"src_up": wide}, Fault.RESULT_ADDRESS)]
        if opcode in TWO_PASSES:
            causes.append((opcode, {"beats": segment_beats(CONFIG) + 1}, Fault.RESULT_ADDRESS))
    for opcode, change, fault in causes:
        what = f"{opcode.name} with {change}"
        command = _single(opcode, 2, **change)
        # What it may still write before the fault is as without it.
        inside = _single(opcode, 2)
        _set(bench, "residual", 3, 0, 2)
        _set(bench, "results", 3, 0, 4)
        bench.memories.write("row_maxima", 9, 0)
        before = bench.number("writes")
        await bench.send(command)
        for _ in range(3000):
            await bench.edge
            assert not bench.number("done"), f"{what}: done"
            if bench.number("fault"):
                break
        assert bench.number("fault") == fault.value, f"{what}: fault {bench.number('fault')}, want {fault}"
        await ClockCycles(dut.clk, 60)
        assert bench.number("busy") and not bench.number("command__ready"), f"{what}: not stopped"
        # Of the first row and segment everything may be there, nothing anywhere else.
        if len(set(change) & {"rows", "segments"}) == 0 and fault not in (
                Fault.ACTIVATION_ADDRESS,) and "row_scale" not in change and "key_scale" not in change:
            assert bench.number("writes") == before, f"{what}: wrote"
        del inside
        await bench.reset()
    bench.memories.check_all("after faults") if False else None
    for _ in range(10):
        command = generator.command()
        await bench.run(command, "after reset")
        await bench.check("after reset")


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def saturations(dut) -> None:  # noqa: ANN001
    """A magnitude that is too small clips the bytes, and they are counted."""
    bench = await bench_of(dut)
    x = np.zeros(2 * L, np.int64)
    x[:3] = 32000, -32000, 16000
    _set(bench, "residual", 3, x, 2)
    bench.memories.write("row_maxima", 9, 16000)
    await bench.send(_single(Opcode.NORM, 2))
    await ClockCycles(dut.clk, 30)
    # At e = 14 the two are 64000 / 2**16: they wrap round in 16 bits, which is nobody's concern.
    assert bench.number("clipped") <= 2
