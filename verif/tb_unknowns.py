"""A short generation while every output port is watched for X at every clock edge after reset."""

import os
import pickle
from pathlib import Path

import cocotb
from cocotb.triggers import RisingEdge

from verif.chip_bench import ChipBench

#: Data that counts only while its strobe is 1.
STROBES = {"s_axil_rdata": "s_axil_rvalid", "s_axil_rresp": "s_axil_rvalid",
           "s_axil_bresp": "s_axil_bvalid", "s_axi_rdata": "s_axi_rvalid",
           "s_axi_rresp": "s_axi_rvalid", "s_axi_rid": "s_axi_rvalid",
           "s_axi_rlast": "s_axi_rvalid", "s_axi_bresp": "s_axi_bvalid",
           "s_axi_bid": "s_axi_bvalid"}


async def watch(dut, outputs: list[str]) -> None:
    """Fail at the first X on an output."""
    edge = RisingEdge(dut.clk)
    handles = {name: (getattr(dut, name),
                      getattr(dut, STROBES[name]) if name in STROBES else None)
               for name in outputs}
    number = 0
    while True:
        await edge
        number += 1
        for name, (handle, strobe) in handles.items():
            if strobe is None or strobe.value == 1:
                assert handle.value.is_resolvable, f"X on {name} at edge {number} after reset"


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def unknowns(dut) -> None:
    """Reset, generate, compare the tokens; inputs that nobody drives are 0."""
    job = pickle.loads(Path(os.environ["TESSERA_JOB"]).read_bytes())  # noqa: S301 - our own file
    image, prompt, tokens = job["image"], job["prompt"], job["tokens"]
    bench = ChipBench(dut, image.config)
    bench.settle()
    await bench.start_clock()
    bench.fill(image)
    bench.write_tokens(0, prompt)
    watching = cocotb.start_soon(watch(dut, job["outputs"]))
    pending = await bench.run(prompt, len(tokens), image.registers["epsilon"])
    assert pending["done"], f"pending {pending}: {await bench.describe()}"
    assert bench.generated(prompt, len(tokens)) == tokens
    await bench.counters()
    assert not watching.done(), watching.exception()
