"""Network commands alone, on whole chiplets: programs made by hand, and how long ALL_REDUCE takes."""

import numpy as np
from numpy.typing import NDArray

from compiler.assembler import assemble
from compiler.image import ChipImage
from compiler.share import chunk_beats
from compiler.torus import Layout
from hw.config import ChipletConfig
from verif.torus_run import TRAINING_CYCLES, TorusChips, open_torus


def program_image(
    config: ChipletConfig, text: str, residual: NDArray[np.int64] | None = None,
) -> ChipImage:
    """Return an image with a program, and what the residual memory begins with."""
    words = np.zeros(config.program_words, np.uint64)
    found = assemble(text)
    words[:len(found)] = found
    contents: dict[str, NDArray] = {
        "banks": np.zeros((config.bank_words, config.rows, config.columns), np.int8),
        "multipliers": np.zeros((config.multiplier_beats, config.lanes), np.uint16),
        "rope": np.zeros((config.rope_beats, config.lanes), np.int16),
        "row_scales": np.zeros(config.row_slots, np.uint16), "program": words}
    if residual is not None:
        contents["residual"] = residual.astype(np.int32)
    return ChipImage(config=config, contents=contents, registers={"epsilon": 1},
                     program_length=len(found), context=config.context, vocab=16, max_block=1, logits=0)


def command(opcode: str, *, rows: int, chips: int, beats: int, src: int, stride: int, length: int,
            own: int, last: int, maximum: int, options: str) -> str:
    """Return the text of a network command with its descriptors."""
    values = {"rows": rows, "segments": chips, "beats": beats, "src": src, "src_row_stride": stride,
              "src_segment_stride": length, "src_up": own, "dst_segment_stride": last,
              "maximum": maximum}
    return "".join(f"SET v.{name}, r0, r0, {value}\n" for name, value in values.items()) + (
        f"{opcode} {options}\n")


def reduce_text(rank: int, chips: int, rows: int, beats: int) -> str:
    """Return a program that waits a little, and adds up rows."""
    length, last = chunk_beats(beats, chips)
    return "SET r1, r0, r0, 40\nLOOP r1, end\nend:\nEND\n" + command(
        "ALL_REDUCE", rows=rows, chips=chips, beats=beats, src=0, stride=beats, length=length,
        own=rank * length, last=last, maximum=0,
        options="ring=TORUS, statistic=MAGNITUDE") + "HALT ALWAYS"


def cycles_of_reduce(config: ChipletConfig, chips: int, rows: int, beats: int) -> int:
    """Measure ALL_REDUCE on two or four chips that start it in the same cycle."""
    layout = Layout(columns=2, rows=chips // 2, tensor=chips, pipeline=1)
    images = [program_image(config, reduce_text(rank, chips, rows, beats)) for rank in range(chips)]
    with open_torus(config, layout, images) as simulation:
        simulation.run(TRAINING_CYCLES)
        torus = TorusChips(simulation, layout, images)
        torus.start([[1]], 1, at_once=True)
        torus.finish()
        assert torus.faults() == {}
        return max(report.counters["collective_working"] for report in torus.report())
