"""When a link is up: both ends start from nothing together, and go down together."""

from amaranth.hdl import Module, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig


class LinkState(enum.Enum, shape=2):
    """State of a link."""

    #: waits for training words of the other end; a link that goes nowhere stays so
    TRAINING = 0
    #: carries flits
    UP = 1
    #: was up, and is out of order until it is trained again
    DOWN = 2


class LinkCause(enum.Enum, shape=3):
    """Why a link went down."""

    #: it did not
    NONE = 0
    #: no good word for ``silence_cycles``
    SILENCE = 1
    #: a flit did not arrive after ``max_retries`` replays
    RETRIES = 2
    #: the other end went down, was reset, or was told to train
    PEER = 3
    #: the other end acknowledged a flit that was not sent
    PROTOCOL = 4


class Training(wiring.Component):
    """Brings the link up, and takes it down.

    Ports: ``retrain``: train, from any state; ``good``: a word came; ``traffic``: an idle word or a
    flit; ``training``: a training word of a link with the same parameters, ``training_echo``: its
    sender has seen ours;
    ``retries_exceeded``, ``bad_acknowledge``: from the transmitter. ``up``: the state is UP;
    ``seen``: a training word has come since training began; ``state``, ``cause``: LinkState,
    LinkCause.

    Both ends send training words. An end that has seen one goes up as soon as it knows that the
    other end has, too: from the echo, or from a word that is no training word. An end that is down
    sends training words without echo; so does one after reset; such a word takes down an end that
    is up. Flits were lost then, so it stays down until it is told to train, when whatever depends on
    the lost flits has been cleared.
    """

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        super().__init__({
            "retrain": In(1), "good": In(1), "traffic": In(1), "training": In(1),
            "training_echo": In(1), "retries_exceeded": In(1), "bad_acknowledge": In(1),
            "up": Out(1), "seen": Out(1), "state": Out(LinkState), "cause": Out(LinkCause),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        silent = Signal(range(self.config.silence_cycles))
        with m.If(self.good | ~self.up):
            m.d.sync += silent.eq(0)
        with m.Else():
            m.d.sync += silent.eq(silent + 1)
        m.d.comb += self.up.eq(self.state == LinkState.UP)
        silence = silent == self.config.silence_cycles - 1

        with m.If(self.retrain):
            m.d.sync += [self.state.eq(LinkState.TRAINING), self.cause.eq(LinkCause.NONE),
                         self.seen.eq(0)]
        with m.Elif(self.state == LinkState.TRAINING):
            with m.If(self.training):
                m.d.sync += self.seen.eq(1)
            with m.If((self.training & self.training_echo) | (self.traffic & self.seen)):
                m.d.sync += [self.state.eq(LinkState.UP), self.seen.eq(0)]
        with m.Elif(self.up):
            for happened, cause in (
                (self.training & ~self.training_echo, LinkCause.PEER),
                (self.bad_acknowledge, LinkCause.PROTOCOL),
                (self.retries_exceeded, LinkCause.RETRIES),
                (silence, LinkCause.SILENCE),
            ):
                with m.If(happened):
                    m.d.sync += [self.state.eq(LinkState.DOWN), self.cause.eq(cause)]
        return m
