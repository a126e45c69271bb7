"""The dialect of a file: delimiter, header, units and decimals, found from its first lines."""

from pathlib import Path

import pytest

from training.data.dialect import Dialect
from training.data.dialect_detection import find_dialect
from training.data.input_files import read_as, read_input_files
from training.data.text_files import Packing
from training.errors import DataError

ROWS = "".join(f"{day}.1.2025;{day},50;a,b;{day % 2}\n" for day in range(1, 20))


def dialect_of(tmp_path: Path, content: str) -> Dialect:
    """The dialect of a file with this content."""
    path = tmp_path / "rows.csv"
    path.write_text(content)
    dialect = find_dialect(path, Packing(), "utf-8")
    assert dialect is not None
    return dialect


def test_commas_in_cells_are_no_delimiters(tmp_path: Path) -> None:
    """Decimal commas are in every row, but not in the header."""
    dialect = dialect_of(tmp_path, f"when;amount;tags;fraud\n{ROWS}")
    assert (dialect.delimiter, dialect.decimal) == (";", ",")
    assert dialect.names == ("when", "amount", "tags", "fraud")
    assert dialect.differences() == "cells separated by semicolons, decimal commas"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("a,b\n1,2,3\n4,5,6\n", ["a", "b"]),
        ("a,b,c\n1,2\n", ["a", "b", "c"]),
        ("1,2,3\n4,5,6\n", ["1", "2", "3"]),
        ("a,,c\n1,2,3\n", ["a", "", "c"]),
        ("a,,,\n1,2,3,\n", ["a", "column 2", "column 3"]),
        ("a,,\n1,2,3,\n", ["a", "column 2", "column 3"]),
        ("Title\n\n2025,2026,2027\n1,2,3\n4,5,6\n", ["Title"]),
    ],
)
def test_a_row_is_never_a_header(tmp_path: Path, content: str, names: list[str]) -> None:
    """A first line of names is the header, however many cells the rows have; a first line of values is not."""
    assert list(dialect_of(tmp_path, content).names) == names


@pytest.mark.parametrize(
    ("first", "is_units"),
    [
        (";[EUR];;[0/1]", True),
        ("date;EUR;;flag", True),
        (";;;", False),
        ("NULL;n/a;;-", False),
        ("1.1.2025;EUR;x;flag", False),
        (";1,50;;", False),
    ],
)
def test_units_are_texts_where_other_rows_have_values(tmp_path: Path, first: str, *, is_units: bool) -> None:
    """A second line is a row rather than units if it holds one value like those of other rows, or none at all."""
    dialect = dialect_of(tmp_path, f"when;amount;tags;fraud\n{first}\n{ROWS}")
    assert dialect.units_line == (2 if is_units else 0)


def test_what_differs_is_said_once_for_all_files(tmp_path: Path) -> None:
    """How files differ from plain CSV is said once for all of them, and not at all of plain files."""
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(
            "Export of today\n\na;b;c\n1;2;3\n4;5;6\n" if number else "a,b,c\n1,2,3\n"
        )
    assert (
        read_as(read_input_files(tmp_path))
        == "read as cells separated by semicolons, header in line 3 (2 lines are skipped)"
    )


@pytest.mark.parametrize("header", ["when;fraud", "when;amount"])
@pytest.mark.parametrize("is_in_front", [True, False])
def test_a_cell_more_than_names_is_named(tmp_path: Path, header: str, *, is_in_front: bool) -> None:
    """Rows with one cell more than the header, in front (as R writes them) or behind, are refused with both values."""
    rows = "".join(f"r{day};{day}.1.2025;0\n" if is_in_front else f"{day}.1.2025;0;r{day}\n" for day in range(1, 20))
    with pytest.raises(DataError) as refused:
        dialect_of(tmp_path, f"{header}\n{rows}")
    first, last = ("r1", "0") if is_in_front else ("1.1.2025", "r1")
    assert "the lines have one cell more than the header has names; add the missing name" in str(refused.value)
    assert f"to the header: at its beginning if '{first}' has no name" in str(refused.value)
    assert f"at its end if '{last}' has none" in str(refused.value)


@pytest.mark.parametrize(
    "header", ["<DATE>,<PRICE>", "<DATE>\t<PRICE>", "[Date],[Price]", "{date},{price}", "ORCID,price", "BZh,price"]
)
def test_a_header_may_begin_like_another_kind_of_file(tmp_path: Path, header: str) -> None:
    """A table whose names are in brackets is not mistaken for a page, JSON or another kind of file."""
    path = tmp_path / "rows.csv"
    delimiter = "\t" if "\t" in header else ","
    path.write_text(f"{header}\n1.1.2025{delimiter}2\n")
    assert read_input_files(path)[0].schema.names == header.split(delimiter)
