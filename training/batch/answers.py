"""The function's answers to all rows of a table at once.

Rows are checked column by column as in `prepare`; features, margins and contributions come from the function's own
code. A row is accepted here if and only if the function accepts its request, and the answers are equal to the last bit;
`tests/training/batch/test_answers.py` and `benchmarks.serving.batch` check that.
"""

from time import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype
from pydantic_core import to_json

from handler.releases.lists import Lists
from handler.scoring.contract import MAX_ID_LENGTH, Contract
from handler.scoring.fields import DeclaredField
from handler.scoring.outliers import Outliers
from handler.scoring.scorer import Scorer
from handler.scoring.times import EARLIEST_SECONDS, LEEWAY_SECONDS
from training.data.column_checks import check_field
from training.data.requests import feature_columns, field_values, parsed_requests
from training.data.times import read_dates
from training.data.window import GIVEN

ANSWER_COLUMNS = ("fraud_probability", "is_flagged", "model_version")
# Further columns, if the decision has bands and a scale.
BAND, SCORE = "band", "score"
# Also the key in the function's answers that names the entry of a list.
LISTED = "list"
EXPLANATIONS = ("reasons", "warnings")
# A request's id is checked like a category: a text with a limited number of characters.
ID_FIELD = DeclaredField(type="category", max_length=MAX_ID_LENGTH)


class Answers(NamedTuple):
    """Answered and rejected rows, by the index of the rows."""

    answered: pd.DataFrame
    """ANSWER_COLUMNS, BAND and SCORE if the decision has them, EXPLANATIONS if requested, and LISTED if there are lists
    (the last two as JSON texts, or None if the function gives none)."""
    rejected: pd.Series
    """The reasons for each row that is not a valid request, as in the quarantine of `prepare`."""


def decision_columns(scorer: Scorer) -> tuple[str, ...]:
    """The further columns that the answers of a scorer have because of its decision."""
    return (*((BAND,) if scorer.block is not None else ()), *((SCORE,) if scorer.scale is not None else ()))


def answer_rows(  # noqa: PLR0913 - the options are keyword-only
    scorer: Scorer,
    rows: pd.DataFrame,
    *,
    explain: bool = False,
    now: float | None = None,
    past: pd.DataFrame | None = None,
    lists: Lists | None = None,
) -> Answers:
    """The answers to rows, whose columns are named like the contract's inputs and, optionally, its id.

    A field that has no column is missing in every row; the time of a row without one is `now`, by default the clock's.
    `explain` adds the reasons for flagged rows, and all warnings, as the function gives them by default; they take
    several times as long as the rest. `past` holds the history features, with the index of the rows. `lists` override
    the score, with the entries that are valid at the present time.
    """
    requests, rejected = checked_requests(rows, scorer.contract, time() if now is None else now)
    if past is not None:
        requests = _completed(requests, past, scorer.contract)
    vectors = _vectors(requests, scorer)
    margins = scorer.bundle.booster.margins(vectors) if vectors else []
    probabilities = list(map(scorer.probability, margins))
    flagged = np.array(probabilities, dtype=np.float64) >= scorer.threshold
    bands = list(map(scorer.band, probabilities))
    entries = lists.found_in(requests, time()) if lists else []
    for place, entry in enumerate(entries):
        if entry:
            flagged[place], bands[place] = entry.is_flagging, entry.band if scorer.block is not None else None
    answered = pd.DataFrame(
        {"fraud_probability": pd.Series(probabilities, dtype=np.float64), "is_flagged": pd.Series(flagged, dtype=bool)}
    ).assign(model_version=scorer.version)
    if scorer.block is not None:
        answered[BAND] = pd.Series(bands, dtype=object)
    if scorer.scale is not None:
        answered[SCORE] = pd.Series(list(map(scorer.scaled, probabilities)), dtype=np.int16)
    if explain:
        for name, texts in _explained(scorer, requests, vectors, flagged).items():
            answered[name] = pd.Series(texts, dtype=object)
    if lists:
        answered[LISTED] = pd.Series([_json(entry.told) if entry else None for entry in entries], dtype=object)
    return Answers(answered.set_axis(requests.index, axis="index"), rejected)


