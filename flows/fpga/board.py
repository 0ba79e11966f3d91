"""Pins of the ULX3S, as a constraints file (LPF).

Sites and electrical settings are those of the board's own file, doc/constraints/ulx3s_v20.lpf of
https://github.com/emard/ulx3s (boards of versions 2 and 3).
"""

from hw.fpga_pll import OSCILLATOR_MHZ
from hw.link.wire import phit_bits
from hw.network.chip_network import link_names
from hw.network.config import NetworkConfig

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
#: The order of the links on the headers: each has as many pins of gp as of gn, its clock first, then
#: a phit. Those that have their inputs on gp: the opposite link of the next board has its outputs
#: there, so that a straight cable joins them.
HEADER_ORDER = ("north", "south", "east", "west")
INPUTS_ON_GP = ("north", "east")
SWITCH_SITES = ("E8", "D8", "D7", "E7")
#: Configuration pins: the flash chip is written through the board's own loader.
SYSTEM = (
    "CONFIG_IOVOLTAGE=3.3 COMPRESS_CONFIG=ON MCCLK_FREQ=62 "
    "MASTER_SPI_PORT=DISABLE SLAVE_SPI_PORT=DISABLE SLAVE_PARALLEL_PORT=DISABLE"
)


def header_pins(network: NetworkConfig, link: str) -> range:
    """Return the numbers of the pins, in each of gp and gn, that belong to a link."""
    links = [each for each in HEADER_ORDER if each in link_names(network)]
    pins = len(GP) // len(links)
    return range(links.index(link) * pins, (links.index(link) + 1) * pins)


def network_pins(network: NetworkConfig) -> dict[str, tuple[str, str, int | None]]:
    """Return site, pull and drive strength of the ports that a network adds (hw/fpga_links.py)."""
    pins: dict[str, tuple[str, str, int | None]] = {"wifi_en": ("F1", "UP", 4)}
    pins |= {f"sw[{i}]": (site, "DOWN", None) for i, site in enumerate(SWITCH_SITES)}
    for link in link_names(network):
        sides = (GP, GN) if link in INPUTS_ON_GP else (GN, GP)
        for direction, drive, sites in zip(("in", "out"), (None, 4), sides, strict=True):
            ports = [f"clk_{direction}", *(f"{direction}[{i}]" for i in range(phit_bits(network)))]
            # Where no cable is, an input stays at rest.
            pins |= {f"{link}_{port}": (sites[number], "DOWN", drive)
                     for port, number in zip(ports, header_pins(network, link), strict=False)}
    return pins


def constraints(network: NetworkConfig | None, core_mhz: float) -> str:
    """Return the constraints file; links have the frequency of the core."""
    lines = ["BLOCK RESETPATHS;", "BLOCK ASYNCPATHS;", f"SYSCONFIG {SYSTEM};"]
    pins = PINS
    if network is not None:
        pins = PINS | network_pins(network)
        lines += [f'FREQUENCY PORT "{link}_clk_in" {core_mhz:g} MHZ;' for link in link_names(network)]
    for port, (site, pull, drive) in pins.items():
        strength = "" if drive is None else f" DRIVE={drive}"
        lines += [
            f'LOCATE COMP "{port}" SITE "{site}";',
            f'IOBUF PORT "{port}" PULLMODE={pull} IO_TYPE=LVCMOS33{strength};',
        ]
    lines.append(f'FREQUENCY PORT "clk_25mhz" {OSCILLATOR_MHZ:g} MHZ;')
    return "\n".join(lines) + "\n"
