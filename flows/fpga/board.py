"""Pins of the ULX3S, as a constraints file (LPF).

Sites and electrical settings are those of the board's own file, doc/constraints/ulx3s_v20.lpf of
https://github.com/emard/ulx3s (boards of versions 2 and 3).
"""

from hw.fpga_pll import OSCILLATOR_MHZ

#: Site, pull, and drive strength in mA of outputs, by port of hw/fpga_top.py.
PINS: dict[str, tuple[str, str, int | None]] = {
    "clk_25mhz": ("G2", "NONE", None),
    "ftdi_txd": ("M1", "UP", None),
    "ftdi_rxd": ("L4", "UP", 4),
    "btn": ("R1", "DOWN", None),  # FIRE 1
    "wifi_gpio0": ("L2", "UP", 4),
    **{f"led[{i}]": (site, "NONE", 4)
       for i, site in enumerate(("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"))},
}  # fmt: skip
#: Configuration pins: the flash chip is written through the board's own loader.
SYSTEM = (
    "CONFIG_IOVOLTAGE=3.3 COMPRESS_CONFIG=ON MCCLK_FREQ=62 "
    "MASTER_SPI_PORT=DISABLE SLAVE_SPI_PORT=DISABLE SLAVE_PARALLEL_PORT=DISABLE"
)


def constraints() -> str:
    """Return the constraints file."""
    lines = ["BLOCK RESETPATHS;", "BLOCK ASYNCPATHS;", f"SYSCONFIG {SYSTEM};"]
    for port, (site, pull, drive) in PINS.items():
        strength = "" if drive is None else f" DRIVE={drive}"
        lines += [
            f'LOCATE COMP "{port}" SITE "{site}";',
            f'IOBUF PORT "{port}" PULLMODE={pull} IO_TYPE=LVCMOS33{strength};',
        ]
    lines.append(f'FREQUENCY PORT "clk_25mhz" {OSCILLATOR_MHZ:g} MHZ;')
    return "\n".join(lines) + "\n"
