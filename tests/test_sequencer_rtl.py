"""The sequencer against the instruction-set simulator."""

import pytest

from hw.config import CONFIGS
from verif.memories import PUBLIC_MEMORIES
from verif.sequencer_bench import SequencerBench
from verif.simulator import build


@pytest.mark.sim
def test_sequencer() -> None:
    """Random programs with queues that fill up and units that take their time."""
    simulation = build(SequencerBench(CONFIGS["tiny"]), "sequencer_bench", public=[PUBLIC_MEMORIES])
    simulation.run("verif.tb_sequencer",
                   environment={"TESSERA_SEED": "1", "TESSERA_PROGRAMS": "60"})
