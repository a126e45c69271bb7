"""Prepare: the declared file -> checked rows in three windows of time, bad rows in quarantine with their reasons."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from handler.contract import MAX_ID_LENGTH, NUMERIC_TYPES, STRING_TYPES, DeclaredField
from training.declaration import Scorer, declared_scorer
from training.files import BUILD, REPORTS, write_json, write_whole

WINDOWS = ("train", "calibrate", "test")
SECONDS_A_DAY = 86_400
_SHOWN = 3


class DataError(ValueError):
    """Raised when the data cannot be what the declaration says."""


@dataclass(frozen=True)
class Prepared:
    """The checked rows by window, the quarantined ones, and what there is to report."""

    windows: dict[str, pd.DataFrame]
    quarantined: pd.DataFrame
    report: dict[str, Any]


def read_rows(path: Path, columns: list[str]) -> pd.DataFrame:
    """The declared columns of a .parquet or .csv file; a CSV's values stay text until they are checked.

    Raises DataError where the file cannot be read, is empty, or lacks a column.
    """
    if path.suffix not in {".parquet", ".csv"}:
        raise DataError(f"{path} ends in {path.suffix!r}; it must be .parquet or .csv")
    try:
        if path.suffix == ".csv":
            found = list(pd.read_csv(path, nrows=0).columns)
        else:
            found = pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if missing := sorted(set(columns) - set(found)):
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(sorted(found))}")
    if path.suffix == ".csv":
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


def prepare(rows: pd.DataFrame, scorer: Scorer) -> Prepared:
    """The rows of a scorer, checked column by column against its contract and split by time.

    Raises DataError where a label is wrong, too many rows are bad, or a window has one class only.
    """
    if scorer.split.sample < 1:
        draws = np.random.default_rng(scorer.seed).random(len(rows))
        rows = rows[draws < scorer.split.sample].reset_index(drop=True)
    label = check_label(rows[scorer.label], scorer.label)
    seconds = check_time(rows[scorer.time])
    problems = {scorer.time: pd.Series("", index=rows.index, dtype=object).mask(seconds.isna(), "is not a time")}
    clean: dict[str, pd.Series] = {}
    if scorer.id:
        clean[scorer.id] = _as_text(rows[scorer.id])
        problems[scorer.id] = _id_problems(rows[scorer.id], clean[scorer.id])
    clean[scorer.time] = seconds
    for name, field in scorer.fields.items():
        clean[name], problems[name] = check_field(rows[name], field)
    clean[scorer.label] = label
    reasons = _join_problems(problems)
    bad = reasons != ""
    quarantined = rows[bad].assign(reason=reasons[bad])
    counts = {
        f"{name}: {text}": int(n) for name, p in sorted(problems.items()) for text, n in p[p != ""].value_counts().items()
    }
    if bad.mean() > scorer.quarantine.max_share:
        raise DataError(
            f"{bad.sum():,} of {len(rows):,} rows ({bad.mean():.2%}) break the contract; quarantine.max_share allows "
            f"{scorer.quarantine.max_share:.2%}. " + "; ".join(f"{text} in {n:,} rows" for text, n in counts.items())
        )
    windows = split_by_time(pd.DataFrame(clean)[~bad], scorer)
    report = {
        "rows": len(rows),
        "quarantined": {"rows": int(bad.sum()), "reasons": counts},
        "windows": {name: _window_report(window, scorer) for name, window in windows.items()},
    }
    return Prepared(windows, quarantined, report)


def _id_problems(values: pd.Series, texts: pd.Series) -> pd.Series:
    problems = pd.Series("", index=values.index, dtype=object)
    problems[texts.str.len() > MAX_ID_LENGTH] = f"is longer than {MAX_ID_LENGTH} characters"
    problems[values.notna() & texts.duplicated()] = "was seen in an earlier row"
    return problems


def _join_problems(problems: Mapping[str, pd.Series]) -> pd.Series:
    """Per row its problems as one text, "" where there is none."""
    joined = next(iter(problems.values())).map(lambda _: "")
    for name, found in problems.items():
        bad = found != ""
        joined[bad] = joined[bad].map(lambda text: f"{text}; " if text else "") + f"{name} " + found[bad]
    return joined


def split_by_time(rows: pd.DataFrame, scorer: Scorer) -> dict[str, pd.DataFrame]:
    """The rows in time order as train, calibrate and test; rows of one moment never part.

    Rows within the label delay before the next window belong to none. Raises DataError where a window lacks a class.
    """
    rows = rows.sort_values(scorer.time, kind="stable", ignore_index=True)
    seconds = rows[scorer.time].to_numpy()
    n_train = round(len(rows) * scorer.split.train)
    n_known = round(len(rows) * (scorer.split.train + scorer.split.calibrate))
    calibrate_from, test_from = seconds[min(n_train, len(rows) - 1)], seconds[min(n_known, len(rows) - 1)]
    delay = scorer.split.label_delay_days * SECONDS_A_DAY
    windows = {
        "train": rows[seconds < calibrate_from - delay],
        "calibrate": rows[(seconds >= calibrate_from) & (seconds < test_from - delay)],
        "test": rows[seconds >= test_from],
    }
    for name, window in windows.items():
        labels = window[scorer.label]
        if labels.nunique() < 2:  # noqa: PLR2004 - two classes
            has = "no rows" if window.empty else f"only {scorer.label} = {labels.iloc[0]} in {len(window):,} rows"
            raise DataError(f"the {name} window has {has}; it must have both classes")
    return {name: window.reset_index(drop=True) for name, window in windows.items()}


def _window_report(window: pd.DataFrame, scorer: Scorer) -> dict[str, Any]:
    frauds = int(window[scorer.label].sum())
    moments = window[scorer.time].iloc[[0, -1]]
    first, last = (pd.Timestamp(float(moment), unit="s").floor("s").isoformat() for moment in moments)
    return {"from": first, "to": last, "rows": len(window), "frauds": frauds, "fraud_rate": frauds / len(window)}


def read_catalogues(scorer: Scorer) -> pd.DataFrame:
    """The catalogues of all text fields as one table: field, name, category."""
    tables = [pd.DataFrame({"field": [], "name": [], "category": []}, dtype=str)]
    for name, field in scorer.texts.items():
        table = read_rows(Path(cast("str", field.catalogue)), ["name", "category"])
        if bad := int(table.isna().any(axis="columns").sum()):
            raise DataError(f"{field.catalogue} lacks a name or a category in {bad:,} rows")
        tables.append(table.assign(field=name))
    return pd.concat(tables, ignore_index=True)[["field", "name", "category"]]


def main(name: str) -> None:
    """Prepare one scorer's rows: `python -m training.prepare refund`."""
    scorer = declared_scorer(name)
    path = Path(scorer.data)
    columns = [*([scorer.id] if scorer.id else []), scorer.time, *scorer.fields, scorer.label]
    try:
        prepared = prepare(read_rows(path, columns), scorer)
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    catalogue = read_catalogues(scorer)
    folder = BUILD / name / "rows"
    for window, rows in prepared.windows.items():
        write_whole(folder / f"{window}.parquet", lambda target, rows=rows: rows.to_parquet(target, index=False))
    write_whole(folder / "quarantine.csv", lambda target: prepared.quarantined.to_csv(target, index_label="row"))
    write_whole(folder / "catalogue.csv", lambda target: catalogue.to_csv(target, index=False))
    write_json(REPORTS / name / "rows.json", prepared.report)
    print(json.dumps(prepared.report, indent=1))  # noqa: T201 - the stage's report


if __name__ == "__main__":
    main(*sys.argv[1:])
