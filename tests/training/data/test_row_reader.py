"""Rows of files as tables: values do not depend on how rows are cut into chunks, and unusable files are refused."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.csv_records import parse_records, read_csv_records
from training.data.dialect import Dialect
from training.data.input_files import InputFile
from training.data.row_reader import frame_of, read_chunk, read_columns
from training.errors import DataError


def test_whole_number_keeps_its_digits_beside_a_missing_one() -> None:
    """A whole number with more digits than a float holds is exact, with or without a missing one in its chunk."""
    table = pa.table({"n": pa.array([2**60 + 1, None], pa.int64())})
    assert frame_of(table)["n"][0] == frame_of(table[:1])["n"][0] == 2**60 + 1
    assert frame_of(table)["n"].isna().tolist() == [False, True]


def test_dictionary_becomes_its_values() -> None:
    """A dictionary column, which pandas would make categorical, is read as its values."""
    texts, numbers = pa.array(["x", "y", None]), pa.array([1, 2, 1])
    frame = frame_of(pa.table({"a": texts.dictionary_encode(), "n": numbers.dictionary_encode()}))
    assert frame["a"].isna().tolist() == [False, False, True]
    assert frame["a"][:2].tolist() == ["x", "y"]
    assert frame["n"].tolist() == [1, 2, 1]


def test_fractions_keep_their_decimals() -> None:
    """Codes of a column that are not all whole keep their decimals in a chunk that happens to hold only whole ones."""
    table = pa.table({"code": [5411.0, 742.0], "amount": [1.0, 2.0]})
    frame = frame_of(table, {"code"})
    assert frame["code"].dtype == object
    assert list(map(str, frame["code"])) == ["5411.0", "742.0"]
    assert frame["amount"].dtype == float


def test_pandas_index_is_not_restored() -> None:
    """Rows are numbered from 0, whatever index pandas stored in the file."""
    rows = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index(["x", "y"], name="key"))
    frame = frame_of(pa.Table.from_pandas(rows))
    assert frame.index.tolist() == [0, 1]
    assert list(frame.columns) == ["a", "key"]


def test_only_empty_cells_are_missing(tmp_path: Path) -> None:
    """Only an empty cell is missing: NA is Namibia's code. Columns come in the requested order."""
    path = tmp_path / "rows.csv"
    path.write_text("country,amount\nNA,1\n,2\nnull,3\n")
    rows = read_columns(path, ["amount", "country"])
    assert list(rows.columns) == ["amount", "country"]
    assert rows["country"].fillna("missing").tolist() == ["NA", "missing", "null"]


def test_folder_is_read_as_one_table(tmp_path: Path) -> None:
    """A folder's files follow each other in the order of their names."""
    for number in (2, 1):
        pd.DataFrame({"a": [number, None]}, dtype="Int64").to_parquet(tmp_path / f"{number}.parquet")
    assert read_columns(tmp_path, ["a"])["a"].dropna().tolist() == [1, 2]


def test_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    """A broken line, whose cells would be in the wrong columns, is refused, or skipped on request."""
    path = tmp_path / "rows.csv"
    path.write_text("amount,country\n10,DE\n1,234,DE\n20\n30,FR\n")
    with pytest.raises(DataError) as caught:
        read_columns(path, ["amount"])
    assert str(caught.value) == (
        f"{path}, line 3: the line has 3 cells; the header has 2 names; correct the line or remove it"
    )
    assert read_columns(path, ["amount"], skip_broken=True)["amount"].tolist() == ["10", "30"]


PLAIN_CELLS = st.sampled_from(["", "DE", "NA", "1.50", " x ", "é", "a\tb", "\ufeffx", "a", '5"', "\x0b", "\x85"])


