"""Append: new labelled rows -> the scorer's data file with them, once each of them is known to be sound and new."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.check import DataError, as_text, read_rows
from training.declaration import Scorer
from training.files import write_whole
from training.prepare import check_rows, columns_of, moment

_SHOWN = 3


@dataclass(frozen=True)
class Appended:
    """What became of the new rows."""

    rows: int
    frauds: int
    first: str
    last: str
    quarantined: pd.DataFrame
    """Rows that break the contract, with their reasons; they are left out."""


def append_rows(new: Path, scorer: Scorer) -> Appended:
    """Write the scorer's data file anew, with the sound rows of another file behind its own.

    Raises DataError, and leaves the file as it is, where columns are missing, a label is wrong, too many rows break the
    contract, or a row is in the file twice or in the data already.
    """
    path = Path(scorer.data)
    rows = read_rows(new, columns_of(scorer))
    try:
        _refuse_twins(rows, scorer)
        checked = check_rows(rows, scorer)
        clean = checked.clean
        _refuse_used(clean, path, scorer)
        write = _csv_with if path.suffix == ".csv" else _parquet_with
        write_whole(path, partial(write, path, rows.loc[clean.index], clean, scorer))
    except DataError as error:
        raise DataError(f"{new}: {error}") from error
    seconds = clean[scorer.time]
    return Appended(
        len(clean),
        int(clean[scorer.label].sum()),
        moment(float(seconds.min())),
        moment(float(seconds.max())),
        checked.quarantined,
    )


def _refuse_twins(rows: pd.DataFrame, scorer: Scorer) -> None:
    """Raise DataError where two of the new rows are one."""
    twins = as_text(rows[scorer.id]).dropna().duplicated() if scorer.id else rows.duplicated()
    if twins.any():
        shown = f" ({_examples(as_text(rows[scorer.id])[twins[twins].index])})" if scorer.id else ""
        raise DataError(f"{int(twins.sum()):,} rows are there twice{shown}; each must be there once")


def _refuse_used(clean: pd.DataFrame, path: Path, scorer: Scorer) -> None:
    """Raise DataError where no row is new, or one is in the data already: by its id, or else by all that it says."""
    if scorer.id:
        known = as_text(read_rows(path, [scorer.id])[scorer.id])
        used = clean[scorer.id].notna() & clean[scorer.id].isin(set(known.dropna()))
    else:
        # As the contract types them, because a CSV's 1.50 and a Parquet file's 1.5 are one value.
        there = check_rows(read_rows(path, columns_of(scorer)), scorer).clean[clean.columns]
        hashes = (pd.util.hash_pandas_object(one, index=False) for one in (clean, there))
        ours, theirs = hashes
        used = ours.isin(set(theirs))
    if clean.empty:
        raise DataError("no row is left that keeps the contract")
    if used.any():
        shown = f" ({_examples(clean.loc[used, scorer.id])})" if scorer.id else ""
        raise DataError(
            f"{int(used.sum()):,} of its {len(clean):,} rows are in {path} already{shown}; leave them out, or, if all "
            "are there because an earlier run was cut short, go on without ROWS="
        )


def _examples(ids: pd.Series) -> str:
    return ", ".join(sorted(map(str, ids.unique()))[:_SHOWN])


def _csv_with(path: Path, raw: pd.DataFrame, _clean: pd.DataFrame, _scorer: Scorer, target: Path) -> None:
    """The file's own bytes, then the new rows as they came."""
    header = pd.read_csv(path, nrows=0).columns
    text = raw.reindex(columns=header).to_csv(index=False, header=False, lineterminator="\n")
    content = path.read_bytes()
    end = b"" if content.endswith(b"\n") else b"\n"
    target.write_bytes(content + end + text.encode())


def _parquet_with(path: Path, raw: pd.DataFrame, clean: pd.DataFrame, scorer: Scorer, target: Path) -> None:
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


def _column(field: pa.Field, raw: pd.DataFrame, clean: pd.DataFrame, scorer: Scorer) -> pa.Array:
    """A column of the new rows in the file's type; empty where only the file has such a column."""
    if field.name not in clean:
        return pa.nulls(len(clean), field.type)
    values: Any = clean[field.name]
    if field.name == scorer.time and not pa.types.is_floating(field.type) and not pa.types.is_integer(field.type):
        is_text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        values = as_text(raw[field.name]) if is_text else pd.to_datetime((values * 1e6).round(), unit="us")
    try:
        return pa.Array.from_pandas(values).cast(field.type)
    except pa.ArrowException as error:
        raise DataError(f"column {field.name} does not fit {scorer.data}, where it is {field.type}: {error}") from error
