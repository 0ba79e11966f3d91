"""The only memory that a component may use: one wrapper around a macro.

Every memory of the chiplet is a :class:`Sram`. It becomes an instance of a module whose name says
its shape, for example ``tessera_sram_1r1w_512x128_g8``: 512 words of 128 bits, written in granules
of 8 bits. Emission collects the shapes and brings a module of that name (hw/memory/models.py), or
builds it from macros of another shape (hw/memory/adapter.py).
"""

from dataclasses import dataclass

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


@dataclass(frozen=True, kw_only=True, order=True)
class SramShape:
    """Shape of a memory: words, bits per word, bits per write-enable, and its ports."""

    words: int
    bits: int
    granule_bits: int
    #: One port that reads or writes ("1rw"), or one that reads beside one that writes ("1r1w").
    ports: str

    def __post_init__(self) -> None:
        if self.words < 2:
            raise ValueError(f"words must be at least 2, not {self.words!r}")
        if self.bits % self.granule_bits:
            raise ValueError(f"granule_bits must be a divisor of {self.bits}, not {self.granule_bits!r}")
        if self.ports not in ("1rw", "1r1w"):
            raise ValueError(f"ports must be '1rw' or '1r1w', not {self.ports!r}")

    @property
    def address_bits(self) -> int:
        """Width of the address port."""
        return (self.words - 1).bit_length()

    @property
    def mask_bits(self) -> int:
        """Width of the write-enable port."""
        return self.bits // self.granule_bits

    @property
    def module(self) -> str:
        """Name of the Verilog module."""
        return f"tessera_sram_{self.ports}_{self.words}x{self.bits}_g{self.granule_bits}"


class Sram(wiring.Component):
    """Synchronous SRAM, 1RW or 1R1W, with a write-enable per granule.

    Ports of "1rw": ``address``, ``enable`` (read when ``write_mask`` is 0), ``write_mask``,
    ``write_data``, ``read_data``. Ports of "1r1w": ``read_address``, ``read_enable``,
    ``read_data``; ``write_address``, ``write_mask``, ``write_data``.

    Latency: ``read_data`` follows one cycle after the request and holds until the next read.
    Reading and writing one word in the same cycle (1r1w) is forbidden: the model then returns
    the inverted old word, so that a test which depends on it fails.
    """

    LATENCY = 1

    def __init__(self, *, words: int, bits: int, granule_bits: int, ports: str) -> None:
        self.shape = SramShape(words=words, bits=bits, granule_bits=granule_bits, ports=ports)
        address = self.shape.address_bits
        if ports == "1rw":
            members = {
                "address": In(address), "enable": In(1), "write_mask": In(self.shape.mask_bits),
                "write_data": In(bits), "read_data": Out(bits),
            }
        else:
            members = {
                "read_address": In(address), "read_enable": In(1), "read_data": Out(bits),
                "write_address": In(address), "write_mask": In(self.shape.mask_bits),
                "write_data": In(bits),
            }
        super().__init__(members)

    @classmethod
    def of(cls, shape: SramShape) -> "Sram":
        """Return a memory of a shape."""
        return cls(words=shape.words, bits=shape.bits, granule_bits=shape.granule_bits,
                   ports=shape.ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        platform.add_sram(self.shape)  # type: ignore[attr-defined]
        ports: dict[str, Signal | ClockSignal] = {"i_clk": ClockSignal()}
        for _, member, value in self.signature.flatten(self):
            (name,) = [n for n in self.signature.members if getattr(self, n) is value]
            ports[("i_" if member.flow == In else "o_") + name] = value
        m.submodules.memory = Instance(self.shape.module, **ports)
        return m
