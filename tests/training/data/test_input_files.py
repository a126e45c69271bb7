"""Folders as Spark and pandas write them: partitions, empty parts, and types that can be united without loss."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.input_files import read_input_files, stem_of, suffix_of
from training.data.row_reader import read_columns, read_rows
from training.errors import DataError


def write(path: Path, values: pa.Array, name: str = "value") -> None:
    """A Parquet file with a column of these values and one of texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": ["x"] * len(values), name: values}), path)


def test_partitions_are_columns(tmp_path: Path) -> None:
    """Subfolders named column=value give a column; bookkeeping files and parts without rows are skipped."""
    write(tmp_path / "dt=2025-01" / "kind=a" / "part-0.parquet", pa.array([1, 2]))
    write(tmp_path / "dt=x" / "kind=a" / "part-0.parquet", pa.array([], pa.int64()))
    write(tmp_path / "dt=y%2Fz" / "kind=__HIVE_DEFAULT_PARTITION__" / "part-0.parquet", pa.array([3]))
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "dt=2025-01" / "kind=a" / ".part-0.parquet.crc").touch()
    rows = read_columns(tmp_path, ["value", "kind", "dt"])
    assert rows["value"].tolist() == [1, 2, 3]
    assert rows["dt"].tolist() == ["2025-01", "2025-01", "y/z"]
    assert rows["kind"].fillna("none").tolist() == ["a", "a", "none"]
    write(tmp_path / "dt=z" / "part-0.parquet", pa.array([4]))
    with pytest.raises(DataError, match=r"dt=z/part-0.parquet has no column kind"):
        read_input_files(tmp_path)


def test_partitions_of_text(tmp_path: Path) -> None:
    """A partitioned folder of CSV files is read, even if one has no byte, as Spark may leave it."""
    for number, content in enumerate(("a,b\n1,2\n", "", "b,a\n4,3\n")):
        folder = tmp_path / f"month={number}"
        folder.mkdir()
        (folder / "part.csv").write_text(content)
    rows = read_rows(read_input_files(tmp_path)).table
    assert rows.to_pydict() == {"a": ["1", "3"], "b": ["2", "4"], "month": ["0", "2"]}


@pytest.mark.parametrize(
    ("first", "second", "united"),
    [
        (pa.array([1, 2]), pa.array([1.5, None]), pa.float64()),
        (pa.nulls(2), pa.array([True, None]), pa.bool_()),
        (pa.array([1], pa.int32()), pa.array([2**40]), pa.int64()),
        (pa.array([0.5], pa.float32()), pa.array([3]), pa.float64()),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"], pa.large_string()), pa.string()),
        (pa.array(["a"]), pa.nulls(1), pa.string()),
        (pa.array([Decimal("1.50")]), pa.array([Decimal("100.125")]), pa.decimal128(6, 3)),
        (pa.array([Decimal("1.50")]), pa.array([2.5]), pa.float64()),
    ],
)
def test_types_that_differ_without_loss_are_united(
    tmp_path: Path, first: pa.Array, second: pa.Array, united: pa.DataType
) -> None:
    """Types are united and values kept, whichever file comes first."""
    for name, values in (("a", first), ("b", second)):
        write(tmp_path / "up" / f"{name}.parquet", values)
    for name, values in (("a", second), ("b", first)):
        write(tmp_path / "down" / f"{name}.parquet", values)
    up, down = (read_rows(read_input_files(tmp_path / name)).table["value"] for name in ("up", "down"))
    assert up.type == down.type == united
    assert up.to_pylist() == [*first.to_pylist(), *second.to_pylist()]
    assert sorted(map(str, up.to_pylist())) == sorted(map(str, down.to_pylist()))


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [
        (pa.array([1]), pa.array(["x"]), "as string; a.parquet has it as int64, and no type holds both"),
        (pa.array(["x"]), pa.array([b"x"]), "as binary; a.parquet has it as string, and no type holds both"),
        (pa.array([True]), pa.array([1]), "as int64; a.parquet has it as bool, and no type holds both"),
    ],
)
def test_types_that_differ_are_named(tmp_path: Path, first: pa.Array, second: pa.Array, wrong: str) -> None:
    """The message names the file, the column and both types, and says what to do."""
    write(tmp_path / "a.parquet", first)
    write(tmp_path / "b.parquet", second)
    with pytest.raises(DataError) as caught:
        read_input_files(tmp_path)
    assert str(caught.value) == (f"{tmp_path}/b.parquet has column value {wrong}: write all files with the same type")


def test_a_number_that_no_common_type_holds_is_refused(tmp_path: Path) -> None:
    """An id of 64 bits would lose its last digits in the type that also holds another file's fractions."""
    write(tmp_path / "a.parquet", pa.array([2**60 + 1]))
    write(tmp_path / "b.parquet", pa.array([0.5]))
    with pytest.raises(DataError, match=r"a.parquet cannot be read"):
        read_rows(read_input_files(tmp_path))


def test_columns_that_come_close_are_named(tmp_path: Path) -> None:
    """If a file spells a column differently, the message suggests its spelling."""
    write(tmp_path / "a.parquet", pa.array([1]), "years_active")
    write(tmp_path / "b.parquet", pa.array([1]), "yearsActive")
    with pytest.raises(DataError, match=r"no column years_active.*; years_active: did you mean yearsActive\?$"):
        read_input_files(tmp_path)
    with pytest.raises(DataError, match=r"; Years-active: did you mean years_active\?$"):
        read_columns(tmp_path / "a.parquet", ["Years-active"])


def test_other_folders_are_not_passed_over(tmp_path: Path) -> None:
    """A subfolder that names no column is refused: skipping it would silently lose its rows."""
    write(tmp_path / "january" / "a.parquet", pa.array([1]))
    with pytest.raises(DataError, match=r"holds january, which is a folder but not named like a partition \(month=1\)"):
        read_input_files(tmp_path)


def test_names_of_packed_files() -> None:
    """A name gives the kind of file and the stem, compressed or not."""
    assert [suffix_of(Path(name)) for name in ("A.CSV.GZ", "b.tsv", "c.zip", "d")] == [".csv", ".tsv", "", ""]
    assert [stem_of(Path(name)) for name in ("A.CSV.GZ", "b.1.tsv", "c.zip", "d.x")] == ["A", "b.1", "c", "d.x"]
