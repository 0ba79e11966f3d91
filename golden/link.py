"""The link's words and its protocol, without cycles (docs/link.md)."""

from collections import deque
from dataclasses import dataclass, field

from golden.crc import CRC_BITS, crc

TRAINING, IDLE, DATA = 1, 2, 3
VERSION = 1
TRAINING_PATTERN = 0xB1E5_D7A3_4C6F_0000
CHANNELS = 6


@dataclass(frozen=True, kw_only=True)
class Flit:
    """What a word of kind DATA carries."""

    channel: int = 0
    head: int = 0
    tail: int = 0
    data: int = 0


@dataclass(frozen=True, kw_only=True)
class Word:
    """The fields of a word, but for its checksum."""

    kind: int
    sequence: int = 0
    epoch: int = 0
    acknowledge: int = 0
    negative: int = 0
    echo: int = 0
    credit_channel: int = 0
    credit_count: int = 0
    flit: Flit = field(default_factory=Flit)


@dataclass(frozen=True, kw_only=True)
class WordFormat:
    """Widths of a link's words, from the sizes of its configuration."""

    flit_bytes: int = 32
    queue_flits: int = 16
    replay_flits: int = 16
    phits_per_word: int = 1

    def fields(self) -> list[tuple[str, int]]:
        """Return name and width of each field, from bit 0 on, without padding and checksum."""
        sequence = (self.replay_flits - 1).bit_length()
        count = (2 * self.queue_flits - 1).bit_length()
        return [("kind", 2), ("sequence", sequence), ("epoch", 1), ("acknowledge", sequence),
                ("negative", 1), ("echo", 1), ("credit_channel", 3), ("credit_count", count),
                ("channel", 3), ("head", 1), ("tail", 1), ("data", 8 * self.flit_bytes)]

    @property
    def bits(self) -> int:
        """Bits of a word."""
        used = sum(width for _, width in self.fields()) + CRC_BITS
        wires = -(-used // self.phits_per_word)
        while wires <= CRC_BITS and CRC_BITS % wires:
            wires += 1
        return wires * self.phits_per_word

    def encode(self, word: Word) -> int:
        """Return a word as it is on the wires."""
        message, low = 0, 0
        for name, width in self.fields():
            value = getattr(word if hasattr(word, name) else word.flit, name)
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} must have {width} bits, not be {value}")
            message |= value << low
            low += width
        below = self.bits - CRC_BITS
        return message | crc(message, below) << below

    def decode(self, bits: int) -> Word | None:
        """Return the word of these bits, or None if its checksum is wrong."""
        below = self.bits - CRC_BITS
        message = bits & (1 << below) - 1
        if bits >> below != crc(message, below):
            return None
        values = {}
        for name, width in self.fields():
            values[name] = message & (1 << width) - 1
            message >>= width
        flit = Flit(**{name: values.pop(name) for name in ("channel", "head", "tail", "data")})
        return Word(**values, flit=flit)

    def phits(self, bits: int) -> list[int]:
        """Return what passes the wires in each cycle."""
        width = self.bits // self.phits_per_word
        return [bits >> i * width & (1 << width) - 1 for i in range(self.phits_per_word)]

    def training(self, echo: int) -> Word:
        """Return a training word."""
        sizes = self.phits_per_word, self.replay_flits, self.queue_flits
        logs = [size.bit_length() - 1 for size in sizes]
        data = sum(TRAINING_PATTERN << i for i in range(0, 8 * self.flit_bytes, 64))
        data |= sum(value << 4 * i for i, value in enumerate([*logs, VERSION]))
        return Word(kind=TRAINING, echo=echo, flit=Flit(data=data))


class Endpoint:
    """One side of a link that is up: makes words, takes words, delivers flits."""

    def __init__(self, form: WordFormat) -> None:
        self.form = form
        self.numbers, self.places = form.replay_flits, form.queue_flits
        # Sending: flits not acknowledged, by age; number of the oldest; how many of them to skip.
        self.waiting: deque[Flit] = deque()
        self.oldest, self.next, self.epoch, self.replays = 0, 0, 0, 0
        self.used, self.freed_there = [0] * CHANNELS, [0] * CHANNELS
        # Receiving.
        self.expected, self.negative, self.echo = 0, 0, 0
        self.queues: list[deque[Flit]] = [deque() for _ in range(CHANNELS)]
        self.freed = [0] * CHANNELS
        self.turn = 0

    def has_room(self, channel: int) -> bool:
        """Whether the other side's queue certainly has a place."""
        held = (self.used[channel] - self.freed_there[channel]) % (2 * self.places)
        return held < self.places

    def can_send(self, channel: int) -> bool:
        """Whether a new flit may go into the next word."""
        return (self.next == len(self.waiting) < self.numbers - 1) and self.has_room(channel)

    def word(self, flit: Flit | None = None) -> Word:
        """Return the next word; ``flit`` is a new one, allowed by :meth:`can_send`."""
        if flit is not None:
            assert self.can_send(flit.channel)
            self.waiting.append(flit)
            self.used[flit.channel] = (self.used[flit.channel] + 1) % (2 * self.places)
        number = (self.oldest + self.next) % self.numbers
        sent = self.waiting[self.next] if self.next < len(self.waiting) else None
        self.next += sent is not None
        self.turn = (self.turn + 1) % CHANNELS
        return Word(
            kind=IDLE if sent is None else DATA, sequence=number, epoch=self.epoch,
            acknowledge=self.expected, negative=self.negative, echo=self.echo,
            credit_channel=self.turn, credit_count=self.freed[self.turn], flit=sent or Flit())

    def take(self, bits: int) -> Flit | None:
        """Take the bits of a word; return the flit that it delivers, if any."""
        word = self.form.decode(bits)
        if word is None or word.kind == TRAINING:
            return None
        advance = (word.acknowledge - self.oldest) % self.numbers
        if advance > len(self.waiting):
            raise ValueError(f"flit {word.acknowledge} acknowledged, which was not sent")
        for _ in range(advance):
            self.waiting.popleft()
        self.oldest, self.next = word.acknowledge, max(0, self.next - advance)
        self.freed_there[word.credit_channel] = word.credit_count
        if word.negative and word.echo == self.epoch:
            self.next, self.epoch, self.replays = 0, 1 - self.epoch, self.replays + 1
        self.negative, self.echo = int(word.sequence != self.expected), word.epoch
        if word.kind != DATA or self.negative:
            return None
        self.expected = (self.expected + 1) % self.numbers
        self.queues[word.flit.channel].append(word.flit)
        if len(self.queues[word.flit.channel]) > self.places:
            raise ValueError(f"queue of channel {word.flit.channel} overflows")
        return word.flit

    def free(self, channel: int) -> Flit:
        """Take a flit out of a queue: its credit goes back."""
        self.freed[channel] = (self.freed[channel] + 1) % (2 * self.places)
        return self.queues[channel].popleft()
