"""Table: people's files, of any delimiter and encoding."""

from pathlib import Path

import pandas as pd
import pytest

from training.errors import DataError
from training.intake.read_table import read_file


def write(path: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_of_any_delimiter(tmp_path: Path, delimiter: str) -> None:
    """The delimiter is found out, a name in quotes may hold another, and only an empty cell is missing."""
    lines = [['"name, or; so"', " country ", "x"], ["a", "NA", "1"], ["", "null", ""]]
    path = write(tmp_path / "rows.CSV", "\n".join(delimiter.join(cells) for cells in lines))
    rows, is_text = read_file(path)
    assert is_text
    assert list(rows) == ["name, or; so", "country", "x"]
    assert rows.fillna("?").to_numpy().tolist() == [["a", "NA", "1"], ["?", "null", "?"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_csv_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    """A byte order mark is no part of the first name, and what Windows writes is read."""
    rows, _ = read_file(write(tmp_path / "rows.csv", "größe,€\n1,ä\n".encode(encoding)))
    assert rows.to_dict("list") == {"größe": ["1"], "€": ["ä"]}


def test_parquet_keeps_its_types_and_index(tmp_path: Path) -> None:
    """A Parquet file's types stay, and a named index is a column."""
    pd.DataFrame({"x": [1.5]}, index=pd.Index(["a"], name="key")).to_parquet(tmp_path / "rows.parquet")
    rows, is_text = read_file(tmp_path / "rows.parquet")
    assert not is_text
    assert rows.to_dict("list") == {"key": ["a"], "x": [1.5]}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("rows.xlsx", "x", "ends in '.xlsx'; it must be .csv or .parquet"),
        ("rows.csv", "", "is empty"),
        ("rows.csv", "a,b\n", "holds no rows"),
        ("rows.csv", "a,b,a \n1,2,3\n", "has the column a twice"),
        ("rows.csv", "a,b\n1,2,3\n4,5,6\n", "more cells than the header has names"),
        ("rows.csv", "a,b\n1,2\n4,5,6\n", "cannot be read: Error tokenizing data"),
        ("rows.parquet", "x", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str, why: str) -> None:
    """A file that is no table is refused with one sentence that names it."""
    with pytest.raises(DataError) as refused:
        read_file(write(tmp_path / name, content))
    assert str(tmp_path / name) in str(refused.value)
    assert why in str(refused.value)


def test_absent_file(tmp_path: Path) -> None:
    """A path without a file is refused, a folder too."""
    with pytest.raises(DataError, match="does not exist"):
        read_file(tmp_path / "rows.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_file(tmp_path)
