"""Written: scored and rejected rows as the bytes of a chunk's files."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from training.batch.answers import ANSWER_COLUMNS, EXPLANATIONS
from training.data.chunks import Chunk, ChunkRows
from training.data.input_files import InputFile

_TYPES = dict(zip(ANSWER_COLUMNS, (pa.float64(), pa.bool_(), pa.string()), strict=True))
# Before a rejected row's own cells: its file, its place among the rows, a CSV's line, and, of a line that cannot be
# told into cells, the whole of it.


def scored_schema(schema: pa.Schema, *, explain: bool) -> pa.Schema:
    """The input's columns, then those of the answers."""
    added = [*_TYPES.items(), *((name, pa.string()) for name in EXPLANATIONS if explain)]
    for name, kind in added:
        schema = schema.append(pa.field(name, kind))
    return schema


def write_arrow(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as an Arrow file, which is read again in a moment."""
    with pa.ipc.new_file(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)


def write_csv(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as lines of CSV, without its header."""
    write_lines(file, zip(*map(_cells, table.columns), strict=True))


def _cells(column: pa.ChunkedArray) -> list[Any]:
    """The values as a CSV's cells: what is missing is an empty one, NaN too."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    values: list[Any] = column.to_pylist()
    return values


def write_lines(file: IO[bytes], rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as lines of CSV, in UTF-8; a float with all its digits."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    text.flush()
    text.detach()


def write_rejected(
    chunk: Chunk, part: InputFile, rows: ChunkRows, rejected: Mapping[int, str], file: IO[bytes]
) -> None:
    """Write what is rejected of a chunk as lines of CSV, in order; `rejected` are the reasons by row of its table."""
    lines = chunk.content if isinstance(chunk.content, list) else None
    reasons = rows.broken | {rows.places[index]: reason for index, reason in rejected.items()}
    cells = iter(rows.table.take(pa.array(rejected, pa.int64())).to_pylist())
    written = []
    for place, reason in sorted(reasons.items()):
        line, text, values = "", "", [""] * len(part.schema.names)
        if lines:
            line = str(lines[place].number)
        if lines and place in rows.broken:
            text = lines[place].text
        else:
            values = list(next(cells).values())
        written.append([part.path.name, chunk.first + place, line, reason, text, *values])
    write_lines(file, written)
