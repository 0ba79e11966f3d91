"""The vector unit: everything between two matrix products, ``lanes`` elements per cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arithmetic import balanced_sum
from hw.config import ChipletConfig
from hw.control.isa import Fault, Opcode, row_scale_layout, vector_command_layout
from hw.emit import instantiate
from hw.memory.sram import Sram
from hw.vector.address_walker import ADDRESS_BITS, AddressWalker
from hw.vector.beat_issuer import BEAT_BITS, BeatIssuer, beat_layout
from hw.vector.exponential_lane import ExponentialLane
from hw.vector.probability_sum import ProbabilitySum
from hw.vector.quantize_lane import QuantizeLane
from hw.vector.reciprocal_root import ReciprocalRoot
from hw.vector.reduction import LargestMagnitude, ScaledEpsilon, SumOfSquares
from hw.vector.schedule import (
    NORM_SPACING,
    norm_done_delay,
    segment_beats,
    temporary_beats,
    tree_cycles,
)
from hw.vector.silu_lane import SiluLane
from hw.vector.transform_pair import TransformPair
from hw.vector.vector_scale import VectorScale

#: Holds slot + 126 strides + 126 of 12 bits each.
_SLOT_BITS = 20
_POSITION_BITS = 15
_STRIDES = ("src_row_stride", "src_segment_stride", "src_up", "dst_row_stride",
            "dst_segment_stride", "row_scale_stride", "key_scale", "key_scale_stride")


def _address_bits(words: int) -> int:
    return (words - 1).bit_length()
