"""The core: sequencer, queues, matrix unit, vector unit, sampler, and the memories between them."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.collective.engine import CollectiveEngine, network_members
from hw.config import ChipletConfig
from hw.control.isa import (
    MATRIX_DESCRIPTORS,
    NETWORK_OPCODES,
    VECTOR_DESCRIPTORS,
    Fault,
    Opcode,
    matrix_command_layout,
    vector_command_layout,
)
from hw.control.queue import PC_BITS, CommandQueue
from hw.control.sequencer import Sequencer
from hw.emit import instantiate
from hw.host.memory_map import WRITABLE
from hw.matmul.array_step import address_bits
from hw.matmul.matrix_unit import MatrixUnit
from hw.memory.shapes import memory_shapes
from hw.memory.sram import Sram
from hw.vector.sampler import Sampler
from hw.vector.vector_unit import VectorUnit

#: Event counters that the host reads; each is high in a cycle that counts.
COUNTED = ("array_busy", "vector_busy", "matrix_wait_event", "matrix_wait_command",
           "matrix_paced", "matrix_store", "vector_wait_event", "vector_wait_command",
           "sequencer_stall")
#: Host values that the core takes, with their widths.
CONTROLS = {"prompt_length": 16, "token_limit": 16, "start_position": 16, "end_token": 32,
            "temperature": 16, "seed": 32, "epsilon": 32, "watchdog_cycles": 32,
            "breakpoint": PC_BITS, "breakpoint_enable": 1, "pause_after_token": 1}


def host_memory_ports(config: ChipletConfig) -> dict[str, object]:
    """Return the members through which the host reaches each memory: ``host_<memory>_...``.

    ``select`` claims the memory (only while the core is idle; ``tokens`` when granted); a read is
    answered one cycle after ``read_enable``, by a bank after ``SystolicArray.sums_latency``.
    """
    members: dict[str, object] = {}
    for name, shape in memory_shapes(config).items():
        members |= {
            f"host_{name}_select": In(1), f"host_{name}_address": In(range(shape.words)),
            f"host_{name}_write_mask": In(shape.mask_bits),
            f"host_{name}_write_data": In(shape.bits),
            f"host_{name}_read_enable": In(1), f"host_{name}_read_data": Out(shape.bits),
        }
    return members | {
        "host_banks_row": In(range(config.rows)),
        "host_banks_address": In(address_bits(config)),
        "host_banks_write_enable": In(1), "host_banks_write_mask": In(config.columns),
        "host_banks_write_data": In(8 * config.columns), "host_banks_read_enable": In(1),
        "host_banks_read_data": Out(8 * config.columns),
        "tokens_grant": Out(1),
    }


def _either(first: tuple[Value, Value, Value], second: tuple[Value, Value, Value]) -> tuple[
        Value, Value, Value]:
    """Return the write (address, enable, data) of one of two units; the first one's, if both do."""
    address, data = (Mux(first[1], first[i], second[i]) for i in (0, 2))
    return address, first[1] | second[1], data


