"""The two reset styles: emitted Verilog, and behaviour at the pins."""

import re

import pytest

from hw.chiplet import Chiplet
from hw.config import CONFIGS, RESET_STYLES
from hw.emit import emit
from verif.reset_bench import ResetBench
from verif.simulator import build


def test_every_register_with_a_reset_takes_it_asynchronously() -> None:
    """No register of the chiplet waits for a clock edge; software's reset of the core neither."""
    logic = emit(Chiplet(CONFIGS["tiny"]), "tessera_chiplet", async_reset=True).logic
    blocks = re.findall(r"always @\(posedge clk\)\n +if \(\\?(?:rst|reset)", logic)
    assert not blocks
    # Besides the modules' own resets there are the synchronizer's, and nothing else.
    edges = set(re.findall(r"posedge (?!clk\b)(\S+)\)", logic))
    assert edges == {"rst", "reset_synchronized"}


def test_synchronous_is_the_default() -> None:
    logic = emit(Chiplet(CONFIGS["tiny"]), "tessera_chiplet").logic
    assert set(re.findall(r"posedge (\w+)", logic)) == {"clk"}


@pytest.mark.sim
@pytest.mark.parametrize("style", RESET_STYLES)
def test_acts_and_lets_go(style: str) -> None:
    build(ResetBench(), f"reset_{style}", async_reset=style == "async").run(
        "verif.tb_reset", environment={"TESSERA_RESET": style})
