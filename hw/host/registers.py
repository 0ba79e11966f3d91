"""The host's registers: one table for the RTL, the drivers and docs/registers.md.

``python -m hw.host.registers > docs/registers.md`` writes the page.
"""

from collections.abc import Iterator

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import CONFIGS, ChipletConfig
from hw.control.isa import Fault
from hw.host import memory_map
from hw.host.access import AccessError, request_layout, response_layout
from hw.host.network_registers import NETWORK_REGISTERS
from hw.host.register import Access, Field, Register, flags, whole

#: Bits of a register's byte address.
ADDRESS_BITS = 12
#: Offset of the same registers of another chip, with a network.
OTHER_CHIP = 1 << (ADDRESS_BITS - 1)
#: 'TESS'
IDENTITY = 0x54455353
VERSION_MAJOR, VERSION_MINOR = 1, 0
TOKEN_BITS = 17
#: Prompt length, token limit and position.
LENGTH_BITS = 16
PROGRAM_COUNTER_BITS = 12
#: Bits of a counter above its low 32.
HIGH_BITS = 16


def _fact(name: str, offset: int, description: str) -> Register:
    field = Field(name="VALUE", low=0, bits=32, description="",
                  value=lambda config: getattr(config, name.lower()))
    return Register(name=name, offset=offset, access=Access.CONSTANT, description=description,
                    fields=(field,))


#: Counters, in the order of their registers: name -> description.
COUNTERS: dict[str, str] = {
    "cycles": "cycles in which the chip ran, without pauses",
    "token_cycles": "CYCLES at the last token",
    "array_busy": "cycles in which a wave entered the array",
    "vector_busy": "cycles in which the vector unit took a beat",
    "matrix_wait_event": "cycles in which a matrix command waited for an event",
    "matrix_wait_command": "cycles in which the matrix unit had no command",
    "matrix_paced": "cycles in which the matrix unit held back for the drain",
    "matrix_store": "bank slots taken by key and value stores",
    "vector_wait_event": "cycles in which a vector command waited for an event",
    "vector_wait_command": "cycles in which the vector unit had no command",
    "sequencer_stall": "cycles in which the sequencer waited for a queue or an event",
    "saturations": "values clipped",
}


def _counters(offset: int) -> Iterator[Register]:
    for i, (name, description) in enumerate(COUNTERS.items()):
        high = f"{name.upper()}_HI"
        for half, (suffix, text) in enumerate((
                ("LO", f"{description}: low 32 bits"),
                ("HI", "its other bits, of the moment when the low ones were read"))):
            field = Field(name="VALUE", low=0, bits=HIGH_BITS if half else 32, description="",
                          port=f"{name}_{suffix.lower()}")
            yield Register(name=f"{name.upper()}_{suffix}", offset=offset + 8 * i + 4 * half,
                           access=Access.READ_ONLY, description=text, fields=(field,),
                           holds=high if half == 0 else "")


def _version() -> Register:
    return Register(
        name="VERSION", offset=0x004, access=Access.CONSTANT,
        description="version of this interface", fields=(
            Field(name="MINOR", low=0, bits=16, description="goes up with additions",
                  value=lambda _: VERSION_MINOR),
            Field(name="MAJOR", low=16, bits=16, description="goes up when drivers must change",
                  value=lambda _: VERSION_MAJOR)))


def _geometry() -> Register:
    return Register(
        name="GEOMETRY", offset=0x008, access=Access.CONSTANT, description="the array", fields=(
            Field(name="ROWS", low=0, bits=8, description="rows R", value=lambda c: c.rows),
            Field(name="COLUMNS", low=8, bits=8, description="columns C",
                  value=lambda c: c.columns),
            Field(name="LANES", low=16, bits=8, description="lanes L of the drain",
                  value=lambda c: c.lanes),
            Field(name="ROWS_PER_STEP", low=24, bits=8, description="rows that a wave passes per "
                  "cycle", value=lambda c: c.rows_per_step)))


_RO, _RW, _CONSTANT = Access.READ_ONLY, Access.READ_WRITE, Access.CONSTANT

