"""Goodput and latency of a link at several bit error rates, both directions loaded."""

import json
import os
from pathlib import Path

import cocotb

from hw.link.link import Link
from verif.tb_link import ALL, CONFIG, begin

#: Cycles of a measurement.
CYCLES = int(os.environ.get("TESSERA_CYCLES", "100000"))


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def measure(dut) -> None:
    """Write the figures of each rate to the file TESSERA_FIGURES."""
    bench = await begin(dut)
    figures = []
    for rate in json.loads(os.environ["TESSERA_RATES"]):
        for channels in (0b1, ALL):
            bench.set_both(channels=channels)
            bench.errors(rate)
            await bench.cycles(1000)
            before, replays = bench.totals("near"), bench.get("near", "count_replays")
            await bench.cycles(CYCLES)
            after = bench.totals("near")
            arrived = after.arrived - before.arrived
            figures.append({
                "bit_error_rate": rate, "channels": channels.bit_count(),
                "goodput": arrived * CONFIG.phits_per_word / CYCLES,
                "mean_latency": (after.latency_sum - before.latency_sum) / arrived,
                "replays": bench.get("near", "count_replays") - replays,
                "latency_without_errors": Link.latency(CONFIG),
            })
            await bench.check()
    Path(os.environ["TESSERA_FIGURES"]).write_text(json.dumps(figures))
