"""The vector unit's arithmetic blocks against golden: all inputs where they are 16 bits."""

from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from golden.integer import int64
from golden.quantizer import quantize_vector
from golden.rms_norm import reciprocal_root
from golden.rope import rope
from golden.swiglu import silu
from golden.tables import EXP2
from hw.control.isa import row_scale_layout
from hw.vector.exponential_lane import ExponentialLane
from hw.vector.quantize_lane import QuantizeLane
from hw.vector.reciprocal_root import ReciprocalRoot
from hw.vector.silu_lane import SiluLane
from hw.vector.tables import RECIPROCAL_DIGITS, reciprocal_code
from hw.vector.transform_pair import TransformPair
from verif.simulator import CLOCK_PERIOD_NS


class Ports:
    """Drives and samples the ports of one block."""

    def __init__(self, dut, block: str) -> None:
        self.dut, self.block = dut, block
        self.edge = RisingEdge(dut.clk)
        Clock(dut.clk, CLOCK_PERIOD_NS, unit="ns").start()
        self.handles: dict[str, object] = {}

    def handle(self, name: str):
        """Return a port."""
        if name not in self.handles:
            self.handles[name] = self.dut[f"{self.block}_{name}"]
        return self.handles[name]

    async def reset(self) -> None:
        """Reset everything."""
        self.dut.rst.value = 1
        for _ in range(2):
            await self.edge
        self.dut.rst.value = 0

    def drive(self, **values: int) -> None:
        """Set inputs from the next cycle on."""
        for name, value in values.items():
            self.handle(name).value = int(value)

    def signed(self, name: str) -> int:
        """Return an output of the cycle that the last edge ended."""
        return self.handle(name).value.to_signed()

    def unsigned(self, name: str) -> int:
        """Return an output of the cycle that the last edge ended."""
        return int(self.handle(name).value)


async def stream(ports: Ports, inputs: Iterator[dict[str, int]], latency: int, output: str, *,
                 is_signed: bool = True) -> list[int]:
    """Give an input per cycle and return the outputs ``latency`` cycles later."""
    outputs = []
    read = ports.signed if is_signed else ports.unsigned
    await ports.edge
    for values in [*inputs, *[{}] * latency]:
        ports.drive(**values)
        await ports.edge
        outputs.append(read(output))
    return outputs[latency:]


