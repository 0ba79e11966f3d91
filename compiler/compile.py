"""From a model to a chip image."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from compiler import contents
from compiler.image import ChipImage
from compiler.placement import place
from compiler.program import build_program
from compiler.quantize import quantize
from golden.model import LlamaWeights
from golden.quantized import QuantizedLlama
from hw.config import ChipletConfig


def compile_model(
    model: LlamaWeights | QuantizedLlama,
    config: ChipletConfig,
    *,
    calibration_tokens: Sequence[int] | None = None,
    context: int | None = None,
    max_block: int | None = None,
) -> ChipImage:
    """Compile a model (quantized first, if it is in floats) for a configuration.

    `context` limits the positions of a sequence and `max_block` the tokens of the prompt that run
    at once; otherwise both are as large as they can be. Raises CapacityError if the model does not
    fit.
    """
    if isinstance(model, LlamaWeights):
        model = quantize(model, calibration_tokens)
    placement = place(model, config, context=context, max_block=max_block)
    program = build_program(model, placement)
    words = np.zeros(config.program_words, np.uint64)
    words[: len(program.words)] = program.words
    return ChipImage(
        config=config,
        contents={
            "banks": contents.bank_tiles(model, placement),
            "multipliers": contents.multiplier_beats(model, placement),
            "rope": contents.rope_beats(model, placement),
            "row_scales": contents.row_scale_slots(placement),
            "program": words,
        },
        registers={"epsilon": model.epsilon},
        program_length=len(program.words),
        context=placement.g.context,
        vocab=model.shape.vocab,
        max_block=placement.block.rows,
        logits=placement.logits,
        points=program.points,
        phases=program.phases,
        notes=program.notes,
        info={"shape": asdict(model.shape), "needs": placement.needs()},
    )