#: Every chip's registers by name, in the order of the addresses.
REGISTERS: dict[str, Register] = {register.name: register for register in (
    Register(name="ID", offset=0x000, access=_CONSTANT, description="'TESS'", fields=(
        Field(name="VALUE", low=0, bits=32, description="", value=lambda _: IDENTITY),)),
    _version(),
    _geometry(),
    _fact("BANK_WORDS", 0x00C, "words of each bank"),
    _fact("ACTIVATION_WORDS", 0x010, "words of the activation memory"),
    _fact("OUTPUT_WORDS", 0x014, "words of the output memory"),
    _fact("RESULT_BEATS", 0x018, "beats of the result memory"),
    _fact("RESIDUAL_BEATS", 0x01C, "beats of the residual memory"),
    _fact("MULTIPLIER_BEATS", 0x020, "beats of the multiplier memory"),
    _fact("ROPE_BEATS", 0x024, "beats of the RoPE table"),
    _fact("ROW_SLOTS", 0x028, "slots of the row-scale and row-maximum memories"),
    _fact("PROGRAM_WORDS", 0x02C, "words of program memory"),
    _fact("CONTEXT", 0x030, "positions of a sequence, words of the token memory"),
    _fact("MAX_ROWS", 0x034, "tokens in one block of the prompt at most"),
    _fact("SAMPLER_LANES", 0x038, "logits that pass the sampler per cycle"),
    _fact("QUEUE_DEPTH", 0x03C, "commands that wait in front of a unit"),
    flags("CONTROL", 0x040, Access.PULSE, "actions",
           start="run the program from its first instruction; counters restart. Ignored unless "
                 "STATUS.IDLE",
           resume="continue after a pause; ignored unless STATUS.PAUSED",
           reset_sequencer="stop the sequencer and both units, forget the fault; memories stay",
           clear_host_errors="clear HOST_ERRORS"),
    flags("STATUS", 0x044, _RO, "state of the chip",
           running="the program has started and neither ended nor faulted",
           done="the program ended", faulted="stopped by a fault: FAULT_CAUSE",
           paused="waits for CONTROL.RESUME",
           idle="neither the sequencer nor a unit works: the host may access all memories"),
    whole("FAULT_CAUSE", 0x048, _RO, "why the chip stopped (table below)",
           bits=Fault.as_shape().width),
    whole("FAULT_PC", 0x04C, _RO, "program counter at the fault", bits=PROGRAM_COUNTER_BITS),
    flags("IRQ_ENABLE", 0x050, _RW, "which bits of IRQ_STATUS raise the interrupt",
           prefix="irq_enable_", done="of DONE", fault="of FAULT", token="of TOKEN",
           paused="of PAUSED"),
    flags("IRQ_STATUS", 0x054, Access.WRITE_ONE_CLEARS, "pending interrupts",
           prefix="irq_", done="the program ended", fault="a fault stopped the chip",
           token="a token was emitted", paused="the chip paused"),
    whole("PROMPT_LENGTH", 0x058, _RW, "tokens of the prompt in the token memory",
           bits=LENGTH_BITS),
    whole("TOKEN_LIMIT", 0x05C, _RW, "tokens to generate at most", bits=LENGTH_BITS),
    whole("START_POSITION", 0x060, _RW, "position of the first token of the prompt",
           bits=LENGTH_BITS),
    Register(name="END_TOKEN", offset=0x064, access=_RW,
             description="token that ends the generation", fields=(
                 Field(name="TOKEN", low=0, bits=TOKEN_BITS, description="its id",
                       port="end_token"),
                 Field(name="NONE", low=31, bits=1, description="no token ends it", reset=1,
                       port="end_token_none"))),
    whole("TEMPERATURE", 0x068, _RW, "round(T * ln 2 * 2^12); 0 is greedy", bits=16),
    whole("SEED", 0x06C, _RW, "first state of the sampler's generator; 0 counts as 1"),
    whole("EPSILON", 0x070, _RW, "RMSNorm: round(norm_eps * dim * 2^(2f))"),
    whole("WATCHDOG_CYCLES", 0x074, _RW, "cycles without a finished command after which the chip "
           "faults; 0 counts as 2^32, so that it cannot be switched off", reset=1 << 20),
    Register(name="BREAKPOINT", offset=0x078, access=_RW,
             description="pause before an instruction", fields=(
                 Field(name="PC", low=0, bits=PROGRAM_COUNTER_BITS, description="its address",
                       port="breakpoint"),
                 Field(name="ENABLE", low=31, bits=1, description="pause there",
                       port="breakpoint_enable"))),
    flags("OPTIONS", 0x07C, _RW, "how to run", pause_after_token="pause after each token"),
    whole("TOKEN_COUNT", 0x080, _RO, "tokens emitted since the start"),
    whole("LAST_TOKEN", 0x084, _RO, "the last of them", bits=TOKEN_BITS),
    Register(name="HOST_ERRORS", offset=0x088, access=_RO,
             description="refused accesses; cleared by CONTROL.CLEAR_HOST_ERRORS", fields=(
                 Field(name="COUNT", low=0, bits=16, port="host_error_count",
                       description="number, up to 65535 (of a read burst, each beat counts)"),
                 Field(name="DECERR", low=16, bits=1, port="host_error_decerr",
                       description="the last: 1 DECERR, 0 SLVERR"),
                 Field(name="WRITE", low=17, bits=1, port="host_error_write",
                       description="the last: 1 a write, 0 a read"),
                 Field(name="WINDOW", low=18, bits=1, port="host_error_window",
                       description="the last: 1 the memory window, 0 a register"))),
    *_counters(0x100),
)}

