"""When a vector command is done: exact, and the same for any data.

A cycle is counted from the clock edge of the command's handshake: ``done`` is high in cycle
``vector_cycles``, so it is seen by that many-th clock edge after the handshake's.
"""

from hw.config import ChipletConfig
from hw.control.isa import Opcode
from hw.vector.reciprocal_root import ReciprocalRoot

#: Cycles between rows of NORM, at least: the square root takes so long.
NORM_SPACING = ReciprocalRoot.LATENCY
#: Cycles from a beat's normalization (its SRAM read) to its write.
_QUANTIZE = 5
#: Cycles from a beat's issue to its transform.
_ROPE_READ, _SWIGLU_READ = 2, 5
#: Cycles from the first half of a beat's transform to the register in front of the tree.
_TRANSFORM = 2
_SOFTMAX_WRITE = 4
_SOFTMAX_SCALE = 4
#: ``done`` comes so many cycles before the last write: its reader needs longer to arrive.
_DONE_AHEAD = 1
#: The array's own latency covers this many cycles, and ``steps``, of NORM's row scale.
LATE_SCALE = 5
#: Cycles from ``done`` to the earliest row scale of a next command.
_NEXT_SCALE = 10


def tree_cycles(config: ChipletConfig) -> int:
    """Cycles of a reduction over the lanes (``hw.vector.reduction.reduction_stages``)."""
    return max(2, -(-(config.lanes // 2).bit_length() // 2))


def temporary_beats(config: ChipletConfig) -> int:
    """Words of the memory between the two passes of RoPE and SwiGLU."""
    return max(32, 1 << (config.result_beats // 32 - 1).bit_length())


def segment_beats(config: ChipletConfig) -> int:
    """Longest segment of ROPE and SWIGLU; a longer one is a fault (RESULT_ADDRESS).

    The temporary memory is a ring that is written every second cycle; the words left over are
    those of the next segment that come before the first word of this one is read.
    """
    return temporary_beats(config) - 2


def norm_done_delay(config: ChipletConfig) -> int:
    """Cycles that NORM's ``done`` waits after its last activation, for the row scale.

    That is written ``tree + 1`` and the root's cycles after the last activation and at most
    ``steps + LATE_SCALE`` after ``done``, and before any row scale of a next command.
    """
    late = tree_cycles(config) + 1 + ReciprocalRoot.LATENCY + _DONE_AHEAD
    return max(0, late - config.steps - LATE_SCALE, late - (_NEXT_SCALE - 1))


def segment_cycles(opcode: Opcode, beats: int) -> int:
    """Cycles from one segment of a command to the next."""
    if opcode == Opcode.NORM:
        return max(beats, NORM_SPACING)
    return beats if opcode == Opcode.SOFTMAX else 2 * beats


def vector_cycles(
    config: ChipletConfig, opcode: Opcode, rows: int, segments: int, beats: int,
) -> int:
    """Return the cycle of ``done``, counted from the edge of the command's handshake."""
    last_segment = 1 + (rows * segments - 1) * segment_cycles(opcode, beats)
    if opcode == Opcode.NORM:
        return last_segment + 1 + (beats - 1) + _QUANTIZE - _DONE_AHEAD + norm_done_delay(config)
    if opcode == Opcode.SOFTMAX:
        return last_segment + (beats - 1) + _SOFTMAX_WRITE + _SOFTMAX_SCALE - _DONE_AHEAD
    read = _SWIGLU_READ if opcode == Opcode.SWIGLU else _ROPE_READ
    second_pass = (last_segment + 2 * (beats - 1) + read + _TRANSFORM + tree_cycles(config))
    return second_pass + (beats - 1) + _QUANTIZE - _DONE_AHEAD


def next_command_cycles(
    config: ChipletConfig, opcode: Opcode, rows: int, segments: int, beats: int,
) -> int:
    """Return cycles from this command's handshake to the earliest one of the next command."""
    return vector_cycles(config, opcode, rows, segments, beats) + 1