def checked_requests(rows: pd.DataFrame, contract: Contract, now: float) -> tuple[pd.DataFrame, pd.Series]:
    """The inputs of a batch's valid rows, typed as in a request, and the reasons why each of the others is rejected.

    If the contract has a history and the rows have ids, the inputs include the id.
    """
    problems = pd.Series("", index=rows.index, dtype=object)
    typed: dict[str, pd.Series] = {}
    seconds = None
    if contract.time_key:
        seconds, reasons = _request_times(rows, contract.time_key, now)
        typed[contract.time_key] = seconds
        problems = problems.mask(reasons != "", f"{contract.time_key} " + reasons)
    for name, field in _columns(contract, rows).items():
        values = rows[name] if name in rows else pd.Series(None, index=rows.index, dtype=object)
        typed[name], reasons = check_field(values, field, seconds)
        if field.type in {"count", "flag"}:
            # A request carries an int or a bool, which have no negative zero.
            typed[name] += 0.0
        elif isinstance(values.dtype, pd.StringDtype) and (zero := typed[name] == 0).any():
            # Pandas keeps the sign of "-0" only if other numbers in the column have fractions.
            typed[name] = typed[name].mask(zero & values.str.lstrip().str.startswith("-"), -0.0)
        if (bad := reasons != "").any():
            problems[bad] = problems[bad].map(lambda text: f"{text}; " if text else "") + f"{name} " + reasons[bad]
    bad = problems != ""
    names = dict.fromkeys((*contract.fields, *contract.inputs, *filter(None, (contract.time_key,))))
    if contract.history and contract.id in typed:
        names[contract.id] = None
    return pd.DataFrame({name: typed[name] for name in names})[~bad], problems[bad]


def _completed(requests: pd.DataFrame, past: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Requests with their history features, which also fill missing values of fields of the same name."""
    completed = requests.copy()
    features = past.loc[requests.index]
    for name in features:
        if name in contract.fields:
            completed[f"{name}{GIVEN}"] = requests[name]
            completed[name] = requests[name].fillna(features[name])
        else:
            completed[name] = features[name]
    return completed


def _request_times(rows: pd.DataFrame, column: str, now: float) -> tuple[pd.Series, pd.Series]:
    """The rows' times in seconds, `now` if there is none, and their problems as `check_field` gives them."""
    values = rows[column] if column in rows else pd.Series(None, index=rows.index, dtype=object)
    missing = values.isna() | (values.astype(object) == "")
    numbers = pd.to_numeric(values, errors="coerce") if not is_datetime64_any_dtype(values.dtype) else np.nan
    seconds = read_dates(values.where(~missing)).fillna(pd.Series(numbers, index=rows.index, dtype=np.float64))
    problems = pd.Series("", index=rows.index, dtype=object)
    problems[seconds.isna() & ~missing] = "is not a time"
    problems[seconds < EARLIEST_SECONDS] = "is before 1900"
    problems[seconds > now + LEEWAY_SECONDS] = "is more than 5 minutes ahead of the clock"
    return seconds.where(~missing, now), problems


def _columns(contract: Contract, rows: pd.DataFrame) -> dict[str, DeclaredField]:
    has_id = contract.id is not None and contract.id in rows
    return {**contract.fields, **contract.columns, **({contract.id: ID_FIELD} if has_id and contract.id else {})}


def _vectors(requests: pd.DataFrame, scorer: Scorer) -> list[tuple[float, ...]]:
    """The feature vector of each request, in float64."""
    columns = feature_columns(scorer.bundle.features, field_values(requests, scorer.contract))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _explained(
    scorer: Scorer, requests: pd.DataFrame, vectors: list[tuple[float, ...]], flagged: npt.NDArray[np.bool_]
) -> dict[str, list[str | None]]:
    """The reasons and the warnings of each request, as JSON."""
    outliers = Outliers(scorer.bundle)
    rows = zip(*field_values(requests, scorer.contract), strict=True)
    warnings = [_json(outliers.warnings(row, list(vector))) for row, vector in zip(rows, vectors, strict=True)]
    reasons: list[str | None] = [None] * len(vectors)
    # The function's own code gives the reasons; compared with the contributions, converting rows to requests is cheap.
    flagged_requests = list(parsed_requests(requests[flagged], scorer.contract, scorer.request_model))
    scored = scorer.scores(flagged_requests) if flagged_requests else []
    # Rows that only a list flags have reasons, too.
    shown = [result._replace(is_flagged=True) for result in scored]
    answers = iter(scorer.answers(flagged_requests, shown) if shown else ())
    for index in np.flatnonzero(flagged).tolist():
        reasons[index] = _json(next(answers)["reasons"])
    return {"reasons": reasons, "warnings": warnings}


def _json(items: list[dict[str, Any]] | dict[str, str]) -> str | None:
    return to_json(items).decode() if items else None
