"""Outputs of batch scoring: which files rows go to, the files of each chunk, and the chunks joined to whole files."""

import csv
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.batch.answers import ANSWER_COLUMNS, BAND, EXPLANATIONS, SCORE
from training.data.input_files import InputFile, stem_of
from training.data.row_checks import REJECTED_COLUMNS
from training.data.row_reader import Chunk, ChunkRows
from training.errors import StageError
from training.run.files import write_whole

# The kinds of files that are written.
KINDS = (".csv", ".parquet")
# The file of all rejected rows, before it is renamed to its final path.
REJECTED = "rejected.csv"
_TYPES = dict(zip(ANSWER_COLUMNS, (pa.float64(), pa.bool_(), pa.string()), strict=True))


def rejected_path(output: Path) -> Path:
    """The file of the rows of an output that are not valid requests."""
    return output.with_name(f"{output.name}.rejected.csv")


def targets_of(source: Path, output: Path, parts: Sequence[InputFile], further: Sequence[str] = ()) -> list[Path]:
    """The file that each part is scored to: the output or, if the input is a folder, a file in the output folder.

    Raises StageError if that would overwrite the input or other files, or if it cannot hold the rows.
    """
    if source.is_dir():
        targets = _folder_targets(source, output, parts)
        if len({part.kind for part in parts}) > 1:
            raise StageError(f"{source} holds files of both kinds, {' and '.join(KINDS)}; score each kind separately")
    else:
        if output.suffix.lower() not in KINDS or output.is_dir():
            raise StageError(f"OUTPUT is {output}; if INPUT is a file, OUTPUT must be a .csv or .parquet file")
        targets = [output]
    inputs = {part.path.resolve() for part in parts}
    for target in (*targets, rejected_path(output)):
        if target.resolve() in inputs or any(_is_same(target, part.path) for part in parts):
            raise StageError(f"{target} is an input and would be overwritten; name another OUTPUT")
    _require_columns(parts[0], targets[0], further)
    return targets


def _folder_targets(source: Path, output: Path, parts: Sequence[InputFile]) -> list[Path]:
    if output.suffix.lower() in KINDS or (output.exists() and not output.is_dir()):
        raise StageError(f"OUTPUT is {output}; if INPUT is a folder, OUTPUT must be a folder too")
    source_path, output_path = source.resolve(), output.resolve()
    if source_path.is_relative_to(output_path) or output_path.is_relative_to(source_path):
        raise StageError(f"OUTPUT is {output}, and INPUT is {source}; neither may be inside the other")
    names = [_target_name(part) for part in parts]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise StageError(f"{source} holds several files that would become {', '.join(repeated)}; rename one of them")
    existing = [path.name for path in output.iterdir()] if output.is_dir() else []
    if other := sorted(name for name in existing if name not in names and name[0] not in "._"):
        raise StageError(f"{output} holds files that do not belong to INPUT: {', '.join(other)}; name another OUTPUT")
    return [output / name for name in names]


def _target_name(part: InputFile) -> str:
    """A part's file name in the output: its own, with .csv instead of another suffix of text, such as .csv.gz.

    The folders of a partition become part of the name; the columns that they name are in the rows.
    """
    path = Path("-".join(Path(part.name).parts))
    return path.name if path.suffix.lower() in KINDS else f"{stem_of(path)}.csv"


def _is_same(first: Path, second: Path) -> bool:
    return first.exists() and first.samefile(second)


def _require_columns(part: InputFile, target: Path, further: Sequence[str]) -> None:
    added = (*ANSWER_COLUMNS, BAND, SCORE, *EXPLANATIONS, *further, *REJECTED_COLUMNS)
    if clashing := sorted(set(added) & set(part.schema.names)):
        raise StageError(f"{part.path} already has a column {', '.join(clashing)}, which scoring adds; rename it")
    if target.suffix.lower() == ".csv":
        for column in part.schema:
            if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
                raise StageError(
                    f"{part.path} has the column {column.name} of type {column.type}, which a CSV cannot hold; name a "
                    ".parquet OUTPUT"
                )