def compare(block: str, step: str, inputs: object, got: object, want: object) -> None:
    """Fail with the first difference."""
    got, want = int64(got), int64(want)
    assert got.shape == want.shape
    wrong = np.flatnonzero(got != want)
    if len(wrong):
        i = int(wrong[0])
        raise AssertionError(f"{block}: {step}: input {inputs[i]}: got {got[i]}, want {want[i]}")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def silu_of_every_gate(dut) -> None:
    """All 65536 gates, each multiplied by one."""
    gates = np.arange(-32768, 32768)
    ports = Ports(dut, "pair")
    ports.drive(rope=0, swiglu=1, subtract=0, table_0=1, table_1=-5, y=77)
    got = await stream(ports, ({"x": g} for g in gates),
                       SiluLane.LATENCY + TransformPair.LATENCY, "result")
    compare("SiluLane", "silu", gates, got, silu(gates))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def exponential_of_every_distance(dut) -> None:
    """All distances, once more with the position masked near the maximum."""
    cases = [(32767, s, 1) for s in range(32767, -32769, -1)]
    cases += [(m, m - d, v) for m in (-32000, 0, 5) for d in range(520) for v in (0, 1)]
    got = await stream(
        Ports(dut, "exponential"),
        ({"maximum": m, "score": s, "visible": v} for m, s, v in cases),
        ExponentialLane.LATENCY, "probability", is_signed=False)
    m, s, v = np.array(cases).T
    whole = np.minimum(m - s >> 6, 8)
    want = np.where((whole < 8) & (v == 1), (EXP2[m - s & 63] + (1 << 7 + whole)) >> 8 + whole, 0)
    compare("ExponentialLane", "probability", cases, got, want)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def pair(dut) -> None:
    """RoPE, products and squares of random and extreme operands."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    names = ("x", "y", "table_0", "table_1")
    extremes = np.array([-32768, -32767, -1, 0, 1, 32767, 16384, -16384])
    ports = Ports(dut, "pair")
    for mode in ("rope", "square", "product"):
        values = rng.integers(-32768, 32768, (2000, len(names)))
        values = np.where(rng.random(values.shape) < 0.3, rng.choice(extremes, values.shape), values)
        if mode == "square":
            values = np.maximum(values, -32767)
            values[:, 2:] = values[:, :2]
        odd = rng.integers(0, 2, len(values)) if mode == "rope" else np.zeros(len(values), np.int64)
        ports.drive(rope=mode == "rope", swiglu=mode == "product")
        await ports.edge
        # The two lanes change places for the odd one's turn.
        given = np.where(odd[:, None] == 1, values[:, (1, 0, 2, 3)], values)
        subtract = (odd == 0) & (mode == "rope")
        inputs = [{**dict(zip(names, row, strict=True)), "subtract": s}
                  for row, s in zip(given.tolist(), subtract.tolist(), strict=True)]
        latency = TransformPair.LATENCY
        x, y, cos, sin = values.T
        if mode == "rope":
            rotated = rope(np.stack((x, y), -1), cos[:, None], sin[:, None])
            want = np.where(odd, rotated[:, 1], rotated[:, 0])
        elif mode == "square":
            want = x * x + y * y
        else:
            # The table's factor comes with the SiLU, which takes some cycles.
            wait = SiluLane.LATENCY
            late = [{"table_0": 0}] * wait + [{"table_0": i.pop("table_0")} for i in inputs]
            inputs = [{**i, **t} for i, t in zip([*inputs, *[{}] * wait], late, strict=True)]
            latency += wait
            inputs, want = inputs[:len(values)], silu(x) * cos
        got = await stream(ports, inputs, latency, "result")
        compare("TransformPair", mode, values, got[:len(want) - wait] if mode == "product" else got,
                want[:len(want) - wait] if mode == "product" else want)


def _magnitudes(rng: np.random.Generator) -> np.ndarray:
    edges = {(1 << e) + d for e in range(32) for d in (-1, 0, 1)}
    # What rounds up into the next m, just and just not.
    edges |= {((8 + i << 27) >> shift) + d for i in range(9) for shift in range(16)
              for d in (-(1 << 15 >> shift), -(1 << 15 >> shift) - 1, -1, 0)}
    edges = sorted(v for v in edges if 0 <= v < 1 << 31)
    return np.concatenate((edges, rng.integers(0, 1 << 31, 500) >> rng.integers(0, 31, 500)))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def scale_and_quantize(dut) -> None:
    """Magnitude to scales, and elements to bytes with them."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    scale, lane = Ports(dut, "scale"), Ports(dut, "quantize")
    await scale.reset()
    await scale.edge
    for amax in _magnitudes(rng).tolist():
        for key in (0, 1):
            e_min = 5 if key else 0
            x = rng.integers(-amax, amax + 1, 6)
            x[:2] = amax, -amax
            want = quantize_vector(x, e_min)
            scale.drive(load=1, magnitude=amax, key=key)
            await scale.edge
            scale.drive(load=0)
            await scale.edge
            shift = scale.unsigned("shift")
            await scale.edge
            what = f"VectorScale: magnitude {amax} e_min {e_min}"
            assert 31 - shift == want.e, f"{what}: e: got {31 - shift}, want {want.e}"
            m = scale.unsigned("m")
            assert m == want.m, f"{what}: m: got {m}, want {want.m}"
            got = row_scale_layout().from_bits(scale.unsigned("row_scale"))
            pair_got, pair_want = (got.mantissa, got.exponent), (want.scale.mantissa, want.scale.exponent)
            assert pair_got == pair_want, f"{what}: row scale: got {pair_got}, want {pair_want}"
            if key and want.e <= 16:
                multiplier = scale.unsigned("key_multiplier")
                assert multiplier == want.key_multiplier, (
                    f"{what}: key multiplier: got {multiplier}, want {want.key_multiplier}")
            lane.drive(shift=shift, reciprocal=scale.unsigned("reciprocal"))
            xn = await stream(lane, ({"x": v} for v in x.tolist()), 0, "normalizing")
            compare(f"QuantizeLane: magnitude {amax}", "xn", x, xn, want.xn)
            q = await stream(lane, ({"x": v} for v in x.tolist()), QuantizeLane.LATENCY, "q")
            compare(f"QuantizeLane: magnitude {amax}", "q", x, q, want.q)
            assert not lane.unsigned("clipped"), f"{what}: clipped"
    # A magnitude that is too small clips.
    lane.drive(shift=16, reciprocal=reciprocal_code(RECIPROCAL_DIGITS[0]))
    q = await stream(lane, ({"x": v} for v in (32767, -32767, 18432, 18560)), QuantizeLane.LATENCY, "q")
    compare("QuantizeLane", "clipped q", (32767, -32767, 18432, 18560), q, (127, -127, 127, 127))
    assert lane.unsigned("clipped")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def root(dut) -> None:
    """Row scales of sums of every size, started as often as the block allows."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    edges = sorted({min(max((1 << e) + d, 0), 2**48 - 1) for e in range(49) for d in (-1, 0, 1)})
    totals = np.concatenate((edges, rng.integers(0, 1 << 48, 3000) >> rng.integers(0, 48, 3000)))
    ports = Ports(dut, "root")
    await ports.reset()
    await ports.edge
    results: list[tuple[int, int]] = []
    ms = rng.integers(9, 17, len(totals))
    for total, m in [*zip(totals.tolist(), ms.tolist(), strict=True), (0, 9)]:
        # What is beyond 48 bits counts as the largest number of 48 bits.
        over = total == 2**48 - 1
        ports.drive(start=1, total=5 if over else total, over=over, m=m)
        for i in range(ReciprocalRoot.LATENCY):
            await ports.edge
            if ports.unsigned("done"):
                assert i == 0, f"ReciprocalRoot: done {i} cycles late"
                scale = row_scale_layout().from_bits(ports.unsigned("row_scale"))
                results.append((scale.mantissa, scale.exponent))
            ports.drive(start=0)
    want_root = reciprocal_root(totals)
    product = ms * want_root.y
    bits = np.floor(np.log2(product)).astype(np.int64) + 1
    mantissa = (product + (1 << bits - 9)) >> bits - 8
    exponent = bits - 19 - want_root.j + (mantissa == 256)
    mantissa = np.where(mantissa == 256, 128, mantissa)
    inputs = list(zip(totals.tolist(), ms.tolist(), strict=True))
    compare("ReciprocalRoot", "mantissa", inputs, [r[0] for r in results], mantissa)
    compare("ReciprocalRoot", "exponent", inputs, [r[1] for r in results], exponent)
