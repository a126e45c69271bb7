"""The rows of the input files, in order, in chunks of a declared number of rows."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from math import ceil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.csv_records import CsvRecord, parse_records, read_records
from training.data.input_files import BUFFER_BYTES, InputFile, read_input_files, readable, require_columns
from training.errors import DataError

CHUNK_ROWS = 250_000


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one file."""

    part: int
    number: int
    first: int
    """The number of its first row in its file, counted from 1."""
    content: pa.Table | list[CsvRecord]

    @property
    def name(self) -> str:
        """A name that is unique in a run and sorts in the order of the rows."""
        return f"{self.part:05}-{self.number:07}"


@dataclass(frozen=True)
class ChunkRows:
    """The rows of a chunk that can be read, and those that cannot."""

    table: pa.Table
    places: Sequence[int]
    """The position in the chunk of each row of the table."""
    broken: dict[int, str]
    """Why a row cannot be read, by its position in the chunk."""


def n_chunks(parts: Sequence[InputFile], chunk_rows: int) -> int:
    """How many chunks the parts have; of CSV files an upper bound."""
    return sum(ceil(part.n_rows / chunk_rows) for part in parts)


def chunks_of(parts: Sequence[InputFile], chunk_rows: int, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
    """All rows of the parts, in order, in chunks; raises DataError where a file is damaged.

    With `columns` only these are read from a Parquet file.
    """
    for index, part in enumerate(parts):
        with readable(part.path):
            first = 1
            for number, content in enumerate(_contents(part, chunk_rows, columns)):
                yield Chunk(index, number, first, content)
                first += len(content)


def _contents(part: InputFile, chunk_rows: int, columns: Sequence[str] | None) -> Iterator[pa.Table | list[CsvRecord]]:
    if part.kind == ".parquet":
        with pq.ParquetFile(part.path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(chunk_rows, columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch])
        return
    with part.path.open("rb") as file:
        records = read_records(file)
        next(records, None)
        yield from map(list, batched(records, chunk_rows, strict=False))


def read_chunk(content: pa.Table | list[CsvRecord], schema: pa.Schema) -> ChunkRows:
    """The rows of a chunk as a table; of a CSV's cells only an empty one is missing."""
    if isinstance(content, pa.Table):
        return ChunkRows(content, range(content.num_rows), {})
    sound, broken = parse_records(content, len(schema.names))
    columns = zip(*sound, strict=True) if sound else ([] for _ in schema.names)
    arrays = [pa.array([cell or None for cell in column], pa.string()) for column in columns]
    reasons = {record.place: record.reason for record in broken}
    places = [place for place in range(len(content)) if place not in reasons]
    return ChunkRows(pa.Table.from_arrays(arrays, schema=schema), places, reasons)


def frame_of(table: pa.Table, fractions: Collection[str] = ()) -> pd.DataFrame:
    """The rows of a table as pandas holds them; a value does not depend on which other rows are in the table.

    `fractions` are the columns of identifying numbers (codes, ids) that are not all whole.
    """
    # Without pandas's metadata in the schema, which would restore its index.
    plain = table.replace_schema_metadata(None)
    for index, column in enumerate(plain.schema):
        if pa.types.is_dictionary(column.type):
            plain = plain.set_column(index, column.name, plain.column(index).cast(column.type.value_type))
    # A whole number stays one where another row lacks it, however large it is.
    rows = plain.to_pandas(integer_object_nulls=True, use_threads=False)
    return rows.astype(dict.fromkeys(fractions, object))


def read_columns(path: Path, columns: list[str], *, skip_broken: bool = False) -> pd.DataFrame:
    """The columns of all rows of a file or a folder of files, unchecked.

    Raises DataError where a file cannot be read, has no rows or lacks a column. A line of a CSV that cannot be read
    raises DataError with its number, or is skipped.
    """
    parts = read_input_files(path)
    require_columns(parts[0], columns)
    tables = []
    for chunk in chunks_of(parts, CHUNK_ROWS, columns):
        part = parts[chunk.part]
        rows = read_chunk(chunk.content, part.schema)
        if not skip_broken:
            _require_sound(chunk, rows, part)
        tables.append(rows.table.select(columns))
    if not sum(map(len, tables)):
        raise DataError(f"{path} holds no rows")
    return frame_of(pa.concat_tables(tables))


def _require_sound(chunk: Chunk, rows: ChunkRows, part: InputFile) -> None:
    """Raise DataError with the number of the first line of a chunk that cannot be read."""
    for place, reason in rows.broken.items():
        number = chunk.content[place].number
        raise DataError(f"{part.path}, line {number:,}: {reason}; correct the line or remove it")
