"""The command line: help, refusals in one sentence, figures, and text as it comes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from safetensors.numpy import save_file
from tokenizers import decoders, models, pre_tokenizers, trainers
from typer.testing import CliRunner, Result

import verif.chip_run
from compiler.checkpoint import LAYER_TENSORS, load_checkpoint
from compiler.image import ChipImage
from compiler.quantize import quantize
from golden.float_reference import FloatLlama
from golden.llama import GoldenLlama
from golden.model import LlamaShape, random_weights
from hw.config import CONFIGS
from tessera import benchmarks
from tessera.cli import app
from tessera.products import MULTIPLIER, SHIFT, matmul_image
from tessera.streaming import TextDecoder
from tessera.workbench import Benchmark, Figure, NotRunError, Row

COMMANDS = ("run", "eval", "compile", "verilog", "asic", "fpga", "disasm", "bench")
TEXT = "to be or not to be: that is the question. é ü ß 漢字 " * 8
SHAPE = LlamaShape(
    dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=272, context=32
)
RUN_KEYS = {
    "tokens", "prompt_tokens", "text", "bit_exact", "cycles_per_token",
    "predicted_cycles_per_token", "mac_utilization", "kcycles_per_second",
}  # fmt: skip


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refuse(*arguments: object, code: int = 2) -> str:
    """Return the one sentence that a command line ends with."""
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def write_model(path: Path, shape: LlamaShape = SHAPE, **change: object) -> Path:
    """Write random weights as a Hugging Face directory, with a byte-level tokenizer."""
    path.mkdir()
    weights = random_weights(shape, 1)
    config = {
        "architectures": ["LlamaForCausalLM"], "bos_token_id": 0, "eos_token_id": 1,
        "head_dim": shape.head_dim, "hidden_size": shape.dim, "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context, "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers, "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.norm_eps, "tie_word_embeddings": shape.tied,
        "vocab_size": shape.vocab, **change,
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    tensors = {
        "model.embed_tokens.weight": weights.embedding, "model.norm.weight": weights.final_norm
    }  # fmt: skip
    for index, layer in enumerate(weights.layers):
        for name, tensor in LAYER_TENSORS.items():
            tensors[f"model.layers.{index}.{tensor}"] = getattr(layer, name)
    save_file(tensors, path / "model.safetensors")
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocab, special_tokens=["<begin>", "<end>"], min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "little")


# Help and refusals


def test_help() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)
    assert invoke("--version").output.startswith("tessera 0.")


def test_no_command_shows_the_help() -> None:
    result = invoke()
    assert "Usage: tessera" in result.output or "Usage: root" in result.output
    assert "error" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.output
    assert "--verbose" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["write"], "No such command 'write'."),
        (["run", "--prompt", "x", "--tokens", "1"], "Missing option '--model' / '-m'."),
        (["run", "--fast"], "No such option: --fast"),
        (["verilog", "--out", "x", "--config", "huge"],
         "config must be one of tiny, base, large, fpga, fpga_small, not 'huge'"),
        (["eval", "--model", "x", "--text", "missing.txt"],
         "missing.txt: No such file or directory"),
        (["disasm", "missing.npz"], "missing.npz does not exist: give a chip image or a model"),
        (["bench", "--only", "gemv"], "--only must be one of gemv_256x256, "),
        (["bench", "--text", "missing.txt"],
         "--text must be a file that exists, not missing.txt"),
    ],
)  # fmt: skip
def test_refusals(arguments: list[str], sentence: str) -> None:
    assert refuse(*arguments).startswith(sentence)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--tokens", 0, "Invalid value for '--tokens'"),
        ("--tokens", "many", "Invalid value for '--tokens'"),
        ("--seed", -1, "Invalid value for '--seed'"),
        ("--engine", "fpga", "Invalid value for '--engine'"),
        ("--temperature", -1, "temperature must be in 0..23, not -1.0"),
        ("--temperature", 99, "temperature must be in 0..23, not 99.0"),
        ("--temperature", "nan", "temperature must be a finite number"),
        ("--config", "small", "config must be one of tiny, base, large, fpga, fpga_small, not 'small'"),
        ("--json", "/none/such/file.json", "--json must be in a directory that exists"),
        ("--tokenizer", "none.json", "none.json does not exist: give the model's tokenizer file"),
    ],
)
def test_bad_values(model: Path, option: str, value: object, sentence: str) -> None:
    arguments = {"--model": model, "--prompt": "x", "--tokens": 1, "--engine": "golden"}
    arguments[option] = value
    assert sentence in refuse("run", *(part for pair in arguments.items() for part in pair))


def run(model: Path, *more: object, engine: str = "golden", prompt: str = "to be") -> list[object]:
    return ["run", "--model", model, "--prompt", prompt, "--engine", engine, *more]


def test_missing_model(tmp_path: Path) -> None:
    sentence = refuse(*run(tmp_path / "none", "--tokens", 1))
    assert sentence.endswith("give a Hugging Face directory or a llama2.c .bin file")


@pytest.mark.parametrize("command", ["run", "compile", "eval", "disasm"])
def test_corrupt_checkpoint(tmp_path: Path, command: str) -> None:
    path = write_model(tmp_path / "broken")
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    text = tmp_path / "text"
    text.write_text(TEXT)
    arguments = {
        "run": run(path, "--tokens", 1),
        "compile": ["compile", "--model", path, "--out", tmp_path / "image.npz"],
        "eval": ["eval", "--model", path, "--text", text],
        "disasm": ["disasm", path],
    }
    sentence = refuse(*arguments[command])
    assert "is truncated" in sentence
    assert sentence.endswith("copy the file again")


def test_unsupported_checkpoint(tmp_path: Path) -> None:
    path = write_model(tmp_path / "other", architectures=["GPT2LMHeadModel"])
    assert "only Llama models can be compiled" in refuse(*run(path, "--tokens", 1))


@pytest.mark.parametrize("command", ["run", "compile"])
def test_model_too_large(tmp_path: Path, command: str) -> None:
    shape = LlamaShape(
        dim=256, hidden=512, layers=2, heads=4, kv_heads=4, head_dim=64, vocab=272, context=32
    )
    path = write_model(tmp_path / "large", shape)
    arguments = run(path, "--tokens", 1, engine="rtl")
    if command == "compile":
        arguments = ["compile", "--model", path, "--out", tmp_path / "image.npz"]
    sentence = refuse(*arguments, "--config", "tiny")
    assert "of configuration tiny: use configuration base" in sentence
    assert "raise bank_words to" in sentence


def test_long_prompt(model: Path) -> None:
    sentence = refuse(*run(model, "--tokens", 1, prompt="to be " * 40))
    assert sentence.startswith("--prompt must have at most 31 tokens, one less than the context of")


def test_text_that_is_none(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"to be \xff or not")
    assert "must be text in UTF-8: byte 6 is not" in refuse(
        "eval", "--model", model, "--text", path
    )
    path.write_text("")
    assert "at least two tokens, not 0" in refuse("eval", "--model", model, "--text", path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"no image at all"])
def test_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.npz"
    path.write_bytes(content)
    refuse("disasm", path)


def test_verbose_shows_where_an_error_came_from(tmp_path: Path) -> None:
    result = invoke(*run(tmp_path / "none", "--tokens", 1), "--verbose")
    assert result.exit_code == 2
    assert "CheckpointError" in result.stderr


# Engines


def figures(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_golden(model: Path, tmp_path: Path, temperature: float) -> None:
    out = tmp_path / "figures.json"
    options = ("--temperature", temperature, "--seed", 5, "--json", out)
    result = invoke(*run(model, "--tokens", 12, *options))
    assert result.exit_code == 0, result.output
    values = figures(out)
    assert set(values) >= RUN_KEYS
    checkpoint = load_checkpoint(model)
    golden = GoldenLlama(quantize(checkpoint.weights))
    prompt = [0, *checkpoint.tokenizer.encode("to be")]
    tokens, _ = golden.generate(prompt, 12, end_token=1, temperature=temperature, seed=5)
    assert values["tokens"] == tokens
    assert values["prompt_tokens"] == prompt
    assert values["bit_exact"] is None
    assert values["cycles_per_token"] == []
    text = checkpoint.tokenizer.decode([*prompt, *tokens])
    assert text == "to be" + values["text"]
    assert result.stdout.startswith(text + "\n")


def test_float(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    result = invoke(*run(model, "--tokens", 6, "--json", out, engine="float"))
    assert result.exit_code == 0, result.output
    weights = load_checkpoint(model).weights
    values = figures(out)
    ids = list(values["prompt_tokens"])
    for token in values["tokens"]:
        assert token == int(np.argmax(FloatLlama(weights).forward(ids)[-1]))
        ids.append(token)
    assert values["mac_utilization"] is None


def test_full_context(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    result = invoke(*run(model, "--tokens", 99, "--json", out))
    values = figures(out)
    if values["tokens"][-1] == 1:
        assert "stopped: the model wrote its end token" in result.stdout
    else:
        assert len(values["prompt_tokens"]) + len(values["tokens"]) == SHAPE.context
        assert "stopped: the context is full" in result.stdout


@dataclass(kw_only=True)
class FakeRun:
    """What verif.chip_run.run_chip returns."""

    tokens: list[int] = field(default_factory=list)
    bit_exact: bool = True
    first_difference: str | None = None
    cycles_per_token: list[int] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=lambda: {"cycles": 1500, "saturations": 3})
    simulated_cycles: int = 2000
    seconds: float = 0.5
    total_cycles: int = 1500
    saturations: int = 3


def fake_chip(difference: str | None) -> Callable[..., FakeRun]:
    """Return a run_chip that takes golden's tokens, 1000 cycles for the first, 500 for others."""

    def run_chip(
        config: object, image: object, quantized: Any, prompt: Sequence[int], count: int, *,
        temperature: float, seed: int, end_token: int | None, on_token: Callable[[Any], None],
    ) -> FakeRun:  # fmt: skip
        tokens, _ = GoldenLlama(quantized).generate(prompt, count, end_token, temperature, seed)
        cycles = [1000] + [500] * (len(tokens) - 1)
        for index, (token, each) in enumerate(zip(tokens, cycles, strict=True)):
            on_token(verif.chip_run.TokenRecord(
                token=token, position=len(prompt) + index, cycles=each, exact=difference is None
            ))
        return FakeRun(
            tokens=tokens, cycles_per_token=cycles, bit_exact=difference is None,
            first_difference=difference,
        )  # fmt: skip

    return run_chip


