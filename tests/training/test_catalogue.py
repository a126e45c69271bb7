"""The catalogue stage."""

from pathlib import Path

import pytest

from training import catalogue as stage
from training.data.catalogue import read_catalogues
from training.declaration import ScorerDeclaration
from training.errors import DataError


def test_catalogue_names_its_field(
    project: Path, mini_scorer: ScorerDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogues of all text fields form one table, whose rows name the field that they are for."""
    monkeypatch.chdir(project)
    table = read_catalogues(mini_scorer)
    assert list(table.columns) == ["field", "name", "category"]
    assert set(table["field"]) == {"item"}
    assert len(table) == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,kind\nrice,food\n", "data/catalogue.csv has no column category; it has kind, name"),
        ("name,category\nrice,food\nsoap,\n", "data/catalogue.csv lacks a name or a category in 1 row; complete or"),
        ("name,category\nrice,food\nsoap\n", "data/catalogue.csv, line 3: the line has 1 cell; the header has 2"),
        ("name,category\nrice,food\n", "data/catalogue.csv has the categories food; it must have at least two, none"),
        ("name,category\nrice,food\nx,other\n", "data/catalogue.csv has the categories food, other; it must have at"),
    ],
)
def test_unusable_catalogue_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    """The refused catalogue is named, and no table is written."""
    monkeypatch.chdir(project)
    Path("data/catalogue.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        stage.main("mini")
    assert str(caught.value).startswith(message)
    assert not Path("build/mini/catalogue.csv").exists()
