"""`tessera run --target serial:PORT` against a simulated board, as a user runs it."""

import json
import os
import subprocess
import sys
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.checkpoint import load_checkpoint
from compiler.compile import compile_model
from compiler.quantize import quantize
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from hw.config import CONFIGS
from hw.host.registers import REGISTERS
from tessera import serial_link
from tessera.board import Board, FaultError
from tessera.engines import Request
from tessera.serial_link import SerialLink
from tessera.serial_target import port_of, run_board
from tests.test_cli import invoke, refuse, write_model
from verif.serial_board import running_board

ROOT = Path(__file__).parent.parent
CONFIG = CONFIGS["tiny"]
BAUD = 1_000_000
SHAPE = LlamaShape(
    dim=16, hidden=24, layers=1, heads=2, kv_heads=1, head_dim=8, vocab=272, context=32)
FPGA_MODEL = ROOT / "models" / "shakespeare-217k"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "little", SHAPE)


@pytest.fixture(scope="module")
def terminal() -> Iterator[str]:
    with running_board(CONFIG) as name:
        yield name


@pytest.fixture
def board(terminal: str) -> Iterator[Board]:
    link = SerialLink(terminal, BAUD)
    yield Board(link, CONFIG)
    link.close()


def tessera(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tessera", *map(str, arguments)], cwd=ROOT, capture_output=True,
        text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.sim
@pytest.mark.parametrize(
    ("prompt", "tokens", "temperature"), [("to be", 6, 0.8), ("that is the question", 9, 0.0)])
def test_text_is_goldens(terminal: str, model: Path, tmp_path: Path, prompt: str, tokens: int,
                         temperature: float) -> None:
    """Text, tokens and cycles, twice on one board that still holds what was there before."""
    common = ["run", "--model", model, "--prompt", prompt, "--tokens", tokens,
              "--temperature", temperature, "--seed", 3]
    out, golden_out = tmp_path / "board.json", tmp_path / "golden.json"
    done = tessera(*common, "--config", CONFIG.name, "--target", f"serial:{terminal}",
                   "--clock-mhz", 65, "--json", out)
    assert done.returncode == 0, done.stderr
    assert invoke(*common, "--engine", "golden", "--json", golden_out).exit_code == 0
    got, want = json.loads(out.read_text()), json.loads(golden_out.read_text())
    assert got["text"] == want["text"]
    assert got["tokens"] == want["tokens"]
    assert done.stdout.startswith(prompt + want["text"])
    assert got["engine"] == "board" and got["config"] == CONFIG.name
    assert got["bit_exact"] is True
    assert got["saturations"] == want["saturations"]
    assert got["generation_cycles"] == sum(got["predicted_cycles_per_token"])
    assert got["counters"]["token_cycles"] == got["generation_cycles"]
    assert got["line_retries"] == 0
    lines = done.stdout.splitlines()
    assert "bit-exact: yes" in lines
    assert "requests sent again: 0" in lines
    rate = got["generation_cycles"] / len(got["tokens"])
    assert any(line.startswith(f"tokens per second at 65 MHz: {65e6 / rate:,.0f} with the prompt")
               for line in lines), done.stdout


@pytest.mark.sim
def test_other_configuration(terminal: str, model: Path) -> None:
    sentence = refuse("run", "--model", model, "--prompt", "x", "--tokens", 1, "--config", "base",
                      "--target", f"serial:{terminal}")
    assert sentence == f"the chip on serial:{terminal} is configuration tiny: use --config tiny"


@pytest.mark.sim
def test_fault(board: Board) -> None:
    """A program that is none stops with cause, place and phase; the next one runs."""
    quantized = quantize(random_weights(SHAPE, 2))
    image = compile_model(quantized, CONFIG)
    request = Request(prompt=[1, 2, 3], count=2)
    program = image.contents["program"].copy()
    program[5] = 0
    broken = replace(image, contents={**image.contents, "program": program})
    board.identify()
    board.load(broken, lambda done, total: None)
    with pytest.raises(FaultError, match=r"ILLEGAL_INSTRUCTION \(.*\) at instruction 5(, in |$)"):
        run_board(board, broken, quantized, request, lambda token, exact: None)
    reports: list[tuple[int, int]] = []
    board.load(image, lambda done, total: reports.append((done, total)))
    assert reports[0][0] == 0 and reports[-1][0] == reports[-1][1] > 0
    result = run_board(board, image, quantized, request, lambda token, exact: None)
    assert result.bit_exact
    assert result.tokens == GoldenLlama(quantized).generate(request.prompt, 2)[0]


@pytest.mark.sim
def test_difference(board: Board) -> None:
    """Another model's weights on the chip: the run says so, and every token is flagged."""
    image = compile_model(quantize(random_weights(SHAPE, 2)), CONFIG)
    other = quantize(random_weights(SHAPE, 5))
    board.load(image, lambda done, total: None)
    seen: list[bool] = []
    result = run_board(board, image, other, Request(prompt=[1, 2, 3], count=4),
                       lambda token, exact: seen.append(exact))
    assert result.bit_exact is False
    assert result.first_difference is not None
    assert all(seen) == result.first_difference.startswith("logit")


@pytest.mark.sim
def test_logits_are_compared(board: Board) -> None:
    """Tokens may agree where logits do not: one bit of an embedding tells."""
    quantized = quantize(random_weights(SHAPE, 2))
    image = compile_model(quantized, CONFIG)
    changed = image.contents["banks"].copy()
    request = Request(prompt=[1, 2, 3], count=1)
    want = GoldenLlama(quantized).generate(request.prompt, 1)[0]
    # A row of the output matrix that is far from winning, and not in the prompt.
    loser = int(np.argmin(GoldenLlama(quantized).step_block(request.prompt)[-1]))
    assert loser not in (*request.prompt, *want)
    word, column = divmod(loser, CONFIG.columns)
    changed[word, 0, column] ^= 1
    board.load(replace(image, contents={**image.contents, "banks": changed}), lambda *_: None)
    result = run_board(board, image, quantized, request, lambda token, exact: None)
    assert result.tokens == want
    assert result.first_difference is not None
    assert result.first_difference.startswith(f"logit {loser} of the last token: got ")


def test_targets() -> None:
    assert port_of("serial:/dev/ttyUSB0") == "/dev/ttyUSB0"
    for target in ("serial:", "/dev/ttyUSB0", "usb:1"):
        with pytest.raises(ValueError, match=r"^--target must be serial:PORT, such as serial:/dev/"):
            port_of(target)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target", "serial:/dev/none-such"], "serial:/dev/none-such: there is no such port"),
        (["--target", "ttyUSB0"], "--target must be serial:PORT, such as serial:/dev/ttyUSB0, not "),
        (["--target", "serial:x", "--engine", "golden"],
         "--engine golden does not run on --target: leave one out"),
        (["--engine", "board"], "--engine board needs --target serial:PORT"),
        (["--target", "serial:x", "--clock-mhz", "0"], "--clock-mhz must be above 0, not 0.0"),
        (["--target", "serial:x", "--baud", "0"], "Invalid value for '--baud'"),
    ],
)
def test_refusals(model: Path, arguments: list[str], sentence: str) -> None:
    said = refuse("run", "--model", model, "--prompt", "x", "--tokens", 1, *arguments)
    assert said.startswith(sentence)


