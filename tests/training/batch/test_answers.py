"""Rows of a file get the answers of the same values as requests, and are rejected if the function refuses those."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import to_json

from benchmarks.variants import write_variant
from handler.releases.served import Slot
from handler.scoring.scorer import Scorer, load_scorer
from handler.web.routes import create_app
from training.batch.answers import Answers, answer_rows
from training.data.column_checks import check_field
from training.data.requests import requests_of
from training.data.row_reader import read_columns

TYPES = {
    "row_id": pa.string(),
    "amount": pa.float64(),
    "speed": pa.float64(),
    "visits": pa.float64(),
    "country": pa.string(),
    "is_new": pa.bool_(),
    "item": pa.string(),
}
KEYS = dict(zip(TYPES, TYPES, strict=True)) | {"amount": "amountUsd"}
Row = dict[str, Any]
MISSING, NO_VALUE = object(), object()
NUMBERS = [0.0, -0.0, 1e-300, 0.1 + 0.2, 19.990001, 19.99, 19.995, 2.675, 0.005, 99_999.999, 100_000.0, 100_000.001]
TEXTS = ["NA", "DE", "rare", " DE ", "de", "null", "None", "nan", "-", "x" * 32, "x" * 33, "\U0001f60b" * 32, "\x00"]
TEXTS += ["\U0001f60b" * 33, "Å", "A\u030a", 'a "quoted", cell', "two\nlines", "5411", "5411.0", "other"]
CELLS: dict[str, list[Any]] = {
    "row_id": ["r-1", "r" * 128, "r" * 129, "ü" * 128],
    "amount": [*NUMBERS, -0.01, -1e-9, 1e15, 5.0],
    "speed": [*NUMBERS, -1e15, 1e15, 1.0000001e15, -1e300, 5e-324, 16_777_217.0, 10.0, 14.0],
    "visits": [0.0, -0.0, 3.0, 2.5, -1.0, 1e15, 1e15 + 1, 2.0, 9_007_199_254_740_992.0],
    "country": TEXTS,
    "is_new": [True, False],
    "item": [*TEXTS, "Pad Thai with tofu", "Striped t-shirt", "x" * 256, "x" * 257],
}


def refused(*cells: str) -> list[tuple[str, Any]]:
    """Pair cells with NO_VALUE: no request can carry what is written in them."""
    return [(cell, NO_VALUE) for cell in cells]


# Cells that only a text column can hold, each with the value that a caller would send for it.
WRITTEN: dict[str, list[tuple[str, Any]]] = {
    "amount": [(" 12.5 ", 12.5), ("1e2", 100), ("+5", 5), ("-0", -0.0), *refused("1,5", "nan", "$5")],
    "speed": [("7", 7), ("-0", -0.0), *refused("inf", "-Infinity", "NA", "1_0")],
    "visits": [("3", 3), ("3.0", 3), ("-0", 0), ("1e3", 1000), (" ", MISSING), *refused("3.5", "three")],
    "is_new": [("true", True), ("False", False), ("1", True), ("0", False), ("1.0", True), *refused("yes", "2")],
}


@pytest.fixture(scope="session")
def scorer(mini_bundle: Path) -> Scorer:
    """The mini scorer."""
    return load_scorer(mini_bundle)


@pytest.fixture(scope="session")
def client(scorer: Scorer) -> TestClient:
    """A client of an app that serves the mini scorer."""
    return TestClient(create_app({"mini": Slot(scorer)}))


def frame(rows: list[Row], *, is_text: bool = False) -> pd.DataFrame:
    """The rows as they come from a file."""
    columns = {
        name: pa.array([row[name] for row in rows], pa.string() if is_text else kind) for name, kind in TYPES.items()
    }
    return pa.table(columns).to_pandas()


def expected(answer: Row) -> Row:
    """The function's answer in the columns that a scored row has."""
    explained = {key: to_json(answer[key]).decode() if key in answer else None for key in ("reasons", "warnings")}
    return {key: answer[key] for key in ("fraud_probability", "is_flagged", "model_version")} | explained


