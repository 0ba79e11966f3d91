"""What a network interface sends: flits of three classes, joined for the router's local input."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.network.config import NetworkConfig
from hw.network.flit import CHANNELS, VIRTUAL_CHANNELS, TrafficClass, flit_layout
from hw.router.input_port import input_flits
from hw.router.port import Port

#: Which class goes first, in each of eight flits in turn: each is first in some.
_FIRST = (*[TrafficClass.COLLECTIVE] * 6, TrafficClass.REPLY, TrafficClass.REQUEST)
#: Of the others, the first of these.
_ORDER = (TrafficClass.COLLECTIVE, TrafficClass.REPLY, TrafficClass.REQUEST)


def content_layout(config: NetworkConfig) -> data.StructLayout:
    """Return a flit without its channel."""
    return data.StructLayout({"head": 1, "tail": 1, "data": config.flit_bits})


class Sender(wiring.Component):
    """Sends a flit per cycle, of a class that has one and a credit.

    Ports: ``request``, ``reply``, ``collective``: a stream of flits for each class; towards the
    router ``in_valid``, ``in_flit``, ``in_freed``, as the router's local port.
    Latency: 1 cycle. Throughput: a flit per cycle. COLLECTIVE goes before REPLY, and that before
    REQUEST; of eight flits, though, the seventh is preferably a REPLY and the eighth a REQUEST, so
    that a class that has a credit waits for seven flits of others at most. Packets of different
    classes may mix, those of one may not: a source gives one after the other.
    Backpressure: ``ready`` of a class depends on the others' ``valid``.
    """

    request: stream.Interface
    reply: stream.Interface
    collective: stream.Interface

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        source = In(stream.Signature(content_layout(config)))
        super().__init__({
            "request": source, "reply": source, "collective": source,
            "in_valid": Out(1), "in_flit": Out(flit_layout(config)), "in_freed": In(CHANNELS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flits = input_flits(self.config, Port.LOCAL)
        turn = Signal(range(len(_FIRST)))
        able, goes, sources = {}, {}, {}
        for kind in TrafficClass:
            name = kind.name.lower()
            source = sources[kind] = getattr(self, name)
            credits = Signal(range(flits + 1), init=flits, name=f"{name}_credits")
            able[kind] = Signal(name=f"{name}_able")
            goes[kind] = Signal(name=f"{name}_goes")
            m.d.comb += [able[kind].eq(source.valid & (credits != 0)),
                         source.ready.eq(goes[kind])]
            m.d.sync += credits.eq(
                credits + self.in_freed[VIRTUAL_CHANNELS * kind.value] - goes[kind])
        with m.Switch(turn):
            for first in dict.fromkeys(_FIRST):
                with m.Case(*(i for i, kind in enumerate(_FIRST) if kind is first)):
                    order = [first, *(kind for kind in _ORDER if kind is not first)]
                    for i, kind in enumerate(order):
                        before = Cat(able[other] for other in order[:i])
                        m.d.comb += goes[kind].eq(able[kind] & ~before.any())
        sends = goes[TrafficClass.REQUEST] | goes[TrafficClass.REPLY] | goes[TrafficClass.COLLECTIVE]
        m.d.sync += self.in_valid.eq(sends)
        with m.If(sends):
            m.d.sync += turn.eq(turn + 1)
        content = Mux(goes[TrafficClass.COLLECTIVE], sources[TrafficClass.COLLECTIVE].payload.as_value(),
                      Mux(goes[TrafficClass.REPLY], sources[TrafficClass.REPLY].payload.as_value(),
                          sources[TrafficClass.REQUEST].payload.as_value()))
        number = Mux(goes[TrafficClass.COLLECTIVE], TrafficClass.COLLECTIVE.value,
                     Mux(goes[TrafficClass.REPLY], TrafficClass.REPLY.value,
                         TrafficClass.REQUEST.value))
        chosen = data.View(content_layout(self.config), content)
        m.d.sync += [
            self.in_flit.channel.eq(number * VIRTUAL_CHANNELS), self.in_flit.head.eq(chosen.head),
            self.in_flit.tail.eq(chosen.tail), self.in_flit.data.eq(chosen.data),
        ]
        return m