def test_no_board(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port at which nobody answers."""
    monkeypatch.setattr(serial_link, "PATIENCE_SECONDS", 0.1)
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    name = os.ttyname(theirs)
    sentence = refuse("run", "--model", model, "--prompt", "x", "--tokens", 1,
                      "--target", f"serial:{name}", code=1)
    assert sentence.startswith(f"no answer on serial:{name} at 1000000 baud after 4 tries")
    os.close(ours)
    os.close(theirs)


class OtherChip:
    """A link behind which something else answers."""

    port = "x"

    def __init__(self, **changes: int) -> None:
        constants = [r for r in REGISTERS.values() if r.offset < 0x40]
        self.words = [changes.get(r.name, sum(f.value(CONFIG) << f.low for f in r.fields))
                      for r in constants]

    def read(self, address: int, words: int, *, window: bool) -> list[int]:
        assert (address, words, window) == (0, len(self.words), False)
        return self.words


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ID": 0x1234}, "the chip on serial:x is no Tessera chip: its ID is 0x00001234"),
        ({"VERSION": 0x20003}, "has interface version 2, and this program knows 1"),
        ({"GEOMETRY": 0x02080810, "QUEUE_DEPTH": 3},
         "is not configuration tiny: rows is 16, not 8, queue_depth is 3, not 4"),
    ],
)
def test_other_chips(changes: dict[str, int], sentence: str) -> None:
    board = Board(OtherChip(**changes), CONFIG)
    with pytest.raises(ValueError, match=sentence):
        board.identify()


def test_that_chip() -> None:
    Board(OtherChip(VERSION=0x10007), CONFIG).identify()


@pytest.mark.sim
@pytest.mark.slow
def test_shipped_model_on_the_fpga_configuration(tmp_path: Path) -> None:
    """The whole model through the line, and text from it."""
    config = CONFIGS["fpga"]
    with running_board(config) as terminal:
        out = tmp_path / "board.json"
        done = tessera("run", "--model", FPGA_MODEL, "--prompt", "ROMEO:", "--tokens", 12,
                       "--temperature", 0.7, "--config", "fpga", "--target", f"serial:{terminal}",
                       "--json", out)
    assert done.returncode == 0, done.stderr
    got = json.loads(out.read_text())
    checkpoint = load_checkpoint(FPGA_MODEL)
    want, _ = GoldenLlama(quantize(checkpoint.weights)).generate(
        got["prompt_tokens"], 12, temperature=0.7, seed=1,
        end_token=checkpoint.tokenizer.end_token)
    assert got["tokens"] == want
    assert got["generation_cycles"] == sum(got["predicted_cycles_per_token"])
