"""Outputs: where scored rows go, what must not be lost there, and the chunks of a run joined to whole files."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from training.batch.answers import ANSWER_COLUMNS, EXPLANATIONS
from training.batch.written import scored_schema, write_lines
from training.data.input_files import KINDS, InputFile
from training.data.row_checks import REJECTED_COLUMNS
from training.errors import StageError
from training.run.files import write_durably

# The file of all rejected rows, before it is put in its place.
REJECTED = "rejected.csv"


class OutputError(StageError):
    """Raised when an output would overwrite what it must not, or cannot hold the rows."""


def rejected_path(output: Path) -> Path:
    """Where the rows of an output are that are no valid requests."""
    return output.with_name(f"{output.name}.rejected.csv")


def targets_of(source: Path, output: Path, parts: Sequence[InputFile]) -> list[Path]:
    """The file that each part is scored to: the output, or in it, where the input is a folder, one of the same name.

    Raises OutputError where that would overwrite the input or other files, or cannot hold the rows.
    """
    if source.is_dir():
        targets = _folder_targets(source, output, parts)
        if len({part.kind for part in parts}) > 1:
            raise OutputError(f"{source} holds files of both kinds, {' and '.join(KINDS)}; score each kind by itself")
    else:
        if output.suffix.lower() not in KINDS or output.is_dir():
            raise OutputError(f"OUTPUT is {output}; where INPUT is a file, it must be a .csv or .parquet file")
        targets = [output]
    inputs = {part.path.resolve() for part in parts}
    for written in (*targets, rejected_path(output)):
        if written.resolve() in inputs or any(_is_same(written, part.path) for part in parts):
            raise OutputError(f"{written} would be overwritten, and it is an INPUT; name another OUTPUT")
    _require_columns(parts[0], targets[0])
    return targets


def _folder_targets(source: Path, output: Path, parts: Sequence[InputFile]) -> list[Path]:
    if output.suffix.lower() in KINDS or (output.exists() and not output.is_dir()):
        raise OutputError(f"OUTPUT is {output}; where INPUT is a folder, it must be one too")
    inside, outside = source.resolve(), output.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise OutputError(f"OUTPUT is {output}, and INPUT is {source}; neither may lie in the other")
    names = {part.path.name for part in parts}
    there = [path.name for path in output.iterdir()] if output.is_dir() else []
    if other := sorted(name for name in there if name not in names and name[0] not in "._"):
        raise OutputError(f"{output} holds {', '.join(other)}, which no part of INPUT is called; name another OUTPUT")
    return [output / part.path.name for part in parts]


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _require_columns(part: InputFile, target: Path) -> None:
    ours = (*ANSWER_COLUMNS, *EXPLANATIONS, *REJECTED_COLUMNS)
    if clashing := sorted(set(ours) & set(part.schema.names)):
        raise OutputError(f"{part.path} has a column {', '.join(clashing)} already; rename it before it is scored")
    if target.suffix.lower() == ".csv":
        for column in part.schema:
            if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
                raise OutputError(f"{part.path} has column {column.name} as {column.type}, which no CSV can hold")


def join_parts(run: Path, part: InputFile, target: Path, names: Sequence[str], *, explain: bool) -> Path:
    """The whole file of a part, still in the run's folder, joined of its chunks with these names."""
    chunks, schema = [run / f"{name}.rows" for name in names], scored_schema(part.schema, explain=explain)
    joined = _joined(run, target)
    join = _join_csv if target.suffix.lower() == ".csv" else _join_parquet
    write_durably(joined, partial(join, chunks, schema))
    return joined


def join_rejected(run: Path, part: InputFile, names: Sequence[str]) -> None:
    """Join what is rejected in the chunks with these names, still in the run's folder; there is no file without any."""
    schema = pa.schema([(name, pa.string()) for name in (*REJECTED_COLUMNS, *part.schema.names)])
    (run / REJECTED).unlink(missing_ok=True)
    if names:
        write_durably(run / REJECTED, partial(_join_csv, [run / f"{name}.rejected" for name in names], schema))


def put_in_place(run: Path, targets: Sequence[Path], output: Path) -> None:
    """Rename what is joined to where it is asked for; where nothing was rejected, no older file may say so."""
    if (run / REJECTED).exists():
        (run / REJECTED).replace(rejected_path(output))
    else:
        rejected_path(output).unlink(missing_ok=True)
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        _joined(run, target).replace(target)


def _joined(run: Path, target: Path) -> Path:
    return run / f"joined-{target.name}"


def _join_csv(chunks: Sequence[Path], schema: pa.Schema, file: IO[bytes]) -> None:
    write_lines(file, [schema.names])
    for chunk in chunks:
        with chunk.open("rb") as lines:
            shutil.copyfileobj(lines, file)


def _join_parquet(chunks: Sequence[Path], schema: pa.Schema, file: IO[bytes]) -> None:
    with pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            table = pa.ipc.open_file(chunk).read_all()
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
