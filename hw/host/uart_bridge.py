"""From a serial line to the chip's AXI ports: framed, checksummed requests (docs/serial.md)."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.host import axi_lite, axi_window
from hw.host.access import DATA_BITS, DATA_BYTES, axi_lite_members, axi_members
from hw.host.axi_window import Burst
from hw.host.host_bridge import ID_BITS
from hw.host.serial_protocol import (
    COMMAND,
    CRC_BITS,
    CRC_BYTES,
    CRC_POLYNOMIAL,
    CRC_START,
    HEADER_BYTES,
    MAX_WORDS,
    REPLY_SYNC,
    REQUEST_SYNC,
    RESULT,
    RESULT_BYTES,
    TIMEOUT_BITS,
    Status,
)
from hw.host.uart import UartReceiver, UartTransmitter, check_divisor
from hw.memory.sram import Sram

_PORTS = (axi_lite.PREFIX, axi_window.PREFIX)


def manager_members() -> dict[str, wiring.Member]:
    """Return the ports towards the chiplet, named as the chiplet names its own."""
    chip = {**axi_lite_members(axi_lite.PREFIX, axi_lite.ADDRESS_BITS),
            **axi_members(axi_window.PREFIX, axi_window.ADDRESS_BITS, ID_BITS)}
    return {name: member.flip() for name, member in chip.items()}


def _crc_step(crc: Value, byte: Value) -> Value:
    """Return the checksum after one more byte, its highest bit first."""
    bits = list(crc)
    for i in reversed(range(8)):
        out = bits[-1] ^ byte[i]
        bits = [bit ^ out if CRC_POLYNOMIAL >> n & 1 else bit
                for n, bit in enumerate([Const(0, 1), *bits[:-1]])]
    return Cat(bits)


class UartBridge(wiring.Component):
    """Carries out the requests of a serial line on an AXI4-Lite and an AXI4 subordinate.

    Ports: ``rx``, ``tx``: the line; ``s_axil_*``, ``s_axi_*``: manager of the chiplet's ports of
    these names. Every output comes from a flip-flop or is constant.
    A request is kept until its checksum is found right; only then the first access begins, and the
    reply follows the last. A burst ends at its first error. A write whose SEQUENCE is that of
    the request carried out last, if that was a write too, is not carried out again: its reply is
    repeated, so that the host may send again what had no answer. After anything that is no request,
    all bytes are dropped until the line was quiet for ``timeout_bits``; the reply then says why.
    Latency: from the end of a request to its reply 5 cycles, and for each word 5 besides the chip's.
    Parameters: ``divisor``: clock cycles per bit; ``timeout_bits``: bit times.
    """

    def __init__(self, *, divisor: int, timeout_bits: int = TIMEOUT_BITS) -> None:
        self.divisor, self.timeout_bits = check_divisor(divisor), timeout_bits
        super().__init__({"rx": In(1), "tx": Out(1), **manager_members()})

    def _port(self, prefix: str, name: str) -> Signal:
        return getattr(self, f"{prefix}_{name}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = self.receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        m.submodules.buffer = self.buffer = Sram(
            words=MAX_WORDS, bits=DATA_BITS, granule_bits=DATA_BITS, ports="1rw")
        m.d.comb += [self.receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        self.sending = transmitter.i

        command = Signal(8, reset_less=True)
        self.header = {"command": command, "sequence": Signal(8, name="sequence", reset_less=True),
                       "address": Signal(32, name="address", reset_less=True)}
        self.word = Signal(DATA_BITS, name="word", reset_less=True)
        #: Bytes of a part of a frame, and words, that have passed.
        self.step, self.index = Signal(3, name="step"), Signal(range(MAX_WORDS + 1), name="index")
        # How the request carried out last ended.
        self.status = Signal(Status, name="status")
        self.completed = Signal(range(MAX_WORDS + 1), name="completed")
        # What was wrong with the bytes instead, if anything.
        self.trouble, self.in_trouble = Signal(Status, name="trouble"), Signal(name="in_trouble")
        #: Bytes of a request may come; if not, they are too early.
        self.listening, self.overrun = Signal(name="listening"), Signal(name="overrun")
        self.silence = self._silence(m)

        self.window, self.write, self.last = Signal(name="window"), Signal(name="write"), Signal(name="last")
        fields = {name: command[f.low:f.low + f.bits] for name, f in COMMAND.items()}
        m.d.comb += [
            self.window.eq(fields["WINDOW"]), self.write.eq(fields["WRITE"]),
            self.last.eq(self.index == fields["LAST"]),
            self.buffer.address.eq(self.index), self.buffer.write_data.eq(self.word),
        ]

        self.crc, self.crc_next = (Signal(CRC_BITS, name=name, reset_less=True)
                                   for name in ("crc", "crc_next"))
        m.d.comb += self.crc_next.eq(_crc_step(
            self.crc, Mux(self.listening, self.receiver.byte, self.sending.payload)))
        self.taken = Signal(name="taken")
        m.d.comb += self.taken.eq(self.receiver.valid & self.listening)
        with m.If(self.taken):
            m.d.sync += [self.step.eq(self.step + 1), self.crc.eq(self.crc_next)]
        with m.If((self.receiver.valid | self.receiver.broken) & ~self.listening):
            m.d.sync += self.overrun.eq(1)
        self._constant_ports(m)
        with m.FSM():
            self._receive(m)
            self._carry_out(m)
            self._reply(m)
        return m

    def _silence(self, m: Module) -> Signal:
        """Return whether the line has been quiet for long."""
        silence, bit_times = Signal(name="silence"), Signal(range(self.timeout_bits))
        with m.If(~self.receiver.quiet):
            m.d.sync += [bit_times.eq(0), silence.eq(0)]
        with m.Elif(self.receiver.bit_tick):
            with m.If(bit_times == self.timeout_bits - 1):
                m.d.sync += silence.eq(1)
            with m.Else():
                m.d.sync += bit_times.eq(bit_times + 1)
        return silence

    def _drop(self, m: Module, reason: Status) -> None:
        m.d.sync += [self.trouble.eq(reason), self.in_trouble.eq(1)]
        m.next = "Drop"

    def _receive(self, m: Module) -> None:
        """Take a request. No byte follows another so closely that a state of one cycle loses it."""
        step, index, taken, byte = self.step, self.index, self.taken, self.receiver.byte

        def part(length: int, following: str) -> None:
            """Take some bytes, unless the line breaks off."""
            m.d.comb += self.listening.eq(1)
            with m.If(taken & (step == length - 1)):
                m.d.sync += step.eq(0)
                m.next = following
            with m.If(self.receiver.broken):
                self._drop(m, Status.BAD_FRAME)
            with m.Elif(self.silence):
                self._drop(m, Status.TRUNCATED)

        with m.State("Wait"):
            m.d.comb += self.listening.eq(1)
            m.d.sync += self.in_trouble.eq(0)
            with m.If(self.receiver.broken | (taken & (byte != REQUEST_SYNC))):
                self._drop(m, Status.BAD_FRAME)
            with m.Elif(taken):
                m.d.sync += [step.eq(0), index.eq(0), self.crc.eq(CRC_START)]
                m.next = "Header"
        with m.State("Header"):
            part(HEADER_BYTES, "Header end")
            with m.If(taken):
                header = Cat(self.header.values())
                m.d.sync += header.eq(Cat(header[8:], byte))
        with m.State("Header end"):
            with m.If(self.write):
                m.next = "Data"
            with m.Else():
                m.next = "Checksum"
        with m.State("Data"):
            part(DATA_BYTES, "Store")
            with m.If(taken):
                m.d.sync += self.word.eq(Cat(self.word[8:], byte))
        with m.State("Store"):
            m.d.comb += [self.buffer.enable.eq(1), self.buffer.write_mask.eq(1)]
            m.d.sync += index.eq(index + 1)
            with m.If(self.last):
                m.next = "Checksum"
            with m.Else():
                m.next = "Data"
        with m.State("Checksum"):
            part(CRC_BYTES, "Judge")
        with m.State("Drop"):
            m.d.sync += self.overrun.eq(0)
            with m.If(self.silence):
                m.next = "Reply"

    def _constant_ports(self, m: Module) -> None:
        """Drive what is the same in every access; bursts of one beat are fast enough for a line."""
        address = self.header["address"]
        for prefix in _PORTS:
            m.d.comb += [self._port(prefix, f"{channel}addr").eq(address) for channel in ("aw", "ar")]
            m.d.comb += [
                self._port(prefix, "wdata").eq(self.word),
                self._port(prefix, "wstrb").eq((1 << DATA_BYTES) - 1),
                self._port(prefix, "bready").eq(1), self._port(prefix, "rready").eq(1),
            ]
            for channel in ("aw", "w", "ar"):
                valid = self._port(prefix, f"{channel}valid")
                with m.If(valid & self._port(prefix, f"{channel}ready")):
                    m.d.sync += valid.eq(0)
        for channel in ("aw", "ar"):
            m.d.comb += [
                self._port(axi_window.PREFIX, f"{channel}size").eq((DATA_BYTES - 1).bit_length()),
                self._port(axi_window.PREFIX, f"{channel}burst").eq(Burst.INCR),
            ]
        m.d.comb += self._port(axi_window.PREFIX, "wlast").eq(1)

    def _carry_out(self, m: Module) -> None:
        """Access the chip, word by word; what is read replaces the request's data."""
        address, sequence = self.header["address"], self.header["sequence"]
        last_sequence, last_was_write = Signal(8), Signal()
        # Registers fill the lowest 4 KiB of an address space of their own.
        no_address = address[:2].any() | (~self.window & address[axi_lite.ADDRESS_BITS:].any())
        answers = [(self._port(prefix, f"{channel}valid"), self._port(prefix, f"{channel}resp"))
                   for prefix in _PORTS for channel in ("b", "r")]
        answered, response = Signal(), Signal(2)
        m.d.comb += [
            answered.eq(Cat(valid for valid, _ in answers).any()),
            # Only one of them answers.
            response.eq(reduce(or_, (Mux(valid, code, 0) for valid, code in answers))),
        ]
        lite_data, window_data = (self._port(prefix, "rdata") for prefix in _PORTS)

        with m.State("Judge"):
            m.d.sync += self.index.eq(0)
            # The checksum of anything with its checksum behind it is 0.
            with m.If(self.crc != 0):
                self._drop(m, Status.BAD_CHECKSUM)
            with m.Elif(self.write & last_was_write & (sequence == last_sequence)):
                m.next = "Reply"
            with m.Else():
                m.d.sync += [last_sequence.eq(sequence), last_was_write.eq(self.write),
                             self.status.eq(Status.OK)]
                m.next = "Fetch"
        with m.State("Fetch"):
            m.d.comb += self.buffer.enable.eq(1)
            m.next = "Fetched"
        with m.State("Fetched"):
            m.d.sync += self.word.eq(self.buffer.read_data)
            m.next = "Access"
        with m.State("Access"):
            with m.If(no_address):
                m.d.sync += self.status.eq(Status.DECERR)
                m.next = "Carried out"
            with m.Else():
                for prefix, chosen in zip(_PORTS, (~self.window, self.window), strict=True):
                    m.d.sync += [
                        self._port(prefix, "awvalid").eq(chosen & self.write),
                        self._port(prefix, "wvalid").eq(chosen & self.write),
                        self._port(prefix, "arvalid").eq(chosen & ~self.write)]
                m.next = "Response"
        with m.State("Response"):
            with m.If(~self.write):
                m.d.sync += self.word.eq(Mux(self.window, window_data, lite_data))
            with m.If(answered):
                with m.If(response[1]):
                    m.d.sync += self.status.eq(response)
                    m.next = "Carried out"
                with m.Else():
                    m.next = "Next"
        with m.State("Next"):
            m.d.comb += [self.buffer.enable.eq(~self.write), self.buffer.write_mask.eq(1)]
            m.d.sync += [self.index.eq(self.index + 1), address.eq(address + DATA_BYTES)]
            with m.If(self.last):
                m.next = "Carried out"
            with m.Else():
                m.next = "Fetch"
        with m.State("Carried out"):
            m.d.sync += self.completed.eq(self.index)
            m.next = "Reply"

    def _reply(self, m: Module) -> None:
        step, index, sending = self.step, self.index, self.sending
        has_data = Signal()
        head, position = Signal(8 * RESULT_BYTES), RESULT["STATUS"].low
        status = Value.cast(Mux(self.in_trouble, self.trouble, self.status))
        m.d.comb += [
            has_data.eq(~self.write & ~self.in_trouble),
            head.eq(Cat(Const(0, 8), self.header["sequence"],
                        Mux(self.in_trouble, 0, self.completed))),
            head[position:position + len(status)].eq(status),
            head[RESULT["DATA"].low].eq(has_data),
        ]

        def part(length: int, byte: Value) -> Value:
            """Send some bytes; return whether the last of them goes."""
            last = sending.ready & (step == length - 1)
            m.d.comb += [sending.valid.eq(1), sending.payload.eq(byte)]
            with m.If(sending.ready):
                m.d.sync += [step.eq(Mux(last, 0, step + 1)), self.crc.eq(self.crc_next)]
            return last

        with m.State("Reply"):
            m.d.sync += [step.eq(0), index.eq(0)]
            m.d.comb += [sending.valid.eq(1), sending.payload.eq(REPLY_SYNC)]
            with m.If(sending.ready):
                m.d.sync += self.crc.eq(CRC_START)
                m.next = "Reply head"
        with m.State("Reply head"):
            with m.If(part(RESULT_BYTES, head.word_select(step[:2], 8))):
                with m.If(has_data & (self.completed != 0)):
                    m.next = "Reply fetch"
                with m.Else():
                    m.next = "Reply checksum"
        with m.State("Reply fetch"):
            m.d.comb += self.buffer.enable.eq(1)
            m.d.sync += index.eq(index + 1)
            m.next = "Reply fetched"
        with m.State("Reply fetched"):
            m.d.sync += self.word.eq(self.buffer.read_data)
            m.next = "Reply data"
        with m.State("Reply data"):
            with m.If(sending.ready):
                m.d.sync += self.word.eq(self.word >> 8)
            with m.If(part(DATA_BYTES, self.word[:8])):
                with m.If(index == self.completed):
                    m.next = "Reply checksum"
                with m.Else():
                    m.next = "Reply fetch"
        with m.State("Reply checksum"):
            last = part(CRC_BYTES, self.crc[8:])
            with m.If(sending.ready):
                m.d.sync += self.crc.eq(self.crc << 8)
            with m.If(last):
                with m.If(self.overrun):
                    self._drop(m, Status.OVERRUN)
                with m.Else():
                    m.next = "Wait"
