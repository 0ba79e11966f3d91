"""The whole model loaded through AXI4 by cocotbext-axi; it must equal the back door's."""

import logging
import os
import pickle
from pathlib import Path

import cocotb
import numpy as np
from cocotbext.axi import AxiBus, AxiMaster

from hw.host.memory_map import memory_map
from verif.chip_bench import ChipBench
from verif.memories import split


def _job() -> dict:
    return pickle.loads(Path(os.environ["TESSERA_JOB"]).read_bytes())  # noqa: S301 - our own file


def _window(dut) -> AxiMaster:
    logging.getLogger(f"cocotb.{dut._name}.s_axi").setLevel(logging.WARNING)
    return AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def load_and_run(dut) -> None:
    """Load, read back through the window and by the back door, run, read the tokens by AXI."""
    job = _job()
    image, prompt, want = job["image"], job["prompt"], job["tokens"]
    config = image.config
    bench = ChipBench(dut, config)
    await bench.start_clock()
    axi = _window(dut)
    regions = memory_map(config).regions

    used = image.info["needs"]
    banks = np.ascontiguousarray(image.contents["banks"][:used["bank_words"]])
    loads = {
        "banks": banks.tobytes(),
        "multipliers": image.contents["multipliers"][:used["multiplier_beats"]].tobytes(),
        "rope": image.contents["rope"][:used["rope_beats"]].tobytes(),
        "row_scales": image.contents["row_scales"].astype("<u4").tobytes(),
        "program": image.contents["program"][:image.program_length].astype("<u8").tobytes(),
        "tokens": np.array(prompt, "<u4").tobytes(),
    }
    for name, data in loads.items():
        await axi.write(regions[name].base, data)
    for name, data in loads.items():
        size = min(len(data), 2048)
        got = (await axi.read(regions[name].base, size)).data
        assert got == data[:size], f"front door, {name}: read back differs"
    for row, bank in enumerate(bench.banks):
        for word in range(len(banks)):
            got = split(bank.read(word), config.columns, 8)
            assert got == banks[word, row].tolist(), f"front door: bank {row}, word {word}"

    ended = await bench.run([], 0, image.registers["epsilon"], PROMPT_LENGTH=len(prompt),
                            TOKEN_LIMIT=len(want))
    assert ended["done"], await bench.describe()
    address = regions["tokens"].address(len(prompt))
    got = np.frombuffer((await axi.read(address, 4 * len(want))).data, "<u4").tolist()
    assert got == want, f"front door: tokens {got}, want {want}"


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def logits_on_request(dut) -> None:
    """Pause after each token and read its logits through the window (the model is still loaded)."""
    job = _job()
    image, prompt = job["image"], job["prompt"]
    bench = ChipBench(dut, image.config)
    await bench.start_clock()
    axi = _window(dut)
    bench.write_tokens(0, prompt)
    await bench.configure({
        "PROMPT_LENGTH": len(prompt), "TOKEN_LIMIT": len(job["tokens"]), "OPTIONS": 1,
        "EPSILON": image.registers["epsilon"], "IRQ_ENABLE": 0b1011})
    address = memory_map(image.config).regions["residual"].address(image.logits)
    await bench.registers.write("CONTROL", START=1)
    for number, (token, want) in enumerate(zip(job["tokens"], job["logits"], strict=True)):
        await bench.wait_interrupt(400_000)
        pending = await bench.take_interrupts()
        assert pending["paused"], f"token {number}: {await bench.describe()}"
        assert await bench.registers.read("LAST_TOKEN") == token, f"token {number}"
        data = (await axi.read(address, 4 * len(want))).data
        got = np.frombuffer(data, "<i4")
        wrong = np.flatnonzero(got != want)
        assert not len(wrong), (
            f"token {number}, logit {wrong[0]}: got {got[wrong[0]]}, want {want[wrong[0]]}")
        await bench.registers.write("CONTROL", RESUME=1)
    await bench.wait_interrupt(400_000)
    assert (await bench.take_interrupts())["done"], await bench.describe()
