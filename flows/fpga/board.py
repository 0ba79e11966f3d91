"""Pins of the ULX3S, as a constraints file (LPF).

Sites and electrical settings are those of the board's own file, doc/constraints/ulx3s_v20.lpf of
https://github.com/emard/ulx3s (boards of versions 2 and 3).
"""

from hw.fpga_pll import OSCILLATOR_MHZ
from hw.host.network_registers import LINK_NAMES

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
#: Sites of the headers' pins gp0 to gp27 and gn0 to gn27: 0 to 13 are on J1, the others on J2.
GP = (
    "B11", "A10", "A9", "B9", "A7", "C8", "C6", "A6", "A4", "A2", "C4", "F4", "G3", "H4",
    "U18", "N17", "N16", "L16", "H18", "F17", "D18", "C18", "B15", "B17", "C16", "D14", "B13", "D13",
)
GN = (
    "C11", "A11", "B10", "C10", "A8", "B8", "C7", "B6", "A5", "B1", "B4", "E3", "F3", "G5",
    "U17", "P16", "M17", "L17", "H17", "G18", "E17", "D17", "C15", "C17", "D16", "E14", "C13", "E13",
)
#: Pins of each link in each of gp and gn: its clock first, then a phit.
LINK_PINS = 7
#: The order of the links on the headers, and which have their inputs on gp: the opposite link of
#: the next board has its outputs there, so that a straight cable joins them.
HEADER_ORDER = ("north", "south", "east", "west")
INPUTS_ON_GP = ("north", "east")
SWITCH_SITES = ("E8", "D8", "D7", "E7")
#: Configuration pins: the flash chip is written through the board's own loader.
SYSTEM = (
    "CONFIG_IOVOLTAGE=3.3 COMPRESS_CONFIG=ON MCCLK_FREQ=62 "
    "MASTER_SPI_PORT=DISABLE SLAVE_SPI_PORT=DISABLE SLAVE_PARALLEL_PORT=DISABLE"
)


def network_pins() -> dict[str, tuple[str, str, int | None]]:
    """Return site, pull and drive strength of the ports that a network adds (hw/fpga_links.py)."""
    pins: dict[str, tuple[str, str, int | None]] = {"wifi_en": ("F1", "UP", 4)}
    pins |= {f"sw[{i}]": (site, "DOWN", None) for i, site in enumerate(SWITCH_SITES)}
    for number, link in enumerate(HEADER_ORDER):
        sides = (GP, GN) if link in INPUTS_ON_GP else (GN, GP)
        for direction, drive, sites in zip(("in", "out"), (None, 4), sides, strict=True):
            own = sites[number * LINK_PINS:(number + 1) * LINK_PINS]
            ports = [f"clk_{direction}", *(f"{direction}[{i}]" for i in range(LINK_PINS - 1))]
            # Where no cable is, an input stays at rest.
            pins |= {f"{link}_{port}": (site, "DOWN", drive)
                     for port, site in zip(ports, own, strict=True)}
    return pins


def constraints(core_mhz: float | None = None) -> str:
    """Return the constraints file; `core_mhz`: of a board with a network, whose links have it too."""
    lines = ["BLOCK RESETPATHS;", "BLOCK ASYNCPATHS;", f"SYSCONFIG {SYSTEM};"]
    pins = PINS
    if core_mhz is not None:
        pins = PINS | network_pins()
        lines += [f'FREQUENCY PORT "{link}_clk_in" {core_mhz:g} MHZ;' for link in LINK_NAMES]
    for port, (site, pull, drive) in pins.items():
        strength = "" if drive is None else f" DRIVE={drive}"
        lines += [
            f'LOCATE COMP "{port}" SITE "{site}";',
            f'IOBUF PORT "{port}" PULLMODE={pull} IO_TYPE=LVCMOS33{strength};',
        ]
    lines.append(f'FREQUENCY PORT "clk_25mhz" {OSCILLATOR_MHZ:g} MHZ;')
    return "\n".join(lines) + "\n"
