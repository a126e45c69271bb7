"""Dates and times from a user's file to the function's answer: the mini scorer with a date."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from handler.records.record import Recorder
from handler.releases.served import Slot
from handler.scoring.scorer import Scorer, load_scorer
from handler.web.routes import create_app
from tests.training.conftest import Prepared, timed_rows
from training.batch.answers import answer_rows
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.contenders import Contender
from training.delivery.gate import judge_challenger
from training.errors import StageError
from training.params import SECONDS_A_DAY
from training.score import ScoreOptions, score_files


@pytest.fixture(scope="session")
def timed_scorer(timed: Path) -> ScorerDeclaration:
    """The declaration of the scorer with dates."""
    return declared_scorer("mini", timed / "params.yaml")


@pytest.fixture(scope="session")
def scorer(timed: Path) -> Scorer:
    """The packaged scorer with dates."""
    return load_scorer(timed / "build" / "bundles" / "mini")


@pytest.fixture
def client(scorer: Scorer, tmp_path: Path) -> TestClient:
    """A client of an app that serves the scorer and records its answers."""
    return TestClient(create_app({"mini": Slot(scorer)}, recorder=Recorder(str(tmp_path / "records"))))


def test_the_function_computes_what_training_computed(timed: Path) -> None:
    """On the golden requests, whose dates are ISO 8601, both agree to the last bit."""
    printed = json.loads((timed.parent / "printed.json").read_text())
    assert "worst absolute difference 0\n" in printed["package"]


def test_the_card_says_what_is_computed(timed: Path) -> None:
    """The card lists the features of the date and of the time."""
    card = (timed / "reports" / "mini" / "card.md").read_text()
    for row in (
        "| `opened` | age of a date | days | may only fall |",
        "| `hour` | hour of the day of `at` in UTC |  | free |",
        "| `weekday` | day of the week of `at` in UTC |  | free |",
    ):
        assert row in card


def test_rows_hold_seconds(timed: Path) -> None:
    """Prepared rows have the file's dates as seconds, to the microsecond."""
    rows, file = pd.read_parquet(timed / "build" / "mini" / "rows" / "test.parquet"), timed_rows().set_index("row_id")
    expected = (file.loc[rows["row_id"], "opened"] - pd.Timestamp(0)).dt.total_seconds()
    np.testing.assert_allclose(rows["opened"], expected, rtol=0, atol=1e-6)
    assert rows["opened"].dtype == np.float64


def test_golden_requests_bring_their_own_time(scorer: Scorer) -> None:
    """Golden answers do not depend on the day of the check; the requests cover every weekday."""
    requests = [case["request"] for case in scorer.bundle.golden]
    assert all("at" in request for request in requests)
    assert {datetime.fromisoformat(request["at"]).weekday() for request in requests} == set(range(7))
    assert sum("openedOn" in request for request in requests) == len(requests) - 1


REQUEST: dict[str, Any] = {"amountUsd": 900.5, "country": "NA"}
NIGHT = "2025-03-08T02:30:00Z"


