"""The rows of the input files, in order, in chunks of a declared number of rows."""

import csv
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import batched, islice
from math import ceil
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from training.data.csv_records import CsvRecord, parse_records, read_csv_records
from training.data.dialect import Dialect
from training.data.input_files import InputFile, read_input_files, readable, require_columns
from training.data.set_aside import Line
from training.data.text_files import BUFFER_BYTES, Packing, open_lines
from training.errors import DataError

CHUNK_ROWS = 250_000
# Arrow counts bytes in 32 bits.
MAX_PLAIN_BYTES = 1 << 30
# Points that separate thousands: before a decimal comma, or at least two of them; a single 1.234 could be a fraction.
_GROUPED = r"^\s*[+-]?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})\s*$"


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
    """How many chunks of rows are read from the parts; for CSV files, an upper bound."""
    return sum(ceil(part.n_rows / chunk_rows) for part in parts)


def chunks_of(parts: Sequence[InputFile], chunk_rows: int, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
    """All rows of the parts, read in order, in chunks; raises DataError if a file is damaged.

    With `columns` only these are read from a Parquet file.
    """
    for index, part in enumerate(parts):
        with readable(part.path):
            first = 1
            for number, content in enumerate(_contents(part, chunk_rows, columns)):
                yield Chunk(index, number, first, content)
                first += len(content)


def _contents(part: InputFile, chunk_rows: int, columns: Sequence[str] | None) -> Iterator[pa.Table | list[CsvRecord]]:
    if part.dialect is None:
        with pq.ParquetFile(part.path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            wanted = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(chunk_rows, columns=wanted, use_threads=False):
                yield _in_schema(pa.Table.from_batches([batch]), part, columns)
        return
    with open_lines(part.path, Packing(part.dialect.packing, part.dialect.member), part.dialect.encoding) as lines:
        n_before = part.dialect.n_before
        records = read_csv_records(
            islice(lines, n_before, None), part.dialect.delimiter, part.dialect.n_cells, n_before
        )
        yield from map(list, batched(records, chunk_rows, strict=False))


def _in_schema(table: pa.Table, part: InputFile, columns: Sequence[str] | None) -> pa.Table:
    """A part's rows with the columns and types that all parts have; the table itself if it already has them."""
    for name, value in part.partition:
        if columns is None or name in columns:
            table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(table)))
    names = [name for name in part.schema.names if name in table.column_names]
    schema = pa.schema([part.schema.field(name) for name in names], part.schema.metadata)
    return table if table.schema == schema else table.select(names).cast(schema)


def read_chunk(content: pa.Table | list[CsvRecord], part: InputFile) -> ChunkRows:
    """The rows that are read from a part's chunk, as a table; in a text file, only an empty cell is missing."""
    if isinstance(content, pa.Table) or part.dialect is None:
        return ChunkRows(content, range(len(content)), {})
    plain = _plain_table(content, part)
    if plain is not None:
        return ChunkRows(plain, range(len(content)), {})
    sound, broken = parse_records(content, part.dialect)
    columns = zip(*sound, strict=True) if sound else ([] for _ in part.dialect.names)
    arrays = [_texts(column) for column in columns]
    arrays += [pa.repeat(pa.scalar(value, pa.string()), len(sound)) for _, value in part.partition]
    table = pa.Table.from_arrays(arrays, names=[*part.dialect.names, *(name for name, _ in part.partition)])
    reasons = {record.place: record.reason for record in broken}
    places = [place for place in range(len(content)) if place not in reasons]
    table = table if table.schema == part.schema else table.select(part.schema.names).cast(part.schema)
    return ChunkRows(table, places, reasons)


