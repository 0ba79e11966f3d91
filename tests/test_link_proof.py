"""The link's protocol, proved for runs of any length; and the errors that the proof finds."""

import shutil
from pathlib import Path

import pytest

from verif.link_proof import PLANTED, PROVER, ProofConfig, prove, write_graph

pytestmark = pytest.mark.skipif(
    shutil.which(PROVER) is None, reason=f"needs {PROVER}: make tools")


def verdict(place: Path, **fields: object) -> bool | None:
    config = ProofConfig(replay_flits=4, queue_flits=4, max_retries=1, **fields)
    return prove(write_graph(config, place))[0]


@pytest.mark.parametrize("proved", ["order", "room", "acknowledge", "memory"])
def test_proof(proved: str, tmp_path: Path) -> None:
    """Words come at any pace; any of them may be bad, or the one before it comes again."""
    assert verdict(tmp_path, proved=proved, paced=True) is True


@pytest.mark.slow
@pytest.mark.parametrize("proved", ["order", "acknowledge"])
@pytest.mark.parametrize("delay", [2, 3])
def test_proof_of_longer_wires(proved: str, delay: int, tmp_path: Path) -> None:
    assert verdict(tmp_path, proved=proved, delay=delay) is True


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_error_is_found(planted: str, tmp_path: Path) -> None:
    assert verdict(tmp_path, proved=PLANTED[planted], planted=planted) is False
