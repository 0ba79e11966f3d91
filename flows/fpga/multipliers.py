"""Operands of hard multipliers: aligned at the top, so that no sign extension is routed.

Synthesis extends a signed operand to the multiplier's 18 bits: the sign's net goes to ten pins more
for a byte. With zeros below it instead, which cost no wire, the product stands higher by as many
bits.
"""

from collections.abc import Iterable
from typing import Any

#: Width of an operand of MULT18X18D, and of its product.
OPERAND_BITS = 18
PRODUCT_BITS = 2 * OPERAND_BITS

Bit = int | str  #: of a net, by number, or a constant


def align_operands(module: dict[str, Any]) -> None:
    """Align the signed operands of all multipliers of a netlist (a module as Yosys' JSON has it)."""
    signs: dict[Bit, Bit] = {}
    for cell in module["cells"].values():
        if cell["type"] == "MULT18X18D":
            signs |= _align(cell["connections"])
    if not signs:
        return

    def renamed(bits: Iterable[Bit]) -> list[Bit]:
        return [signs.get(bit, bit) for bit in bits]

    for cell in module["cells"].values():
        ports = cell["connections"]
        ports |= {port: renamed(bits) for port, bits in ports.items()}
    for net in module["netnames"].values():
        net["bits"] = renamed(net["bits"])


def _align(ports: dict[str, list[Bit]]) -> dict[Bit, Bit]:
    """Align the operands of one multiplier; return the product's upper bits that are its sign."""
    shift = 0
    for operand in "AB":
        if ports[f"SIGNED{operand}"] != ["1"]:
            continue
        bits = [ports[f"{operand}{i}"][0] for i in range(OPERAND_BITS)]
        copies = next(i for i in range(OPERAND_BITS)
                      if i == OPERAND_BITS - 1 or bits[-2 - i] != bits[-1])  # fmt: skip
        shift += copies
        aligned = ["0"] * copies + bits[:OPERAND_BITS - copies]
        ports |= {f"{operand}{i}": [bit] for i, bit in enumerate(aligned)}
    product = [ports.get(f"P{i}", []) for i in range(PRODUCT_BITS)]
    kept = PRODUCT_BITS - shift
    ports |= {f"P{i}": [] if i < shift else product[i - shift] for i in range(PRODUCT_BITS)}
    return {above[0]: product[kept - 1][0] for above in product[kept:] if above}
