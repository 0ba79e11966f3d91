"""Every intermediate of every layer, read at breakpoints and compared with golden by name."""

import os
import pickle
from pathlib import Path

import cocotb
import numpy as np

from compiler.debug import DebugPoint
from compiler.image import ChipImage
from compiler.sequencer import Sequencer
from golden.llama import GoldenLlama
from hw.control.isa import Opcode, Special
from verif.chip_bench import ChipBench


def visits(image: ChipImage, prompt: int, tokens: int) -> list[tuple[int, int, dict[str, int]]]:
    """List the pauses of a run: (breakpoint, instruction before it, block and layer)."""
    specials = {Special.PROMPT_LENGTH: prompt, Special.TOKEN_LIMIT: tokens,
                Special.START_POSITION: 0, Special.SAMPLED_TOKEN: 0}
    sequencer = Sequencer(image.contents["program"][:image.program_length],
                          specials.__getitem__, lambda: False)
    points = {point.pc for point in image.points}
    breakpoints = {pc + 1 for pc in points}
    block, counts, before, result = {}, {}, -1, []
    while not sequencer.halted:
        step = sequencer.step()
        if step.pc in breakpoints:
            layer = counts.get(before, 0) - 1
            result.append((step.pc, before, {**block, "layer": layer}))
        if step.instruction.opcode == Opcode.EMBED:
            assert step.fields is not None
            block = {"position": step.fields["position"], "rows": step.fields["rows"]}
            counts = {}
        counts[step.pc] = counts.get(step.pc, 0) + 1
        before = step.pc
    return result


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def layers(dut) -> None:
    """Stop after each step of a prompt of several blocks and of two tokens."""
    job = pickle.loads(Path(os.environ["TESSERA_JOB"]).read_bytes())  # noqa: S301 - our own file
    image: ChipImage = job["image"]
    prompt, count = job["prompt"], job["count"]
    bench = ChipBench(dut, image.config)
    golden = GoldenLlama(job["quantized"])
    points: dict[int, list[DebugPoint]] = {}
    for point in image.points:
        points.setdefault(point.pc, []).append(point)

    if job.get("settle"):
        bench.settle()
    await bench.start_clock()
    if job.get("settle"):
        bench.fill(image)
    bench.write_tokens(0, prompt)
    await bench.configure({"PROMPT_LENGTH": len(prompt), "TOKEN_LIMIT": count,
                           "EPSILON": image.registers["epsilon"], "IRQ_ENABLE": 0b1011})
    compared, trace, end = set(), {}, 0
    for number, (stop, before, where) in enumerate(visits(image, len(prompt), count)):
        await bench.registers.write("BREAKPOINT", PC=stop, ENABLE=1)
        await bench.registers.write("CONTROL", **{"RESUME" if number else "START": 1})
        await bench.wait_interrupt(200_000)
        pending = await bench.take_interrupts()
        assert pending["paused"], f"breakpoint {stop}: {await bench.describe()}"
        if where.get("rows") and where["position"] + where["rows"] > end:
            end = where["position"] + where["rows"]
            tokens = [bench.memories["tokens"].read(i) for i in range(where["position"], end)]
            trace = {}
            golden.step_block(tokens, trace)
        for point in points.get(before, ()):
            got = point.read({point.memory: bench.elements(point.memory)}, where["rows"],
                             where["position"], where["layer"])
            want, name = point.expected(trace, where["layer"]), point.trace_name(where["layer"])
            wrong = np.argwhere(got != want)
            assert not len(wrong), (
                f"{name}, block at position {where['position']}: element "
                f"{[int(i) for i in wrong[0]]}: got {got[tuple(wrong[0])]}, "
                f"want {want[tuple(wrong[0])]} ({len(wrong)} of {got.size} differ)")
            compared.add(name)
    inside = ("sum_squares", "q_rope", "k_rope", "probability_sum", "hidden")
    missing = {name for name in trace if name.split(".")[-1] not in inside} - compared
    assert not missing, f"never compared: {sorted(missing)}"
