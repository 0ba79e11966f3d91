"""What the documentation says exists: commands, targets, files, and pages made from tables."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compiler import isa_doc
from hw.collective import page as collective_page
from hw.control.isa import Fault, Opcode
from hw.network import page as network_page
from hw.router import page as router_page
from tessera.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("models/*/README.md")]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every link inside the project leads to a file, and its heading exists."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://", "#")):
            continue
        path, _, heading = target.partition("#")
        assert (page.parent / path).exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)", (page.parent / path).read_text(), re.MULTILINE)
            assert heading in [title.lower().replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_absolute_paths(page: Path) -> None:
    assert not re.search(r"(?<![\w.)])/(home|root|work|usr|tmp)/", page.read_text())


def test_isa_page_is_current() -> None:
    assert (ROOT / "docs" / "isa.md").read_text() == isa_doc.page(), "run `make docs`"


def test_router_page_is_current() -> None:
    assert (ROOT / "docs" / "router.md").read_text() == router_page.page(), "run `make docs`"


def test_network_page_is_current() -> None:
    assert (ROOT / "docs" / "network.md").read_text() == network_page.page(), "run `make docs`"


def test_collective_page_is_current() -> None:
    assert (ROOT / "docs" / "collective.md").read_text() == collective_page.page(), "run `make docs`"


@pytest.mark.parametrize("kind", [Opcode, Fault])
def test_every_member_has_a_meaning(kind: type) -> None:
    texts = isa_doc.meanings(kind)
    assert list(texts) == list(kind.__members__)
    assert all(texts.values())


def test_every_field_and_register_is_in_the_isa_page() -> None:
    page = isa_doc.page()
    names = [*isa_doc.isa.INSTRUCTION_FIELDS, *isa_doc.isa.REGISTERS]
    missing = [name for name in names if f"`{name}`" not in page]
    assert missing == [f"r{i}" for i in range(1, 15)]  # named as a range


def test_readme_commands_exist() -> None:
    """Each `tessera ...` line of the README names a command and options that it has."""
    lines = re.findall(r"`(?:\.venv/bin/)?tessera ([a-z][^`]*)`", README)
    assert {line.split()[0] for line in lines} >= {"run", "eval", "compile", "disasm", "bench"}
    for line in lines:
        command, *words = line.split()
        result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in result.output, line


def test_readme_targets_exist() -> None:
    named = re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)
    assert named
    assert set(named) <= set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_targets(target: str) -> None:
    """Each target that `make` lists has a recipe whose prerequisites exist."""
    done = subprocess.run(
        ["make", "-n", target, f"PYTHON={sys.executable}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_make_lists_its_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"setup", "sim", "test", "verilog", "bench", "lint", "docs", "clean"} <= set(TARGETS)
    assert all(f"make {target} " in done.stdout for target in TARGETS)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(TARGETS)


def test_packages_are_declared() -> None:
    """Every package of the project gets installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert {pattern.rstrip("*") for pattern in patterns} == packages


def test_ci_runs_the_tests() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert "make test" in run.read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
