"""Random and directed commands of the vector unit against golden, with exact cycle counts."""

import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from hw.control.isa import Fault, Opcode
from hw.vector.schedule import LATE_SCALE, next_command_cycles, segment_beats, vector_cycles
from verif.simulator import CLOCK_PERIOD_NS
from verif.vector_commands import CONFIG, Command, Generator, L, Memories, expect

COMMANDS = int(os.environ.get("COMMANDS", "200"))
TWO_PASSES = (Opcode.ROPE_QUERY, Opcode.ROPE_KEY, Opcode.SWIGLU)


class Bench:
    """Sends commands, and checks when they are done and what they wrote."""

    def __init__(self, dut) -> None:
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
        late = CONFIG.steps + LATE_SCALE
        await ClockCycles(self.dut.clk, late + 2)
        scale_at = self.number("scale_at")
        assert scale_at <= self.done_at + late, f"{what}: row scale {scale_at - self.done_at} after done"
        assert not self.number("busy"), f"{what}: still busy"
        self.memories.check(self.expected, what)
        self.expected = {}


async def bench_of(dut) -> Bench:
    """Start the clock and return a bench with the unit reset."""
    dut.command__valid.value = 0
    Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
    bench = Bench(dut)
    await bench.reset()
    return bench


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def random_commands(dut) -> None:
    """Bursts of random commands, back to back, with gaps between bursts."""
    bench = await bench_of(dut)
    generator = Generator(bench.memories, cocotb.RANDOM_SEED)
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
async def norm_edges(dut) -> None:
    """Magnitudes around every power of two, 0 and the largest; epsilon that saturates the sum."""
    bench = await bench_of(dut)
    generator = Generator(bench.memories, 1)
    magnitudes = sorted({max(0, min(2**31 - 1, (1 << e) + d)) for e in range(32) for d in (-1, 0, 1)}
                        # An is rounded from A, which is positive even where the element is not.
                        | {(k << 12) - 1 for k in range(9, 16)}
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
async def softmax_edges(dut) -> None:
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
async def swiglu_and_rope_edges(dut) -> None:
    """Multiply the largest operands; quantize vectors of zeros and the smallest keys."""
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
async def faults(dut) -> None:
    """Each cause stops the unit, writes nothing out of bounds, and goes away with a reset."""
    bench = await bench_of(dut)
    generator = Generator(bench.memories, 2)
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
        _set(bench, "residual", 3, 0, 2)
        _set(bench, "results", 3, 0, 4)
        bench.memories.write("row_maxima", 9, 0)
        before = bench.number("writes")
        await bench.send(_single(opcode, 2, **change))
        for _ in range(3000):
            await bench.edge
            assert not bench.number("done"), f"{what}: done"
            if bench.number("fault"):
                break
        assert bench.number("fault") == fault.value, (
            f"{what}: fault {Fault(bench.number('fault')).name}, want {fault.name}")
        await ClockCycles(dut.clk, 60)
        assert not bench.number("done") and not bench.number("command__ready"), f"{what}: not stopped"
        assert bench.number("fault") == fault.value, f"{what}: fault changed"
        if fault == Fault.EMPTY_COMMAND:
            assert bench.number("writes") == before, f"{what}: wrote"
        await bench.reset()
    # What lay within the memories may be written: nothing else.
    memories = bench.memories
    for name, elements in (
        ("activations", [*range(5 * L, 7 * L), *range((end - 1) * L, end * L)]), ("row_scales", [7]),
        ("multipliers", [13 * L, 13 * L + 1, CONFIG.multiplier_beats * L - 1]),
    ):
        per_word = memories.ELEMENTS[name][0]
        for e in elements:
            memories.contents[name][e] = memories.read_word(name, e // per_word)[e % per_word]
    memories.check_all("after faults")
    for i in range(10):
        await bench.run(generator.command(), f"command {i} after reset")
        await bench.check(f"command {i} after reset")


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def reset_in_the_middle(dut) -> None:
    """Reset at any moment, and see nothing of it in the next command."""
    bench = await bench_of(dut)
    generator = Generator(bench.memories, 3)
    for i, opcode in enumerate((Opcode.NORM, Opcode.ROPE_QUERY, Opcode.SOFTMAX, Opcode.SWIGLU) * 6):
        await bench.send(generator.command(opcode))
        await ClockCycles(dut.clk, i + 1)
        await bench.reset()
        assert not bench.number("busy"), "busy after reset"
        await bench.run(generator.command(), f"reset in cycle {i + 1} of {opcode.name}")
        await bench.check(f"reset in cycle {i + 1} of {opcode.name}")


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def saturations(dut) -> None:
    """Count the bytes that clip when a magnitude is too small."""
    bench = await bench_of(dut)
    x = np.zeros(2 * L, np.int64)
    x[:3] = 32000, -32000, 16000
    _set(bench, "residual", 3, x, 2)
    bench.memories.write("row_maxima", 9, 16385)
    await bench.send(_single(Opcode.NORM, 2))
    await ClockCycles(dut.clk, 30)
    got = bench.memories.read_word("activations", 5 * L // CONFIG.rows)[5 * L % CONFIG.rows:][:3]
    assert got.tolist() == [127, -127, 110], got
    assert bench.number("clipped") == 2
