"""New labelled rows appended to a scorer's data file, after all of them were checked and found new."""

from codecs import BOM_UTF16_BE
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from handler.scoring.fields import NUMERIC_TYPES, SECONDS_A_DAY
from training.data.column_checks import as_text
from training.data.dialect import Dialect
from training.data.input_files import column_names, read_input_files
from training.data.row_checks import check_rows, declared_columns
from training.data.row_reader import read_columns
from training.data.text_files import is_parquet
from training.data.times import EARLIEST_DATE, check_time, timestamp_text
from training.declaration import ScorerDeclaration
from training.errors import DataError, counted
from training.run.files import write_whole

_SHOWN = 3


class UsedError(DataError):
    """Raised when every row is already in the data, so that there is nothing new."""


@dataclass(frozen=True)
class Appended:
    """Counts and times of the rows that were appended."""

    rows: int
    frauds: int
    first: str
    last: str
    quarantined: pd.DataFrame
    """Rows that break the contract, with their reasons; they are left out."""


def append_rows(new: Path, scorer: ScorerDeclaration) -> Appended:
    """Rewrite the scorer's data file with the sound rows of another file appended.

    Undeclared columns are kept if the data file has them. Raises DataError, and leaves the file unchanged, if a line
    cannot be read, declared columns are missing, a label is wrong, too many rows break the contract, times are
    impossible or in another format than in the file, or rows are repeated or already in the data. Raises UsedError if
    all rows are already in the data.
    """
    path, columns = Path(scorer.data), declared_columns(scorer)
    if path.is_dir():
        raise DataError(f"{path} is a folder of files: put {new} into it, and run make retrain without ROWS")
    new_names = column_names(new)
    undeclared = [name for name in column_names(path) if name not in columns and name in new_names]
    numbers = [name for name, field in scorer.fields.items() if field.type in NUMERIC_TYPES]
    rows = read_columns(new, [*columns, *undeclared], numbers=numbers)
    try:
        _refuse_repeated(rows, scorer)
        checked = check_rows(rows, scorer)
        clean = checked.clean
        existing = read_columns(path, [*filter(None, (scorer.id,)), scorer.time], skip_broken=True)
        _refuse_used(clean, existing, scorer)
        _require_times(_time_text(rows.loc[clean.index, scorer.time]), clean[scorer.time], existing[scorer.time], path)
        write = _parquet_with if is_parquet(path) else _csv_with
        write_whole(path, partial(write, path, rows.loc[clean.index], clean, scorer))
    except DataError as error:
        raise type(error)(f"{new}: {error}") from error
    seconds = clean[scorer.time]
    return Appended(
        len(clean),
        int(clean[scorer.label].sum()),
        timestamp_text(float(seconds.min())),
        timestamp_text(float(seconds.max())),
        checked.quarantined,
    )


def _refuse_repeated(rows: pd.DataFrame, scorer: ScorerDeclaration) -> None:
    """Raise DataError if two of the new rows have the same id or, without an id, the same values."""
    ids = as_text(rows[scorer.id]) if scorer.id else pd.Series(None, index=rows.index, dtype=object)
    is_repeated = ids.duplicated().where(ids.notna(), rows.duplicated())
    if is_repeated.any():
        repeated = counted(int(is_repeated.sum()), "row is repeated", "rows are repeated")
        raise DataError(f"{repeated}{_examples(ids[is_repeated])}; remove them")


def _refuse_used(clean: pd.DataFrame, existing: pd.DataFrame, scorer: ScorerDeclaration) -> None:
    """Raise DataError if no row is sound, or if the data already have one, by its id or, without an id, its values."""
    if clean.empty:
        raise DataError("no row meets the contract")
    ids = clean[scorer.id] if scorer.id else pd.Series(None, index=clean.index, dtype=object)
    is_used = pd.Series(data=False, index=clean.index)
    if scorer.id:
        is_used = ids.notna() & ids.isin(set(as_text(existing[scorer.id]).dropna()))
    if ids.isna().any():
        # Compared as the contract types them, because a CSV's 1.50 and a Parquet file's 1.5 are one value.
        whole = check_rows(read_columns(Path(scorer.data), declared_columns(scorer), skip_broken=True), scorer).clean
        new_hashes, old_hashes = (
            pd.util.hash_pandas_object(table, index=False) for table in (clean, whole[clean.columns])
        )
        is_used |= ids.isna() & new_hashes.isin(set(old_hashes))
    if is_used.all():
        raise UsedError(
            f"all of its {len(clean):,} rows are already in {scorer.data}; run make retrain without ROWS to use them"
        )
    if is_used.any():
        of_its = f"of its {len(clean):,} rows"
        used = counted(int(is_used.sum()), f"{of_its} is", f"{of_its} are") + f" already in {scorer.data}"
        raise DataError(f"{used}{_examples(ids[is_used])}; remove them")


def _examples(ids: pd.Series) -> str:
    named = sorted(map(str, ids.dropna().unique()))[:_SHOWN]
    return f" ({', '.join(named)})" if named else ""