def test_rtl_report(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made from the run; the simulator is not part of this test."""
    monkeypatch.setattr(verif.chip_run, "run_chip", fake_chip(None))
    out = tmp_path / "figures.json"
    result = invoke(*run(model, "--tokens", 2, "--json", out, engine="rtl"), "--config", "tiny")
    assert result.exit_code == 0, result.output
    assert "bit-exact: yes" in result.stdout.splitlines()
    values = figures(out)
    assert values["cycles_per_token"] == [1000, 500]
    assert len(values["predicted_cycles_per_token"]) == 2
    assert values["kcycles_per_second"] == 4.0
    linear = 2 * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24)
    rows = len(values["prompt_tokens"])
    positions = rows * (rows + 1) // 2 + rows + 1
    macs = (rows + 1) * linear + 2 * 2 * 16 * positions + 2 * 272 * 16
    assert values["mac_utilization"] == pytest.approx(macs / (64 * 1500))


def test_rtl_that_differs(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verif.chip_run, "run_chip", fake_chip("token 1: logit 7 is 5, not 6"))
    out = tmp_path / "figures.json"
    arguments = [*run(model, "--tokens", 2, "--json", out, engine="rtl"), "--config", "tiny"]
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert "bit-exact: no: token 1: logit 7 is 5, not 6" in result.stdout.splitlines()
    assert "error: the RTL is not bit-exact: token 1: logit 7 is 5, not 6" in result.stderr
    assert figures(out)["bit_exact"] is False


@pytest.mark.sim
def test_rtl(model: Path, tmp_path: Path) -> None:
    """A small model on the tiny chiplet, from the command line to the last figure."""
    out = tmp_path / "figures.json"
    arguments = run(model, "--tokens", 4, "--temperature", 0.8, "--json", out, engine="rtl")
    result = invoke(*arguments, "--config", "tiny")
    assert result.exit_code == 0, result.output
    assert "bit-exact: yes" in result.stdout.splitlines()
    values = figures(out)
    assert len(values["cycles_per_token"]) == len(values["tokens"])
    for predicted, cycles in zip(
        values["predicted_cycles_per_token"], values["cycles_per_token"], strict=True
    ):
        assert predicted == pytest.approx(cycles, rel=0.01)
    golden = tmp_path / "golden.json"
    invoke(*run(model, "--tokens", 4, "--temperature", 0.8, "--json", golden))
    assert values["tokens"] == figures(golden)["tokens"]


def test_text_of_split_characters(model: Path) -> None:
    """Characters appear whole, though their bytes are tokens of their own."""
    tokenizer = load_checkpoint(model).tokenizer
    text = "é? 漢字 and more \N{GRINNING FACE}!"
    ids = tokenizer.encode(text)
    assert len(ids) > len(text) // 2
    decoder = TextDecoder(tokenizer, [0, *tokenizer.encode("to be ")])
    pieces = [decoder.push(token) for token in ids]
    assert "".join(pieces) == text
    assert decoder.finish() == ""
    assert decoder.text == text
    cut = TextDecoder(tokenizer, [0])
    assert cut.push(tokenizer.encode("漢")[0]) == ""
    assert cut.finish() == "\N{REPLACEMENT CHARACTER}"


# Other commands


def test_eval(model: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "text", tmp_path / "figures.json"
    text.write_text(TEXT)
    result = invoke("eval", "--model", model, "--text", text, "--tokens", 90, "--json", out)
    assert result.exit_code == 0, result.output
    values = figures(out)
    assert values["float_ppl"] == pytest.approx(values["golden_ppl"], rel=0.05)
    assert 0.8 <= values["top1_agreement"] <= 1
    assert f"float perplexity: {values['float_ppl']:.4f}" in result.stdout


def test_compile_and_disasm(model: Path, tmp_path: Path) -> None:
    image, out, listing = tmp_path / "image.npz", tmp_path / "f.json", tmp_path / "program.s"
    result = invoke(
        "compile", "--model", model, "--config", "tiny", "--out", image, "--json", out
    )
    assert result.exit_code == 0, result.output
    memories = figures(out)["memories"]
    assert memories["bank_words"]["size"] == CONFIGS["tiny"].bank_words
    assert all(0 < use["used"] <= use["size"] for use in memories.values())
    expected = ChipImage.load(image).listing()
    assert invoke("disasm", image).stdout == expected
    assert invoke("disasm", model, "--config", "tiny", "--out", listing).exit_code == 0
    assert listing.read_text() == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--torus", "2"], "--torus must be columns x rows, each 1 to 8, such as 2x2, not '2'"),
        (["--torus", "2x2", "--tensor-parallel", 3],
         "--tensor-parallel must divide the 4 chips of --torus 2x2, not 3"),
        (["--torus", "2x2", "--tensor-parallel", 2, "--pipeline-parallel", 4],
         "tensor-parallel times pipeline-parallel must be the 4 chips of a torus of 2x2, not 2 times 4"),
        (["--torus", "3x1"], "tensor-parallel must divide the model's "),
        (["--pipeline-parallel", 2],
         "--tensor-parallel, --pipeline-parallel"),
        (["--sequences", 2], "--tensor-parallel, --pipeline-parallel"),
        (["--sequences", 0, "--torus", "2x2"], "Invalid value for '--sequences'"),
    ],
)  # fmt: skip
def test_refused_torus(model: Path, tmp_path: Path, options: list[object], sentence: str) -> None:
    """Chips that cannot share the model so are refused before any simulation, with what can."""
    out = tmp_path / "images"
    assert refuse("compile", "--model", model, "--config", "tiny", "--out", out,
                  *options).startswith(sentence)
    assert not out.exists()
    assert refuse(*run(model, "--tokens", 2, "--config", "tiny", *options, engine="rtl")
                  ).startswith(sentence)


def test_torus_needs_the_rtl(model: Path) -> None:
    assert refuse(*run(model, "--tokens", 2, "--torus", "2x2")).startswith("--torus runs the RTL")


def test_compile_for_a_torus(model: Path, tmp_path: Path) -> None:
    """An image for each chip, its place, its rings, and predicted cycles with what they exchange."""
    cycles = {}
    for torus in (None, "2x1", "1x2"):
        out, json_file = tmp_path / f"out_{torus}", tmp_path / f"figures_{torus}.json"
        options = [] if torus is None else ["--torus", torus]
        result = invoke("compile", "--model", model, "--config", "tiny", "--out", out,
                        "--json", json_file, *options)
        assert result.exit_code == 0, result.output
        values = figures(json_file)
        cycles[torus] = values["predicted_cycles_per_token"]
        if torus is None:
            assert out.is_file() and values["torus"] is None
            continue
        columns, rows = map(int, torus.split("x"))
        described = json.loads((out / "torus.json").read_text())
        assert (described["columns"], described["rows"], described["tensor"]) == (columns, rows, 2)
        assert [entry["rank"] for entry in described["chips"]] == [0, 1]
        for entry, other in zip(described["chips"], reversed(described["chips"]), strict=True):
            image = ChipImage.load(out / entry["image"])
            assert image.share.rank == entry["rank"]
            assert entry["rings"]["row"] == other["chip"]
    assert cycles["2x1"] == cycles["1x2"] != cycles[None]


@pytest.mark.sim
def test_rtl_of_a_torus(model: Path, tmp_path: Path) -> None:
    """Two chips write what golden writes, and the tables of chips and links are there."""
    out, golden = tmp_path / "figures.json", tmp_path / "golden.json"
    result = invoke(*run(model, "--tokens", 3, "--torus", "2x1", "--bit-error-rate", 1e-4,
                         "--json", out, engine="rtl"), "--config", "tiny")
    assert result.exit_code == 0, result.output
    assert "bit-exact: yes" in result.stdout.splitlines()
    invoke(*run(model, "--tokens", 3, "--json", golden))
    values = figures(out)
    assert values["tokens"] == figures(golden)["tokens"]
    assert [entry["chip"] for entry in values["chips"]] == [[0, 0], [1, 0]]
    assert all(entry["links"]["east" if i == 0 else "west"]["flits_out"] > 0
               for i, entry in enumerate(values["chips"]))
    assert "(0, 0) east" in result.stdout


def test_verilog(tmp_path: Path) -> None:
    result = invoke("verilog", "--config", "tiny", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tessera_chiplet.v", "files.f", "macros.json", "config.json"} <= names
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == CONFIGS["tiny"].as_dict()
    assert {f"tessera_chiplet_sram{end}" for end in (
        ".v", "_fpga.v", "_blackbox.v", ".lib", ".json")} <= names
    assert "memory_macro must be empty or one of 32x512" in refuse(
        "verilog", "--memory-macro", "1x1", "--out", tmp_path / "out")
    assert "directory, not the file" in refuse(
        "verilog", "--out", tmp_path / "out" / "files.f"
    )


# Benchmarks


def row(cycles: int, predicted: int, passed: bool = True) -> Row:
    return Row(
        name="row", config="base", cycles=cycles, predicted_cycles=predicted, ideal_cycles=80.0,
        limit="any", passed=passed,
    )  # fmt: skip


def fake(measured: Row | Figure | Exception) -> Benchmark:
    def measure(_: object) -> Row | Figure:
        if isinstance(measured, Exception):
            raise measured
        return measured

    return Benchmark(name="fake", what="nothing", measure=measure)


@pytest.mark.parametrize(
    ("measured", "code"),
    [
        (row(100, 100), 0),
        (row(100, 101), 0),
        (row(100, 102), 1),
        (row(100, 100, passed=False), 1),
        (Figure(name="figure", value=1, unit="", limit="any", passed=True), 0),
        (Figure(name="figure", value=1, unit="", limit="any", passed=False), 1),
        (NotRunError("no simulator"), 1),
    ],
)
def test_bench(
    measured: Row | Figure | Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "BENCHMARKS", [fake(measured)])
    out = tmp_path / "bench.json"
    result = invoke("bench", "--json", out)
    assert result.exit_code == code, result.output
    values = figures(out)
    if isinstance(measured, Row):
        (entry,) = values["rows"]
        assert entry["utilization"] == pytest.approx(0.8)
        assert entry["cycles"] == 100
        assert {"name", "config", "predicted_cycles", "ideal_cycles"} <= set(entry)
    elif isinstance(measured, NotRunError):
        (entry,) = values["rows"]
        assert entry["cycles"] is None
        assert entry["error"] == "not run: no simulator"
        assert "FAIL, not run: no simulator" in result.stdout
    else:
        assert [figure["name"] for figure in values["figures"]] == ["figure"]


def test_product_program() -> None:
    """The program of the product benchmarks multiplies."""
    rows, inputs, outputs = 3, 64, 32
    image = matmul_image(CONFIGS["base"], rows, inputs, outputs, 1)
    machine = image.machine()
    x = machine.memories.activations.reshape(-1)[: rows * inputs].reshape(rows, inputs)
    tiles = image.contents["banks"][: (inputs // 16) * (outputs // 16)].astype(np.int64)
    weights = tiles.reshape(2, 4, 16, 16).transpose(1, 2, 0, 3).reshape(inputs, outputs)
    machine.run([1], 0)
    sums = x.astype(np.int64) @ weights
    half = 1 << (SHIFT + 7 - 1)
    expected = np.clip((sums * MULTIPLIER * 128 + half) >> (SHIFT + 7), -(2**15), 2**15 - 1)
    got = machine.memories.results.reshape(-1)[: rows * outputs].reshape(rows, outputs)
    assert np.array_equal(got, expected)