class Core(wiring.Component):
    """Everything that a soft reset clears; the memories keep their contents.

    Ports: ``start``, ``resume`` pulses and the host's values (:data:`CONTROLS`); ``running``,
    ``done``, ``paused``, ``fault``, ``fault_pc``; ``idle``: neither sequencer nor units work, and
    the host may use the memories (``tokens``: always, when granted); ``token_event`` with ``token``; one bit per counter
    of :data:`COUNTED`, and ``saturations`` in this cycle; host ports of
    :func:`host_memory_ports`. With a network, ``collective_*``: ports of
    :func:`hw.collective.engine.network_members`.

    The vector unit and the collective engine take commands from one queue, and never work at the
    same time.
    """

    def __init__(self, config: ChipletConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "resume": In(1), **{name: In(bits) for name, bits in CONTROLS.items()},
            "running": Out(1), "done": Out(1), "paused": Out(1), "idle": Out(1),
            "fault": Out(Fault), "fault_pc": Out(PC_BITS),
            "token_event": Out(1), "token": Out(17),
            **{name: Out(1) for name in COUNTED}, "saturations": Out(range(2 * config.lanes + 1)),
            **host_memory_ports(config),
            **({} if config.network is None else {
                f"collective_{name}": member for name, member in network_members(config).items()}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        sequencer, matrix, vector = Sequencer(config), MatrixUnit(config), VectorUnit(config)
        sampler = Sampler(config)
        for name, part in (("sequencer", sequencer), ("matrix_unit", matrix),
                           ("vector_unit", vector), ("sampler", sampler)):
            instantiate(m, name, f"tessera_{name}", part, platform)
        matrix_queue = CommandQueue(matrix_command_layout(), config, MATRIX_DESCRIPTORS)
        vector_queue = CommandQueue(
            vector_command_layout(network=config.network is not None), config, VECTOR_DESCRIPTORS)
        m.submodules.matrix_queue, m.submodules.vector_queue = matrix_queue, vector_queue
        memories = {}
        for name, shape in memory_shapes(config).items():
            memories[name] = Sram.of(shape)
            m.submodules[name] = memories[name]

        self._engine: CollectiveEngine | None = None
        if config.network is not None:
            self._engine = CollectiveEngine(config)
            instantiate(m, "engine", "tessera_collective_engine", self._engine, platform)
        self._control(m, sequencer, matrix, vector, sampler, matrix_queue, vector_queue)
        self._memories(m, memories, sequencer, matrix, vector)
        return m

    def _control(self, m: Module, sequencer: Sequencer, matrix: MatrixUnit, vector: VectorUnit,
                 sampler: Sampler, matrix_queue: CommandQueue, vector_queue: CommandQueue) -> None:
        vector_pc = Signal(PC_BITS, reset_less=True)
        sampler_busy = Signal()
        vector_done, vector_busy = vector.done, vector.busy
        if self._engine is not None:
            vector_done, vector_busy = (vector.done | self._engine.done,
                                        vector.busy | self._engine.busy)
        for queue, unit in ((matrix_queue, "matrix"), (vector_queue, "vector")):
            m.d.comb += [
                queue.entry.eq(getattr(sequencer, f"{unit}_entry")),
                queue.push.eq(getattr(sequencer, f"{unit}_push")), queue.wait.eq(sequencer.wait),
                getattr(sequencer, f"{unit}_full").eq(queue.full),
                queue.matrix_done.eq(matrix.done), queue.vector_done.eq(vector_done),
                queue.enable.eq(sequencer.healthy),
            ]
        m.d.comb += [
            matrix.head.eq(matrix_queue.head), matrix.head_ready.eq(matrix_queue.ready),
            matrix_queue.pop.eq(matrix.pop),
        ]
        self._dispatch(m, vector, sampler_busy, vector_queue)
        m.d.comb += [
            sequencer.matrix_done.eq(matrix.done), sequencer.vector_done.eq(vector_done),
            vector.epsilon.eq(self.epsilon),
        ]
        with m.If(vector_queue.pop):
            m.d.sync += vector_pc.eq(vector_queue.head.pc)
        # One cycle behind the units, so that a queue's head has no moment of seeming idleness.
        idle = Signal()
        m.d.sync += idle.eq(
            matrix.idle & ~vector_busy & ~matrix_queue.occupied & ~vector_queue.occupied
            & ~sequencer.matrix_push & ~sequencer.vector_push)
        m.d.comb += [
            sequencer.units_idle.eq(idle),
            sequencer.unit_fault.eq(matrix.fault), sequencer.unit_fault_pc.eq(matrix.fault_pc),
        ]
        with m.If(matrix.fault == Fault.NONE):
            fault = vector.fault if self._engine is None else (
                vector.fault.as_value() | self._engine.fault.as_value())
            m.d.comb += [sequencer.unit_fault.eq(fault), sequencer.unit_fault_pc.eq(vector_pc)]

        with m.If(matrix.sampler_valid & matrix.sampler_first):
            m.d.sync += sampler_busy.eq(1)
        with m.Elif(sampler.done):
            m.d.sync += sampler_busy.eq(0)
        m.d.comb += [
            sampler.beat_valid.eq(matrix.sampler_valid), sampler.first.eq(matrix.sampler_first),
            sampler.last.eq(matrix.sampler_last),
            sampler.live.eq(matrix.sampler_live), sampler.logits.eq(matrix.sampler_logits),
            sampler.load_seed.eq(self.start), sampler.seed.eq(self.seed),
            sampler.draw.eq(sequencer.draw), sampler.temperature.eq(self.temperature),
            sequencer.sampler_busy.eq(sampler_busy),
            sequencer.sampled_token.eq(self._token(m, matrix, sampler)),
            self.token.eq(sequencer.token_data), self.token_event.eq(sequencer.token_event),
        ]
        for name in ("start", "resume", "prompt_length", "token_limit", "start_position",
                     "end_token", "watchdog_cycles", "breakpoint", "breakpoint_enable",
                     "pause_after_token"):
            m.d.comb += getattr(sequencer, name).eq(getattr(self, name))
        for name in ("running", "done", "paused", "fault", "fault_pc"):
            m.d.comb += getattr(self, name).eq(getattr(sequencer, name))

        working = sequencer.running & ~sequencer.paused
        resting = working & ~matrix.issuing & ~matrix.paced & ~matrix.storing
        vector_resting = working & ~vector_busy
        m.d.comb += self.idle.eq(idle & ~working & (sequencer.fault == Fault.NONE))
        # The counters see a cycle one later than it is.
        m.d.sync += [
            self.array_busy.eq(matrix.issuing),
            self.vector_busy.eq(vector.busy), self.matrix_paced.eq(matrix.paced),
            self.matrix_store.eq(matrix.storing),
            self.matrix_wait_event.eq(resting & matrix_queue.head_valid),
            self.matrix_wait_command.eq(resting & ~matrix_queue.head_valid),
            self.vector_wait_event.eq(vector_resting & vector_queue.head_valid),
            self.vector_wait_command.eq(vector_resting & ~vector_queue.head_valid),
            self.sequencer_stall.eq(sequencer.stalled),
            self.saturations.eq(matrix.clipped + vector.saturations),
        ]

    def _dispatch(self, m: Module, vector: VectorUnit, sampler_busy: Signal,
                  queue: CommandQueue) -> None:
        """Give a command to the vector unit or to the collective engine, one at a time."""
        payload, engine = queue.head.command, self._engine
        if engine is None:
            m.d.comb += [
                vector.command.payload.eq(payload), vector.command.valid.eq(queue.ready),
                queue.pop.eq(queue.ready & vector.command.ready),
            ]
            return
        of_network, able = Signal(), Signal()
        opcode = payload.opcode
        m.d.comb += [
            of_network.eq(Cat(opcode == op for op in NETWORK_OPCODES).any()),
            # CHOOSE needs what is being sampled.
            able.eq(engine.command.ready & vector.command.ready
                    & ~((opcode == Opcode.CHOOSE) & sampler_busy)),
            *(Value.cast(unit.command.payload[name]).eq(Value.cast(payload[name]))
              for unit in (vector, engine) for name in unit.command.payload.shape().members),
            vector.command.valid.eq(queue.ready & ~of_network & engine.command.ready),
            engine.command.valid.eq(queue.ready & of_network & able),
            queue.pop.eq(queue.ready & Mux(of_network, able, vector.command.ready
                                           & engine.command.ready)),
        ]
        for name, member in network_members(self.config).items():
            own, port = getattr(engine, name), getattr(self, f"collective_{name}")
            if member.is_signature:
                wiring.connect(m, own, wiring.flipped(port))
            else:
                target, source = (own, port) if member.flow == In else (port, own)
                m.d.comb += Value.cast(target).eq(Value.cast(source))

    def _token(self, m: Module, matrix: MatrixUnit, sampler: Sampler) -> Value:
        """Return the token: the sampler's, or the one that the chips chose since."""
        engine = self._engine
        if engine is None:
            return sampler.token
        chosen = Signal(init=1)
        choosing = Signal()
        with m.If(engine.command.valid):
            m.d.sync += choosing.eq(engine.command.payload.opcode == Opcode.CHOOSE)
        with m.If(matrix.sampler_valid & matrix.sampler_first):
            m.d.sync += chosen.eq(0)
        with m.Elif(engine.done & choosing):
            m.d.sync += chosen.eq(1)
        m.d.comb += [
            sampler.base.eq(matrix.sampler_base), engine.candidate.eq(sampler.best),
            # What was offered once is not offered again.
            engine.candidate.live.eq(sampler.best.live & ~chosen),
        ]
        return Mux(chosen, engine.best.token, sampler.token)

    def _memories(self, m: Module, memories: dict[str, Sram], sequencer: Sequencer,
                  matrix: MatrixUnit, vector: VectorUnit) -> None:
        def host(name: str, what: str) -> Value:
            return getattr(self, f"host_{name}_{what}")

        def two_ports(name: str, read: tuple[Value, Value], write: tuple[Value, Value, Value]) -> None:
            """Wire a 1R1W memory: (address, enable) and (address, mask, data) unless the host has it."""
            memory, select = memories[name], host(name, "select")
            m.d.comb += [
                memory.read_address.eq(Mux(select, host(name, "address"), read[0])),
                memory.read_enable.eq(Mux(select, host(name, "read_enable"), read[1])),
                host(name, "read_data").eq(memory.read_data),
            ]
            for port, unit in zip(("address", "mask", "data"), write, strict=True):
                hosts = host(name, "address" if port == "address" else f"write_{port}")
                m.d.comb += getattr(memory, f"write_{port}").eq(
                    Mux(select, hosts, unit) if name in WRITABLE else unit)

        two_ports("activations", (matrix.activation_address, matrix.activation_enable),
                  (vector.activation_address, vector.activation_mask, vector.activation_data))
        two_ports("outputs", (matrix.output_read_address, matrix.output_enable),
                  (matrix.output_address, matrix.output_mask, matrix.output_data))
        two_ports("results", (vector.result_address, vector.result_enable),
                  (matrix.result_address, matrix.result_write, matrix.result_data))
        # The residual has two readers: the drain, which cannot wait, and the vector unit, whose
        # commands wait for the drain's by an event; so they never meet in a correct program.
        vector_address, vector_enable = vector.residual_address, vector.residual_enable
        residual_write = (matrix.residual_write_address, matrix.residual_write,
                          matrix.residual_write_data)
        maximum_write = (matrix.maximum_address, matrix.maximum_write, matrix.maximum_data)
        engine = self._engine
        if engine is not None:
            # The same holds for the collective engine, and for its writes.
            vector_address = Mux(vector_enable, vector_address, engine.residual_address)
            vector_enable = vector_enable | engine.residual_enable
            residual_write = _either(residual_write, (
                engine.residual_write_address, engine.residual_write, engine.residual_write_data))
            maximum_write = _either(maximum_write, (
                engine.maximum_address, engine.maximum_write, engine.maximum_data))
            m.d.comb += engine.residual_data.eq(memories["residual"].read_data)
        two_ports("residual",
                  (Mux(matrix.residual_enable, matrix.residual_address, vector_address),
                   matrix.residual_enable | vector_enable), residual_write)
        two_ports("multipliers", (matrix.multiplier_address, matrix.multiplier_enable),
                  (vector.multiplier_address, vector.multiplier_mask, vector.multiplier_data))
        two_ports("row_scales", (matrix.row_scale_address, matrix.row_scale_enable),
                  (vector.row_scale_address, vector.row_scale_enable, vector.row_scale_data))
        two_ports("row_maxima", (vector.maximum_address, vector.maximum_enable),
                  maximum_write)
        m.d.comb += [
            matrix.activation_data.eq(memories["activations"].read_data),
            matrix.output_read_data.eq(memories["outputs"].read_data),
            vector.result_data.eq(memories["results"].read_data),
            matrix.residual_data.eq(memories["residual"].read_data),
            vector.residual_data.eq(memories["residual"].read_data),
            matrix.multiplier_data.eq(memories["multipliers"].read_data),
            matrix.row_scale_data.eq(memories["row_scales"].read_data),
            vector.maximum_data.eq(memories["row_maxima"].read_data),
        ]

        for name, address, enable in (
                ("rope", vector.rope_address, vector.rope_enable),
                ("program", sequencer.program_address, sequencer.program_enable)):
            memory, select = memories[name], host(name, "select")
            m.d.comb += [
                memory.address.eq(Mux(select, host(name, "address"), address)),
                memory.enable.eq(Mux(
                    select, host(name, "read_enable") | host(name, "write_mask").any(), enable)),
                memory.write_mask.eq(Mux(select, host(name, "write_mask"), 0)),
                memory.write_data.eq(host(name, "write_data")),
                host(name, "read_data").eq(memory.read_data),
            ]
        m.d.comb += [vector.rope_data.eq(memories["rope"].read_data),
                     sequencer.program_data.eq(memories["program"].read_data)]

        # Tokens: EMBED reads first, then EMIT writes (a cycle later at most: EMBED takes longer from
        # one read to the next), then the host.
        tokens = memories["tokens"]
        m.d.comb += [
            self.tokens_grant.eq(~matrix.token_enable & ~sequencer.token_write),
            sequencer.token_blocked.eq(matrix.token_enable),
            matrix.token_data.eq(tokens.read_data),
            self.host_tokens_read_data.eq(tokens.read_data),
        ]
        with m.If(matrix.token_enable):
            m.d.comb += [tokens.enable.eq(1), tokens.address.eq(matrix.token_address)]
        with m.Elif(sequencer.token_write):
            m.d.comb += [tokens.enable.eq(1), tokens.write_mask.eq(1),
                         tokens.address.eq(sequencer.token_address),
                         tokens.write_data.eq(sequencer.token_data)]
        with m.Elif(self.host_tokens_select):
            m.d.comb += [
                tokens.enable.eq(self.host_tokens_read_enable | self.host_tokens_write_mask),
                tokens.write_mask.eq(self.host_tokens_write_mask),
                tokens.address.eq(self.host_tokens_address),
                tokens.write_data.eq(self.host_tokens_write_data),
            ]

        m.d.comb += [
            matrix.host_read.eq(self.host_banks_read_enable),
            matrix.host_write.eq(self.host_banks_write_enable),
            matrix.host_write_mask.eq(self.host_banks_write_mask),
            matrix.host_row.eq(self.host_banks_row),
            matrix.host_address.eq(self.host_banks_address),
            matrix.host_write_data.eq(self.host_banks_write_data),
            self.host_banks_read_data.eq(matrix.host_data),
        ]


