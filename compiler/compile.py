"""From a model to a chip image."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from compiler import contents
from compiler.image import ChipImage
from compiler.placement import place
from compiler.program import build_program
from compiler.quantize import quantize
from compiler.share import Share, shares
from compiler.split import SplitError
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
    share: Share | None = None,
    sequences: int = 1,
) -> ChipImage:
    """Compile a model (quantized first, if it is in floats) for a configuration.

    With a `share`, the model is that of one of several chips; with several `sequences`, as many run
    side by side, each in its part of the context.

    `context` limits the positions of a sequence and `max_block` the tokens of the prompt that run
    at once; otherwise both are as large as they can be. Raises CapacityError if the model does not
    fit.
    """
    if isinstance(model, LlamaWeights):
        model = quantize(model, calibration_tokens)
    placement = place(model, config, context=context, max_block=max_block, sequences=sequences)
    share = share or Share()
    program = build_program(model, placement, share)
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
        share=share,
        sequences=sequences,
        max_block=placement.block.rows,
        logits=placement.logits,
        points=program.points,
        phases=program.phases,
        notes=program.notes,
        info={"shape": asdict(model.shape), "needs": placement.needs()},
    )


def compile_shares(
    model: QuantizedLlama, config: ChipletConfig, tensor: int = 1, pipeline: int = 1, *,
    context: int | None = None, max_block: int | None = None, sequences: int = 1,
) -> list[ChipImage]:  # fmt: skip
    """Compile a model for several chips: the images of each stage by rank.

    All chips run blocks of the same size, the largest that every one of them can.
    """
    if tensor * pipeline > 1 and config.network is None:
        raise SplitError(
            f"configuration {config.name} must have a network for a model on {tensor * pipeline} chips"
        )
    parts = shares(model, tensor, pipeline)

    def images(limit: int | None) -> list[ChipImage]:
        return [
            compile_model(
                part, config, context=context, max_block=limit, share=share, sequences=sequences
            )
            for part, share in parts
        ]

    found = images(max_block)
    while len({image.max_block for image in found}) > 1:
        found = images(min(image.max_block for image in found))
    return found
