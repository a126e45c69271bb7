"""Append: new labelled rows -> the scorer's data file with them, once each of them is known to be sound and new."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.column_checks import as_text, read_rows
from training.data.row_checks import check_rows, columns_of
from training.data.times import EARLIEST_DATE, check_time, timestamp_text
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.params import SECONDS_A_DAY
from training.run.files import write_whole

_SHOWN = 3


class UsedError(DataError):
    """Raised when there is nothing new: every row is in the data already."""


@dataclass(frozen=True)
class Appended:
    """What became of the new rows."""

    rows: int
    frauds: int
    first: str
    last: str
    quarantined: pd.DataFrame
    """Rows that break the contract, with their reasons; they are left out."""


def append_rows(new: Path, scorer: ScorerDeclaration) -> Appended:
    """Write the scorer's data file anew, with the sound rows of another file behind its own.

    Columns that nobody declared are kept where the data file has them. Raises DataError, and leaves the file as it is,
    where declared columns are missing, a label is wrong, too many rows break the contract, times are not written as the
    file has them or cannot be, or a row is there twice or in the data already; UsedError where all of them are.
    """
    path, columns = Path(scorer.data), columns_of(scorer)
    if path.is_dir():
        raise DataError(f"{path} is a folder of files: put {new} into it, and run make retrain without ROWS")
    rows = read_rows(new, columns)
    if more := [name for name in _names(path) if name not in columns and name in _names(new)]:
        rows = read_rows(new, [*columns, *more])
    try:
        _refuse_twins(rows, scorer)
        checked = check_rows(rows, scorer)
        clean = checked.clean
        _refuse_used(clean, path, scorer)
        _require_times(_time_text(rows.loc[clean.index, scorer.time]), clean[scorer.time], path, scorer.time)
        write = _csv_with if path.suffix == ".csv" else _parquet_with
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


def _names(path: Path) -> list[str]:
    return list(pd.read_csv(path, nrows=0).columns) if path.suffix == ".csv" else list(pq.read_schema(path).names)


def _refuse_twins(rows: pd.DataFrame, scorer: ScorerDeclaration) -> None:
    """Raise DataError where two of the new rows are one: by their id, or without one by all that they say."""
    ids = as_text(rows[scorer.id]) if scorer.id else pd.Series(None, index=rows.index, dtype=object)
    twins = ids.duplicated().where(ids.notna(), rows.duplicated())
    if twins.any():
        raise DataError(f"{int(twins.sum()):,} rows are there twice{_examples(ids[twins])}; each must be there once")


def _refuse_used(clean: pd.DataFrame, path: Path, scorer: ScorerDeclaration) -> None:
    """Raise DataError where no row is sound, or one is in the data already: by its id, or else by all that it says."""
    if clean.empty:
        raise DataError("no row keeps the contract")
    ids = clean[scorer.id] if scorer.id else pd.Series(None, index=clean.index, dtype=object)
    used = pd.Series(data=False, index=clean.index)
    if scorer.id and ids.notna().any():
        used = ids.notna() & ids.isin(set(as_text(read_rows(path, [scorer.id])[scorer.id]).dropna()))
    if ids.isna().any():
        # As the contract types them, because a CSV's 1.50 and a Parquet file's 1.5 are one value.
        there = check_rows(read_rows(path, columns_of(scorer)), scorer).clean[clean.columns]
        ours, theirs = (pd.util.hash_pandas_object(one, index=False) for one in (clean, there))
        used |= ids.isna() & ours.isin(set(theirs))
    if used.all():
        raise UsedError(f"all of its {len(clean):,} rows are in {path} already; without ROWS= it goes on with them")
    if used.any():
        found = f"{int(used.sum()):,} of its {len(clean):,} rows are in {path} already{_examples(ids[used])}"
        raise DataError(f"{found}; leave them out")


def _examples(ids: pd.Series) -> str:
    named = sorted(map(str, ids.dropna().unique()))[:_SHOWN]
    return f" ({', '.join(named)})" if named else ""


def _time_text(values: pd.Series) -> pd.Series:
    """Times as the text that a CSV has of them."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.map(pd.Timestamp.isoformat).astype(object)
    return as_text(values)


def _require_times(text: pd.Series, seconds: pd.Series, path: Path, name: str) -> None:
    """Raise DataError where `prepare` would take the new times for none, or would misplace them."""
    there = read_rows(path, [name])[name]
    known = check_time(there)
    latest = float(seconds.max())
    if latest >= EARLIEST_DATE and latest > time() + SECONDS_A_DAY:
        raise DataError(
            f"column {name} has {timestamp_text(latest)}, which is in the future; a row with a label has happened"
        )
    are_dates = [bool(one.dropna().median() >= EARLIEST_DATE) for one in (known, seconds)]
    if are_dates[0] != are_dates[1] or (are_dates[0] and float(seconds.min()) < EARLIEST_DATE):
        shown = f"{timestamp_text(float(seconds.min()))} to {timestamp_text(latest)}"
        raise DataError(f"column {name} goes from {shown}; in {path} it goes to {timestamp_text(float(known.max()))}")
    if not (pd.api.types.is_numeric_dtype(there.dtype) or pd.api.types.is_datetime64_any_dtype(there.dtype)):
        together = check_time(pd.concat([there.astype(object), text], ignore_index=True))
        if together.tail(len(text)).isna().any():
            raise DataError(
                f"column {name} is written as {text.iloc[0]!r}; {path} has {there.iloc[0]!r}, and one way must do"
            )


def _csv_with(path: Path, raw: pd.DataFrame, _clean: pd.DataFrame, scorer: ScorerDeclaration, target: Path) -> None:
    """The file's own bytes, then the new rows as they came."""
    raw = raw.assign(**{scorer.time: _time_text(raw[scorer.time])})
    text = raw.reindex(columns=_names(path)).to_csv(index=False, header=False, lineterminator="\n")
    content = path.read_bytes()
    end = b"" if content.endswith(b"\n") else b"\n"
    target.write_bytes(content + end + text.encode())


def _parquet_with(path: Path, raw: pd.DataFrame, clean: pd.DataFrame, scorer: ScorerDeclaration, target: Path) -> None:
    """The file's row groups one by one, then the new rows in its columns' types."""
    source = pq.ParquetFile(path)
    # Without pandas' own notes, which count the rows that were there; Arrow's types stay where they are noted.
    schema, is_noted = source.schema_arrow.remove_metadata(), b"ARROW:schema" in (source.metadata.metadata or {})
    columns = [_column(field, raw, clean, scorer) for field in schema]
    compression = source.metadata.row_group(0).column(0).compression
    with pq.ParquetWriter(target, schema, compression=compression, store_schema=is_noted) as writer:
        for group in range(source.num_row_groups):
            writer.write_table(source.read_row_group(group))
        writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _column(field: pa.Field, raw: pd.DataFrame, clean: pd.DataFrame, scorer: ScorerDeclaration) -> pa.Array:
    """A column of the new rows in the file's type; empty where only the file has such a column."""
    if field.name not in raw:
        return pa.nulls(len(clean), field.type)
    if field.name == scorer.time:
        values: Any = _times(field.type, raw[field.name], clean[field.name])
    else:
        values = clean[field.name] if field.name in clean else raw[field.name]
    try:
        # Of a time a file may keep less than a microsecond; of a number it must keep all.
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
