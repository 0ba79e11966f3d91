"""Alignment of the operands of hard multipliers: the same products, and no sign that is routed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.fpga.multipliers import OPERAND_BITS, PRODUCT_BITS, align_operands

Operand = tuple[int, bool]  #: bits and whether signed


def multiplier(operands: dict[str, Operand]) -> dict[str, Any]:
    """Return a netlist in which synthesis has extended the operands and a cell reads the product."""
    ports: dict[str, list[int | str]] = {}
    net = 2
    for name, (bits, signed) in operands.items():
        ports[f"SIGNED{name}"] = ["1" if signed else "0"]
        for i in range(OPERAND_BITS):
            above = net + bits - 1 if signed else "0"
            ports[f"{name}{i}"] = [net + i if i < bits else above]
        net += bits
    product = list(range(net, net + PRODUCT_BITS))
    ports |= {f"P{i}": [bit] for i, bit in enumerate(product)}
    return {
        "cells": {"product": {"type": "MULT18X18D", "connections": ports},
                  "reader": {"type": "LUT4", "connections": {"A": list(product)}}},
        "netnames": {"product": {"bits": list(product)}},
    }


def read(module: dict[str, Any], factors: dict[str, int], start: dict[str, int]) -> list[int]:
    """Return the bits that the reader sees; the factors are on the nets from ``start`` on."""
    ports = module["cells"]["product"]["connections"]
    bits: dict[int | str, int] = {"0": 0, "1": 1}
    for name, first in start.items():  # B's own nets come last and replace what stands for A's sign
        bits |= {first + i: factors[name] >> i & 1 for i in range(OPERAND_BITS)}
    value = 1
    for name in "AB":
        operand = sum(bits[ports[f"{name}{i}"][0]] << i for i in range(OPERAND_BITS))
        if ports[f"SIGNED{name}"] == ["1"] and operand >> OPERAND_BITS - 1:
            operand -= 1 << OPERAND_BITS
        value *= operand
    outputs = {ports[f"P{i}"][0]: value >> i & 1 for i in range(PRODUCT_BITS) if ports[f"P{i}"]}
    seen = module["cells"]["reader"]["connections"]["A"]
    assert seen == module["netnames"]["product"]["bits"]
    return [outputs[bit] for bit in seen]


@given(data=st.data())
def test_product_is_the_same(data: st.DataObject) -> None:
    """Whatever widths, signs and values: bit by bit what the reader saw before."""
    operands = {name: (data.draw(st.integers(2, OPERAND_BITS)), data.draw(st.booleans()))
                for name in "AB"}
    factors = {}
    for name, (bits, signed) in operands.items():
        low = -(1 << bits - 1) if signed else 0
        high = (1 << bits - signed) - 1
        factors[name] = data.draw(st.sampled_from((low, high)) | st.integers(low, high))
    start = {"A": 2, "B": 2 + operands["A"][0]}
    module = multiplier(operands)
    want = read(module, factors, start)
    assert want == [factors["A"] * factors["B"] >> i & 1 for i in range(PRODUCT_BITS)]
    align_operands(module)
    assert read(module, factors, start) == want


@pytest.mark.parametrize("signed", [(True, True), (True, False), (False, True)])
def test_no_sign_is_routed(signed: tuple[bool, bool]) -> None:
    """Each net goes to one pin of an operand."""
    module = multiplier({"A": (8, signed[0]), "B": (12, signed[1])})
    align_operands(module)
    ports = module["cells"]["product"]["connections"]
    for name in "AB":
        nets = [ports[f"{name}{i}"][0] for i in range(OPERAND_BITS) if ports[f"{name}{i}"] != ["0"]]
        assert len(nets) == len(set(nets)) == {"A": 8, "B": 12}[name]


def test_unsigned_stays() -> None:
    """Zeros above an unsigned operand cost no wire."""
    module = multiplier({"A": (8, False), "B": (18, False)})
    before = dict(module["cells"]["product"]["connections"])
    align_operands(module)
    assert module["cells"]["product"]["connections"] == before