@settings(deadline=None)
@given(
    st.lists(st.lists(PLAIN_CELLS, min_size=1, max_size=4), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["\n", ""]),
)
def test_plain_rows_are_read_as_all_others(rows: list[list[str]], end: str, last: str) -> None:
    """The fast path through Arrow gives the same cells and broken lines as the record reader."""
    dialect = Dialect(names=("a", "b", "c"), header=("a", "b", "c"), n_cells=3)
    part = InputFile(Path("x.csv"), pa.schema([(name, pa.string()) for name in "abc"]), 0, "", (0, 0), dialect)
    content = end.join(",".join(cells) for cells in [["v", "", "w"], *rows]) + last
    records = list(read_csv_records(io.BytesIO(content.encode()), width=3))
    read, (sound, broken) = read_chunk(records, part), parse_records(records, dialect)
    assert [[cell or "" for cell in row.values()] for row in read.table.to_pylist()] == sound
    assert read.broken == {record.place: record.reason for record in broken}
    assert len(read.places) == len(sound)


TWICE = "{} has more than one column named a; column names must be unique"


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("rows.csv", lambda path: path.write_text("b,a\n1,2\n"), "{} has no column y, z; it has a, b"),
        ("rows.parquet", pd.DataFrame({"b": [1], "a": [2]}).to_parquet, "{} has no column y, z; it has a, b"),
        ("rows.csv", lambda path: path.write_text("a,b,a\n1,2,3\n"), TWICE),
        ("rows.parquet", lambda path: pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path), TWICE),
        (
            "rows.csv",
            lambda _path: None,
            "{} does not exist; it must be a .csv or .parquet file",
        ),
        ("rows.xlsx", lambda path: path.touch(), "{} is not a .csv or .parquet file"),
        ("rows.csv", lambda path: path.touch(), "{} is empty: it has no columns"),
        ("rows.parquet", lambda path: path.touch(), "{} cannot be read; it may be damaged or truncated: "),
        ("rows.csv", lambda path: path.write_text("a,y,z\n\n"), "{} holds no rows"),
        ("rows.parquet", lambda path: pd.DataFrame({"a": [], "y": [], "z": []}).to_parquet(path), "{} holds no rows"),
        (
            "rows.csv",
            lambda path: path.write_bytes(
                "a,y,z\n1,2,é\n1,2,é\n".encode() + b"1,2,3\n" * 1_000 + "1,2,\xe9t\xe9\n".encode("latin-1")
            ),
            "{}, line 1,004: the line is not valid UTF-8 at byte 5",
        ),
    ],
)
def test_file_that_cannot_be_used(tmp_path: Path, name: str, write: Callable[[Path], object], message: str) -> None:
    """A missing, foreign, empty or unsuitable file is refused in a sentence that names it."""
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError) as caught:
        read_columns(path, ["z", "a", "y"])
    assert str(caught.value).startswith(message.format(path))


def test_damaged_parquet(tmp_path: Path) -> None:
    """A Parquet file whose compressed pages are damaged is named."""
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"a": np.arange(100_000.0)}).to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:2_000] + bytes(5_000) + content[7_000:])
    with pytest.raises(DataError, match=r"rows\.parquet cannot be read; it may be damaged or truncated"):
        read_columns(path, ["a"])


def test_points_between_thousands_of_decimal_commas(tmp_path: Path) -> None:
    """1.298,55 and 1.298.000 have thousands separators; a lone 1.298 may be a fraction, and texts are left alone."""
    path = tmp_path / "rows.csv"
    lines = ["98,55;1.298,55", "1.298,55;x", "-1.298.000;y", "1.298;z", "1.29,5;z", " 12 ;z"]
    path.write_text("\n".join(["amount;text", *lines, *["1,5;a"] * 9]) + "\n")
    rows = read_columns(path, ["amount", "text"], numbers=["amount"])
    assert rows["amount"].tolist()[:6] == ["98.55", "1298.55", "-1298000", "1.298", "1.29,5", " 12 "]
    assert rows["text"][0] == "1.298,55"