def reasons_of(answer: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """The value and sentence of each reason, by its field."""
    return {reason["field"]: (reason["value"], reason["sentence"]) for reason in answer["reasons"]}


def test_reasons_are_in_words(client: TestClient) -> None:
    """Reasons describe the date's age, the hour and the weekday in words."""
    sent = REQUEST | {"openedOn": "2025-03-05T02:30:00Z", "at": NIGHT}
    reasons = reasons_of(client.post("/mini?explain=true", json=sent).json())
    assert reasons["opened"][0] == 3.0
    assert reasons["opened"][1].startswith("opened is 3 days before the request, below ")
    assert reasons["hour"][0] == 2.0
    assert reasons["hour"][1].startswith("hour is 02:00 to 02:59 UTC; ")
    assert reasons["weekday"][0] == 5.0
    assert reasons["weekday"][1].startswith("weekday is Saturday; ")
    missing = reasons_of(client.post("/mini?explain=true", json=REQUEST | {"at": NIGHT}).json())
    assert missing["opened"][1].startswith("opened is missing, as in ")
    assert missing["days_a_visit"][1].startswith("days_a_visit cannot be computed from this request; ")


def test_an_unusual_age_is_warned_of(client: TestClient) -> None:
    """The warning gives the age in words."""
    (warning,) = client.post("/mini", json=REQUEST | {"openedOn": "1950-01-01", "at": NIGHT}).json()["warnings"]
    assert warning["field"] == "opened"
    assert warning["sentence"].startswith("opened 27,460 days is outside the range seen in training, ")


def test_without_a_time_the_clock_counts(client: TestClient) -> None:
    """A request without a time counts as one of now."""
    opened = datetime.now(UTC) - timedelta(days=10)
    reasons = reasons_of(client.post("/mini?explain=true", json=REQUEST | {"openedOn": opened.isoformat()}).json())
    assert reasons["opened"][0] == pytest.approx(10, abs=0.01)


def test_each_request_of_a_batch_has_its_own_time(client: TestClient) -> None:
    """Each request of a batch is answered as if it were sent alone."""
    requests = [
        REQUEST | {"openedOn": "2025-03-05", "at": at} for at in (NIGHT, "2025-03-07", 1_741_500_000, 1_741_500_000.5)
    ]
    batch = client.post("/mini/batch?explain=true", json=requests).json()
    assert batch == [client.post("/mini?explain=true", json=request).json() for request in requests]
    assert len({reasons_of(answer)["opened"][0] for answer in batch}) == len(requests)


@pytest.mark.parametrize(
    ("changes", "key", "start"),
    [
        (lambda now: {"at": (now + timedelta(minutes=6)).isoformat()}, "at", "The time is more than 5 minutes ahead"),
        (lambda now: {"openedOn": (now + timedelta(days=1)).isoformat()}, "openedOn", "The date is after the request"),
        (lambda _: {"openedOn": "2025-03-09", "at": NIGHT}, "openedOn", "The date is after the request's time; send"),
        (lambda _: {"openedOn": "1899-12-31"}, "openedOn", "The date is before 1900; "),
    ],
)
def test_bad_input_is_a_422(
    client: TestClient, changes: Callable[[datetime], dict[str, str]], key: str, start: str
) -> None:
    """A bad request is refused with one sentence, alone and in a batch."""
    request = REQUEST | changes(datetime.now(UTC))
    for path, body, place in (("/mini", request, [key]), ("/mini/batch", [REQUEST, request], [1, key])):
        answer = client.post(path, json=body)
        (problem,) = answer.json()["detail"]
        assert (answer.status_code, problem["loc"]) == (422, ["body", *place])
        assert problem["msg"].startswith(start)


@pytest.mark.parametrize("item", ["tea", "tea: 1", "tea 1: 2", "tea 1:2:", "\u00e9:", '":', "\u0661:"])
@pytest.mark.parametrize("is_escaped", [True, False])
@pytest.mark.parametrize("doubled", ["", '"at": 1, ', f'"at": "{NIGHT}", ', '"item": "1:2", ', '"openedOn": null, '])
def test_a_key_given_twice_is_refused(client: TestClient, item: str, doubled: str, *, is_escaped: bool) -> None:
    """Duplicate keys are found despite dates, whose colons are in no string of the parsed request."""
    sent = REQUEST | {"item": item, "at": NIGHT, "openedOn": "2025-03-05T01:02:03+00:30"}
    body = json.dumps(sent, ensure_ascii=is_escaped).replace("{", "{" + doubled)
    answer = client.post("/mini", content=body.encode())
    expected = [{"type": "duplicate_key"}] if doubled else []
    assert [{"type": problem["type"]} for problem in answer.json().get("detail", [])] == expected


def test_records_hold_ages(client: TestClient, tmp_path: Path) -> None:
    """Dates are not recorded, because they would identify people more often than ages do."""
    client.post("/mini", json=REQUEST | {"openedOn": "2025-03-05T02:30:00Z", "at": NIGHT})
    (file,) = (tmp_path / "records").glob("*.jsonl")
    features = json.loads(file.read_text())["features"]
    assert (features["opened"], features["hour"], features["weekday"]) == (3.0, 2.0, 5.0)


def as_requests(rows: pd.DataFrame, *, is_text: bool) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Rows as in a file, with typed or textual dates, and the request for each row."""
    file = rows[["amount", "country", "opened", "at"]].copy()
    texts = {name: file[name].map(lambda date: date.isoformat(), na_action="ignore") for name in ("opened", "at")}
    requests = [
        {"amountUsd": row.amount, "country": row.country, "at": at, "openedOn": None if pd.isna(opened) else opened}
        for row, opened, at in zip(file.itertuples(), texts["opened"], texts["at"], strict=True)
    ]
    return (file.assign(**texts) if is_text else file), requests


@pytest.mark.parametrize("is_text", [True, False])
def test_a_file_is_scored_as_its_requests(scorer: Scorer, *, is_text: bool) -> None:
    """Scores are the same bit for bit, each row at its own time."""
    file, requests = as_requests(timed_rows().iloc[:200], is_text=is_text)
    answered = answer_rows(scorer, file).answered
    models = [scorer.request_model.model_validate_json(json.dumps(request)) for request in requests]
    assert answered["fraud_probability"].tolist() == [scorer.score(model).probability for model in models]


def test_a_file_is_refused_as_its_requests(scorer: Scorer) -> None:
    """Each row is refused with its reason; a number is valid as a time, but not as a date."""
    rows = pd.DataFrame(
        {
            "opened": ["2025-03-09", "1899-01-01", "1741500000", "soon", "2025-01-01", "2025-01-01", "2025-01-01", ""],
            "at": [NIGHT, NIGHT, NIGHT, NIGHT, "1741500000", "later", "2099-01-01", ""],
        }
    ).assign(amount=1.0, country="NA")
    assert answer_rows(scorer, rows).rejected.to_dict() == {
        0: "opened is after the row's time",
        1: "opened is before 1900",
        2: "opened is not a date",
        3: "opened is not a date",
        5: "at is not a time",
        6: "at is more than 5 minutes ahead of the clock",
    }


def test_without_a_time_a_files_rows_are_of_now(scorer: Scorer) -> None:
    """Rows without a time count as of when the run began."""
    rows = pd.DataFrame({"opened": ["2025-03-05"] * 3, "at": [None, "", "2025-03-08"]}).assign(amount=1.0, country="NA")
    now = datetime(2025, 3, 8, tzinfo=UTC).timestamp()
    answered = answer_rows(scorer, rows, now=now).answered["fraud_probability"]
    assert answered.tolist() == [answered[0]] * 3
    assert answer_rows(scorer, rows.drop(columns="at"), now=now).answered["fraud_probability"].eq(answered).all()


def test_scoring_says_that_a_file_has_no_times(
    timed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ages would be those of another day than the rows', so a line says it."""
    shutil.copytree(timed, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    timed_rows().drop(columns="at").to_parquet("without.parquet")
    result = score_files(ScoreOptions("mini", Path("without.parquet"), Path("scored.parquet")))
    assert result.rejected == 0
    assert "without.parquet: without a column at, each row is scored as a request made now" in capsys.readouterr().out


def test_the_gate_takes_prepared_rows(timed: Path, timed_scorer: ScorerDeclaration, scorer: Scorer) -> None:
    """The dates of prepared rows are seconds, and may be later than this machine's clock."""
    rows = pd.read_parquet(timed / "build" / "mini" / "rows" / "test.parquet")
    contender = Contender(scorer.version, scorer)
    late = 50 * 365 * SECONDS_A_DAY
    for judged in (rows, rows.assign(at=rows["at"] + late, opened=rows["opened"] + late)):
        measured = judge_challenger(contender, contender, judged, timed_scorer).measured
        assert (measured.rows, measured.left_out) == (len(rows), 0)
        assert measured.average_precision is not None
        assert measured.average_precision.gain == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"opened": "1899-12-31"}, "opened is before 1900"),
        ({"opened": "2025-12-31"}, "opened is after the row's time"),
        ({"opened": "31.12.2024"}, "opened is not a date"),
        ({"at": "never"}, "at is not a time"),
    ],
)
def test_bad_rows_are_quarantined(
    prepared: Callable[..., Prepared], timed_scorer: ScorerDeclaration, changes: dict[str, str], reason: str
) -> None:
    """Each bad row is quarantined with its reason."""
    rows = timed_rows().astype({"opened": object, "at": object})
    for name, value in changes.items():
        rows.loc[7, name] = value
    quarantined = prepared(rows, timed_scorer).quarantined
    assert quarantined["rejected_because"].to_dict() == {7: reason}