def _time_text(values: pd.Series) -> pd.Series:
    """Times as a CSV writes them."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.map(pd.Timestamp.isoformat, na_action="ignore").astype(object)
    if values.dtype == object:
        values = values.map(lambda value: value.isoformat() if isinstance(value, date) else value)
    return as_text(values)


def _require_times(text: pd.Series, seconds: pd.Series, existing: pd.Series, path: Path) -> None:
    """Raise DataError if a new time is in the future, or if `prepare` would misread it beside the existing ones."""
    name = existing.name
    existing_seconds = check_time(existing)
    latest = float(seconds.max())
    if latest >= EARLIEST_DATE and latest > time() + SECONDS_A_DAY:
        raise DataError(
            f"column {name} has {timestamp_text(latest)}, which is in the future; a labelled row must be in the past"
        )
    were_dates, are_dates = (bool(times.dropna().median() >= EARLIEST_DATE) for times in (existing_seconds, seconds))
    if were_dates != are_dates or (were_dates and float(seconds.min()) < EARLIEST_DATE):
        shown = f"{timestamp_text(float(seconds.min()))} to {timestamp_text(latest)}"
        last = timestamp_text(float(existing_seconds.max()))
        raise DataError(
            f"column {name} has times from {shown}, but in {path} they end at {last}; both must count from the "
            "same start, in the same unit"
        )
    if not (pd.api.types.is_numeric_dtype(existing.dtype) or pd.api.types.is_datetime64_any_dtype(existing.dtype)):
        together = check_time(pd.concat([existing.astype(object), text], ignore_index=True))
        if together.tail(len(text)).isna().any():
            raise DataError(
                f"column {name} is written as {text.iloc[0]!r}; {path} has {existing.iloc[0]!r}: use the same format"
            )


def _csv_with(path: Path, raw: pd.DataFrame, _clean: pd.DataFrame, scorer: ScorerDeclaration, target: Path) -> None:
    """Write the file's own bytes, then the new rows unchanged, with the file's delimiter and encoding."""
    raw = raw.assign(**{scorer.time: _time_text(raw[scorer.time])})
    (part,) = read_input_files(path)
    dialect = part.dialect or Dialect()
    if dialect.packing:
        raise DataError(f"{path} is a {dialect.packing} file, to which no row can be added; unpack it")
    if dialect.decimal != ".":
        raise DataError(f"{path} has decimal commas, but new rows would have decimal points; save it with points")
    rows = raw.reindex(columns=list(dialect.names))
    for number in range(dialect.n_cells - len(dialect.names)):
        # The file's rows end in extra delimiters.
        rows[f"extra {number}"] = ""
    text = rows.to_csv(index=False, header=False, sep=dialect.delimiter, lineterminator="\n")
    content = path.read_bytes()
    encoding = dialect.encoding
    if encoding == "utf-16":
        # These encodings write no second byte order mark.
        encoding = "utf-16-be" if content.startswith(BOM_UTF16_BE) else "utf-16-le"
    end = "" if content.endswith("\n".encode(encoding)) else "\n"
    try:
        target.write_bytes(content + (end + text).encode(encoding))
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path} is in {dialect.encoding.upper()}, which has no {error.object[error.start]!r}; convert it to UTF-8"
        ) from error


def _parquet_with(path: Path, raw: pd.DataFrame, clean: pd.DataFrame, scorer: ScorerDeclaration, target: Path) -> None:
    """Write the file's row groups one by one, then the new rows in the types of its columns."""
    source = pq.ParquetFile(path)
    # Without pandas's metadata, which counts the rows; Arrow's schema is stored only if the file stores it.
    schema, stores_schema = source.schema_arrow.remove_metadata(), b"ARROW:schema" in (source.metadata.metadata or {})
    columns = [_column(field, raw, clean, scorer) for field in schema]
    compression = source.metadata.row_group(0).column(0).compression
    with pq.ParquetWriter(target, schema, compression=compression, store_schema=stores_schema) as writer:
        for group in range(source.num_row_groups):
            writer.write_table(source.read_row_group(group))
        writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _column(field: pa.Field, raw: pd.DataFrame, clean: pd.DataFrame, scorer: ScorerDeclaration) -> pa.Array:
    """A column of the new rows in the file's type; null if the new rows lack it."""
    if field.name not in raw:
        return pa.nulls(len(clean), field.type)
    is_date = field.name in scorer.fields and scorer.fields[field.name].type == "date"
    if field.name == scorer.time or is_date:
        values: Any = _times(field.type, raw[field.name], clean[field.name])
    else:
        values = clean[field.name] if field.name in clean else raw[field.name]
    try:
        # The file may store times less precisely than a microsecond, but must store all digits of a number.
        return pa.Array.from_pandas(values).cast(field.type, safe=not pa.types.is_temporal(field.type))
    except pa.ArrowException as error:
        raise DataError(f"column {field.name} does not fit {scorer.data}, where it is {field.type}: {error}") from error


def _times(kind: pa.DataType, raw: pd.Series, seconds: pd.Series) -> pd.Series:
    if pa.types.is_floating(kind):
        return seconds
    if pa.types.is_integer(kind):
        return np.floor(seconds)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _time_text(raw)
    return pd.to_datetime((seconds * 1e6).round(), unit="us")
