"""Rows of a scorer checked against its contract; bad ones with their reasons."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from handler.scoring.fields import DeclaredField
from training.data.column_checks import as_text, check_field, check_id, check_label
from training.data.times import EARLIEST_DATE, check_time, time_is_number
from training.declaration import ScorerDeclaration
from training.errors import DataError, counted

# Written before a rejected row's own columns: its file, its row number there, counted from 1, the line number in a CSV,
# its reasons, and the text of a line that cannot be read.
REJECTED_COLUMNS = ("rejected_part", "rejected_row", "rejected_line", "rejected_because", "rejected_text")


# How many requests a row may stand for; the maximum is the weight of the rows of a control group of 0.0001.
WEIGHT = DeclaredField(type="number", required=True, min=0, max=10_000)


@dataclass(frozen=True)
class CheckedRows:
    """Rows checked against their contract."""

    clean: pd.DataFrame
    """The sound rows, as the contract types them, under their original index."""
    quarantined: pd.DataFrame
    """The other rows, unchanged, with their reasons."""
    counts: dict[str, int]
    """How many rows have each problem."""


def declared_columns(scorer: ScorerDeclaration) -> list[str]:
    """The columns that a scorer's file must have for its rows to be checked."""
    names = (*filter(None, (scorer.id, scorer.entity, scorer.split.weight)), scorer.time, *scorer.fields, scorer.label)
    return list(dict.fromkeys(names))


def sampled_rows(rows: pd.DataFrame, scorer: ScorerDeclaration, offset: int = 0) -> pd.DataFrame:
    """A sample of the rows: the declared share, by the declared seed; `offset` is how many rows came before these."""
    if scorer.split.sample == 1:
        return rows
    # One random number per row, so that the sample does not depend on how the rows are cut into chunks.
    generator = np.random.Generator(np.random.PCG64(scorer.seed).advance(offset))
    return rows[generator.random(len(rows)) < scorer.split.sample]


def check_rows(rows: pd.DataFrame, scorer: ScorerDeclaration) -> CheckedRows:
    """The rows of a scorer in memory, checked against its contract.

    Raises DataError if a label is wrong or too many rows are bad.
    """
    checked = check_each_row(rows, scorer, time_is_number(rows[scorer.time]))
    require_few_bad_rows(len(rows), len(checked.quarantined), checked.counts, scorer)
    return checked


def check_each_row(rows: pd.DataFrame, scorer: ScorerDeclaration, is_number: bool) -> CheckedRows:  # noqa: FBT001 - the result of `time_is_number`
    """Each row of a scorer, checked, however many are bad; raises DataError if a label is wrong."""
    label = check_label(rows[scorer.label], scorer.label)
    seconds = check_time(rows[scorer.time], is_number=is_number)
    _require_dates(seconds, scorer)
    problems = {scorer.time: pd.Series("", index=rows.index, dtype=object).mask(seconds.isna(), "is not a time")}
    clean: dict[str, pd.Series] = {}
    if scorer.id:
        clean[scorer.id], problems[scorer.id] = check_id(rows[scorer.id])
    if scorer.entity:
        clean[scorer.entity] = as_text(rows[scorer.entity])
    if scorer.split.weight:
        clean[scorer.split.weight], problems[scorer.split.weight] = check_field(rows[scorer.split.weight], WEIGHT)
    clean[scorer.time] = seconds
    for name, field in scorer.fields.items():
        clean[name], problems[name] = check_field(rows[name], field, seconds)
    clean[scorer.label] = label
    reasons = _join_problems(problems)
    bad = reasons != ""
    counts = {
        f"{name}: {text}": int(n)
        for name, p in sorted(problems.items())
        for text, n in p[p != ""].value_counts().items()
    }
    quarantined = pd.concat([rows[bad], reasons[bad].rename("rejected_because")], axis=1)
    return CheckedRows(pd.DataFrame(clean)[~bad], quarantined, counts)


def _require_dates(seconds: pd.Series, scorer: ScorerDeclaration) -> None:
    """Raise DataError if the times are not dates, but a declared age, hour or weekday needs them."""
    names = [name for name, field in scorer.fields.items() if field.type == "date"]
    names += [name for name, feature in scorer.features.items() if feature.time]
    if names and seconds.max() < EARLIEST_DATE:
        raise DataError(
            f"column {scorer.time} holds neither dates nor seconds since 1970 (but, for example, "
            f"{seconds.max():,.0f}), so {', '.join(names)} cannot be computed; declare a time column with dates, or "
            "declare no field of type date and no hour_of_day or day_of_week"
        )


def require_few_bad_rows(n_rows: int, n_bad: int, counts: Mapping[str, int], scorer: ScorerDeclaration) -> None:
    """Raise DataError if the checks reject more rows than the declaration allows."""
    if n_bad > scorer.quarantine.max_share * n_rows:
        raise DataError(
            f"{n_bad:,} of {n_rows:,} rows ({n_bad / n_rows:.2%}) break the contract; quarantine.max_share allows "
            f"{scorer.quarantine.max_share:.2%}. "
            + "; ".join(f"{text} in {counted(n, 'row')}" for text, n in counts.items())
        )


def _join_problems(problems: Mapping[str, pd.Series]) -> pd.Series:
    """The problems of each row as one text, "" if there is none."""
    joined = pd.Series("", index=next(iter(problems.values())).index, dtype=object)
    for name, phrases in problems.items():
        bad = phrases != ""
        joined[bad] = joined[bad].map(lambda text: f"{text}; " if text else "") + f"{name} " + phrases[bad]
    return joined
