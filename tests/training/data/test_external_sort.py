"""External sort: rows by time and then by place, rows that are left out, and repeated ids."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import external_sort
from training.data.external_sort import RowFile
from training.errors import StageError

Names = list[str | None]
Columns = Mapping[str, Any]


def file_of(folder: Path, columns: Columns, chunk_rows: int = 5_000_000) -> RowFile:
    """A file of rows with these columns, written chunk by chunk."""
    table = pa.table(columns)
    file = RowFile(folder / "rows", table.schema)
    for start in range(0, len(table), chunk_rows):
        chunk = table.slice(start, chunk_rows)
        file.add(chunk, pd.RangeIndex(start, start + len(chunk)))
    file.finish()
    return file


def rows_in(folder: Path, seconds: list[float]) -> RowFile:
    """A file of rows at these times, written three at a time."""
    return file_of(folder, {"at": pa.array(seconds, pa.float64())}, 3)


# Few examples, because each one opens DuckDB.
@settings(max_examples=25)
@given(
    seconds=st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), min_size=1, max_size=40),
    left_out=st.sets(st.integers(0, 39)),
)
def test_rows_come_in_order(tmp_path_factory: pytest.TempPathFactory, seconds: list[float], left_out: set[int]) -> None:
    """Rows come in order of time, without those at the places to leave out."""
    file = rows_in(tmp_path_factory.mktemp("rows"), seconds)
    without = np.array(sorted(left_out), dtype=np.int64)
    times = [batch.column("at").to_pylist() for batch in file.in_order("at", without, 2_048)]
    kept = [value for place, value in enumerate(seconds) if place not in left_out]
    assert [value for batch in times for value in batch] == sorted(kept)


def test_rows_with_the_same_timestamp_keep_their_order(tmp_path: Path) -> None:
    """The sort is stable, and the column of places is not returned."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"at": rng.integers(0, 5, 5_000).astype(float), "number": np.arange(5_000.0)})
    file = file_of(tmp_path, table.to_dict("series"))
    rows = pa.Table.from_batches(file.in_order("at", np.empty(0, np.int64), 700))
    assert rows.schema.names == ["at", "number"]
    expected = table.sort_values("at", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(rows.to_pandas(), expected)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30))
def test_repeated_ids_are_those_seen_before(tmp_path_factory: pytest.TempPathFactory, names: Names) -> None:
    """Every row with the id of an earlier row is found, in order; rows without an id never are."""
    file = file_of(tmp_path_factory.mktemp("ids"), {"id": pa.array(names, pa.string())})
    expected = [place for place, name in enumerate(names) if name is not None and name in names[:place]]
    assert file.repeated().tolist() == expected


def test_columns_come_as_they_were_written(tmp_path: Path) -> None:
    """A single column comes in the order in which rows were written, not in order of time."""
    file = rows_in(tmp_path, [5.0, 3.0, 4.0, 1.0])
    assert file.column("at").tolist() == [5.0, 3.0, 4.0, 1.0]
    assert file.places().tolist() == [0, 1, 2, 3]


def test_what_does_not_fit_is_sorted_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that need more memory than allowed come in the same order."""
    monkeypatch.setattr(external_sort, "MEMORY", "48MB")
    seconds = np.random.default_rng(0).random(4_000_000)
    spilled, batches = 0, []
    for batch in file_of(tmp_path, {"at": seconds}).in_order("at", np.empty(0, np.int64), 100_000):
        spilled += any((tmp_path / "sorting").iterdir())
        batches.append(batch.column("at").to_numpy())
    assert spilled
    np.testing.assert_array_equal(np.concatenate(batches), np.sort(seconds))


@pytest.mark.parametrize("error", [duckdb.IOException, pa.ArrowInvalid, OSError])
def test_a_full_disk_is_the_systems_own_error(tmp_path: Path, error: type[Exception]) -> None:
    """An error of DuckDB or Arrow about missing disk space becomes the system's own ENOSPC error."""
    batches = rows_in(tmp_path, [3.0, 1.0]).in_order("at", np.empty(0, np.int64), 2_048)
    next(batches)
    with pytest.raises(OSError, match="No space left on device") as caught:
        batches.throw(error("Could not write file: No space left on device"))
    assert caught.value.errno == errno.ENOSPC


def test_columns_may_differ_by_case_alone(tmp_path: Path) -> None:
    """V1 and v1 are two columns, although SQL ignores case, and no name collides with an internal one."""
    names = ["V1", "v1", "left_out", "at"]
    file = file_of(tmp_path, {name: [float(number), 9.0 - number] for number, name in enumerate(names)})
    (batch,) = file.in_order("v1", np.array([0]), 10)
    assert batch.to_pylist() == [dict(zip(names, [9.0, 8.0, 7.0, 6.0], strict=True))]


def test_another_error_keeps_its_sentence(tmp_path: Path) -> None:
    """Any other error of DuckDB ends the stage with DuckDB's sentence."""
    batches = rows_in(tmp_path, [3.0, 1.0]).in_order("at", np.empty(0, np.int64), 2_048)
    next(batches)
    with pytest.raises(StageError, match="cannot be sorted: this is no Parquet file"):
        batches.throw(duckdb.IOException("this is no Parquet file"))