#: Addresses for drivers.
OFFSETS: dict[str, int] = {
    name: register.offset for name, register in (REGISTERS | NETWORK_REGISTERS).items()}

#: Accesses that need all four strobes.
_WHOLE_WORD = (Access.PULSE, Access.WRITE_ONE_CLEARS, Access.COMMAND)


def registers_of(config: ChipletConfig) -> dict[str, Register]:
    """Return the registers that a configuration has."""
    return REGISTERS if config.network is None else REGISTERS | NETWORK_REGISTERS


def _check() -> None:
    offsets = list(OFFSETS.values())
    assert offsets == sorted(set(offsets)) and max(offsets) < OTHER_CHIP
    every = [*REGISTERS.values(), *NETWORK_REGISTERS.values()]
    ports = [f.port for r in every for f in r.fields if f.port]
    assert len(set(ports)) == len(ports)
    for register in every:
        seen = 0
        if register.holds:
            assert register.offset % 8 == 0 and OFFSETS[register.holds] == register.offset + 4
        for field in register.fields:
            assert field.mask < 1 << 32 and not field.mask & seen, register.name
            seen |= field.mask
            assert bool(field.port) != (register.access is Access.CONSTANT), register.name


_check()


def value_members(registers: dict[str, Register]) -> dict[str, wiring.Member]:
    """Return the register file's ports besides the bus.

    A field that the host writes is an output, one that it reads an input; of a W1C register each
    flag is an output, beside an input ``set_<flag>``, which wins over the host's clear. Beside a
    command's value, ``<port>_written`` is 1 in the cycle after a write.
    """
    members: dict[str, wiring.Member] = {}
    for register in registers.values():
        for field in register.fields:
            if register.access is Access.READ_ONLY:
                members[field.port] = In(field.bits)
            elif register.access in (Access.READ_WRITE, Access.PULSE):
                members[field.port] = Out(field.bits, init=field.reset)
            elif register.access is Access.COMMAND:
                members[field.port] = Out(field.bits)
                members[f"{field.port}_written"] = Out(1)
            elif register.access is Access.WRITE_ONE_CLEARS:
                members[field.port] = Out(field.bits)
                members[f"set_{field.port}"] = In(field.bits)
    return members


