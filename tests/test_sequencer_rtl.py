"""The sequencer against the instruction-set simulator, and the command queues behind it."""

import pytest

from hw.config import CONFIGS
from verif.memories import PUBLIC_MEMORIES
from verif.queue_bench import QueueBench
from verif.sequencer_bench import SequencerBench
from verif.simulator import build


@pytest.mark.sim
def test_sequencer() -> None:
    """Random programs with queues that fill up and units that take their time."""
    simulation = build(SequencerBench(CONFIGS["tiny"]), "sequencer_bench", public=[PUBLIC_MEMORIES])
    simulation.run("verif.tb_sequencer",
                   environment={"TESSERA_SEED": "1", "TESSERA_PROGRAMS": "60"})


@pytest.mark.sim
@pytest.mark.parametrize("depth", [2, 4, 5])
def test_queue(depth: int) -> None:
    """Heads become ready when they should, at depths that are powers of two and that are not."""
    simulation = build(QueueBench(CONFIGS["tiny"].replace(queue_depth=depth)), f"queue_bench_{depth}")
    simulation.run("verif.tb_queue", environment={"TESSERA_SEED": "1", "TESSERA_DEPTH": str(depth)})
