"""Input files (text tables, Parquet, or a folder of them): their columns, sizes and checksums, before a row is read."""

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote
from zipfile import BadZipFile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.data.dialect import Dialect
from training.data.dialect_detection import find_dialect
from training.data.near_names import near_file, near_text
from training.data.text_files import BUFFER_BYTES, is_parquet, survey, text_packing
from training.errors import DataError
from training.run.files import sha256_of

TEXTS = (".csv", ".tsv", ".txt")
PACKED = (".gz", ".zip")
KINDS = "a .csv or .parquet file (.tsv, .txt, .gz and .zip are read too)"
# How Hive and Spark name the subfolder of the rows that share a value of a column, and that of rows without a value.
_PARTITION = re.compile(r"([^=]+)=(.*)")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class InputFile:
    """One file of an input."""

    path: Path
    schema: pa.Schema
    """Its columns, in the types that all files of the input have; those of a text file are strings."""
    n_rows: int
    """How many rows it has; for a text file, an upper bound."""
    sha256: str
    stamp: tuple[int, int]
    """Its size and modification time when it was first read."""
    dialect: Dialect | None = None
    """How a text file is read; None for Parquet."""
    below: str = ""
    """Its path below the input folder."""
    partition: tuple[tuple[str, str | None], ...] = ()
    """The columns that the names of its subfolders define, and their values, the same in all of its rows."""

    @property
    def name(self) -> str:
        """What it is called among the files of the input."""
        return self.below or self.path.name

    @property
    def kind(self) -> str:
        """`.csv` or `.parquet`, by its content."""
        return ".csv" if self.dialect else ".parquet"


def read_input_files(path: Path) -> list[InputFile]:
    """The parts of an input: the file itself, or all files of a folder in the order of their names.

    If files differ in the type of a column, all get a type that holds every value. Raises DataError if a file cannot be
    read, has other columns than the first or a type that cannot be united, and if there are no rows.
    """
    files = list_input_files(path)
    # Spark writes a file of zero bytes for an empty partition.
    files = [file for file in files if file.stat().st_size] or files[:1]
    parts = [_read_part(file, path) for file in files]
    if not any(part.n_rows for part in parts):
        raise DataError(f"{path} holds no rows")
    schema = _united(parts)
    return [part if part.schema == schema else replace(part, schema=schema) for part in parts]


def read_as(parts: Sequence[InputFile]) -> str:
    """How the text files of an input that are not plain CSV are read, in words; "" if all of them are plain."""
    dialects = dict.fromkeys(part.dialect for part in parts if part.dialect)
    return "; ".join(f"read as {text}" for text in dict.fromkeys(dialect.differences() for dialect in dialects) if text)


def list_input_files(path: Path) -> list[Path]:
    """The file itself, or all files of a folder by name; raises DataError if one is of another kind."""
    if not path.exists():
        wanted = "it must be a .csv or .parquet file, or a folder of them"
        raise DataError(f"{path} does not exist; {wanted}{near_file(path)}")
    if not path.is_dir():
        _require_kind(path, str(path))
        return [path]
    files = list(_files_below(path, path))
    if not files:
        raise DataError(f"{path} is a folder without data files; it must hold .csv or .parquet files")
    return files


def _files_below(folder: Path, root: Path) -> Iterator[Path]:
    """The files of a folder and of its partitions, by name."""
    for path in sorted(folder.iterdir()):
        # Names that begin with a dot or an underscore are bookkeeping, such as Spark's _SUCCESS.
        if path.name[0] in "._":
            continue
        if path.is_dir() and _PARTITION.fullmatch(path.name):
            yield from _files_below(path, root)
        elif path.is_dir():
            raise DataError(
                f"{root} holds {path.relative_to(root)}, which is a folder but not named like a partition "
                "(month=1); every file of an input must be read: move its files up, or name a single folder of files"
            )
        else:
            _require_kind(path, f"{root} holds {path.relative_to(root)}, which")
            yield path


def suffix_of(path: Path) -> str:
    """The suffix of a file's name that says what it holds, in lower case: `.csv` for `ROWS.CSV.GZ`."""
    plain = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return plain.suffix.lower()


def stem_of(path: Path) -> str:
    """A file's name without the suffixes that say what it holds: `rows` for `rows.csv.gz`."""
    plain = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return plain.stem if plain.suffix.lower() in {*TEXTS, ".parquet"} else plain.name


def _require_kind(path: Path, what: str) -> None:
    """Raise DataError, saying what the file is, if its name is not that of a kind of file that can be read."""
    if suffix_of(path) in {*TEXTS, ".parquet"} or path.suffix.lower() in PACKED:
        return
    with readable(path):
        if path.stat().st_size and not is_parquet(path):
            text_packing(path)
    raise DataError(
        f"{what} is not {KINDS}; every file of an input must be read: rename it if it is one of these, or remove it"
    )


def column_names(path: Path) -> list[str]:
    """The columns of a file, or of a folder's first file; raises DataError if it cannot be read."""
    first = list_input_files(path)[0]
    with readable(first):
        return list(_read_part(first, path).schema.names)


