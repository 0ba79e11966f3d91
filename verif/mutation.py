"""Mutation run: plants one error at a time in the hardware and demands that a test fails.

``python -m verif.mutation [NAME ...]`` copies the project, changes one line of the copy, and runs
the test that should notice. A mutant that survives is a hole in the tests. Each takes a build.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
#: What the copy leaves out.
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache")

_ARRAY = "tests/test_matrix_unit.py::test_matrix_unit[4-4-4-4-False]"
_VECTOR = "tests/test_vector_unit.py::test_vector_unit[tiny]"
_SERIAL = "tests/test_uart.py::test_uart_bridge[8]"
_LINK = "tests/test_link.py::test_link[narrow]"
_LINK_GOLDEN = "tests/test_link.py::test_hardware_and_golden[1]"
_LINK_PROOF = "tests/test_link_proof.py::test_proof[order]"
_ROUTER = "tests/test_router.py::test_router[8-16]"
_TRAFFIC = "tests/test_network_traffic.py::test_everything_arrives[4-4-True]"
_INTERFACE = "tests/test_network_interface.py::test_interface[8]"
_RING = "tests/test_collective.py::test_random_commands[2-2-0.0]"
_TORUS = "tests/test_torus.py::test_bits_of_one_chip[2-2-4-1-0.0]"
_CHIP = "tests/test_chiplet.py::test_generation[small-tiny-11-10-0.9]"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One planted error: ``old`` becomes ``new`` in ``file``; ``test`` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS: Sequence[Mutant] = (
    Mutant(name="array-sign", file="hw/matmul/array_step.py", test=_ARRAY,
           old="pe.activation.eq(activation.as_signed())", new="pe.activation.eq(activation >> 1)"),
    Mutant(name="array-first-tile", file="hw/matmul/systolic_array.py", test=_ARRAY,
           old="Mux(tag.first, 0, total)", new="Mux(tag.last, 0, total)"),
    Mutant(name="key-column", file="hw/matmul/issue.py", test=_ARRAY,
           old="self.store_request.column.eq(position)",
           new="self.store_request.column.eq(position + 1)"),
    Mutant(name="requantizer-rounding", file="hw/matmul/drain_lane.py", test=_ARRAY,
           old="sign) + value[0])", new="sign) + 0)"),
    Mutant(name="booth-negation", file="hw/booth_product.py",
           test="tests/test_booth_product.py::test_product",
           old="below = Cat(digit.negative,", new="below = Cat(Const(0, 1),"),
    Mutant(name="drain-mask", file="hw/matmul/drain.py", test=_ARRAY,
           old="beats[cycle].seen <= i", new="beats[cycle].seen < i"),
    Mutant(name="drain-statistic", file="hw/matmul/row_statistic.py", test=_ARRAY,
           old="running[0] & ~whole[:-1].all()", new="running[0] & ~running[0]"),
    Mutant(name="residual-forwarding", file="hw/matmul/residual_adder.py", test=_ARRAY,
           old="Mux(self.late[2], recent, 0)", new="Mux(self.late[2], self.memory, 0)"),
    Mutant(name="bank-bound", file="hw/matmul/issue.py", test=_ARRAY,
           old="bank_bad.eq(weight >= config.bank_words),\n                             self.issuing.eq(~",
           new="bank_bad.eq(weight > config.bank_words),\n                             self.issuing.eq(~"),
    Mutant(name="softmax-mask", file="hw/vector/datapath.py", test=_VECTOR,
           old="exponential.visible.eq(self.visible_left >= i)",
           new="exponential.visible.eq(self.visible_left > i)"),
    Mutant(name="softmax-rounding", file="hw/vector/exponential_lane.py", test=_VECTOR,
           old="(shifted + 1) >> 1", new="shifted >> 1"),
    Mutant(name="rope-sign", file="hw/vector/transform_pair.py", test=_VECTOR,
           old="subtract.eq(self.subtract)", new="subtract.eq(~self.subtract)"),
    Mutant(name="quantizer-rounding", file="hw/vector/quantize_lane.py", test=_VECTOR,
           old="1 << (_PRODUCT_FRACTION_BITS - 1), _PRODUCT_BITS", new="0, _PRODUCT_BITS"),
    Mutant(name="sequencer-loop", file="hw/control/loop_stack.py", test=_CHIP,
           old="top_count != 1", new="top_count != 2"),
    Mutant(name="sequencer-minimum", file="hw/control/scalar_unit.py", test=_CHIP,
           old="Mux(less, a, b)", new="Mux(less, b, a)"),
    Mutant(name="scoreboard-event", file="hw/control/scoreboard.py",
           test="tests/test_sequencer_rtl.py::test_sequencer",
           old="Mux(a > b, a, b)", new="Mux(a > b, b, a)"),
    Mutant(name="queue-wait", file="hw/control/queue.py",
           test="tests/test_sequencer_rtl.py::test_queue[4]",
           old="now.eq(Mux(self.push & free[i], self.wait[unit], waits[unit]))",
           new="now.eq(Mux(self.push & first[i], self.wait[unit], waits[unit]))"),
    Mutant(name="queue-head", file="hw/control/queue.py",
           test="tests/test_sequencer_rtl.py::test_queue[4]",
           old="head.eq(Mux(alone, before, source))", new="head.eq(source)"),
    Mutant(name="sequencer-subtract", file="hw/control/scalar_unit.py",
           test="tests/test_sequencer_rtl.py::test_sequencer",
           old="carries.eq(Cat(decoded.sub,", new="carries.eq(Cat(0,"),
    Mutant(name="sequencer-forwarding", file="hw/control/sequencer.py",
           test="tests/test_sequencer_rtl.py::test_sequencer",
           old="follows = self._valid & self._decoded.writes &",
           new="follows = self._decoded.writes &"),
    Mutant(name="sram-hold", file="hw/memory/models.py", test="tests/test_sram.py",
           old="if (enable && write_mask == 0) read_data", new="if (enable) read_data"),
    Mutant(name="adapter-hold", file="hw/memory/adapter.py", test="tests/test_sram.py::test_sram[32x256]",
           old="read_now ? fresh : held", new="fresh"),
    Mutant(name="residual-sum", file="hw/matmul/residual_adder.py",
           test="tests/test_chiplet.py::test_layers[small]",
           old="total.eq(base + self", new="total.eq(1 + base + self"),
    Mutant(name="fault-cause", file="hw/control/sequencer.py",
           test="tests/test_chiplet.py::test_faults",
           old="Mux(self._empty, Fault.EMPTY_COMMAND,", new="Mux(self._empty, Fault.LOOP,"),
    Mutant(name="fault-late", file="hw/control/sequencer.py",
           test="tests/test_chiplet.py::test_faults",
           old="(self.fault == Fault.NONE) & ~self._empty", new="(self.fault == Fault.NONE)"),
    Mutant(name="store-bound", file="hw/matmul/issue.py",
           test="tests/test_matrix_unit.py",
           old="weight[bits:].any() | (address", new="(address"),
    Mutant(name="host-bank-row", file="hw/matmul/matrix_unit.py",
           test="tests/test_chiplet.py::test_front_door",
           old="self.host_row == r for", new="self.host_row == r + 1 for"),
    Mutant(name="end-token", file="hw/control/sequencer.py",
           test="tests/test_chiplet.py::test_end_token",
           old="self.sampled_token == self.end_token", new="self.sampled_token[1:] == self.end_token"),
    Mutant(name="sampler-mix", file="hw/vector/gumbel_noise.py", test="tests/test_sampler_rtl.py",
           old="_MIX_ROUNDS = 5", new="_MIX_ROUNDS = 4"),
    Mutant(name="serial-checksum", file="hw/host/uart_bridge.py", test=_SERIAL,
           old="with m.If(self.crc != 0):", new="with m.If(self.crc[8:] != 0):"),
    Mutant(name="serial-repeat", file="hw/host/uart_bridge.py", test=_SERIAL,
           old="self.write & last_was_write & (sequence == last_sequence)",
           new="self.write & (sequence == last_sequence)"),
    Mutant(name="serial-held-data", file="hw/host/uart_bridge.py", test=_SERIAL,
           old="with m.If(~self.write):\n                m.d.sync += self.word",
           new="with m.If(1):\n                m.d.sync += self.word"),
    Mutant(name="serial-overrun", file="hw/host/uart_bridge.py", test=_SERIAL,
           old="with m.If(self.overrun):", new="with m.If(0):"),
    Mutant(name="serial-majority", file="hw/host/uart.py", test=_SERIAL,
           old="value.eq((samples[0] & samples[1]) | (line & (samples[0] | samples[1])))",
           new="value.eq(samples[0])"),
    Mutant(name="link-sequence", file="hw/link/receiver.py", test=_LINK_GOLDEN,
           old="in_sequence.eq(message.sequence == self.acknowledge)",
           new="in_sequence.eq(message.sequence[2:] == self.acknowledge[2:])"),
    Mutant(name="link-window", file="hw/link/transmitter.py", test=_LINK_PROOF,
           old="self.window = config.replay_flits - 1", new="self.window = config.replay_flits"),
    Mutant(name="link-negative", file="hw/link/receiver.py", test=_LINK_GOLDEN,
           old="self.negative.eq(~in_sequence)", new="self.negative.eq(0)"),
    Mutant(name="link-credit-wrap", file="hw/link/credit_return.py", test=_LINK_GOLDEN,
           old="counts = [Signal(len(self.count),", new="counts = [Signal(len(self.count) - 1,"),
    Mutant(name="link-credit-refresh", file="hw/link/credit_return.py", test=_LINK,
           old="Mux(refresh, refreshed, _lowest(waiting))", new="Mux(0, refreshed, _lowest(waiting))"),
    Mutant(name="link-saved", file="hw/link/transmitter.py",
           test="tests/test_link_proof.py::test_proof[memory]",
           old="replaying & ~fetched & ~unsaved", new="replaying & ~fetched"),
    Mutant(name="link-epoch", file="hw/link/transmitter.py", test=_LINK_GOLDEN,
           old="peer.negative & (peer.echo == epoch)", new="peer.negative"),
    Mutant(name="link-fetch", file="hw/link/transmitter.py", test=_LINK_PROOF,
           old="Mux(fetched, following + 1, following)", new="following"),
    Mutant(name="link-crc-tap", file="hw/link/crc.py", test="tests/test_crc.py::test_hardware",
           old="POLYNOMIAL = 0x15D6DCB", new="POLYNOMIAL = 0x15D6DC9"),
    Mutant(name="link-crc-ignored", file="hw/link/deserializer.py", test=_LINK,
           old="right.eq(correct & complete)", new="right.eq(complete)"),
    Mutant(name="link-peer-down", file="hw/link/training.py", test=_LINK,
           old="(self.training & ~self.training_echo, LinkCause.PEER)",
           new="(self.training & self.training_echo, LinkCause.PEER)"),
    Mutant(name="link-alignment", file="hw/link/deserializer.py",
           test="tests/test_link.py::test_link[clocks]",
           old="with m.If(lost == LOST_WORDS - 1):", new="with m.If(0):"),
    Mutant(name="link-pace", file="hw/link/serializer.py",
           test="tests/test_link.py::test_link[clocks]",
           old="soon = count == 0", new="soon = count == -1"),
    Mutant(name="link-paced-slot", file="hw/link/serializer.py",
           test="tests/test_link.py::test_link[clocks]",
           old="(following == phits - 2) & ~soon", new="following == phits - 2"),
    Mutant(name="link-crc-slides", file="hw/link/crc.py",
           test="tests/test_link.py::test_words_on_the_wires[sizes0]",
           old="[_divided(weight, width) for weight in weights[:width]]", new="weights[:width]"),
    Mutant(name="route-dateline", file="hw/router/route.py",
           test="tests/test_route.py::test_no_ring_in_any_network",
           old="self.vc | wraps, wraps |", new="self.vc, 0 |"),
    Mutant(name="router-narrow-link", file="hw/router/output_port.py",
           test="tests/test_network_traffic.py::test_everything_arrives_by_narrow_links[1-shapes0]",
           old="with m.If(~advance & self.out_ready):", new="with m.If(0):"),
    Mutant(name="route-parity", file="hw/router/route.py",
           test="tests/test_route.py::test_no_ring_in_any_network",
           old="wraps | (~crosses & parity)", new="wraps | parity"),
    Mutant(name="route-tie", file="hw/router/route.py", test="tests/test_route.py::test_every_step",
           old="(destination <= farthest_up)", new="(destination < farthest_up)"),
    Mutant(name="arbiter-priority", file="hw/router/arbiter.py",
           test="tests/test_arbiter.py::test_arbiter[2]",
           old="first.eq(self.served[j])", new="first.eq(self.served[i])"),
    Mutant(name="queue-landing", file="hw/router/input_queue.py",
           test="tests/test_input_queue.py::test_input_queue[channels1-8]",
           old="second.eq(Mux(lands, landed, kept))", new="second.eq(kept)"),
    Mutant(name="router-room", file="hw/network/flit.py", test=_TRAFFIC,
           old="ROOM_FLITS = 3", new="ROOM_FLITS = 2"),
    Mutant(name="router-tail", file="hw/router/output_port.py", test=_ROUTER,
           old="unheld[c].eq(tail)", new="unheld[c].eq(1)"),
    Mutant(name="router-line", file="hw/router/output_port.py", test=_ROUTER,
           old="self.won[i][c].eq(self.free[c] & line.grants[i])",
           new="self.won[i][c].eq(self.free[c] & ~line.requests[:i].any())"),
    Mutant(name="router-cut", file="hw/router/input_port.py", test=_ROUTER,
           old="m.d.sync += holds[c].eq(0)", new="m.d.sync += holds[c].eq(holds[c])"),
    Mutant(name="router-freed", file="hw/router/input_queue.py", test=_ROUTER,
           old="freed[self.channels[c]].eq(gone)", new="freed[self.channels[c]].eq(gone & (counts[c] > 1))"),
    Mutant(name="interface-tag", file="hw/network/initiator.py", test=_INTERFACE,
           old="& (reply.header.tag == tag)", new="& (reply.header.tag[:7] == tag[:7])"),
    Mutant(name="interface-timeout", file="hw/network/initiator.py", test=_INTERFACE,
           old="request.ready.eq(self.packet.ready | late)", new="request.ready.eq(self.packet.ready)"),
    Mutant(name="interface-room", file="hw/network/flit_queue.py", test=_INTERFACE,
           old="self.room.eq(count <= depth - ROOM_FLITS)", new="self.room.eq(count <= depth - 2)"),
    Mutant(name="interface-length", file="hw/network/packet_reader.py", test=_INTERFACE,
           old="wrong.eq(flit.tail != (now_left == 0))", new="wrong.eq(~flit.tail & (now_left == 0))"),
    Mutant(name="interface-aborted", file="hw/network/packet_reader.py", test=_INTERFACE,
           old="first.eq(flit.head & ~opened)", new="first.eq(flit.head)"),
    Mutant(name="interface-misdelivered", file="hw/network/target.py", test=_INTERFACE,
           old="with m.If(here & fits):", new="with m.If(fits):"),
    Mutant(name="interface-share", file="hw/network/sender.py", test=_INTERFACE,
           old="TrafficClass.COLLECTIVE] * 6, TrafficClass.REPLY, TrafficClass.REQUEST)",
           new="TrafficClass.COLLECTIVE] * 7, TrafficClass.REPLY)"),
    Mutant(name="request-arbiter", file="hw/host/request_arbiter.py",
           test="tests/test_access_sharing.py::test_arbiter",
           old="Mux(last, ~self.request_0.valid, self.request_1.valid)",
           new="Mux(last, ~self.request_0.valid, ~self.request_0.valid)"),
    Mutant(name="link-held", file="hw/network/link_control.py",
           test="tests/test_access_sharing.py::test_link_is_held_until_its_port_is_empty",
           old="self.retrain & self.in_idle & ~self.up", new="self.retrain & ~self.up"),
    Mutant(name="remote-own-chip", file="hw/host/remote_access.py",
           test="tests/test_chips.py::test_own_chip_needs_no_packets",
           old="(self.target_y != self.node_y)", new="(self.target_y == self.node_y)"),
    Mutant(name="collective-turn", file="hw/collective/engine.py", test=_RING,
           old="~first & (chunk <= turn)", new="~first & (chunk < turn)"),
    Mutant(name="collective-kept", file="hw/collective/engine.py", test=_RING,
           old="chunk >= turn,", new="chunk > turn,"),
    Mutant(name="collective-maximum", file="hw/collective/engine.py", test=_RING,
           old="statistic.first.eq(counted[1])", new="statistic.first.eq(1)"),
    Mutant(name="collective-room", file="hw/collective/sender.py", test=_RING,
           old="count.eq(count + gained - lost)", new="count.eq(count + gained)"),
    Mutant(name="collective-credit", file="hw/collective/sender.py", test=_RING,
           old="count.eq(count + taken - Mux(", new="count.eq(count - Mux("),
    Mutant(name="collective-epoch", file="hw/collective/receiver.py",
           test="tests/test_collective.py::test_packets_of_another_epoch_are_not_taken",
           old="fresh.eq(header.tag == self.epoch)", new="fresh.eq(1)"),
    Mutant(name="collective-abandoned", file="hw/collective/sender.py",
           test="tests/test_collective.py::test_reset_within_a_packet",
           old="with m.If(drop & ~(sent & (left == 1))):", new="with m.If(0):"),
    Mutant(name="collective-choice", file="hw/collective/engine.py", test=_TORUS,
           old="beats_best = (offered.value > self.best.value)",
           new="beats_best = (offered.value < self.best.value)"),
    Mutant(name="share-place", file="hw/matmul/issue.py", test=_TORUS,
           old="self.token_absent.eq(absent)", new="self.token_absent.eq(0)"),
    Mutant(name="share-base", file="hw/vector/sampler.py",
           test="tests/test_torus.py::test_shares_of_different_size",
           old="Mux(now.first, self._first_group, groups)", new="Mux(now.first, 0, groups)"),
)


def run_mutant(mutant: Mutant) -> str:
    """Return ``killed``, ``survived``, or what went wrong with the mutant itself."""
    with tempfile.TemporaryDirectory(prefix="tessera-mutant-") as directory:
        copy = Path(directory) / "project"
        shutil.copytree(PROJECT, copy, ignore=_LEFT_OUT)
        file = copy / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            return f"invalid: {mutant.old!r} is {text.count(mutant.old)} times in {mutant.file}"
        file.write_text(text.replace(mutant.old, mutant.new))
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.test],
            cwd=copy, capture_output=True, text=True, check=False)
    if result.returncode == 1 and " failed" in result.stdout:
        # A mutant that does not even build shows nothing about the tests.
        return "invalid: it does not build" if "building " in result.stdout else "killed"
    return "survived" if result.returncode == 0 else f"invalid: {result.stdout[-200:]}"


def main(names: Sequence[str]) -> int:
    """Run the named mutants, or all; return 1 if one survives."""
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        print(f"error: unknown mutants {', '.join(sorted(unknown))}; known: "
              f"{', '.join(m.name for m in MUTANTS)}", file=sys.stderr)
        return 2
    outcomes = {}
    for mutant in MUTANTS:
        if not names or mutant.name in names:
            outcomes[mutant.name] = run_mutant(mutant)
            print(f"{mutant.name:24} {outcomes[mutant.name]}", flush=True)
    killed = sum(outcome == "killed" for outcome in outcomes.values())
    print(f"{killed} of {len(outcomes)} killed")
    return 0 if killed == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