def test_a_date_needs_times_that_are_dates(prepared: Callable[..., Prepared], timed_scorer: ScorerDeclaration) -> None:
    """Seconds from an arbitrary start give no age, hour or weekday."""
    rows = timed_rows().assign(at=np.arange(1_500) * 60.0)
    fields = {name: field for name, field in timed_scorer.fields.items() if field.type != "date"}
    hour = {"hour": timed_scorer.features["hour"]}
    for changes, names in (
        ({}, "opened, hour, weekday"),
        ({"features": {}}, "opened"),
        ({"fields": fields, "features": hour}, "hour"),
    ):
        with pytest.raises(StageError) as refused:
            prepared(rows, timed_scorer.model_copy(update=changes))
        assert str(refused.value) == (
            f"column at holds neither dates nor seconds since 1970 (but, for example, 89,940), so {names} cannot be "
            "computed; declare a time column with dates, or declare no field of type date and no hour_of_day or "
            "day_of_week"
        )
    assert len(prepared(rows, timed_scorer.model_copy(update={"fields": fields, "features": {}})).windows) > 1


def test_young_accounts_are_never_safer(scorer: Scorer) -> None:
    """As declared, the risk only falls with the account's age."""
    night = datetime.fromisoformat(NIGHT)
    dates = [(night - timedelta(days=days)).isoformat() for days in range(0, 400, 5)]
    requests = [REQUEST | {"at": NIGHT, "openedOn": date} for date in dates]
    scored = scorer.scores([scorer.request_model.model_validate(request) for request in requests])
    risks = [score.probability for score in scored]
    assert risks == sorted(risks, reverse=True)
    assert risks[0] > risks[-1]
