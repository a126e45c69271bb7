"""Answers: what the function says of each row of a table, without asking it row by row.

Rows are checked column by column as `prepare` does it, features are the function's own code, margins and contributions
come from the function's own booster. A row that is taken here is a request that the function takes, and its answer
is the function's to the last bit; `tests/training/batch/test_answers.py` and `benchmarks.batch` hold it to that.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic_core import to_json

from handler.scoring.contract import MAX_ID_LENGTH, Contract, DeclaredField
from handler.scoring.outliers import Outliers
from handler.scoring.scorer import Scorer
from training.data.column_checks import check_field
from training.data.requests import field_values, requests_of

ANSWER_COLUMNS = ("fraud_probability", "is_flagged", "model_version")
EXPLANATIONS = ("reasons", "warnings")
# A request's id is checked as a category is: a text, of at most so many characters.
ID_FIELD = DeclaredField(type="category", max_length=MAX_ID_LENGTH)


class Answers(NamedTuple):
    """What came of some rows, by the index of the rows."""

    answered: pd.DataFrame
    """ANSWER_COLUMNS, and EXPLANATIONS where they were asked for (JSON texts, None where the function gives none)."""
    rejected: pd.Series
    """Per row that is no valid request what is wrong with it, as in the quarantine of `prepare`."""


def answer_rows(scorer: Scorer, rows: pd.DataFrame, *, explain: bool = False) -> Answers:
    """The answers to rows, whose columns have the names of the contract's fields, and perhaps of its id.

    A field that has no column is missing in every row. With `explain` come the reasons for what is flagged, and every
    warning, as the function gives them unasked; they take several times as long as the rest.
    """
    requests, rejected = _checked(rows, scorer.contract)
    vectors = _vectors(requests, scorer)
    margins = scorer.bundle.booster.margins(vectors) if vectors else []
    probabilities = list(map(scorer.probability, margins))
    flagged = np.array(probabilities, dtype=np.float64) >= scorer.threshold
    answered = pd.DataFrame(
        {"fraud_probability": pd.Series(probabilities, dtype=np.float64), "is_flagged": pd.Series(flagged, dtype=bool)}
    ).assign(model_version=scorer.version)
    if explain:
        for name, texts in _explained(scorer, requests, vectors, flagged).items():
            answered[name] = pd.Series(texts, dtype=object)
    return Answers(answered.set_axis(requests.index, axis="index"), rejected)


def _checked(rows: pd.DataFrame, contract: Contract) -> tuple[pd.DataFrame, pd.Series]:
    """The sound rows' fields, typed as a request carries them, and what is wrong with each of the others."""
    problems = pd.Series("", index=rows.index, dtype=object)
    typed: dict[str, pd.Series] = {}
    for name, field in _columns(contract, rows).items():
        values = rows[name] if name in rows else pd.Series(None, index=rows.index, dtype=object)
        typed[name], found = check_field(values, field)
        if field.type in {"count", "flag"}:
            # A request carries an int or a bool, which know no negative zero.
            typed[name] += 0.0
        elif isinstance(values.dtype, pd.StringDtype) and (zero := typed[name] == 0).any():
            # Of "-0" pandas keeps the sign only where the column's other numbers have fractions.
            typed[name] = typed[name].mask(zero & values.str.lstrip().str.startswith("-"), -0.0)
        if (bad := found != "").any():
            problems[bad] = problems[bad].map(lambda text: f"{text}; " if text else "") + f"{name} " + found[bad]
    bad = problems != ""
    return pd.DataFrame({name: typed[name] for name in contract.fields})[~bad], problems[bad]


def _columns(contract: Contract, rows: pd.DataFrame) -> dict[str, DeclaredField]:
    has_id = contract.id is not None and contract.id in rows
    return {**contract.fields, **({contract.id: ID_FIELD} if has_id and contract.id else {})}


def _vectors(requests: pd.DataFrame, scorer: Scorer) -> list[tuple[float, ...]]:
    """The feature vector of each request, in float64: column by column, but each value by the function's code."""
    features = scorer.bundle.features
    values = field_values(requests, scorer.contract)
    columns = [list(map(encoder, column)) for encoder, column in zip(features.encoders, values, strict=True)]
    for operation, left, right in features.derived:
        columns.append(list(map(operation, columns[left], columns[right])))
    return list(zip(*columns, strict=True))


def _explained(
    scorer: Scorer, requests: pd.DataFrame, vectors: list[tuple[float, ...]], flagged: npt.NDArray[np.bool_]
) -> dict[str, list[str | None]]:
    """The reasons and the warnings of each request, as JSON."""
    outliers = Outliers(scorer.bundle)
    rows = zip(*field_values(requests, scorer.contract), strict=True)
    warnings = [_json(outliers.warnings(row, list(vector))) for row, vector in zip(rows, vectors, strict=True)]
    reasons: list[str | None] = [None] * len(vectors)
    # What is flagged is asked of the function itself: against its contributions the detour by requests costs nothing.
    asked = [
        scorer.request_model.model_validate(request) for request in requests_of(requests[flagged], scorer.contract)
    ]
    answers = iter(scorer.answers(asked) if asked else ())
    for index in np.flatnonzero(flagged).tolist():
        reasons[index] = _json(next(answers)["reasons"])
    return {"reasons": reasons, "warnings": warnings}


def _json(found: list[dict[str, Any]]) -> str | None:
    return to_json(found).decode() if found else None
