"""A .csv or .parquet file of a user, whatever its delimiter and encoding."""

import csv
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DataError

DELIMITERS = ",;\t|"


def read_file(path: Path) -> tuple[pd.DataFrame, bool]:
    """All columns of a .csv or .parquet file, and whether its numbers are written as text.

    Raises DataError where it cannot be read, is empty, or names a column twice.
    """
    if not path.is_file():
        raise DataError(f"DATA is {path}, which {'is a folder' if path.is_dir() else 'does not exist'}; name a file")
    kind = path.suffix.lower()
    if kind not in {".csv", ".parquet"}:
        raise DataError(f"DATA is {path}, which ends in {path.suffix!r}; it must be .csv or .parquet")
    try:
        rows = _read_csv(path) if kind == ".csv" else _read_parquet(path)
    except (OSError, pa.ArrowException, csv.Error, UnicodeError, pd.errors.ParserError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if rows.empty:
        raise DataError(f"{path} holds no rows")
    return rows, kind == ".csv"


def _read_parquet(path: Path) -> pd.DataFrame:
    _require_single_names(path, pq.read_schema(path).names)
    rows = pd.read_parquet(path)
    if not isinstance(rows.index, pd.RangeIndex):
        rows = rows.reset_index()
    return rows.set_axis([str(name).strip() for name in rows], axis="columns")


def _read_csv(path: Path) -> pd.DataFrame:
    """The cells as text, only an empty one missing; encoding and delimiter are detected."""
    encoding = _encoding(path)
    headers = {}
    for delimiter in DELIMITERS:
        with path.open(encoding=encoding, newline="", errors="replace") as lines:
            headers[delimiter] = next((header for header in csv.reader(lines, delimiter=delimiter) if header), [])
    delimiter = max(headers, key=lambda candidate: len(headers[candidate]))
    if not headers[delimiter]:
        raise DataError(f"{path} is empty")
    names = [name.strip() for name in headers[delimiter]]
    _require_single_names(path, [name for name in names if name])
    rows = pd.read_csv(
        path,
        sep=delimiter,
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        encoding=encoding,
        encoding_errors="replace",
        skipinitialspace=True,
    )
    if not isinstance(rows.index, pd.RangeIndex):
        raise DataError(f"{path}: every line has more cells than the header has names")
    return rows.set_axis([str(name).strip() for name in rows], axis="columns")


def _encoding(path: Path) -> str:
    """UTF-8 with or without a byte order mark, UTF-16 with one, or else Windows-1252."""
    with path.open("rb") as file:
        if file.read(2) in {b"\xff\xfe", b"\xfe\xff"}:
            return "utf-16"
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for _ in lines:
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _require_single_names(path: Path, names: list[str]) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} has the column {', '.join(repeated)} twice; rename one of the two")
