"""Prepare: the declared file -> checked rows in three windows of time, bad rows in quarantine with their reasons."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from handler.contract import OTHER
from training.check import DataError, as_text, check_field, check_id, check_label, check_time, read_rows
from training.declaration import Scorer, declared_scorer
from training.files import BUILD, REPORTS, write_json, write_whole
from training.progress import say
from training.settings import SECONDS_A_DAY, Split
from training.stage import run
from training.suspicion import suspicions

# The year 1973: no data set of ours is older, and seconds counted from its first row are fewer.
EARLIEST_DATE = 100_000_000
WINDOWS = ("train", "calibrate", "test")


@dataclass(frozen=True)
class Checked:
    """Rows against their contract: the columns as the contract types them, and what is wrong with each row."""

    clean: pd.DataFrame
    """The sound rows, under the index that they came with."""
    quarantined: pd.DataFrame
    """The others as they came, with their reasons."""
    counts: dict[str, int]
    """How many rows have each problem."""


@dataclass(frozen=True)
class Prepared:
    """The checked rows by window, the quarantined ones, and what there is to report."""

    windows: dict[str, pd.DataFrame]
    quarantined: pd.DataFrame
    report: dict[str, Any]


def columns_of(scorer: Scorer) -> list[str]:
    """The columns that a scorer's file must have."""
    return [*filter(None, (scorer.id, scorer.entity)), scorer.time, *scorer.fields, scorer.label]


def check_rows(rows: pd.DataFrame, scorer: Scorer) -> Checked:
    """The rows of a scorer, checked column by column against its contract.

    Raises DataError where a label is wrong or too many rows are bad.
    """
    label = check_label(rows[scorer.label], scorer.label)
    seconds = check_time(rows[scorer.time])
    if seconds.isna().all():
        raise DataError(
            f"column {scorer.time} holds {rows[scorer.time].iloc[0]!r}; no value is a date, ISO 8601 text or seconds"
        )
    problems = {scorer.time: pd.Series("", index=rows.index, dtype=object).mask(seconds.isna(), "is not a time")}
    clean: dict[str, pd.Series] = {}
    if scorer.id:
        clean[scorer.id], problems[scorer.id] = check_id(rows[scorer.id])
    if scorer.entity:
        clean[scorer.entity] = as_text(rows[scorer.entity])
    clean[scorer.time] = seconds
    for name, field in scorer.fields.items():
        clean[name], problems[name] = check_field(rows[name], field)
    clean[scorer.label] = label
    reasons = _join_problems(problems)
    bad = reasons != ""
    counts = {
        f"{name}: {text}": int(n)
        for name, p in sorted(problems.items())
        for text, n in p[p != ""].value_counts().items()
    }
    if bad.mean() > scorer.quarantine.max_share:
        raise DataError(
            f"{bad.sum():,} of {len(rows):,} rows ({bad.mean():.2%}) break the contract; quarantine.max_share allows "
            f"{scorer.quarantine.max_share:.2%}. " + "; ".join(f"{text} in {n:,} rows" for text, n in counts.items())
        )
    return Checked(pd.DataFrame(clean)[~bad], rows[bad].assign(reason=reasons[bad]), counts)


def sample_of(rows: pd.DataFrame, scorer: Scorer) -> pd.DataFrame:
    """The declared share of the rows, drawn by the declared seed."""
    if scorer.split.sample == 1:
        return rows
    return rows[np.random.default_rng(scorer.seed).random(len(rows)) < scorer.split.sample]


