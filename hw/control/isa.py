"""The instruction set: one table for decoder, assembler, disassembler and documentation.

An instruction is 64 bits. Scalar instructions compute into *registers*: sixteen general ones
(r0 reads 0) and the *descriptors*, the named fields of the next matrix or vector command. A command
instruction sends a snapshot of its unit's descriptors to that unit's queue, with up to two events to
wait for and one to signal. Control flow is loops with a count and forward skips only, so that every
program ends.
"""

from amaranth.hdl import signed
from amaranth.lib import data, enum

INSTRUCTION_BITS = 64
#: Width of general registers and of immediates.
REGISTER_BITS = 24
GENERAL_REGISTERS = 16
#: Depth of the loop stack.
LOOP_DEPTH = 6
#: Events 1..15; 0 means none.
EVENTS = 16


class Opcode(enum.Enum, shape=6):
    """What an instruction does. Zero is illegal, so that empty program memory faults."""

    ILLEGAL = 0
    #: dst = rs + rt + imm
    SET = 1
    #: dst = rs - rt + imm
    SUB = 2
    #: dst = (rs + imm) >> amount
    SHR = 3
    #: dst = the smaller of rs and rt + imm
    MIN = 4
    #: dst = special register ``imm``
    GET = 5
    #: repeat up to the matching END rs times; with rs = 0 continue after the END at ``target``
    LOOP = 8
    END = 9
    #: continue at ``target`` (forward only) if rs ``condition`` rt + imm
    SKIP = 10
    #: wait until every issued signal of ``wait_a`` and ``wait_b`` has come
    SYNC = 11
    #: draw the next sampler state (once per token)
    DRAW = 12
    #: append the sampled token to the token memory at position rs, and tell the host
    EMIT = 13
    #: stop if rs ``condition`` rt + imm; rests the program counter
    HALT = 14
    #: matrix unit: y = W x, drained
    MATMUL = 16
    #: matrix unit: columns of the embedding for ``rows`` tokens from the token memory, drained
    EMBED = 17
    #: matrix unit: int8 vectors become columns of key tiles
    STORE_KEYS = 18
    #: matrix unit: int8 vectors become rows of value tiles
    STORE_VALUES = 19
    #: matrix unit: as EMBED, of a share of the vocabulary; tokens of other shares become zeros
    EMBED_SHARE = 20
    #: vector unit
    NORM = 24
    ROPE_QUERY = 25
    ROPE_KEY = 26
    SOFTMAX = 27
    SWIGLU = 28
    #: collective engine: rows of the residual become the ring's sums or maxima, on all its chips
    ALL_REDUCE = 32
    #: collective engine: every chip of the ring gets the chunks of all
    ALL_GATHER = 33
    #: collective engine: rows of the residual go to the next chip of the ring
    SEND = 34
    #: collective engine: rows come from the chip before, are kept, and go to the next one
    RELAY = 35
    #: collective engine: rows come from the chip before, and are kept
    RECEIVE = 36
    #: collective engine: the best of the ring's sampled tokens becomes the token of all its chips
    CHOOSE = 37


class Condition(enum.Enum, shape=3):
    """Comparison of SKIP and HALT; unsigned."""

    ALWAYS = 0
    EQUAL = 1
    NOT_EQUAL = 2
    LESS = 3
    NOT_LESS = 4
    #: the sampled token is the host's end token
    END_TOKEN = 5


class Special(enum.Enum, shape=4):
    """What GET reads."""

    #: tokens of the prompt that the host posted
    PROMPT_LENGTH = 0
    #: tokens to generate at most
    TOKEN_LIMIT = 1
    #: position at which the first token of the prompt goes (cache kept from an earlier run)
    START_POSITION = 2
    #: the sampler's token
    SAMPLED_TOKEN = 3


class Source(enum.Enum, shape=1):
    """Memory that a matrix command reads its int8 vectors from."""

    ACTIVATIONS = 0
    OUTPUTS = 1


class Destination(enum.Enum, shape=3):
    """Where a drain writes, and in which format."""

    #: result memory, int16
    RESULT = 0
    #: output memory, int8
    OUTPUT = 1
    #: residual memory, int32 of 24 bits, replaced
    RESIDUAL_SET = 2
    #: residual memory, int32: 24 bits added
    RESIDUAL_ADD = 3
    #: residual memory, int32, and the sampler
    LOGITS = 4


class Statistic(enum.Enum, shape=2):
    """What a drain keeps per row in the row-maximum memory."""

    NONE = 0
    #: largest value, signed, of unmasked elements
    MAXIMUM = 1
    #: largest magnitude
    MAGNITUDE = 2


class Ring(enum.Enum, shape=2):
    """Which of the host's rings a network command uses: the register with the next chip."""

    #: the chips of this row
    ROW = 0
    #: the chips of this column
    COLUMN = 1
    #: all chips
    TORUS = 2
    #: the chips of the same rank in all pipeline stages
    PIPE = 3


