"""Inputs: the files to be scored, and what must be known of them before the first row is."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.data.csv_records import read_records, split_cells
from training.errors import StageError

KINDS = (".csv", ".parquet")
# What of a file is read at once; a row group may be larger than the memory.
BUFFER_BYTES = 1 << 20


class InputError(StageError):
    """Raised when a file cannot be scored, whatever its rows say."""


@dataclass(frozen=True)
class InputFile:
    """One file of the input."""

    path: Path
    schema: pa.Schema
    """Its columns; those of a CSV are texts."""
    n_rows: int
    """How many rows it has; of a CSV how many at most."""
    sha256: str
    stamp: tuple[int, int]
    """Its size and time of change when it was first read."""

    @property
    def kind(self) -> str:
        """`.csv` or `.parquet`."""
        return self.path.suffix.lower()


def read_input_files(path: Path) -> list[InputFile]:
    """The parts of an input: the file itself, or all files of a folder in the order of their names.

    Raises InputError where one cannot be read or has other columns than the first, and where there are no rows.
    """
    parts = [_read_part(file) for file in list_input_files(path)]
    for part in parts[1:]:
        _require_same_columns(parts[0], part)
    if not any(part.n_rows for part in parts):
        raise InputError(f"{path} holds no rows")
    return parts


def list_input_files(path: Path) -> list[Path]:
    """The file itself, or all files of a folder by name; raises InputError where one is neither CSV nor Parquet."""
    if not path.exists():
        raise InputError(f"{path} does not exist; it must be a .csv or .parquet file, or a folder of them")
    # What begins with a dot or an underscore is others' bookkeeping, such as Spark's _SUCCESS.
    files = sorted(one for one in path.iterdir() if one.name[0] not in "._") if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} is an empty folder; it must hold .csv or .parquet files")
    if other := [one.name for one in files if one.is_dir() or one.suffix.lower() not in KINDS]:
        where = f"{path} holds {', '.join(other)}, which" if path.is_dir() else f"{path}"
        raise InputError(f"{where} is no .csv or .parquet file; nothing of an input is passed over")
    return files


def _read_part(path: Path) -> InputFile:
    with readable(path):
        # The content, not the time of change: a copy or a restored file may bring another's time with it, and rows of
        # two files must never be mixed. Reading a file takes a fiftieth of scoring it.
        sha256, n_lines = _digest(path)
        status = path.stat()
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as file:
                schema, n_rows = file.schema_arrow, file.metadata.num_rows
        else:
            with path.open("rb") as lines:
                header = next(read_records(lines), None)
            schema = pa.schema([(name, pa.string()) for name in split_cells(header.content)] if header else [])
            n_rows = n_lines - 1
    names = schema.names
    if not names:
        raise InputError(f"{path} is empty: it has no columns")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path} has more than one column {', '.join(twice)}; a column's name must be used once")
    return InputFile(path, schema, n_rows, sha256, (status.st_size, status.st_mtime_ns))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what reading a file may raise into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        raise InputError(f"{path} cannot be read; is it damaged, or cut short? {error}") from error


def _digest(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file and the number of its lines, the last one too where nothing ends it."""
    digest, n_lines, last = hashlib.sha256(), 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(BUFFER_BYTES):
            digest.update(block)
            n_lines += block.count(b"\n")
            last = block[-1:]
    return digest.hexdigest(), n_lines + (last != b"\n")


def _require_same_columns(first: InputFile, part: InputFile) -> None:
    ours, theirs = (dict(zip(one.schema.names, one.schema.types, strict=True)) for one in (first, part))
    for name in [*ours, *theirs]:
        mine, other = ours.get(name), theirs.get(name)
        if mine != other:
            what = f"column {name} as {other}" if other else f"no column {name}"
            has = f"has it as {mine}" if mine else "has none"
            raise InputError(f"{part.path} has {what}; {first.path.name} {has}, and all parts must be of one schema")
    if first.schema.names != part.schema.names:
        raise InputError(
            f"{part.path} has the columns {', '.join(part.schema.names)}; "
            f"{first.path.name} has them in the order {', '.join(first.schema.names)}"
        )


def are_whole(parts: Sequence[InputFile], column: str) -> bool:
    """Whether every number of a column is whole: then 5411.0 names what 5411 names (`training.data.column_checks`).

    A chunk alone must not decide it, or the rows before and after it would be read in two ways.
    """
    for part in parts:
        with readable(part.path), pq.ParquetFile(part.path, buffer_size=BUFFER_BYTES) as file:
            for batch in file.iter_batches(columns=[column], use_threads=False):
                values = batch.column(0)
                # What an integer of 64 bits cannot hold is no name.
                is_whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**63))
                if not pc.all(pc.or_kleene(is_whole, pc.is_null(values, nan_is_null=True)), min_count=0).as_py():
                    return False
    return True


def changed(parts: Sequence[InputFile]) -> list[str]:
    """The files that are no longer what they were when they were first read."""
    now = [(part, part.path.stat()) for part in parts]
    return [str(part.path) for part, status in now if (status.st_size, status.st_mtime_ns) != part.stamp]
