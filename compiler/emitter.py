"""Emits instructions, and leaves out those that would write what a register already holds.

Descriptors keep their value after a command, so most commands change only a few. The emitter knows
the expression that each register holds, through loops and branches, and emits only differences.
"""

from collections.abc import Callable
from dataclasses import dataclass

from compiler.assembler import Program
from compiler.debug import DebugPoint
from hw.control.isa import MATRIX_DESCRIPTORS, REGISTER_BITS, VECTOR_DESCRIPTORS, Opcode

_BITS = {
    **{f"m.{name}": bits for name, (bits, _) in MATRIX_DESCRIPTORS.items()},
    **{f"v.{name}": bits for name, (bits, _) in VECTOR_DESCRIPTORS.items()},
}


@dataclass(frozen=True)
class Expression:
    """rs + rt + imm, or (rs + imm) >> amount."""

    rs: str = "r0"
    rt: str = "r0"
    imm: int = 0
    amount: int = 0


#: What a register is set to.
Value = int | Expression


def register(name: str, imm: int = 0) -> Expression:
    """Return the expression `register + imm`."""
    return Expression(name, imm=imm)


class Emitter:
    """A program being written, and what its registers hold at this point."""

    def __init__(self) -> None:
        self.program = Program()
        self.points: list[DebugPoint] = []
        #: (first address, name) of each phase, for the timing model.
        self.phases: list[tuple[int, str]] = []
        self._known: dict[str, Expression] = {}

    def phase(self, name: str) -> None:
        """Name what follows."""
        self.phases.append((self.program.address, name))
        self.program.note(name)

    def put(self, name: str, value: Value) -> None:
        """Let a register hold a value."""
        e = value if isinstance(value, Expression) else Expression(imm=value)
        if self._known.get(name) == e:
            return
        bits = _BITS.get(name, REGISTER_BITS)
        if e.rs == e.rt == "r0" and not 0 <= e.imm < 1 << bits:
            raise ValueError(f"{name} must be in 0..{(1 << bits) - 1}, not {e.imm!r}")
        if e.amount:
            self.program.emit(Opcode.SHR, dst=name, rs=e.rs, imm=e.imm, amount=e.amount)
        else:
            self.program.emit(Opcode.SET, dst=name, rs=e.rs, rt=e.rt, imm=e.imm)
        self._note(name, None if name in (e.rs, e.rt) else e)

    def scalar(self, opcode: Opcode, dst: str, **operands: int | str) -> None:
        """Emit a scalar instruction whose result is not worth knowing."""
        self.program.emit(opcode, dst=dst, **operands)
        self._note(dst, None)

    def _note(self, name: str, e: Expression | None) -> None:
        for other in [k for k, v in self._known.items() if name in (v.rs, v.rt)]:
            del self._known[other]
        self._known.pop(name, None)
        if e is not None:
            self._known[name] = e

    def command(self, opcode: Opcode, values: dict[str, Value], **operands: int | str) -> int:
        """Set the descriptors that differ, then emit a command; return its address."""
        unit = "v" if opcode.value >= Opcode.NORM.value else "m"
        for name, value in values.items():
            self.put(f"{unit}.{name}", value)
        return self.program.emit(opcode, **operands)

    def multiply(self, dst: str, source: str, factor: int) -> None:
        """Let a general register hold `source` times a constant."""
        if factor == 0:
            self.put(dst, 0)
            return
        self.put(dst, register(source))
        for bit in bin(factor)[3:]:
            self.put(dst, Expression(dst, dst))
            if bit == "1":
                self.put(dst, Expression(dst, source))

    def loop(self, count: str, body: Callable[[], None]) -> None:
        """Repeat a body (at least once); what holds at its start is what every pass leaves."""
        entry = dict(self._known)
        mark = self.program.mark(), len(self.points), len(self.phases)
        while True:
            self._known = dict(entry)
            with self.program.loop(count):
                body()
            kept = {k: v for k, v in entry.items() if self._known.get(k) == v}
            if kept == entry:
                return
            entry = kept
            self.program.rollback(mark[0])
            del self.points[mark[1] :], self.phases[mark[2] :]

    def unless(
        self, condition: str, rs: str, imm: int, then: Callable[[], None],
        otherwise: Callable[[], None] | None = None, rt: str = "r0",
    ) -> None:  # fmt: skip
        """Run `then` unless the condition holds, in which case run `otherwise`."""
        other, join = self.program.label(), self.program.label()
        self.program.skip(other, condition, rs, rt, imm)
        before = dict(self._known)
        then()
        after = self._known
        if otherwise is not None:
            self.program.skip(join)
        self.program.place(other)
        self._known = before
        if otherwise is not None:
            otherwise()
        self.program.place(join)
        self._known = {k: v for k, v in self._known.items() if after.get(k) == v}
