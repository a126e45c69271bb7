"""The catalogue stage, as its command."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.catalogue import read_catalogues
from training.declaration import ScorerDeclaration

RunStage = Callable[[Path, str], subprocess.CompletedProcess[str]]


def test_catalogue_names_its_field(
    project: Path, mini_scorer: ScorerDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogues of all texts are one table, each row with the field it is for."""
    monkeypatch.chdir(project)
    table = read_catalogues(mini_scorer)
    assert list(table.columns) == ["field", "name", "category"]
    assert set(table["field"]) == {"item"}
    assert len(table) == 30


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,kind\nrice,food\n", "data/catalogue.csv has no column category; it has kind, name"),
        ("name,category\nrice,food\nsoap,\n", "data/catalogue.csv lacks a name or a category in 1 rows"),
    ],
)
def test_stage_stops_with_a_sentence(run_stage: RunStage, project: Path, text: str, sentence: str) -> None:
    """A catalogue that cannot be used is named, and no table is written."""
    (project / "data" / "catalogue.csv").write_text(text)
    done = run_stage(project, "catalogue")
    assert done.returncode == 1
    assert done.stderr.startswith(f"catalogue mini: {sentence}")
    assert "Traceback" not in done.stderr
    assert not (project / "build" / "mini" / "catalogue.csv").exists()