class Reduction(enum.Enum, shape=1):
    """What ALL_REDUCE makes of the chips' numbers."""

    #: their sum, modulo 2^32
    SUM = 0
    #: the largest, signed
    MAXIMUM = 1


#: Bit fields of an instruction: name -> (lowest bit, width).
INSTRUCTION_FIELDS: dict[str, tuple[int, int]] = {
    "opcode": (58, 6),
    # scalar
    "dst": (52, 6), "rs": (48, 4), "rt": (44, 4), "condition": (41, 3), "amount": (36, 5),
    "target": (24, 12), "imm": (0, 24),
    # commands
    "signal": (54, 4), "wait_a": (50, 4), "wait_b": (46, 4), "source": (45, 1),
    "destination": (42, 3), "statistic": (40, 2), "masked": (39, 1),
    # of commands to the collective engine
    "reduction": (38, 1), "ring": (36, 2),
}

_SCALAR = {"SET": ("dst", "rs", "rt", "imm"), "SUB": ("dst", "rs", "rt", "imm"),
           "SHR": ("dst", "rs", "imm", "amount"), "MIN": ("dst", "rs", "rt", "imm"),
           "GET": ("dst", "imm"), "LOOP": ("rs", "target"), "END": (),
           "SKIP": ("condition", "rs", "rt", "imm", "target"), "SYNC": ("wait_a", "wait_b"),
           "DRAW": (), "EMIT": ("rs",), "HALT": ("condition", "rs", "rt", "imm")}
_EVENTS = ("wait_a", "wait_b", "signal")
_DRAINED = (*_EVENTS, "destination", "statistic")
_COMMANDS = {"MATMUL": (*_DRAINED, "source", "masked"), "EMBED": _DRAINED,
             "STORE_KEYS": (*_EVENTS, "source"), "STORE_VALUES": (*_EVENTS, "source"),
             "NORM": _EVENTS, "ROPE_QUERY": _EVENTS, "ROPE_KEY": _EVENTS, "SOFTMAX": _EVENTS,
             "SWIGLU": _EVENTS, "EMBED_SHARE": _DRAINED,
             "ALL_REDUCE": (*_EVENTS, "statistic", "ring", "reduction"),
             "ALL_GATHER": (*_EVENTS, "statistic", "ring"), "SEND": (*_EVENTS, "ring"),
             "RELAY": (*_EVENTS, "statistic", "ring"),
             "RECEIVE": (*_EVENTS, "statistic", "ring"), "CHOOSE": (*_EVENTS, "ring")}

#: Fields that each opcode uses; every other bit must be zero.
OPERANDS: dict[Opcode, tuple[str, ...]] = {
    Opcode[name]: fields for name, fields in {**_SCALAR, **_COMMANDS}.items()}

MATRIX_OPCODES = (Opcode.MATMUL, Opcode.EMBED, Opcode.STORE_KEYS, Opcode.STORE_VALUES)
VECTOR_OPCODES = (Opcode.NORM, Opcode.ROPE_QUERY, Opcode.ROPE_KEY, Opcode.SOFTMAX, Opcode.SWIGLU)
#: Commands of the collective engine, which take turns with the vector unit's in one queue.
NETWORK_OPCODES = (Opcode.ALL_REDUCE, Opcode.ALL_GATHER, Opcode.SEND, Opcode.RELAY, Opcode.RECEIVE,
                   Opcode.CHOOSE)
#: What only chips with a network have, for models that several chips share.
SHARED_MODEL_OPCODES = (Opcode.EMBED_SHARE, *NETWORK_OPCODES)
#: Tokens in the unit of a share's place in the vocabulary.
SHARE_UNIT = 16
#: Units that token ids, of 17 bits, have at most.
SHARE_UNITS = 1 << 13

#: Descriptor registers of the matrix unit: name -> (bits, meaning). Row t, sub-row g, tile n, k.
MATRIX_DESCRIPTORS: dict[str, tuple[int, str]] = {
    "weight": (20, "bank word of the first tile"),
    "weight_n_stride": (20, "bank words from one column tile n to the next"),
    "weight_k_stride": (20, "bank words from one row tile k to the next"),
    "n_tiles": (12, "column tiles (outputs / columns)"),
    "k_tiles": (12, "row tiles (inputs / rows); of a store: words per row"),
    "rows": (7, "rows t: tokens"),
    "subrows": (7, "sub-rows g of each row: query heads that share a KV head"),
    "x": (16, "word of the first input vector; EMBED_SHARE: first token of the share / 16"),
    "x_row_stride": (16, "words from one row to the next; EMBED_SHARE: last token of all shares"),
    "x_sub_stride": (16, "words from one sub-row to the next"),
    "position": (14, "first row's position: token to embed, place in the cache; LOGITS of a chip with "
                     "a network: token of the first output / 16"),
    "scale": (16, "multiplier beat of the first output"),
    "token_scale": (16, "EMBED: multiplier beat of token 0's row scale"),
    "row_scale": (12, "row-scale slot; row t, sub-row g uses slot + t * stride + g"),
    "row_scale_stride": (12, "slots from one row to the next"),
    "shift": (6, "right shift of the drain"),
    "dst": (16, "destination beat"),
    "dst_row_stride": (16, "beats from one row to the next"),
    "dst_sub_stride": (16, "beats from one sub-row to the next"),
    "limit": (17, "if masked: outputs n < limit + t count, others are masked; EMBED: tokens known"),
    "maximum": (12, "row-maximum slot of the first (row, sub-row); they follow each other"),
}

