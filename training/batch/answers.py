"""The function's answers to all rows of a table at once.

Rows are checked column by column as in `prepare`; features, margins and contributions come from the function's own
code. A row is accepted here if and only if the function accepts its request, and the answers are equal to the last bit;
`tests/training/batch/test_answers.py` and `benchmarks.serving.batch` check that.
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
# A request's id is checked like a category: a text with a limited number of characters.
ID_FIELD = DeclaredField(type="category", max_length=MAX_ID_LENGTH)


class Answers(NamedTuple):
    """Answered and rejected rows, by the index of the rows."""

    answered: pd.DataFrame
    """ANSWER_COLUMNS and, if requested, EXPLANATIONS (JSON texts, None where the function gives none)."""
    rejected: pd.Series
    """Per row that is not a valid request the reasons, as in the quarantine of `prepare`."""


def answer_rows(scorer: Scorer, rows: pd.DataFrame, *, explain: bool = False) -> Answers:
    """The answers to rows, whose columns are named like the contract's fields and, optionally, its id.

    A field that has no column is missing in every row. `explain` adds the reasons for flagged rows, and all warnings,
    as the function gives them by default; they take several times as long as the rest.
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
    """The valid rows' fields, typed as in a request, and the reasons why each of the others is rejected."""
    problems = pd.Series("", index=rows.index, dtype=object)
    typed: dict[str, pd.Series] = {}
    for name, field in _columns(contract, rows).items():
        values = rows[name] if name in rows else pd.Series(None, index=rows.index, dtype=object)
        typed[name], reasons = check_field(values, field)
        if field.type in {"count", "flag"}:
            # A request carries an int or a bool, which have no negative zero.
            typed[name] += 0.0
        elif isinstance(values.dtype, pd.StringDtype) and (zero := typed[name] == 0).any():
            # Of "-0" pandas keeps the sign only where the column's other numbers have fractions.
            typed[name] = typed[name].mask(zero & values.str.lstrip().str.startswith("-"), -0.0)
        if (bad := reasons != "").any():
            problems[bad] = problems[bad].map(lambda text: f"{text}; " if text else "") + f"{name} " + reasons[bad]
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
    # Reasons come from the function itself; next to the contributions, converting rows to requests costs nothing.
    flagged_requests = [
        scorer.request_model.model_validate(request) for request in requests_of(requests[flagged], scorer.contract)
    ]
    answers = iter(scorer.answers(flagged_requests) if flagged_requests else ())
    for index in np.flatnonzero(flagged).tolist():
        reasons[index] = _json(next(answers)["reasons"])
    return {"reasons": reasons, "warnings": warnings}


def _json(items: list[dict[str, Any]]) -> str | None:
    return to_json(items).decode() if items else None
