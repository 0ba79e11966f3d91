"""Random matrix commands, back to back and with gaps, against verif/matrix_model.py."""

import json
import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from hw.config import ChipletConfig
from hw.control.isa import Destination, Fault, Opcode, Source, Statistic
from hw.control.queue import command_in_flight_layout
from verif.matrix_model import MatrixModel
from verif.memories import MemoryHandle, join
from verif.simulator import CLOCK_PERIOD_NS

CONFIG = ChipletConfig(**json.loads(os.environ["TESSERA_CONFIG"]))


class Bench:
    """Drives commands into the unit and compares its memories with the model's."""

    def __init__(self, dut, seed: int) -> None:
        self.dut, self.c = dut, CONFIG
        self.model = MatrixModel(CONFIG, seed)
        self.random = random.Random(seed)
        per_step = CONFIG.rows_per_step
        self.banks = [
            MemoryHandle(getattr(getattr(dut.unit.array, f"step_{r // per_step}"),
                                 f"bank_{r % per_step}")) for r in range(CONFIG.rows)]
        self.memory = {name: MemoryHandle(getattr(dut, name)) for name in (
            "activations", "outputs", "results", "residual", "multipliers", "row_scales",
            "row_maxima", "tokens")}
        self.done = self.clipped = 0
        self.edge = RisingEdge(dut.clk)

    async def start(self) -> None:
        Clock(self.dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
        self.dut.head_ready.value = 0
        self.fill()
        await self.reset()
        cocotb.start_soon(self.watch())

    async def reset(self) -> None:
        self.dut.rst.value = 1
        for _ in range(3):
            await self.edge
        self.dut.rst.value = 0
        await self.edge

    async def watch(self) -> None:
        while True:
            await self.edge
            self.done += int(self.dut.done.value)
            self.clipped += self.dut.clipped.value.to_unsigned()

    def fill(self) -> None:
        c, model = self.c, self.model
        for r, bank in enumerate(self.banks):
            for w in range(c.bank_words):
                bank.write(w, join(model.banks[w, r], 8))
        for name, per_word, bits in self.shapes():
            values = getattr(model, name)
            for i in range(len(values) // per_word):
                self.memory[name].write(i, join(values[i * per_word:(i + 1) * per_word], bits))
        for i, (mantissa, exponent) in enumerate(model.row_scales):
            self.memory["row_scales"].write(i, join([mantissa, exponent], 8))

    def shapes(self) -> list[tuple[str, int, int]]:
        c = self.c
        return [("activations", c.rows, 8), ("outputs", c.rows, 8), ("results", c.lanes, 16),
                ("residual", c.lanes, 32), ("multipliers", c.lanes, 16), ("row_maxima", 1, 32),
                ("tokens", 1, 32)]

    def compare(self, step: str) -> None:
        c, model = self.c, self.model
        for r, bank in enumerate(self.banks):
            got = bank.read_elements(range(c.bank_words), c.columns, 8)
            self.equal(step, f"bank {r} [word, column]", got, model.banks[:, r, :])
        for name, per_word, bits in self.shapes():
            want = getattr(model, name)
            got = self.memory[name].read_elements(range(len(want) // per_word), per_word, bits)
            if name == "multipliers":
                got &= 0xFFFF
            self.equal(step, name, got.reshape(-1), want)

    @staticmethod
    def equal(step: str, name: str, got: np.ndarray, want: np.ndarray) -> None:
        wrong = np.argwhere(got != want)
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            raise AssertionError(
                f"matrix unit, {step}: {name} element {at}: got {got[at]}, want {want[at]} "
                f"({len(wrong)} differ)")

    def random_command(self) -> dict:
        """Return a legal command whose regions lie inside the memories."""
        c, rng = self.c, self.random
        d = {"rows": rng.randint(1, 3), "subrows": rng.randint(1, 3), "k_tiles": rng.randint(1, 3),
             "n_tiles": rng.randint(1, 4), "shift": rng.randint(8, 40), "limit": 0,
             "x": rng.randint(0, 8), "x_row_stride": rng.randint(0, 5),
             "x_sub_stride": rng.randint(0, 4), "scale": rng.randint(0, 8),
             "row_scale": rng.randint(0, 5), "row_scale_stride": rng.randint(0, 3),
             "maximum": rng.randint(0, 4), "token_scale": rng.randint(0, 2), "position": 0}
        opcode = rng.choice([Opcode.MATMUL] * 4 + [Opcode.EMBED, Opcode.STORE_KEYS,
                                                   Opcode.STORE_VALUES])
        source = rng.choice(list(Source))
        destination = rng.choice(list(Destination))
        if source == Source.OUTPUTS and destination == Destination.OUTPUT:
            destination = Destination.RESULT
        command = {"opcode": opcode, "source": source, "destination": destination,
                   "statistic": rng.choice(list(Statistic)), "masked": 0}
        d["weight"] = rng.randint(0, 8)
        d["weight_n_stride"], d["weight_k_stride"] = rng.randint(1, 3), rng.randint(1, 3)
        beats = d["n_tiles"] * c.column_beats
        if opcode == Opcode.EMBED:
            d["position"] = rng.randint(0, c.context - 4)
            d["limit"] = 1 << 16
            d["weight"] = 0
            beats = d["k_tiles"] * c.row_beats
        elif opcode != Opcode.MATMUL:
            d["position"] = rng.randint(0, 2 * max(c.rows, c.columns))
        elif rng.random() < 0.4:
            command["masked"], d["limit"] = 1, rng.randint(1, d["n_tiles"] * c.columns)
        d["dst_sub_stride"] = beats + rng.randint(0, 2)
        d["dst_row_stride"] = d["dst_sub_stride"] * d["subrows"] + rng.randint(0, 2)
        if destination == Destination.RESIDUAL_ADD and rng.random() < 0.5:
            d["dst_sub_stride"] = d["dst_row_stride"] = 0
            # Beats of one address in consecutive cycles: several of the last sums are candidates.
            if opcode == Opcode.MATMUL and rng.random() < 0.5:
                d["n_tiles"] = d["k_tiles"] = 1
        d["dst"] = rng.randint(0, 6)
        return command | d

    async def issue(self, command: dict, pc: int = 0, gap: int = 0) -> None:
        self.last = command
        payload = {k: (v.value if hasattr(v, "value") else v) for k, v in command.items()}
        layout = command_in_flight_layout()
        word = pc << layout["pc"].offset
        inner = layout["command"]
        for name, value in payload.items():
            word |= value << (inner.offset + inner.shape[name].offset)
        for _ in range(gap):
            await self.edge
        self.dut.head.value = word
        self.dut.head_ready.value = 1
        while True:
            await self.edge
            if self.dut.pop.value == 1:
                break
        self.dut.head_ready.value = 0

    async def drain(self) -> None:
        for _ in range(20000):
            await self.edge
            if self.dut.idle.value == 1:
                break
        else:
            raise AssertionError(f"matrix unit: not idle after 20000 cycles; {self.last}")
        for _ in range(20):
            await self.edge


def depends(a: dict, b: dict) -> bool:
    """Tell whether b may read or overwrite what a's drain still writes."""
    if a["opcode"] not in (Opcode.MATMUL, Opcode.EMBED):
        return False
    reads_outputs = b["opcode"] != Opcode.EMBED and b["source"] == Source.OUTPUTS
    return a["destination"] == Destination.OUTPUT and reads_outputs


@cocotb.test(timeout_time=4000, timeout_unit="us")
async def random_commands(dut) -> None:
    """Batches of commands without a gap, then with gaps; compared after each batch."""
    bench = Bench(dut, int(os.environ["TESSERA_SEED"]))
    await bench.start()
    bench.compare("back-door fill")
    issued, clipped, previous = 0, 0, None
    for batch in range(int(os.environ["TESSERA_BATCHES"])):
        names = []
        for _ in range(bench.random.randint(1, 6)):
            command = bench.random_command()
            if previous is not None and depends(previous, command):
                await bench.drain()
            await bench.issue(command, gap=bench.random.choice([0, 0, 0, 3, 17]))
            clipped += bench.model.run(**command)
            issued += 1
            if command["destination"] == Destination.OUTPUT or previous is None:
                previous = command
            names.append(f"{command['opcode'].name}>{command['destination'].name}")
        await bench.drain()
        previous = None
        assert dut.fault.value.to_unsigned() == 0, f"fault {dut.fault.value} in batch {batch}"
        bench.compare(f"batch {batch} ({', '.join(names)}), last command {command}")
    assert bench.done == issued, f"matrix unit: {bench.done} completions, want {issued}"
    assert bench.clipped == clipped, f"matrix unit: {bench.clipped} clipped, want {clipped}"


@cocotb.test(timeout_time=400, timeout_unit="us")
async def faults(dut) -> None:
    """Try every address out of range: the unit stops, names the place, and writes nothing."""
    bench = Bench(dut, 7)
    await bench.start()
    c = CONFIG
    base = {"opcode": Opcode.MATMUL, "source": Source.ACTIVATIONS,
            "destination": Destination.RESULT, "statistic": Statistic.MAXIMUM, "masked": 0,
            "rows": 1, "subrows": 1, "k_tiles": 1, "n_tiles": 1, "shift": 20, "dst": 1,
            "weight": 0, "x": 0, "scale": 0, "row_scale": 0, "maximum": 0, "position": 0,
            "limit": 1 << 16, "token_scale": 0, "weight_n_stride": 1, "weight_k_stride": 1,
            "x_row_stride": 0, "x_sub_stride": 0, "row_scale_stride": 0, "dst_row_stride": 0,
            "dst_sub_stride": 0}
    cases = [
        ({"weight": c.bank_words}, Fault.BANK_ADDRESS),
        ({"weight": c.bank_words - 1, "weight_n_stride": (1 << 20) - 1, "n_tiles": 3},
         Fault.BANK_ADDRESS),
        ({"x": c.activation_words}, Fault.ACTIVATION_ADDRESS),
        ({"x": c.output_words, "source": Source.OUTPUTS}, Fault.OUTPUT_ADDRESS),
        ({"dst": c.result_beats}, Fault.RESULT_ADDRESS),
        ({"dst": c.residual_beats, "destination": Destination.RESIDUAL_ADD},
         Fault.RESIDUAL_ADDRESS),
        ({"dst": c.output_words * c.row_beats, "destination": Destination.OUTPUT},
         Fault.OUTPUT_ADDRESS),
        ({"scale": c.multiplier_beats}, Fault.MULTIPLIER_ADDRESS),
        ({"row_scale": c.row_slots}, Fault.ROW_SLOT),
        ({"maximum": c.row_slots}, Fault.ROW_SLOT),
        ({"opcode": Opcode.EMBED, "position": c.context}, Fault.TOKEN_ADDRESS),
        ({"opcode": Opcode.EMBED, "limit": 0}, Fault.TOKEN_ADDRESS),
        ({"opcode": Opcode.STORE_KEYS, "weight": c.bank_words}, Fault.BANK_ADDRESS),
        ({"opcode": Opcode.STORE_VALUES, "weight": c.bank_words}, Fault.BANK_ADDRESS),
        ({"opcode": Opcode.STORE_KEYS, "weight": c.bank_words - 1, "position": c.columns},
         Fault.BANK_ADDRESS),
        ({"opcode": Opcode.STORE_VALUES, "weight": c.bank_words - 1, "position": c.rows},
         Fault.BANK_ADDRESS),
        ({"opcode": Opcode.STORE_KEYS, "weight": 1 << 19}, Fault.BANK_ADDRESS),
        ({"opcode": Opcode.STORE_VALUES, "weight": 1 << 19}, Fault.BANK_ADDRESS),
    ]
    for number, (change, cause) in enumerate(cases):
        await bench.issue({**base, **change}, pc=100 + number)
        await Timer(200 * CLOCK_PERIOD_NS, unit="ns")
        await bench.edge
        got = Fault(dut.fault.value.to_unsigned()), dut.fault_pc.value.to_unsigned()
        assert got == (cause, 100 + number), f"{change}: got {got}, want {cause}, {100 + number}"
        if "n_tiles" not in change:
            bench.compare(f"fault {change}")
        await bench.reset()
        if "n_tiles" not in change:
            await bench.issue(base)
            bench.model.run(**base)
            await bench.drain()
            bench.compare(f"command after the reset of {change}")
        else:
            bench.model.results[c.lanes:2 * c.lanes] = bench.memory["results"].read_elements(
                range(1, 2), c.lanes, 16).reshape(-1)
            bench.fill()
