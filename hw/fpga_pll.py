"""Dividers of the ECP5's PLL, from the board's oscillator to the core clock."""

from dataclasses import dataclass

#: Oscillator of the ULX3S.
OSCILLATOR_MHZ = 25.0
#: ECP5 family data sheet FPGA-DS-02012, table 3.20: range of the oscillator inside of the PLL,
#: and the least frequency of its phase detector.
VCO_MHZ = (400.0, 800.0)
LEAST_DETECTOR_MHZ = 3.125
#: Largest value of a divider.
LARGEST_DIVIDER = 128
#: Range of `--freq`: below, the PLL has no dividers; above, no logic of this size follows.
CORE_MHZ = (10.0, 200.0)


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Dividers: core clock = oscillator / `input_divider` * `feedback_divider`.

    The core clock itself is fed back, so the PLL's own oscillator runs `output_divider` times
    as fast.
    """

    input_divider: int
    feedback_divider: int
    output_divider: int

    @property
    def core_mhz(self) -> float:
        """Frequency of the core clock."""
        return OSCILLATOR_MHZ * self.feedback_divider / self.input_divider

    @property
    def vco_mhz(self) -> float:
        """Frequency of the PLL's own oscillator."""
        return self.core_mhz * self.output_divider


def find_pll(core_mhz: float) -> Pll:
    """Return the dividers of the highest frequency that is not above `core_mhz`."""
    if not CORE_MHZ[0] <= core_mhz <= CORE_MHZ[1]:
        raise ValueError(
            f"--freq must be between {CORE_MHZ[0]:g} and {CORE_MHZ[1]:g} MHz, not {core_mhz:g}"
        )
    best: Pll | None = None
    for input_divider in range(1, int(OSCILLATOR_MHZ / LEAST_DETECTOR_MHZ) + 1):
        feedback = int(core_mhz * input_divider / OSCILLATOR_MHZ + 1e-9)
        if not 1 <= feedback <= LARGEST_DIVIDER:
            continue
        frequency = OSCILLATOR_MHZ * feedback / input_divider
        # In the middle of its range.
        output_divider = min(round(sum(VCO_MHZ) / 2 / frequency), LARGEST_DIVIDER)
        pll = Pll(
            input_divider=input_divider, feedback_divider=feedback, output_divider=output_divider
        )
        if VCO_MHZ[0] <= pll.vco_mhz <= VCO_MHZ[1] and (
            best is None or pll.core_mhz > best.core_mhz
        ):
            best = pll
    assert best is not None, "the range of --freq is that of the dividers"
    return best