def exactly(answer: Row) -> Row:
    """Make two answers comparable: floats to the last bit, and every missing text as None."""
    plain = {key: None if value is None or value != value else value for key, value in answer.items()}  # noqa: PLR0124 - NaN
    return plain | {"fraud_probability": float(plain["fraud_probability"]).hex()}


def compare(answers: Answers, requests: list[Row | None], expected_answers: list[Row | None]) -> None:
    """Compare rows' answers with the function's; None is a refused request, or a cell that no request can hold."""
    rows = answers.answered.to_dict("index")
    for index, (request, answer) in enumerate(zip(requests, expected_answers, strict=True)):
        if answer is None:
            assert index in answers.rejected.index, request
        else:
            assert index in rows, (request, answers.rejected.get(index))
            assert exactly(rows[index]) == exactly(expected(answer)), request
    assert len(rows) + len(answers.rejected) == len(requests)


def request_of(values: Row) -> Row | None:
    """The request that a caller would send, or None if no request can carry one of the cells."""
    if any(value is NO_VALUE for value in values.values()):
        return None
    return {KEYS[name]: value for name, value in values.items() if value is not MISSING}


@pytest.mark.parametrize("is_text", [False, True], ids=["parquet", "csv"])
def test_answers_are_the_functions(scorer: Scorer, client: TestClient, is_text: bool) -> None:  # noqa: FBT001 - a parameter
    """Hundreds of rows of edge cases get the same bits, reasons, warnings and refusals as through HTTP."""
    rng = np.random.default_rng(5)
    rows, requests = [], []
    for _ in range(600):
        cells, values = {}, {}
        for name, pool in CELLS.items():
            # Mostly sound values: a row with one refused cell says nothing about its other cells.
            value = pool[int(rng.integers(len(pool)))] if rng.random() < 0.5 else pool[0]
            cell = repr(value) if is_text and not isinstance(value, str) else value
            if rng.random() < 0.1:
                cell, value = None, MISSING
            elif is_text and name in WRITTEN and rng.random() < 0.2:
                cell, value = WRITTEN[name][int(rng.integers(len(WRITTEN[name])))]
            cells[name], values[name] = cell, value
        rows.append(cells)
        requests.append(request_of(values))
    responses = [None if request is None else client.post("/mini", json=request) for request in requests]
    answered = [res.json() if res is not None and res.status_code == 200 else None for res in responses]
    assert 150 < sum(answer is not None for answer in answered) < 570
    compare(answer_rows(scorer, frame(rows, is_text=is_text), explain=True), requests, answered)


def test_bands_are_the_functions(scorer: Scorer, mini_bundle: Path, tmp_path: Path) -> None:
    """Rows get a band column only if the decision has bands."""
    rows = frame([{name: pool[0] for name, pool in CELLS.items()} for _ in range(3)], is_text=False)
    rows["amount"] = [1.0, 50.0, 5_000.0]
    plain = answer_rows(scorer, rows).answered
    probability = plain["fraud_probability"]
    decision = {"policy": {}, "threshold": probability[1], "block": {"policy": {}, "threshold": probability.max()}}
    write_variant(mini_bundle, tmp_path / "banded", decision=decision)
    banded = answer_rows(load_scorer(tmp_path / "banded"), rows).answered
    expected = [
        "block" if p == probability.max() else "review" if p >= probability[1] else "approve" for p in probability
    ]
    assert banded["band"].tolist() == expected
    assert "band" not in plain


def test_scores_are_the_functions(scorer: Scorer, mini_bundle: Path, tmp_path: Path) -> None:
    """Rows get a score column of whole numbers only if the decision has a scale."""
    rows = frame([{name: pool[0] for name, pool in CELLS.items()} for _ in range(3)], is_text=False)
    rows["amount"] = [1.0, 50.0, 5_000.0]
    plain = answer_rows(scorer, rows).answered
    scale = np.linspace(0, 1, 1000).tolist()
    decision = scorer.bundle.manifest["decision"] | {"score": 1000}
    write_variant(mini_bundle, tmp_path / "scaled", decision=decision, scale=scale)
    scored = answer_rows(load_scorer(tmp_path / "scaled"), rows).answered["score"]
    assert scored.dtype == np.int16
    assert scored.tolist() == [sum(limit < p for limit in scale) for p in plain["fraud_probability"]]
    assert "score" not in plain


FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(NUMBERS)
ROW = st.fixed_dictionaries(
    {
        "row_id": st.none() | st.text(max_size=130),
        "amount": st.none() | st.floats(0, 100_000) | FLOATS,
        "speed": st.none() | FLOATS,
        "visits": st.none() | st.integers(0, 50).map(float) | FLOATS,
        "country": st.none() | st.sampled_from(TEXTS) | st.text(max_size=40),
        "is_new": st.none() | st.booleans(),
        "item": st.none() | st.sampled_from(TEXTS) | st.text(max_size=300),
    }
)


@settings(max_examples=50)
@given(st.lists(ROW, min_size=1, max_size=10))
def test_any_row_is_answered_as_its_request(scorer: Scorer, rows: list[Row]) -> None:
    """Whatever its cells hold, a row is rejected or answered exactly as its request would be."""
    requests, answers = [], list[Row | None]()
    for row in rows:
        # An empty text counts as missing, as in training.
        request = {KEYS[name]: value for name, value in row.items() if value is not None and value != ""}
        requests.append(request)
        try:
            answers.append(scorer.answer(scorer.request_model.model_validate_json(json.dumps(request))))
        except ValidationError:
            answers.append(None)
    compare(answer_rows(scorer, frame(rows), explain=True), requests, answers)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_training_file_gives_the_requests_of_training(
    scorer: Scorer, mini_rows: pd.DataFrame, tmp_path: Path, kind: str
) -> None:
    """Rows of a training file get the answers of the requests that training makes of them."""
    path = tmp_path / f"rows.{kind}"
    sample = mini_rows.head(400)
    sample.to_csv(path, index=False) if kind == "csv" else sample.to_parquet(path)
    rows = read_columns(path, list(scorer.contract.fields))
    checked = {name: check_field(rows[name], field)[0] for name, field in scorer.contract.fields.items()}
    requests = list(requests_of(pd.DataFrame(checked), scorer.contract))
    answers = scorer.answers([scorer.request_model.model_validate(request) for request in requests])
    compare(answer_rows(scorer, rows, explain=True), requests, answers)


def test_reasons_are_given_field_by_field(scorer: Scorer) -> None:
    """A rejected row gets the same reasons as in the quarantine of `prepare`."""
    sound = dict.fromkeys(TYPES, None) | {"amount": 5.0, "country": "DE"}
    rows = [sound, sound | {"amount": -1.0, "country": None, "visits": 0.5}, sound | {"row_id": "r" * 129}]
    rejected = answer_rows(scorer, frame(rows)).rejected
    assert rejected.to_dict() == {
        1: "amount is below 0; visits is not a whole number; country is missing",
        2: "row_id is longer than 128 characters",
    }


def test_a_field_without_a_column_is_missing(scorer: Scorer, client: TestClient) -> None:
    """A field that is not required may have no column at all."""
    rows = pd.DataFrame({"amount": [250.0], "country": ["NA"]})
    answer = client.post("/mini", json={"amountUsd": 250.0, "country": "NA"}).json()
    compare(answer_rows(scorer, rows, explain=True), [{}], [answer])


def test_no_rows_have_no_answers(scorer: Scorer) -> None:
    """If there is no row, or every row is rejected, the answers are empty but have all their columns."""
    for rows in (frame([]), frame([dict.fromkeys(TYPES, None)])):
        answers = answer_rows(scorer, rows, explain=True)
        assert len(answers.answered) == 0
        assert list(answers.answered) == ["fraud_probability", "is_flagged", "model_version", "reasons", "warnings"]
