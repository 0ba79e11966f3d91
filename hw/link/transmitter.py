"""Sending end of the link: credits, replay buffer, go-back-N."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.link.wire import Kind, message_layout, sequence_bits, status_layout, training_data
from hw.memory.sram import Sram
from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS, ROOM_FLITS, flit_layout


class Transmitter(wiring.Component):
    """Makes the words of one direction, and sends flits again until they are acknowledged.

    Ports: ``out_valid``, ``out_flit``, ``out_ready``, ``out_room``: from the router
    (hw/network/flit.py); ``up``: the link is up, else training words go out, with ``seen`` for an
    echo, and all numbers start again; ``slot``: a word is made in this cycle; ``status``: what it
    tells of the other direction; ``message``: the word, a register; ``peer_valid`` with ``peer``:
    what a good word of the other side told; ``retries_exceeded``: a flit was replayed more than
    ``max_retries`` times; ``bad_acknowledge``: of a flit that was not sent; ``replay``: it goes
    back now; ``sent``: a flit goes out for the first time; ``starved``: no flit is offered, and a
    channel has no room.

    Latency: 1 cycle from the transfer of a flit to ``message``. Throughput: a word per slot.
    Backpressure: ``out_ready`` and ``out_room`` are functions of registers and ``slot``.

    Flits keep their place in the replay buffer, at their sequence number, until acknowledged; of
    ``replay_flits`` numbers one is always free, so that no two flits on their way share one. A
    negative word makes the transmitter go back to the flit that it names, if it echoes the present
    epoch: else its sender had not yet heard of the last replay. An idle word names the flit that
    comes next, so that the loss of the last flit is noticed like any other, and no timer is needed.
    """

    LATENCY = 1

    def __init__(self, config: NetworkConfig, channels: int = CHANNELS) -> None:
        self.config, self.channels = config, channels
        #: Flits that are not acknowledged at most.
        self.window = config.replay_flits - 1
        #: Flits of a channel on their way or in its queue at most.
        self.places = config.queue_flits
        bits = flit_layout(config).size
        self.buffer = Sram(words=config.replay_flits, bits=bits, granule_bits=bits, ports="1r1w")
        super().__init__({
            "out_valid": In(1), "out_flit": In(flit_layout(config)), "out_ready": Out(1),
            "out_room": Out(channels, init=(1 << channels) - 1),
            "up": In(1), "seen": In(1), "slot": In(1), "status": In(status_layout(config)),
            "message": Out(message_layout(config)),
            "peer_valid": In(1), "peer": In(status_layout(config)),
            "retries_exceeded": Out(1), "bad_acknowledge": Out(1),
            "replay": Out(1), "sent": Out(1), "starved": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bits = sequence_bits(config)
        m.submodules.buffer = buffer = self.buffer
        #: Numbers of the next new flit, the next one to send, the oldest not acknowledged.
        newest, following, oldest = (
            Signal(bits, name=name) for name in ("newest", "following", "oldest"))
        epoch, full, replaying = Signal(), Signal(), Signal()
        #: The buffer's output is flit ``following``; ``message`` is a flit not yet in the buffer.
        fetched, unsaved = Signal(), Signal()
        take, again = Signal(), Signal()
        m.d.comb += [
            self.out_ready.eq(self.slot & self.up & ~full & ~replaying),
            take.eq(self.out_valid & self.out_ready), self.sent.eq(take),
            again.eq(self.slot & replaying & fetched),
        ]

        # What was not acknowledged before this cycle, and is then.
        waiting = Signal(bits)
        m.d.comb += waiting.eq(newest - oldest)
        m.d.sync += full.eq((waiting == self.window) | ((waiting == self.window - 1) & take))
        newest_then, following_then = Signal(bits), Signal(bits)
        m.d.comb += [newest_then.eq(newest + take), following_then.eq(following + (take | again))]

        with m.If(self.replay):
            m.d.sync += [following.eq(oldest), epoch.eq(~epoch), fetched.eq(0),
                         replaying.eq(oldest != newest_then)]
        with m.Else():
            m.d.sync += following.eq(following_then)
            with m.If(replaying):
                m.d.sync += replaying.eq(following_then != newest)
        m.d.sync += newest.eq(newest_then)
        self._fetch(m, buffer, following, replaying, fetched, unsaved, again)
        self._judge(m, waiting, oldest, epoch)
        self._credits(m, take)

        # The wide part needs no reset: a slot fills it while the rest still is in reset.
        flit = Signal(flit_layout(config).size, reset_less=True)
        head = Signal(data.StructLayout({
            "kind": Kind, "sequence": bits, "epoch": 1, "status": status_layout(config)}))
        m.d.comb += [
            *(self.message[name].eq(head[name]) for name in head.shape().members),
            self.message.flit.eq(flit),
        ]
        training = flit_layout(config).const({"data": training_data(config)}).as_value()
        # Coded in two bits, so that each bit of the flit is a function of four.
        kept, new = Signal(), Signal()
        m.d.comb += [kept.eq(again | ~self.up), new.eq(take | ~self.up)]
        with m.If(self.slot):
            m.d.sync += [
                head.kind.eq(Mux(again | take, Kind.DATA, Kind.IDLE)),
                head.sequence.eq(following), head.epoch.eq(epoch), head.status.eq(self.status),
                flit.eq(Mux(kept, Mux(new, training, buffer.read_data),
                            Mux(new, Value.cast(self.out_flit), 0))),
            ]
            with m.If(~self.up):
                m.d.sync += [head.kind.eq(Kind.TRAINING), head.status.eq(0),
                             head.status.echo.eq(self.seen)]
        m.d.sync += unsaved.eq(take)
        m.d.comb += [
            buffer.write_data.eq(flit), buffer.write_address.eq(head.sequence),
            buffer.write_mask.eq(unsaved),
        ]
        with m.If(~self.up):
            m.d.sync += [each.eq(0) for each in (
                newest, following, oldest, epoch, full, replaying, fetched, unsaved, self.replay)]
        return m

    def _fetch(self, m: Module, buffer: Sram, following: Value, replaying: Value, fetched: Value,
               unsaved: Value, again: Value) -> None:
        """Read flits of a replay ahead, one before it is sent; never the one being written."""
        fetch = Signal()
        m.d.comb += [
            fetch.eq(again | (replaying & ~fetched & ~unsaved)), buffer.read_enable.eq(fetch),
            buffer.read_address.eq(Mux(fetched, following + 1, following)),
        ]
        with m.If(fetch & ~self.replay):
            m.d.sync += fetched.eq(1)

    def _judge(self, m: Module, waiting: Value, oldest: Value, epoch: Value) -> None:
        """Take acknowledgements; decide whether to go back, in the next cycle."""
        peer = self.peer
        advance = Signal(len(oldest))
        m.d.comb += advance.eq(peer.acknowledge - oldest)
        # The epoch changes at the end of a cycle with ``replay``, and what comes in it is older.
        go_back = Signal()
        m.d.comb += go_back.eq(self.peer_valid & peer.negative & (peer.echo == epoch)
                               & ~self.replay)
        m.d.sync += self.replay.eq(go_back)
        retries = Signal(range(self.config.max_retries + 1))
        with m.If(self.peer_valid):
            m.d.sync += oldest.eq(peer.acknowledge)
            with m.If(advance > waiting):
                m.d.sync += self.bad_acknowledge.eq(1)
            with m.If(advance != 0):
                m.d.sync += retries.eq(0)
            with m.Elif(go_back):
                m.d.sync += retries.eq(retries + 1)
                with m.If(retries == self.config.max_retries):
                    m.d.sync += self.retries_exceeded.eq(1)
        with m.If(~self.up):
            m.d.sync += [retries.eq(0), self.retries_exceeded.eq(0), self.bad_acknowledge.eq(0)]

    def _credits(self, m: Module, take: Value) -> None:
        """Count flits sent on each channel, and keep what the peer says has left its queues."""
        full = self.places - ROOM_FLITS + 1
        count = self.peer.credit_count
        for channel in range(self.channels):
            used, freed, held = (Signal(len(count), name=f"{name}_{channel}")
                                 for name in ("used", "freed", "held"))
            takes = Signal(name=f"takes_{channel}")
            m.d.comb += [
                takes.eq(take & (self.out_flit.channel == channel)), held.eq(used - freed)]
            m.d.sync += [
                used.eq(used + takes),
                self.out_room[channel].eq(
                    ~((held >= full) | ((held == full - 1) & takes)) | ~self.up),
            ]
            with m.If(self.peer_valid & (self.peer.credit_channel == channel)):
                m.d.sync += freed.eq(count)
            with m.If(~self.up):
                m.d.sync += [used.eq(0), freed.eq(0)]
        m.d.comb += self.starved.eq(
            self.up & self.slot & ~self.out_valid & ~Cat(*self.out_room).all())
