"""Rows sorted by a column on disk, by DuckDB, so that they may be larger than memory."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import cpu_count

from training.errors import StageError

# DuckDB sorts on disk whatever exceeds this memory, which its threads share.
MEMORY = "1GB"
THREADS = 4
PLACE = "__place__"
# How DuckDB reports a full disk.
_FULL_DISK = ("No space left", "max_temp_directory_size")
_REPEATED = """
    SELECT __place__ FROM rows WHERE c0 IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY c0 ORDER BY __place__) > 1 ORDER BY __place__
"""

Places = npt.NDArray[np.int64]


class RowFile:
    """A Parquet file that is written a table at a time and read in the order of any column."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Create the file; the column PLACE has each row's position in the data."""
        self._path, self._names = path, schema.names
        # DuckDB does not distinguish Amount and amount.
        self._columns = [f"c{number}" for number in range(len(schema))]
        file_schema = pa.schema([*zip(self._columns, schema.types, strict=True), (PLACE, pa.int64())])
        self._writer = pq.ParquetWriter(path, file_schema, compression="zstd")

    def add(self, table: pa.Table, places: pd.Index) -> None:
        """Write rows and their positions."""
        table = table.rename_columns(self._columns)
        self._writer.write_table(table.append_column(PLACE, pa.array(places, pa.int64())))

    def finish(self) -> None:
        """Close the file for writing."""
        self._writer.close()

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column, in the order in which it was written."""
        return self._read(self._columns[self._names.index(name)])

    def places(self) -> Places:
        """The position of each row, in the order in which it was written."""
        places: Places = self._read(PLACE)
        return places

    def _read(self, column: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = pq.read_table(self._path, columns=[column]).column(0).to_numpy()
        return values

    def repeated(self) -> Places:
        """The positions of the rows whose value in the first column occurs at an earlier position."""
        with self._opened() as (_, rows):
            places: Places = cast("Any", rows.query("rows", _REPEATED)).fetchnumpy()[PLACE]
        return places

    def in_order(self, name: str, without: Places, n_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows, except those at some positions, sorted by a column and then by position, in batches of `n_rows`."""
        order = duckdb.ColumnExpression(self._columns[self._names.index(name)]), duckdb.ColumnExpression(PLACE)
        with self._opened() as (connection, rows):
            kept = rows
            if len(without):
                left_out = connection.from_arrow(pa.table({"left_out": pa.array(without, pa.int64())}))
                kept = rows.join(left_out, f"{PLACE} = left_out", how="anti")
            for batch in kept.sort(*order).project(", ".join(self._columns)).to_arrow_reader(n_rows):
                yield batch.rename_columns(self._names)

    @contextmanager
    def _opened(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation]]:
        """The file's rows in DuckDB; raises OSError if the disk is too full for sorting."""
        settings: dict[str, Any] = {
            "memory_limit": MEMORY,
            "threads": min(cpu_count(), THREADS),
            "temp_directory": str(self._path.parent / "sorting"),
        }
        with duckdb.connect(config=settings) as connection:
            try:
                yield connection, connection.read_parquet(str(self._path))
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                # While DuckDB streams rows, its errors come through Arrow, without the errno of a full disk.
                if any(sign in str(error) for sign in _FULL_DISK):
                    raise OSError(errno.ENOSPC, str(error)) from error
                raise StageError(f"the rows cannot be sorted: {error}") from error
