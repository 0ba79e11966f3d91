"""The mutation run's list: each planted error still has a place, and a test that should notice."""

import pytest

from verif.mutation import MUTANTS, PROJECT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_applies(mutant: Mutant) -> None:
    """The line that it changes is there once, and its test exists."""
    assert (PROJECT / mutant.file).read_text().count(mutant.old) == 1, f"{mutant.file}: {mutant.old}"
    assert mutant.old != mutant.new
    file, _, test = mutant.test.partition("::")
    assert f"def {test.partition('[')[0]}" in (PROJECT / file).read_text(), mutant.test


def test_names_differ() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