def _read_part(path: Path, root: Path) -> InputFile:
    below = path.relative_to(root) if path != root else Path(path.name)
    partition = tuple(_partition_value(folder) for folder in below.parts[:-1])
    with readable(path):
        # A file is identified by content, not by modification time: a copy or a restored file may carry another's time,
        # and rows of two files must never be mixed. Reading a file takes a fiftieth of the time of scoring it.
        status = path.stat()
        read = _read_parquet if is_parquet(path) or suffix_of(path) == ".parquet" else _read_text
        part = replace(read(path), below=str(below), stamp=(status.st_size, status.st_mtime_ns), partition=partition)
    schema = part.schema
    if not schema.names:
        raise DataError(f"{path} is empty: it has no columns")
    for column, _ in partition:
        schema = schema.append(pa.field(column, pa.string()))
    if repeated := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise DataError(f"{path} has more than one column named {', '.join(repeated)}; column names must be unique")
    return replace(part, schema=schema)


def _partition_value(folder: str) -> tuple[str, str | None]:
    column, value = folder.split("=", 1)
    return unquote(column), None if value == _NO_VALUE else unquote(value)


def _read_parquet(path: Path) -> InputFile:
    with path.open("rb") as file:
        begins = file.read(BUFFER_BYTES)
    if begins and not is_parquet(path) and b"\0" not in begins:
        raise DataError(f"{path} is not Parquet but text; name it .csv")
    if suffix_of(path) in TEXTS or path.suffix.lower() in PACKED:
        raise DataError(f"{path} is a Parquet file; name it .parquet")
    return InputFile(path, pq.read_schema(path), pq.read_metadata(path).num_rows, sha256_of(path), (0, 0))


def _read_text(path: Path) -> InputFile:
    packing = text_packing(path)
    surveyed = survey(path, packing)
    dialect = find_dialect(path, packing, surveyed.encoding)
    if dialect is None:
        return InputFile(path, pa.schema([]), 0, surveyed.sha256, (0, 0), Dialect())
    schema = pa.schema([(name, pa.string()) for name in dialect.names])
    n_rows = max(surveyed.n_lines - dialect.n_before, 0)
    return InputFile(path, schema, n_rows, surveyed.sha256, (0, 0), dialect)


def _united(parts: Sequence[InputFile]) -> pa.Schema:
    """The columns of all parts, in the order of the first, in types that hold the values of every part."""
    first, *others = parts
    if all(part.schema == first.schema for part in others):
        return first.schema
    schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in first.schema])
    for part in others:
        if set(part.schema.names) != set(schema.names):
            _refuse_columns(first, part)
        types = {field.name: _plain(field.type) for field in part.schema}
        fields = [pa.field(field.name, _common_type(field, types[field.name], first, part)) for field in schema]
        schema = pa.schema(fields)
    return schema


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values, regardless of how Arrow stores texts (dictionary, large or view)."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def _common_type(field: pa.Field, kind: pa.DataType, first: InputFile, part: InputFile) -> pa.DataType:
    """The type that holds the values of a column in both files; raises DataError if there is none."""
    if kind == field.type:
        return kind
    try:
        if pa.types.is_string(kind) != pa.types.is_string(field.type) and not pa.types.is_null(kind):
            pa.types.is_null(field.type) or _refuse_types(field, first, part)
        pair = [pa.schema([(field.name, which)]) for which in (field.type, kind)]
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return _refuse_types(field, first, part)


def _refuse_types(field: pa.Field, first: InputFile, part: InputFile) -> pa.DataType:
    raise DataError(
        f"{part.path} has column {field.name} as {part.schema.field(field.name).type}; {first.path.name} has it as "
        f"{first.schema.field(field.name).type}, and no type holds both: write all files with the same type"
    )


def _refuse_columns(first: InputFile, part: InputFile) -> None:
    names = (*first.schema.names, *part.schema.names)
    name = next(name for name in names if name not in first.schema.names or name not in part.schema.names)
    if name in first.schema.names:
        has = f"has no column {name}; {first.path.name} has it as {first.schema.field(name).type}"
        hint = near_text(name, part.schema.names)
    else:
        has = f"has column {name} as {part.schema.field(name).type}; {first.path.name} has none"
        hint = near_text(name, first.schema.names)
    raise DataError(f"{part.path} {has}, and all files must have the same columns{hint}")


def require_columns(part: InputFile, columns: Sequence[str]) -> None:
    """Raise DataError, with the names that come close, if an input file lacks a column."""
    names = part.schema.names
    if missing := sorted(set(columns) - set(names)):
        hints = "".join(near_text(name, names) for name in missing)
        raise DataError(f"{part.path} has no column {', '.join(missing)}; it has {', '.join(sorted(names))}{hints}")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the exceptions that reading a file may raise into a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, BadZipFile, pa.ArrowException, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} cannot be read; it may be damaged or truncated: {error}") from error


def are_whole(parts: Sequence[InputFile], column: str) -> bool:
    """Whether every number in a column of input files is whole: then 5411.0 is a code (`training.data.column_checks`).

    All rows decide this, not only those of one chunk, so that a code is spelled the same way in every chunk.
    """
    for part in parts:
        with readable(part.path), pq.ParquetFile(part.path, buffer_size=BUFFER_BYTES) as file:
            if not pa.types.is_floating(file.schema_arrow.field(column).type):
                continue
            for batch in file.iter_batches(columns=[column], use_threads=False):
                values = batch.column(0)
                # A number beyond 64 bits is not a code.
                is_whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**63))
                if not pc.all(pc.or_kleene(is_whole, pc.is_null(values, nan_is_null=True)), min_count=0).as_py():
                    return False
    return True


def changed_files(parts: Sequence[InputFile]) -> list[str]:
    """The files that were changed after they were first read."""
    now = [(part, part.path.stat()) for part in parts]
    return [str(part.path) for part, status in now if (status.st_size, status.st_mtime_ns) != part.stamp]
