"""The memories of a chiplet: one table for the core, the host's window and the benches."""

from hw.config import ChipletConfig
from hw.control.isa import INSTRUCTION_BITS
from hw.memory.sram import SramShape


def memory_shapes(config: ChipletConfig) -> dict[str, SramShape]:
    """Return the shape of each memory besides the banks (docs/machine.md, section 1)."""
    lanes, rows = config.lanes, config.rows

    def shape(words: int, bits: int, granule_bits: int, ports: str = "1r1w") -> SramShape:
        return SramShape(words=words, bits=bits, granule_bits=granule_bits, ports=ports)

    return {
        "activations": shape(config.activation_words, 8 * rows, 8 * lanes),
        "outputs": shape(config.output_words, 8 * rows, 8 * lanes),
        "results": shape(config.result_beats, 16 * lanes, 16 * lanes),
        "residual": shape(config.residual_beats, 32 * lanes, 32 * lanes),
        "multipliers": shape(config.multiplier_beats, 16 * lanes, 16),
        "rope": shape(config.rope_beats, 16 * lanes, 32, "1rw"),
        "row_scales": shape(config.row_slots, 16, 16),
        "row_maxima": shape(config.row_slots, 32, 32),
        "program": shape(config.program_words, INSTRUCTION_BITS, 32, "1rw"),
        "tokens": shape(config.context, 32, 32, "1rw"),
    }


def bank_shape(config: ChipletConfig) -> SramShape:
    """Return the shape of each row's weight/KV bank."""
    return SramShape(words=config.bank_words, bits=8 * config.columns, granule_bits=8, ports="1rw")
