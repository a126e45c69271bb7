"""Chunks: the rows of the inputs, in order, so many at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from math import ceil

import pyarrow as pa
import pyarrow.parquet as pq

from training.data.csv_records import CsvRecord, parse_records, read_records
from training.data.input_files import BUFFER_BYTES, InputFile, readable


@dataclass(frozen=True)
class Chunk:
    """Rows that follow each other in one file."""

    part: int
    number: int
    first: int
    """The place of its first row in its file, counted from 1."""
    content: pa.Table | list[CsvRecord]

    @property
    def name(self) -> str:
        """What sorts a part's chunks, and tells one from all others of a run."""
        return f"{self.part:05}-{self.number:07}"


@dataclass(frozen=True)
class ChunkRows:
    """The rows of a chunk that can be read, and those that cannot."""

    table: pa.Table
    places: Sequence[int]
    """Each row's place among all rows of the chunk."""
    broken: dict[int, str]
    """What is wrong, by the place of the row."""


def n_chunks(parts: Sequence[InputFile], chunk_rows: int) -> int:
    """How many chunks the parts have, or at most have."""
    return sum(ceil(part.n_rows / chunk_rows) for part in parts)


def chunks_of(parts: Sequence[InputFile], chunk_rows: int, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
    """All rows of the parts, in order, so many at a time; raises InputError where a file turns out to be damaged.

    With `columns` only these are read where a file has its columns apart.
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
        lines = read_records(file)
        next(lines, None)
        yield from map(list, batched(lines, chunk_rows, strict=False))


def read_chunk(content: pa.Table | list[CsvRecord], schema: pa.Schema) -> ChunkRows:
    """The rows of a chunk as a table; of a CSV's cells only an empty one is missing."""
    if isinstance(content, pa.Table):
        return ChunkRows(content, range(content.num_rows), {})
    sound, broken = parse_records(content, len(schema.names))
    columns = zip(*sound, strict=True) if sound else ([] for _ in schema.names)
    arrays = [pa.array([cell or None for cell in column], pa.string()) for column in columns]
    reasons = {one.place: one.reason for one in broken}
    places = [place for place in range(len(content)) if place not in reasons]
    return ChunkRows(pa.Table.from_arrays(arrays, schema=schema), places, reasons)