def prepare(rows: pd.DataFrame, scorer: Scorer) -> Prepared:
    """The rows of a scorer, checked column by column against its contract and split by time.

    Raises DataError where a label is wrong, too many rows are bad, or a window has one class only.
    """
    rows = sample_of(rows, scorer)
    checked = check_rows(rows, scorer)
    windows = split_by_time(checked.clean, scorer)
    report = {
        "rows": len(rows),
        "quarantined": {"rows": len(checked.quarantined), "reasons": checked.counts},
        "windows": {name: _window_report(window, scorer) for name, window in windows.items()},
        "warnings": suspicions(windows["train"], scorer),
    }
    return Prepared(windows, checked.quarantined, report)


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
    calibrate_from, test_from = _boundaries(seconds, scorer.split)
    delay = scorer.split.label_delay_seconds
    windows = {
        "train": rows[seconds < calibrate_from - delay],
        "calibrate": rows[(seconds >= calibrate_from) & (seconds < test_from - delay)],
        "test": rows[seconds >= test_from],
    }
    for name, window in windows.items():
        labels = window[scorer.label]
        if labels.nunique() < 2:  # noqa: PLR2004 - two classes
            has = "no rows" if window.empty else f"only {scorer.label} = {labels.iloc[0]} in {len(window):,} rows"
            raise DataError(f"the {name} window has {has}; it must have both classes: bring more rows, or change split")
    return {name: window.reset_index(drop=True) for name, window in windows.items()}


def _boundaries(seconds: npt.NDArray[np.float64], split: Split) -> tuple[float, float]:
    """Where the calibration and the test window begin."""
    if split.train is not None and split.calibrate is not None:
        places = (round(len(seconds) * share) for share in (split.train, split.train + split.calibrate))
        calibrate_from, test_from = (float(seconds[min(place, len(seconds) - 1)]) for place in places)
        return calibrate_from, test_from
    days = (split.calibrate_days or 0.0, split.test_days or 0.0)
    test_from = float(seconds[-1]) - days[1] * SECONDS_A_DAY
    return test_from - days[0] * SECONDS_A_DAY, test_from


def _window_report(window: pd.DataFrame, scorer: Scorer) -> dict[str, Any]:
    frauds = int(window[scorer.label].sum())
    moments = window[scorer.time].iloc[[0, -1]]
    first, last = (moment(float(second)) for second in moments)
    return {"from": first, "to": last, "rows": len(window), "frauds": frauds, "fraud_rate": frauds / len(window)}


def moment(seconds: float) -> str:
    """A moment as a date, or as the number it is where it counts seconds or rows from a start of its own."""
    if seconds < EARLIEST_DATE:
        return f"{seconds:,.0f}"
    return str(pd.Timestamp(seconds, unit="s").floor("s").isoformat())


def read_catalogues(scorer: Scorer) -> pd.DataFrame:
    """The catalogues of all text fields as one table: field, name, category."""
    tables = [pd.DataFrame({"field": [], "name": [], "category": []}, dtype=str)]
    for name, field in scorer.texts.items():
        table = read_rows(Path(cast("str", field.catalogue)), ["name", "category"])
        if bad := int(table.isna().any(axis="columns").sum()):
            raise DataError(f"{field.catalogue} lacks a name or a category in {bad:,} rows")
        categories = sorted(table["category"].unique())
        if len(categories) < 2 or OTHER in categories:  # noqa: PLR2004 - a choice needs two
            raise DataError(
                f"{field.catalogue} has the categories {', '.join(categories)}; "
                f"it must have at least two, none of them {OTHER!r}, which is what unknown names are called"
            )
        tables.append(table.assign(field=name))
    return pd.concat(tables, ignore_index=True)[["field", "name", "category"]]


def main(name: str) -> None:
    """Prepare one scorer's rows: `python -m training.prepare refund`."""
    scorer = declared_scorer(name)
    path = Path(scorer.data)
    try:
        prepared = prepare(read_rows(path, columns_of(scorer)), scorer)
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    catalogue = read_catalogues(scorer)
    folder = BUILD / name / "rows"
    for window, rows in prepared.windows.items():
        write_whole(folder / f"{window}.parquet", partial(rows.to_parquet, index=False))
    write_whole(folder / "quarantine.csv", partial(prepared.quarantined.to_csv, index_label="row"))
    write_whole(folder / "catalogue.csv", partial(catalogue.to_csv, index=False))
    write_json(REPORTS / name / "rows.json", prepared.report)
    say(json.dumps(prepared.report, indent=1))
    for warning in prepared.report["warnings"]:
        say(f"WARNING: {warning}")


if __name__ == "__main__":
    run(main)
