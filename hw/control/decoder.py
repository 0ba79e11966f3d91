"""Decoder: what an instruction is and needs, from its bits alone."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ChipletConfig
from hw.control.isa import (
    INSTRUCTION_BITS,
    INSTRUCTION_FIELDS,
    MATRIX_OPCODES,
    NETWORK_OPCODES,
    OPERANDS,
    REGISTERS,
    VECTOR_OPCODES,
    Condition,
    Destination,
    Opcode,
    Special,
    Statistic,
    opcodes,
)
from hw.control.queue import PC_BITS

#: Comparisons of rs with rt + imm.
_COMPARISONS = (Condition.EQUAL, Condition.NOT_EQUAL, Condition.LESS, Condition.NOT_LESS)
#: Instructions of which the sequencer has a bit each.
_SINGLE = ("SUB", "SHR", "MIN", "GET", "LOOP", "END", "SKIP", "SYNC", "DRAW", "EMIT", "HALT", "MATMUL")


def decoded_layout() -> data.StructLayout:
    """Return what the decoder tells of an instruction, besides its bits."""
    return data.StructLayout({
        **{name.lower(): 1 for name in _SINGLE},
        "matrix": 1,  #: goes to the matrix unit
        "vector": 1,  #: goes to the vector unit's queue
        "writes": 1,  #: writes a register
        "first_a": 1,  #: takes two cycles: first rs becomes rs + imm
        "first_b": 1,  #: takes two cycles: first rt becomes rt + imm
        "needs_token": 1,  #: must wait for the sampler
        "illegal": 1,
        "past_end": 1,  #: lies beyond program memory
    })


def instruction_fields(instruction: Value) -> dict[str, Value]:
    """Return the fields of an instruction by name."""
    return {name: instruction[low:low + width] for name, (low, width) in INSTRUCTION_FIELDS.items()}


class Decoder(wiring.Component):
    """Combinational: ``instruction`` at ``pc`` -> ``decoded``."""

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({"instruction": In(INSTRUCTION_BITS), "pc": In(PC_BITS + 1),
                          "decoded": Out(decoded_layout())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields, decoded = instruction_fields(self.instruction), self.decoded
        opcode, condition, immediate = fields["opcode"], fields["condition"], fields["imm"]
        has_network = self.config.network is not None
        known = {op: Signal(name=f"is_{op.name.lower()}") for op in opcodes(network=has_network)}
        network = [known[op] for op in NETWORK_OPCODES if op in known]
        share = [known[op] for op in (Opcode.EMBED_SHARE,) if op in known]
        m.d.comb += [signal.eq(opcode == op.value) for op, signal in known.items()]
        of = {op.name: signal for op, signal in known.items()}

        conditional = of["SKIP"] | of["HALT"]
        compares = Cat(*(condition == c.value for c in _COMPARISONS)).any()
        writes = of["SET"] | of["SUB"] | of["SHR"] | of["MIN"] | of["GET"]
        m.d.comb += [getattr(decoded, name.lower()).eq(of[name]) for name in _SINGLE]
        m.d.comb += [
            decoded.matrix.eq(Cat(*(known[op] for op in MATRIX_OPCODES), *share).any()),
            decoded.vector.eq(Cat(*(known[op] for op in VECTOR_OPCODES), *network).any()),
            decoded.writes.eq(writes),
            decoded.first_a.eq(of["SHR"]),
            decoded.first_b.eq(of["MIN"] | (conditional & compares)),
            decoded.needs_token.eq(
                of["EMIT"] | of["DRAW"] | (of["GET"] & (immediate == Special.SAMPLED_TOKEN.value))
                | (conditional & (condition == Condition.END_TOKEN.value))),
            decoded.past_end.eq(self.pc >= self.config.program_words),
        ]

        # Every bit that an opcode does not use must be zero.
        stray = []
        for op in known:
            unused = ~_field_mask(("opcode", *OPERANDS[op])) & ((1 << INSTRUCTION_BITS) - 1)
            stray.append(known[op] & ((self.instruction & unused) != 0))
        registers = set(REGISTERS.values())
        m.d.comb += decoded.illegal.eq(
            Cat(*stray).any() | ~Cat(*known.values()).any()
            | (writes & Cat(*(fields["dst"] == i for i in range(64) if i not in registers)).any())
            | (conditional & (condition > max(c.value for c in Condition)))
            | (of["GET"] & (immediate > max(s.value for s in Special)))
            | ((of["SKIP"] | of["LOOP"]) & (fields["target"] <= self.pc))
            | (decoded.matrix & ((fields["destination"] > max(d.value for d in Destination))
                                 | (fields["statistic"] > max(s.value for s in Statistic)))))
        if network:
            # The engine keeps magnitudes alone.
            with m.If(Cat(*network).any() & fields["statistic"][0]):
                m.d.comb += decoded.illegal.eq(1)
        return m


def _field_mask(names: tuple[str, ...]) -> int:
    """Return the bits that the named fields occupy."""
    mask = 0
    for name in names:
        low, width = INSTRUCTION_FIELDS[name]
        mask |= ((1 << width) - 1) << low
    return mask
