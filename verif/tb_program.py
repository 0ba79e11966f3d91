"""Run a small program on filled memories; report the counters and one memory."""

import json
import os
import pickle
from pathlib import Path

import cocotb

from verif.chip_bench import ChipBench
from verif.memories import join


@cocotb.test()
async def program(dut) -> None:
    """Run to the end; a fault or silence fails."""
    job = pickle.loads(Path(os.environ["TESSERA_JOB"]).read_bytes())  # noqa: S301 - our own file
    bench = ChipBench(dut, job["config"])
    await bench.start_clock()
    for address, word in enumerate(job["activations"]):
        bench.memories["activations"].write(address, join(word, 8))
    await bench.configure({"IRQ_ENABLE": 0b1011, "PROMPT_LENGTH": 1, "TOKEN_LIMIT": 1})
    await bench.registers.write("CONTROL", START=1)
    await bench.wait_interrupt(job["cycles"])
    pending = await bench.take_interrupts()
    assert pending["done"], await bench.describe()
    result = {"counters": await bench.counters(),
              "results": bench.elements("results").tolist()}
    Path(os.environ["TESSERA_RESULT"]).write_text(json.dumps(result))
