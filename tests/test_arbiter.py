"""The arbiter: least recently served."""

import pytest

from hw.router.arbiter import Arbiter
from verif.simulator import build


@pytest.mark.sim
@pytest.mark.parametrize("requesters", [2, 6])
def test_arbiter(requesters: int) -> None:
    build(Arbiter(requesters), f"arbiter_{requesters}").run("verif.tb_arbiter")


def test_no_requesters() -> None:
    with pytest.raises(ValueError, match="requesters must be at least 1, not 0"):
        Arbiter(0)
