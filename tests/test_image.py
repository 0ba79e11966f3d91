"""Chip images: save, load, and text files for $readmemh."""

from pathlib import Path

import numpy as np
import pytest

from compiler.assembler import assemble
from compiler.compile import compile_model
from compiler.image import CONTENTS, ChipImage
from golden.model import LlamaShape, random_weights
from hw.config import CONFIGS

SHAPE = LlamaShape(
    dim=16, hidden=24, layers=2, heads=2, kv_heads=1, head_dim=8, vocab=20, context=32
)


@pytest.fixture(scope="module")
def image() -> ChipImage:
    """Compile a small model."""
    return compile_model(random_weights(SHAPE, seed=2), CONFIGS["tiny"])


def test_save_and_load(image: ChipImage, tmp_path: Path) -> None:
    """A loaded image is the same, and runs the same."""
    path = tmp_path / "model.npz"
    image.save(path)
    loaded = ChipImage.load(path)
    for name in CONTENTS:
        np.testing.assert_array_equal(loaded.contents[name], image.contents[name])
        assert loaded.contents[name].dtype == image.contents[name].dtype
    assert loaded.config == image.config
    assert loaded.points == image.points
    assert loaded.phases == image.phases
    assert loaded.notes == image.notes
    assert loaded.registers == image.registers
    assert (loaded.logits, loaded.max_block, loaded.context, loaded.vocab) == (
        image.logits, image.max_block, image.context, image.vocab,
    )  # fmt: skip
    expected = image.machine().run([1, 2, 3], 4)
    found = loaded.machine().run([1, 2, 3], 4)
    assert found.tokens == expected.tokens
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_compiling_is_deterministic(image: ChipImage) -> None:
    """The same weights give the same image."""
    again = compile_model(random_weights(SHAPE, seed=2), CONFIGS["tiny"])
    for name in CONTENTS:
        np.testing.assert_array_equal(again.contents[name], image.contents[name])


def test_listing(image: ChipImage) -> None:
    """The listing names the phases and assembles to the program."""
    listing = image.listing()
    assert "; token: scores" in listing
    words = image.contents["program"][: image.program_length]
    np.testing.assert_array_equal(assemble(listing), words)
    assert image.phase_of(0) == "start"
    assert image.phase_of(image.points[-1].pc) == "logits"


def test_hex(image: ChipImage, tmp_path: Path) -> None:
    """One word a line, highest byte first, lane 0 lowest."""
    paths = {"multipliers": "top.multipliers.hex", "program": "p.hex", "bank3": "sub/b3.hex",
             "row_scales": "r.hex", "rope": "rope.hex"}  # fmt: skip
    image.write_hex(tmp_path, paths)

    def lines(name: str) -> list[str]:
        return (tmp_path / paths[name]).read_text().splitlines()

    config = image.config
    assert len(lines("multipliers")) == config.multiplier_beats
    assert {len(line) for line in lines("multipliers")} == {4 * config.lanes}
    lanes = image.contents["multipliers"][1]
    assert lines("multipliers")[1] == "".join(f"{int(lane):04x}" for lane in lanes[::-1])
    assert lines("program")[0] == f"{int(image.contents['program'][0]):016x}"
    word = image.contents["banks"][5, 3].view(np.uint8)
    assert lines("bank3")[5] == "".join(f"{int(byte):02x}" for byte in word[::-1])
    assert lines("row_scales")[0] == "f980"  # ONE: exponent -7, mantissa 128
    pairs = image.contents["rope"][0].view(np.uint16)
    assert lines("rope")[0] == "".join(f"{int(lane):04x}" for lane in pairs[::-1])


def test_refusals(image: ChipImage, tmp_path: Path) -> None:
    """Foreign files and unknown memories are refused by name."""
    with pytest.raises(ValueError, match=r"paths must name memories among .*, not 'bank8'"):
        image.write_hex(tmp_path, {"bank8": "x"})
    (tmp_path / "text.npz").write_text("no image")
    with pytest.raises(ValueError, match=r"text.npz must be a chip image"):
        ChipImage.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz must be a chip image"):
        ChipImage.load(tmp_path / "other.npz")