def output_schema(schema: pa.Schema, further: Sequence[str]) -> pa.Schema:
    """The input's columns, then those of every run's answers, then the further ones of this run."""
    for name, kind in (*_TYPES.items(), *((name, pa.int16() if name == SCORE else pa.string()) for name in further)):
        schema = schema.append(pa.field(name, kind))
    return schema


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write a table as a compressed Arrow file, which is read again when the chunks are joined."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with path.open("wb") as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table)


def write_csv(table: pa.Table, path: Path) -> None:
    """Write a table as lines of CSV, without its header."""
    with _text_file(path) as file:
        _write_lines(file, zip(*map(_cells, table.columns), strict=True))


def write_rejected(chunk: Chunk, part: InputFile, rows: ChunkRows, rejected: Mapping[int, str], path: Path) -> None:
    """Write the rejected rows of a chunk as lines of CSV, in order; `rejected` holds the reasons by row of its table.

    The row's own cells come after its file, its position, its line in a CSV, the reason, and the whole line if it
    cannot be split into cells.
    """
    lines = chunk.content if isinstance(chunk.content, list) else None
    reasons = rows.broken | {rows.places[index]: reason for index, reason in rejected.items()}
    cells = iter(rows.table.take(pa.array(rejected, pa.int64())).to_pylist())
    rejected_lines = []
    for place, reason in sorted(reasons.items()):
        line, text, values = "", "", [""] * len(part.schema.names)
        if lines:
            line = str(lines[place].number)
        if lines and place in rows.broken:
            text = lines[place].text
        else:
            values = list(next(cells).values())
        rejected_lines.append([part.name, chunk.first + place, line, reason, text, *values])
    with _text_file(path) as file:
        _write_lines(file, rejected_lines)


def _text_file(path: Path) -> IO[str]:
    return path.open("w", encoding="utf-8", newline="")


def _write_lines(file: IO[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as lines of CSV; a float with all its digits."""
    csv.writer(file, lineterminator="\n").writerows(rows)


def _cells(column: pa.ChunkedArray) -> list[Any]:
    """The values as cells of a CSV; missing ones, including NaN, are empty."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    values: list[Any] = column.to_pylist()
    return values


def join_parts(run: Path, part: InputFile, target: Path, names: Sequence[str], further: Sequence[str]) -> Path:
    """Join the chunks with these names to the whole file of a part, still in the run's folder, and return its path.

    `further` is that of `output_schema`.
    """
    chunks, schema = [run / f"{name}.rows" for name in names], output_schema(part.schema, further)
    joined = _joined(run, target)
    join = _join_csv if target.suffix.lower() == ".csv" else _join_parquet
    write_whole(joined, partial(join, chunks, schema), durable=True)
    return joined


def join_rejected(run: Path, part: InputFile, names: Sequence[str]) -> None:
    """Join the rejected rows of the chunks with these names, still in the run's folder; without names, no file."""
    schema = pa.schema([(name, pa.string()) for name in (*REJECTED_COLUMNS, *part.schema.names)])
    (run / REJECTED).unlink(missing_ok=True)
    if names:
        chunks = [run / f"{name}.rejected" for name in names]
        write_whole(run / REJECTED, partial(_join_csv, chunks, schema), durable=True)


def move_to_targets(run: Path, targets: Sequence[Path], output: Path) -> None:
    """Rename the joined files to their final paths; if nothing was rejected, remove an older file of rejected rows."""
    if (run / REJECTED).exists():
        (run / REJECTED).replace(rejected_path(output))
    else:
        rejected_path(output).unlink(missing_ok=True)
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        _joined(run, target).replace(target)


def _joined(run: Path, target: Path) -> Path:
    return run / f"joined-{target.name}"


def _join_csv(chunks: Sequence[Path], schema: pa.Schema, path: Path) -> None:
    with _text_file(path) as file:
        _write_lines(file, [schema.names])
    with path.open("ab") as file:
        for chunk in chunks:
            with chunk.open("rb") as lines:
                shutil.copyfileobj(lines, file)


def _join_parquet(chunks: Sequence[Path], schema: pa.Schema, path: Path) -> None:
    with path.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            table = pa.ipc.open_file(chunk).read_all()
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
