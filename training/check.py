"""Check: the declared columns of a file, each against the contract, before anything is learned from them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from handler.contract import MAX_ID_LENGTH, NUMERIC_TYPES, STRING_TYPES, DeclaredField

_SHOWN = 3


class DataError(ValueError):
    """Raised when the data cannot be what the declaration says."""


def read_rows(path: Path, columns: list[str]) -> pd.DataFrame:
    """The declared columns of a .parquet or .csv file; a CSV's values stay text until they are checked.

    Raises DataError where the file cannot be read, is empty, or lacks a column.
    """
    if path.suffix not in {".parquet", ".csv"}:
        raise DataError(f"{path} ends in {path.suffix!r}; it must be .parquet or .csv")
    try:
        is_csv = path.suffix == ".csv"
        found = list(pd.read_csv(path, nrows=0).columns) if is_csv else pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if missing := sorted(set(columns) - set(found)):
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(sorted(found))}")
    if is_csv:
        # Only an empty cell is missing: "NA" is Namibia.
        rows = pd.read_csv(path, usecols=columns, dtype=str, keep_default_na=False, na_values=[""])
    else:
        rows = pd.read_parquet(path, columns=columns)
    if rows.empty:
        raise DataError(f"{path} holds no rows")
    return rows[columns]


def check_field(values: pd.Series, field: DeclaredField) -> tuple[pd.Series, pd.Series]:
    """A column as the contract types it (numbers float64, texts objects, missing NaN or None), and its problems.

    The second series holds one sentence per row, "" where the value is sound.
    """
    missing = values.isna() | (values.astype(object) == "")
    problems = pd.Series("", index=values.index, dtype=object)
    if field.type in STRING_TYPES:
        typed = _as_text(values).where(~missing, None)
        problems[typed.str.len() > field.max_length] = f"is longer than {field.max_length} characters"
    else:
        typed = pd.to_numeric(values.where(~missing), errors="coerce").astype(np.float64)
        typed = typed.astype(np.float64)
        problems[typed.isna() & ~missing] = f"is not a {field.type}"
        problems[np.isinf(typed)] = "is infinite"
        if field.type in NUMERIC_TYPES:
            problems[typed < field.lowest] = f"is below {field.lowest:g}"
            problems[typed > field.highest] = f"is above {field.highest:g}"
        if field.type == "flag":
            problems[~typed.isin([0, 1]) & typed.notna()] = "is neither true nor false"
        if field.type == "count":
            problems[(typed % 1 != 0) & np.isfinite(typed)] = "is not a whole number"
    if field.required:
        problems[missing] = "is missing"
    return typed, problems


def _as_text(values: pd.Series) -> pd.Series:
    """The values as a request would carry them: 5411, not 5411.0, where whole numbers name categories."""
    if pd.api.types.is_float_dtype(values.dtype) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype(object).map(lambda value: value if isinstance(value, str) else str(value))


def check_label(values: pd.Series, name: str) -> pd.Series:
    """The label as int8.

    Raises DataError where a label is neither 0 nor 1: guessing a label is worse than stopping.
    """
    typed = pd.to_numeric(values, errors="coerce")
    wrong = ~typed.isin([0, 1])
    if wrong.any():
        shown = ", ".join(repr(value) for value in values[wrong].unique()[:_SHOWN].tolist())
        raise DataError(f"column {name} holds {shown} ({wrong.sum():,} rows); every label must be 0 or 1")
    return typed.astype(np.int8)


def check_time(values: pd.Series) -> pd.Series:
    """Seconds since 1970 as float64, NaN where a time cannot be read; numbers are taken as seconds."""
    numeric = pd.to_numeric(values, errors="coerce") if not pd.api.types.is_datetime64_any_dtype(values) else None
    if numeric is not None and numeric.notna().any():
        return numeric.astype(np.float64).where(np.isfinite(numeric.astype(np.float64)))
    moments = pd.to_datetime(values, errors="coerce", utc=True, format=None if numeric is None else "ISO8601")
    return (moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds()


def check_id(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The ids as text, and their problems as `check_field` gives them."""
    texts = _as_text(values)
    problems = pd.Series("", index=values.index, dtype=object)
    problems[texts.str.len() > MAX_ID_LENGTH] = f"is longer than {MAX_ID_LENGTH} characters"
    problems[values.notna() & texts.duplicated()] = "was seen in an earlier row"
    return texts, problems
