"""Input files (.csv, .parquet, or a folder of them): their columns, sizes and checksums, before a row is read."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.data.csv_records import read_records, split_cells
from training.errors import DataError

KINDS = (".csv", ".parquet")
# How much of a file is read at once; a row group may be larger than the memory.
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class InputFile:
    """One file of an input."""

    path: Path
    schema: pa.Schema
    """Its columns; those of a CSV are strings."""
    n_rows: int
    """How many rows it has; of a CSV an upper bound."""
    sha256: str
    stamp: tuple[int, int]
    """Its size and modification time when it was first read."""

    @property
    def kind(self) -> str:
        """`.csv` or `.parquet`."""
        return self.path.suffix.lower()


def read_input_files(path: Path) -> list[InputFile]:
    """The parts of an input: the file itself, or all files of a folder in the order of their names.

    Raises DataError where one cannot be read or has other columns than the first, and where there are no rows.
    """
    parts = [_read_part(file) for file in list_input_files(path)]
    for part in parts[1:]:
        _require_same_columns(parts[0], part)
    if not any(part.n_rows for part in parts):
        raise DataError(f"{path} holds no rows")
    return parts


def list_input_files(path: Path) -> list[Path]:
    """The file itself, or all files of a folder by name; raises DataError where one is neither CSV nor Parquet."""
    if not path.exists():
        raise DataError(f"{path} does not exist; it must be a .csv or .parquet file, or a folder of them")
    # Names that begin with a dot or an underscore are bookkeeping, such as Spark's _SUCCESS.
    files = sorted(file for file in path.iterdir() if file.name[0] not in "._") if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} is an empty folder; it must hold .csv or .parquet files")
    if others := [file.name for file in files if file.is_dir() or file.suffix.lower() not in KINDS]:
        where = f"{path} holds {', '.join(others)}, which" if path.is_dir() else f"{path}"
        raise DataError(f"{where} is not a .csv or .parquet file; no file of an input is skipped")
    return files


def column_names(path: Path) -> list[str]:
    """The columns of a file, or of a folder's first file; raises DataError where it cannot be read."""
    first = list_input_files(path)[0]
    with readable(first):
        return list(_read_schema(first).names)


def _read_schema(path: Path) -> pa.Schema:
    """The columns of a file; raises DataError where it has none, or two of one name."""
    if path.suffix.lower() == ".parquet":
        schema = pq.read_schema(path)
    else:
        with path.open("rb") as lines:
            header = next(read_records(lines), None)
        schema = pa.schema([(name, pa.string()) for name in split_cells(header.content)] if header else [])
    if not schema.names:
        raise DataError(f"{path} is empty: it has no columns")
    if repeated := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise DataError(f"{path} has more than one column {', '.join(repeated)}; a column's name must be used once")
    return schema


def _read_part(path: Path) -> InputFile:
    with readable(path):
        # Identified by content, not by modification time: a copy or a restored file may carry another's time, and rows
        # of two files must never be mixed. Reading a file takes a fiftieth of the time of scoring it.
        sha256, n_lines = _digest(path)
        status = path.stat()
        schema = _read_schema(path)
        n_rows = pq.read_metadata(path).num_rows if path.suffix.lower() == ".parquet" else n_lines - 1
    return InputFile(path, schema, n_rows, sha256, (status.st_size, status.st_mtime_ns))


def require_columns(part: InputFile, columns: Sequence[str]) -> None:
    """Raise DataError where a file lacks a column."""
    names = part.schema.names
    if missing := sorted(set(columns) - set(names)):
        raise DataError(f"{part.path} has no column {', '.join(missing)}; it has {', '.join(sorted(names))}")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what reading a file may raise into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(f"{path} cannot be read; it may be damaged or truncated: {error}") from error


def _digest(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file and the number of its lines, also counting a last one without a line break."""
    digest, n_lines, last = hashlib.sha256(), 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(BUFFER_BYTES):
            digest.update(block)
            n_lines += block.count(b"\n")
            last = block[-1:]
    return digest.hexdigest(), n_lines + (last != b"\n")


def _require_same_columns(first: InputFile, part: InputFile) -> None:
    expected, actual = (dict(zip(file.schema.names, file.schema.types, strict=True)) for file in (first, part))
    for name in [*expected, *actual]:
        right, wrong = expected.get(name), actual.get(name)
        if right != wrong:
            what = f"column {name} as {wrong}" if wrong else f"no column {name}"
            has = f"has it as {right}" if right else "has none"
            raise DataError(f"{part.path} has {what}; {first.path.name} {has}, and all parts must have the same schema")
    if first.schema.names != part.schema.names:
        raise DataError(
            f"{part.path} has the columns {', '.join(part.schema.names)}; "
            f"{first.path.name} has them in the order {', '.join(first.schema.names)}"
        )


def are_whole(parts: Sequence[InputFile], column: str) -> bool:
    """Whether every number of a column is whole; then 5411.0 means the code 5411 (`training.data.column_checks`).

    All rows decide it, not those of one chunk, so that a code is spelled the same way in every chunk.
    """
    for part in parts:
        with readable(part.path), pq.ParquetFile(part.path, buffer_size=BUFFER_BYTES) as file:
            for batch in file.iter_batches(columns=[column], use_threads=False):
                values = batch.column(0)
                # A number beyond 64 bits is no code.
                is_whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**63))
                if not pc.all(pc.or_kleene(is_whole, pc.is_null(values, nan_is_null=True)), min_count=0).as_py():
                    return False
    return True


def changed(parts: Sequence[InputFile]) -> list[str]:
    """The files that were changed after they were first read."""
    now = [(part, part.path.stat()) for part in parts]
    return [str(part.path) for part, status in now if (status.st_size, status.st_mtime_ns) != part.stamp]