#: Descriptor registers of the vector unit. Row t, segment s (head, group, query head). The collective
#: engine uses some of them: a row of ``beats`` beats of the residual is cut into ``segments`` chunks.
VECTOR_DESCRIPTORS: dict[str, tuple[int, str]] = {
    "rows": (7, "rows t: tokens"),
    "segments": (7, "segments s of each row; network: chunks, or chips of the ring"),
    "beats": (12, "beats of a segment; network: beats of a row"),
    "src": (16, "source beat (NORM, network: residual memory; others: result memory)"),
    "src_row_stride": (16, "beats from one row to the next"),
    "src_segment_stride": (16, "beats from one segment to the next; network: beats of a chunk; the "
                               "last has those that are left"),
    "src_up": (16, "SWIGLU: beats from gate to up; ALL_REDUCE, ALL_GATHER: from the row to this "
                   "chip's chunk"),
    "dst": (16, "activation beat"),
    "dst_row_stride": (16, "beats from one row to the next"),
    "dst_segment_stride": (16, "beats from one segment to the next; network: from the row to its "
                               "last chunk"),
    "row_scale": (12, "row-scale slot; row t, segment s uses slot + t * stride + s"),
    "row_scale_stride": (12, "slots from one row to the next"),
    "maximum": (12, "row-maximum slot of the first (row, segment); they follow each other"),
    "table": (16, "ROPE: table beat of the first row's position; the next row's is beats further"),
    "position": (14, "ROPE_KEY: first row's position; SOFTMAX: positions n <= position + t count"),
    "key_scale": (16, "ROPE_KEY: multiplier beat of position 0 of segment 0"),
    "key_scale_stride": (16, "ROPE_KEY: beats from one segment (KV head) to the next"),
}

#: Register numbers: general 0..15, then the matrix and the vector descriptors.
REGISTERS: dict[str, int] = {
    **{f"r{i}": i for i in range(GENERAL_REGISTERS)},
    **{f"m.{name}": 16 + i for i, name in enumerate(MATRIX_DESCRIPTORS)},
    **{f"v.{name}": 40 + i for i, name in enumerate(VECTOR_DESCRIPTORS)},
}
assert 16 + len(MATRIX_DESCRIPTORS) <= 40 and 40 + len(VECTOR_DESCRIPTORS) <= 64


class Fault(enum.Enum, shape=5):
    """Why the chip stopped; the sticky cause register."""

    NONE = 0
    #: unknown opcode, unused bits set, backward skip, unknown register or special
    ILLEGAL_INSTRUCTION = 1
    #: program counter past the program memory
    PROGRAM_COUNTER = 2
    #: loop stack overflow, or END without LOOP
    LOOP = 3
    #: a command with zero rows, tiles, beats or segments
    EMPTY_COMMAND = 4
    BANK_ADDRESS = 5
    ACTIVATION_ADDRESS = 6
    OUTPUT_ADDRESS = 7
    RESULT_ADDRESS = 8
    RESIDUAL_ADDRESS = 9
    MULTIPLIER_ADDRESS = 10
    ROPE_ADDRESS = 11
    ROW_SLOT = 12
    TOKEN_ADDRESS = 13
    #: no unit finished a command within the watchdog's cycles
    WATCHDOG = 14
    #: a matrix product over more row tiles than the configuration's longest_dot
    DOT_LENGTH = 15
    #: a network command whose chunks are empty, or longer than a packet
    CHUNK_LENGTH = 16


def matrix_command_layout() -> data.StructLayout:
    """Return the payload of the matrix queue: descriptors, mode and program counter."""
    return data.StructLayout({
        "opcode": Opcode, "source": Source, "destination": Destination, "statistic": Statistic,
        "masked": 1, **{name: bits for name, (bits, _) in MATRIX_DESCRIPTORS.items()},
    })


def vector_command_layout(*, network: bool = False) -> data.StructLayout:
    """Return the payload of the vector queue: operation and descriptors."""
    fields = {"ring": Ring, "reduction": Reduction, "statistic": Statistic} if network else {}
    return data.StructLayout({
        "opcode": Opcode, **fields,
        **{name: bits for name, (bits, _) in VECTOR_DESCRIPTORS.items()},
    })


def opcodes(*, network: bool) -> tuple[Opcode, ...]:
    """Return the opcodes that a chip knows."""
    return tuple(op for op in OPERANDS if network or op not in SHARED_MODEL_OPCODES)


def row_scale_layout() -> data.StructLayout:
    """Return a row scale: ``mantissa * 2**exponent`` (docs/numerics.md, section 1)."""
    return data.StructLayout({"mantissa": 8, "exponent": signed(8)})
