"""What a table of registers is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from hw.config import ChipletConfig


class Access(Enum):
    """What the host may do with a register."""

    #: the same value for ever
    CONSTANT = "constant"
    READ_ONLY = "RO"
    READ_WRITE = "RW"
    #: reads the pending bits; writing 1 clears a bit
    WRITE_ONE_CLEARS = "W1C"
    #: writing 1 acts once; reads 0
    PULSE = "pulse"
    #: a whole word that is written acts once; reads 0
    COMMAND = "command"


@dataclass(frozen=True, kw_only=True)
class Field:
    """Some bits of a register."""

    name: str
    low: int
    bits: int
    description: str
    reset: int = 0
    #: Name of the port at the register file.
    port: str = ""
    #: Value of a constant.
    value: Callable[[ChipletConfig], int] | None = None

    @property
    def mask(self) -> int:
        """The field's bits within the register."""
        return ((1 << self.bits) - 1) << self.low


@dataclass(frozen=True, kw_only=True)
class Register:
    """A 32-bit register."""

    name: str
    offset: int
    access: Access
    description: str
    fields: tuple[Field, ...]
    #: Low part of a counter: reading it holds the high part, the next register, for a read of that.
    holds: str = ""

    def field(self, name: str) -> Field:
        """Return a field by name."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name!r}")

    def pack(self, **values: int) -> int:
        """Return the register's value with these fields, others at their reset."""
        result = 0
        for field in self.fields:
            value = values.pop(field.name, field.reset)
            if not 0 <= value < 1 << field.bits:
                raise ValueError(f"{self.name}.{field.name} must fit {field.bits} bits, "
                                 f"not {value!r}")
            result |= value << field.low
        if values:
            raise KeyError(f"{self.name} has no field {next(iter(values))!r}")
        return result

    def unpack(self, value: int) -> dict[str, int]:
        """Return the fields of a value."""
        return {field.name: (value & field.mask) >> field.low for field in self.fields}

    @property
    def reset(self) -> int:
        """Value after reset."""
        return self.pack()


def whole(name: str, offset: int, access: Access, description: str, bits: int = 32,
           reset: int = 0) -> Register:
    field = Field(name="VALUE", low=0, bits=bits, description="", reset=reset, port=name.lower())
    return Register(name=name, offset=offset, access=access, description=description,
                    fields=(field,))


def flags(name: str, offset: int, access: Access, description: str, prefix: str = "",
           **named: str) -> Register:
    fields = tuple(Field(name=flag.upper(), low=i, bits=1, description=text, port=prefix + flag)
                   for i, (flag, text) in enumerate(named.items()))
    return Register(name=name, offset=offset, access=access, description=description, fields=fields)