def _plain_table(records: list[CsvRecord], part: InputFile) -> pa.Table | None:
    """The rows of a chunk as Arrow reads them, in a quarter of the time; None unless all lines are plain rows.

    A plain row is UTF-8 without quotes, has as many cells as the header and at least one value, and is not the header
    again.
    """
    dialect = cast("Dialect", part.dialect)
    content = b"".join(record.content for record in records)
    if not _is_plain(records, content, dialect) or part.partition:
        return None
    reading = arrow_csv.ReadOptions(use_threads=False, column_names=list(dialect.names), block_size=len(content) + 1)
    parsing = arrow_csv.ParseOptions(delimiter=dialect.delimiter, quote_char=False)
    converting = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(dialect.names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    try:
        table = arrow_csv.read_csv(pa.py_buffer(content), reading, parsing, converting).combine_chunks()
    except (pa.ArrowException, ValueError):
        return None
    has_value = reduce(pc.or_, map(pc.is_valid, table.columns))
    is_header = pc.fill_null(pc.equal(table.column(0), dialect.header[0]), fill_value=False)
    are_rows = pc.all(pc.and_not(has_value, is_header), min_count=0).as_py()
    return table if are_rows and table.num_rows == len(records) and table.schema == part.schema else None


def _is_plain(records: list[CsvRecord], content: bytes, dialect: Dialect) -> bool:
    """Whether Arrow reads these records as `csv` does: one line each, with nothing that only one treats specially."""
    n_breaks = content.count(b"\n") + (not content.endswith(b"\n"))
    return (
        len(dialect.names) == dialect.n_cells > 1
        and not dialect.is_padded
        and records[0].number > dialect.units_line
        and n_breaks == len(records)
        and len(content) < MAX_PLAIN_BYTES
        and content.count(b"\r") == content.count(b"\r\n")
        and not any(sign in content for sign in (b'"', b"\0", BOM_UTF8))
        and max(len(record.content) for record in records) < csv.field_size_limit()
    )


def _texts(cells: Sequence[str]) -> pa.Array:
    """Cells as texts; an empty cell is missing."""
    texts = pa.array(cells, pa.string())
    is_empty = pc.equal(texts, "")
    return pc.replace_with_mask(texts, is_empty, pa.scalar(None, pa.string())) if is_empty.true_count else texts


def frame_of(table: pa.Table, fractions: Collection[str] = ()) -> pd.DataFrame:
    """Rows that were read, as pandas holds them; a value does not depend on which other rows are in the table.

    `fractions` are the columns of identifying numbers (codes, ids) that are not all whole.
    """
    # A whole number stays one, however large, even if another row has no value.
    rows = without_dictionaries(table).to_pandas(integer_object_nulls=True, use_threads=False)
    return rows.astype(dict.fromkeys(fractions, object))


def without_dictionaries(table: pa.Table) -> pa.Table:
    """The table with values in place of dictionaries, and without pandas's metadata, which would restore its index."""
    plain = table.replace_schema_metadata(None)
    for index, column in enumerate(plain.schema):
        if pa.types.is_dictionary(column.type):
            plain = plain.set_column(index, column.name, plain.column(index).cast(column.type.value_type))
    return plain


def with_decimal_points(table: pa.Table, part: InputFile, numbers: Collection[str]) -> pa.Table:
    """Rows read from a part, with 1298.55 for 1.298,55 in columns of numbers if the file has decimal commas."""
    if part.dialect is None or part.dialect.decimal == ".":
        return table
    for index, name in enumerate(table.column_names):
        if name in numbers:
            cells = table.column(index)
            plain = pc.if_else(pc.match_substring_regex(cells, _GROUPED), pc.replace_substring(cells, ".", ""), cells)
            plain = pc.replace_substring_regex(plain, r"^\s*([+-]?\d+),(\d+)\s*$", r"\1.\2")
            table = table.set_column(index, name, plain)
    return table


class AllRows(NamedTuple):
    """All rows of an input, and the lines that are not rows."""

    table: pa.Table
    lines: list[Line]
    n_lines: int
    """How many lines hold a row or are broken."""


def read_rows(
    parts: Sequence[InputFile], columns: Sequence[str] | None = None, numbers: Collection[str] = ()
) -> AllRows:
    """All rows of the parts in memory, unchecked, with all columns or some; `numbers` lose their decimal commas."""
    tables, lines, n_lines = [], list[Line](), 0
    for chunk in chunks_of(parts, CHUNK_ROWS, columns):
        part = parts[chunk.part]
        rows = read_chunk(chunk.content, part)
        table = with_decimal_points(rows.table, part, numbers)
        tables.append(table if columns is None else table.select(columns))
        lines += lines_of(chunk, rows, part)
        n_lines += len(chunk.content)
    if not sum(map(len, tables)) and not lines:
        raise DataError(f"{parts[0].path} holds no rows")
    return AllRows(pa.concat_tables(tables), lines, n_lines)


def lines_of(chunk: Chunk, rows: ChunkRows, part: InputFile) -> list[Line]:
    """The lines of a chunk that cannot be read as rows."""
    return [Line(part.name, chunk.content[place].number, reason) for place, reason in rows.broken.items()]


def read_columns(
    path: Path, columns: list[str], *, numbers: Collection[str] = (), skip_broken: bool = False
) -> pd.DataFrame:
    """The columns of all rows of a file or a folder of files, unchecked.

    Raises DataError if a file cannot be read, has no rows or lacks a column. A line of a CSV that cannot be read raises
    DataError with its number or, with `skip_broken`, is skipped.
    """
    parts = read_input_files(path)
    require_columns(parts[0], columns)
    rows = read_rows(parts, columns, numbers)
    if rows.lines and not skip_broken:
        file, number, reason = rows.lines[0]
        where = path / file if path.is_dir() else path
        raise DataError(f"{where}, line {number:,}: {reason}; correct the line or remove it")
    if not len(rows.table):
        raise DataError(f"{path} holds no rows")
    return frame_of(rows.table)
