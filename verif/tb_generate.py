"""Whole-model generation: the chip writes text, golden checks every logit and every token.

The job (TESSERA_JOB, a pickle) comes from verif/chip_run.py; each token and the end are reported as
JSON lines to the file of TESSERA_EVENTS.
"""

import json
import os
import pickle
import time
from pathlib import Path

import cocotb
import numpy as np
from cocotb.utils import get_sim_time

from golden.llama import GoldenLlama
from golden.sampler import Sampler, temperature_register
from verif.chip_bench import ChipBench
from verif.simulator import CLOCK_PERIOD_NS

#: Longest time from one token to the next, in cycles, before the bench gives up.
PATIENCE_CYCLES = 200_000_000


@cocotb.test()
async def generate(dut) -> None:
    """Post the prompt, take the tokens as they come, compare, read the counters."""
    job = pickle.loads(Path(os.environ["TESSERA_JOB"]).read_bytes())  # noqa: S301 - our own file
    bench = ChipBench(dut, job["config"])
    golden = GoldenLlama(job["quantized"])
    sampler = Sampler(temperature_register(job["temperature"]), job["seed"])
    lanes, vocab = bench.config.lanes, golden.shape.vocab
    beats = range(job["logits"], job["logits"] + -(-vocab // lanes))

    with Path(os.environ["TESSERA_EVENTS"]).open("w") as events:
        def report(**event: object) -> None:
            events.write(json.dumps(event) + "\n")
            events.flush()

        await bench.start_clock()
        bench.write_tokens(0, job["prompt"])
        end_token = job["end_token"]
        await bench.configure({
            **{name.upper(): value for name, value in job["registers"].items()},
            "PROMPT_LENGTH": len(job["prompt"]), "TOKEN_LIMIT": job["count"],
            "START_POSITION": 0, "SEED": job["seed"] & 0xFFFFFFFF,
            "END_TOKEN": 1 << 31 if end_token is None else end_token,
            "TEMPERATURE": temperature_register(job["temperature"]), "IRQ_ENABLE": 0b0111,
        })
        started, wall = get_sim_time("ns"), time.perf_counter()
        await bench.registers.write("CONTROL", START=1)

        block, before, difference = list(job["prompt"]), 0, None
        while True:
            await bench.wait_interrupt(PATIENCE_CYCLES)
            # At once, before the next token's logits come.
            got = bench.memories["residual"].read_elements(beats, lanes, 32).reshape(-1)[:vocab]
            pending = await bench.take_interrupts()
            if pending["token"]:
                token = await bench.registers.read("LAST_TOKEN")
                cycles = await bench.registers.read_counter("token_cycles")
                position = golden.position + len(block)
                want = golden.step_block(block)[-1]
                chosen = sampler.choose(want)
                wrong = np.flatnonzero(got != want)
                exact = not len(wrong) and token == chosen
                if not exact and difference is None:
                    difference = (
                        f"logit {wrong[0]} at position {position - 1}: got {got[wrong[0]]}, "
                        f"want {want[wrong[0]]} ({len(wrong)} of {vocab} differ)" if len(wrong)
                        else f"token at position {position}: got {token}, want {chosen}")
                report(kind="token", token=token, position=position, cycles=cycles - before,
                       exact=exact)
                # Golden follows the chip, so that one difference does not hide the next.
                block, before = [token], cycles
            if pending["fault"]:
                difference = difference or await bench.describe()
                break
            if pending["done"]:
                break
        elapsed = time.perf_counter() - wall
        counters = await bench.counters()
        report(kind="end", difference=difference, counters=counters, seconds=elapsed,
               simulated_cycles=round((get_sim_time("ns") - started) / CLOCK_PERIOD_NS),
               golden_saturations=golden.saturations)
    assert difference is None, difference
