"""Loads a compiled model into a chip of a network through another one, and runs it there."""

from collections.abc import Sequence

import numpy as np

from compiler.image import ChipImage
from hw.host.memory_map import memory_map
from verif.chips_simulation import Chip, ChipHost


def load(host: ChipHost, chip: Chip, image: ChipImage) -> int:
    """Write an image to a chip's memories; return the words written."""
    host.select(chip)
    used, contents = image.info["needs"], image.contents
    regions = memory_map(image.config).regions
    loads = {
        "banks": contents["banks"][:used["bank_words"]],
        "multipliers": contents["multipliers"][:used["multiplier_beats"]],
        "rope": contents["rope"][:used["rope_beats"]],
        "row_scales": contents["row_scales"].astype("<u4"),
        "program": contents["program"][:image.program_length].astype("<u8"),
    }
    written = 0
    for name, array in loads.items():
        words = np.frombuffer(np.ascontiguousarray(array).tobytes(), "<u4").tolist()
        host.write_memory(regions[name].base, words)
        written += len(words)
    return written


def start(host: ChipHost, image: ChipImage, prompt: Sequence[int], count: int) -> None:
    """Start generation at the selected chip."""
    host.write_memory(memory_map(image.config).regions["tokens"].base, prompt)
    settings = {"PROMPT_LENGTH": len(prompt), "TOKEN_LIMIT": count,
                "EPSILON": image.registers["epsilon"]}
    for name, value in settings.items():
        host.write(name, value, far=True)
    host.write("CONTROL", START=1, far=True)


def wait(host: ChipHost, limit: int, step: int = 1000) -> dict[str, int]:
    """Look at the selected chip's STATUS until it does not run; return the fields."""
    for _ in range(limit // step):
        status = host.fields("STATUS", far=True)
        if not status["RUNNING"]:
            return status
        host.simulation.run(step)
    raise AssertionError(f"chip still runs after {limit} cycles")


def tokens(host: ChipHost, image: ChipImage, first: int, count: int) -> list[int]:
    """Read tokens of the selected chip."""
    return host.read_memory(memory_map(image.config).regions["tokens"].address(first), count)
