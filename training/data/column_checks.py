"""Check: the declared columns of a file, each against the contract, before anything is learned from them."""

from numbers import Number
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from handler.scoring.contract import MAX_ID_LENGTH, NUMERIC_TYPES, STRING_TYPES, DeclaredField
from training.data.input_files import list_input_files
from training.errors import DataError

_SHOWN = 3


def read_rows(path: Path, columns: list[str]) -> pd.DataFrame:
    """The declared columns of a .parquet or .csv file; a CSV's values stay text until they are checked.

    Raises DataError where the file cannot be read, is empty, or lacks a column.
    """
    if path.is_dir():
        return pd.concat([read_rows(file, columns) for file in list_input_files(path)], ignore_index=True)
    if path.suffix not in {".parquet", ".csv"}:
        raise DataError(f"{path} ends in {path.suffix!r}; it must be .parquet or .csv")
    try:
        rows = _read_csv(path, columns) if path.suffix == ".csv" else _read_parquet(path, columns)
    except (OSError, pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if rows.empty:
        raise DataError(f"{path} holds no rows")
    return rows[columns]


def _read_parquet(path: Path, columns: list[str]) -> pd.DataFrame:
    require_columns(path, pq.read_schema(path).names, columns)
    return pd.read_parquet(path, columns=columns)


def _read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    # Without a header, because pandas renames a second `amount` to `amount.1`.
    require_columns(path, pd.read_csv(path, nrows=1, header=None, dtype=str).iloc[0].tolist(), columns)
    # All columns are read: with `usecols` pandas lets a line with a cell too many pass. And only an empty cell is
    # missing: "NA" is Namibia.
    rows = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    if not isinstance(rows.index, pd.RangeIndex):
        raise DataError(f"{path}: every line has more cells than the header has names")
    return rows


def require_columns(path: Path, found: list[str], columns: list[str]) -> None:
    """Raise DataError where a file lacks a column, or has it twice."""
    if missing := sorted(set(columns) - set(found)):
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(sorted(map(str, found)))}")
    if twice := sorted({name for name in columns if found.count(name) > 1}):
        raise DataError(f"{path} has more than one column {', '.join(twice)}; a column's name must be used once")


def check_field(values: pd.Series, field: DeclaredField) -> tuple[pd.Series, pd.Series]:
    """A column as the contract types it (numbers float64, texts objects, missing NaN or None), and its problems.

    The second series holds one sentence per row, "" where the value is sound.
    """
    missing = values.isna()
    if not pd.api.types.is_numeric_dtype(values.dtype):
        missing |= values.astype(object) == ""
    problems = pd.Series("", index=values.index, dtype=object)
    if field.type in STRING_TYPES:
        typed = as_text(values.where(~missing))
        problems[typed.isna() & ~missing] = "is not a text"
        problems[typed.str.len() > field.max_length] = f"is longer than {field.max_length} characters"
    else:
        if field.type == "flag":
            # As pandas writes a flag into a CSV.
            values = values.replace({"True": 1, "False": 0, "true": 1, "false": 0})
        typed = pd.to_numeric(values.where(~missing), errors="coerce").astype(np.float64)
        problems[typed.isna() & ~missing] = f"is not a {field.type}"
        if field.type in NUMERIC_TYPES:
            problems[typed < field.lowest] = f"is below {field.lowest:g}"
            problems[typed > field.highest] = f"is above {field.highest:g}"
        if field.type == "count":
            problems[(typed % 1 != 0) & np.isfinite(typed)] = "is not a whole number"
        if field.type == "flag":
            problems[~typed.isin([0, 1]) & typed.notna()] = "is neither true nor false"
        problems[np.isinf(typed)] = "is infinite"
    if field.required:
        problems[missing] = "is missing"
    return typed, problems


def as_text(values: pd.Series) -> pd.Series:
    """The values as a request would carry them, else None; 5411, not 5411.0, where numbers name things."""
    if isinstance(values.dtype, pd.StringDtype):
        return values
    if pd.api.types.is_float_dtype(values.dtype) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype(object).map(_text).where(values.notna(), None)


def _text(value: object) -> str | None:
    """A text or a number as text; None for anything else, such as bytes, which no request can carry."""
    return str(value) if isinstance(value, str | Number) else None


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


def check_id(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The ids as text, and their problems as `check_field` gives them."""
    texts = as_text(values)
    problems = pd.Series("", index=values.index, dtype=object)
    problems[texts.str.len() > MAX_ID_LENGTH] = f"is longer than {MAX_ID_LENGTH} characters"
    problems[values.notna() & texts.duplicated()] = "was seen in an earlier row"
    return texts, problems