class RegisterFile(wiring.Component):
    """The registers behind the request port.

    Ports: ``request``, ``response`` (hw/host/access.py), and :func:`value_members`.
    Latency: 2 cycles from the request to the response; one outstanding. A pulse or a new value
    comes with the response. Errors: a write to a constant or read-only register, or a write to a
    pulse, W1C or command register with some but not all strobes, is refused; an address without a register
    has no address. Without a strobe a write does nothing.
    """

    request: stream.Interface
    response: stream.Interface

    def __init__(self, config: ChipletConfig) -> None:
        self.config, self.registers = config, registers_of(config)
        super().__init__({
            "request": In(stream.Signature(request_layout())),
            "response": Out(stream.Signature(response_layout())),
            **value_members(self.registers),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request = Signal(request_layout(), reset_less=True)
        act = Signal()
        response = self.response
        m.d.comb += self.request.ready.eq(~act & ~response.valid)
        m.d.sync += act.eq(self.request.valid & self.request.ready)
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += request.eq(self.request.payload)
        with m.If(response.valid & response.ready):
            m.d.sync += response.valid.eq(0)

        mask = Cat(strobe.replicate(8) for strobe in request.strobe)
        whole, empty = request.strobe.all(), request.strobe == 0
        error, read_data = Signal(AccessError), Signal(32)
        write = Signal()
        m.d.comb += [
            error.eq(AccessError.NO_ADDRESS),
            write.eq(act & request.write),
        ]
        for register in self.registers.values():
            if register.access is Access.PULSE:
                m.d.sync += [getattr(self, field.port).eq(0) for field in register.fields]
            if register.access is Access.COMMAND:
                m.d.sync += [getattr(self, f"{field.port}_written").eq(0)
                             for field in register.fields]
            if register.access is Access.WRITE_ONE_CLEARS:
                for field in register.fields:
                    with m.If(getattr(self, f"set_{field.port}")):
                        m.d.sync += getattr(self, field.port).eq(1)
        # Reading the low part of a counter keeps its high part, one cycle later: counters carry into
        # the high part one cycle late (hw/host/counters.py), so that exactly then both belong
        # together. The next address is looked up for that while the response waits.
        is_low, hold, held_valid = Signal(), Signal(), Signal()
        held, held_at = Signal(HIGH_BITS, reset_less=True), Signal(ADDRESS_BITS - 3, reset_less=True)
        address = Cat(request.address[2] | hold, request.address[3:])
        with m.If(hold):
            m.d.sync += [held.eq(read_data), held_at.eq(request.address[3:]), held_valid.eq(1)]
        m.d.sync += hold.eq(act & ~request.write & is_low)
        is_held = held_valid & (held_at == request.address[3:ADDRESS_BITS]) & request.address[2]
        with m.Switch(address):
            for register in self.registers.values():
                with m.Case(register.offset >> 2):
                    m.d.comb += [
                        read_data.eq(self._read(register)), is_low.eq(bool(register.holds)),
                        error.eq(self._error(register, request.write, whole, empty)),
                    ]
                    with m.If(write & (error == AccessError.NONE)):
                        self._write(m, register, request.data, mask, ~empty)
        with m.If(act):
            m.d.sync += [
                response.valid.eq(1),
                response.payload.error.eq(error),
                response.payload.data.eq(
                    Mux(request.write | (error != AccessError.NONE), 0,
                        Mux(is_held, held, read_data))),
            ]
        return m

    def _read(self, register: Register) -> Value:
        value: Value = Const(0, 32)
        for field in register.fields:
            if field.value is not None:
                bits: Value = Const(field.value(self.config), field.bits)
            elif register.access in (Access.PULSE, Access.COMMAND):
                bits = Const(0, field.bits)
            else:
                bits = getattr(self, field.port)
            value = value | (bits << field.low)
        return value[:32]

    @staticmethod
    def _error(register: Register, write: Value, whole: Value, empty: Value) -> Value:
        if register.access in (Access.CONSTANT, Access.READ_ONLY):
            refused: Value = write
        elif register.access in _WHOLE_WORD:
            refused = write & ~whole & ~empty
        else:
            refused = Const(0, 1)
        return Mux(refused, AccessError.REFUSED.value, AccessError.NONE.value)

    def _write(self, m: Module, register: Register, value: Value, mask: Value,
               any_strobe: Value) -> None:
        for field in register.fields:
            if register.access in (Access.CONSTANT, Access.READ_ONLY):
                continue
            port = getattr(self, field.port)
            bits = slice(field.low, field.low + field.bits)
            if register.access is Access.READ_WRITE:
                m.d.sync += port.eq((value[bits] & mask[bits]) | (port & ~mask[bits]))
            elif register.access is Access.PULSE:
                m.d.sync += port.eq(value[bits] & any_strobe)
            elif register.access is Access.COMMAND:
                m.d.sync += [port.eq(value[bits]),
                             getattr(self, f"{field.port}_written").eq(any_strobe)]
            else:
                m.d.sync += port.eq((port & ~(value[bits] & mask[bits]))
                                    | getattr(self, f"set_{field.port}"))


def _reset_text(register: Register, field: Field) -> str:
    if field.value is not None:
        values = {field.value(config) for config in CONFIGS.values()}
        fixed = register.name in ("ID", "VERSION")
        return f"0x{values.pop():X}" if fixed else "by configuration"
    if register.access in (Access.READ_ONLY, Access.PULSE, Access.COMMAND):
        return ""
    return f"0x{field.reset:X}" if field.reset > 9 else str(field.reset)


def documentation() -> str:
    """Return docs/registers.md."""
    lines = [
        "# Registers and memory window", "",
        "Written by `python -m hw.host.registers > docs/registers.md`; the tables are in "
        "`hw/host/registers.py` and `hw/host/memory_map.py`.", "",
        "## Registers (AXI4-Lite, 32-bit data)", "",
        "RO is read-only, RW keeps what was written (single bytes too), W1C flags are cleared by "
        "writing 1, a pulse acts once. W1C and pulse registers are written with all four strobes. "
        "Bits without a field read 0 and ignore writes.",
        "SLVERR answers a write to a constant or RO register and a partial write where none is "
        "allowed; DECERR an address without a register. HOST_ERRORS counts both.",
        "The registers from PROMPT_LENGTH to OPTIONS are meant to be set before CONTROL.START. "
        "A start or a resume waits until an access to a memory under way is over.",
        f"Counters have {32 + HIGH_BITS} bits and restart with CONTROL.START. Read _LO first, then "
        "_HI, which is of the same moment if no other _LO was read in between.",
        "",
        *_HEADINGS,
    ]
    lines += _rows(REGISTERS)
    lines += ["", "Fault causes: " + ", ".join(
        f"{fault.value} {fault.name}" for fault in Fault) + ".", "", *_network_section(), ""]
    return "\n".join(lines) + "\n" + memory_map.documentation(list(CONFIGS.values()))


_HEADINGS = ("| offset | register | access | bits | field | reset | what |",
             "|---|---|---|---|---|---|---|")


def _network_section() -> list[str]:
    return [
        "## Registers of a chip with a network", "",
        f"Offsets from 0x{OTHER_CHIP:03X} on are the registers of another chip, TARGET_CHIP, at their "
        f"own offsets + 0x{OTHER_CHIP:03X}; the memory window is that of TARGET_CHIP, too. After reset "
        "it is the own chip. See [network.md](network.md).",
        "A command acts on the whole word that is written, with all four strobes, and reads 0.",
        "", *_HEADINGS, *_rows(NETWORK_REGISTERS)]


def _rows(registers: dict[str, Register]) -> list[str]:
    lines = []
    for register in registers.values():
        single = len(register.fields) == 1 and register.fields[0].name == "VALUE"
        lead = f"| 0x{register.offset:03X} | {register.name} | {register.access.value} "
        if not single:
            lines.append(f"{lead}| | | | {register.description} |")
        for field in register.fields:
            last = field.low + field.bits - 1
            bits = f"{last}..{field.low}" if field.bits > 1 else str(field.low)
            row = (f"{lead}| {bits} | " if single else f"| | | | {bits} | {field.name} ")
            text = register.description if single else field.description
            lines.append(f"{row}| {_reset_text(register, field)} | {text} |")
    return lines


if __name__ == "__main__":
    print(documentation(), end="")
