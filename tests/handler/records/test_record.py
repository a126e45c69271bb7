"""The prediction record: its lines and files; a failure to write never fails a request."""

import json
import math
import os
import re
import stat
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

import pytest
from pydantic import BaseModel

from benchmarks.variants import write_variant
from handler.records.record import FORMAT, HASH_DIGITS, Recalled, Recorder, keyed_hash
from handler.scoring.contract import Contract
from handler.scoring.scorer import Answered, Scored, Scorer, load_scorer
from tests.handler.deployment import BUNDLES
from tests.handler.record_lines import record_files, record_lines
from training.monitoring.binning import Binning
from training.monitoring.log import read_log

ROOT = Path(__file__).parents[3]
DAY_SECONDS = 86_400
MIDNIGHT = 20_000 * DAY_SECONDS
"""The start of 2024-10-04, in UTC."""
KEY = b"a deployment's own"
SHADOW = "0123456789ab"
REQUESTS: list[dict[str, Any]] = [
    {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refund_id": "r1"},
    {"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 20, "item": "Pad Thai with tofu"},
    {"yearsActive": 0.1, "amount": 900.0, "ipAccounts": 5, "refund_id": "é\n"},
]
OF_ACCOUNTS = [request | {"accountId": "a-17"} for request in REQUESTS[:2]]


def read(scorer: Scorer, requests: Sequence[dict[str, Any]] = REQUESTS) -> list[BaseModel]:
    """Requests, parsed by the contract."""
    return [scorer.request_model.model_validate(request) for request in requests]


def answered(scorer: Scorer, requests: Sequence[dict[str, Any]] = REQUESTS, *, explain: bool = False) -> Answered:
    """Requests and their answers, as the endpoint passes them on."""
    parsed = read(scorer, requests)
    scored = scorer.scores(parsed)
    return Answered(parsed, scored, scorer.answers(parsed, scored, explain=explain))


def line_counts(folder: Path) -> list[int]:
    """The number of lines in each file of a record."""
    return [len(path.read_bytes().splitlines()) for path in record_files(folder)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the record; neither it nor its parent exists yet."""
    return tmp_path / "log" / "predictions"


def record(folder: Path, scorer: Scorer) -> list[dict[str, Any]]:
    """The lines of a folder, after the requests were recorded there."""
    Recorder(str(folder)).record(scorer, answered(scorer), 0.0123456)
    return record_lines(folder)


def test_bands_are_recorded(folder: Path, refund: Scorer, tmp_path: Path) -> None:
    """A line has the bands of the answer and of the shadow's result; the monitor counts blocked requests."""
    probabilities = [scored.probability for scored in answered(refund).scored]
    lowest, _, highest = sorted(probabilities)
    decision = {"policy": {}, "threshold": lowest, "block": {"policy": {}, "threshold": highest}}
    write_variant(BUNDLES / "refund", tmp_path / "banded", decision=decision)
    scorer = load_scorer(tmp_path / "banded")
    predictions = answered(scorer)
    Recorder(str(folder)).record(scorer, predictions, 0.0, (SHADOW, predictions.scored))
    bands = ["block" if probability == highest else "review" for probability in probabilities]
    assert [line["band"] for line in record_lines(folder)] == bands
    assert [line["shadow"]["band"] for line in record_lines(folder)] == bands
    log = read_log(str(folder), "refund", Binning(scorer.bundle.baseline["features"]))
    assert sorted(log.blocked.tolist()) == [0, 0, 1]
    write_variant(BUNDLES / "refund", tmp_path / "plain", decision={"policy": {}, "threshold": lowest})
    assert all("band" not in line for line in record(folder / "plain", load_scorer(tmp_path / "plain")))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The record's clock, which stands still until a test sets it; at noon."""
    now = [MIDNIGHT + DAY_SECONDS / 2.0]
    monkeypatch.setattr("handler.records.record.time", lambda: now[0])
    return now


def test_each_prediction_has_its_line(folder: Path, refund: Scorer) -> None:
    """Lines are in order, with the request's id if any, the exact probability, version, time and latency."""
    before = time()
    rows = record(folder, refund)
    assert [row["id"] for row in rows] == ["r1", None, "é\n"]
    keys = ["record", "time", "scorer", "version", "id", "features", "probability", "flagged", "threshold"]
    for row, scored in zip(rows, refund.scores(read(refund)), strict=True):
        assert list(row) == [*keys, "reasons", "warnings", "milliseconds", "band", "block"]
        assert (row["threshold"], row["block"]) == (refund.threshold, refund.block)
        assert (row["probability"], row["flagged"]) == (scored.probability, scored.is_flagged)
        assert (row["record"], row["scorer"], row["version"]) == (1, "refund", refund.version)
        assert before <= row["time"] <= time()
        assert row["milliseconds"] == 12.346


# The features that the history of the shipped scorer computes.
PAST = ("ip_count_7d", "ip_risk_30d", "account_refunds_30d", "account_amount_30d", "account_idle")


def test_a_line_has_readable_features(folder: Path, refund: Scorer) -> None:
    """A category by its name, and null for a missing value: JSON has no NaN."""
    first, second, _ = record(folder, refund)
    assert first["features"] == {
        "years_active": 1.5,
        "amount": 45.0,
        "ip_accounts": 2.0,
        "refunds": None,
        "item_category": None,
        **dict.fromkeys(PAST),
        "refund_rate": None,
    }
    assert second["features"]["item_category"] == "Food, Perishable"
    assert second["features"]["refund_rate"] == pytest.approx(20 / 1.5)


@pytest.mark.parametrize("explain", [False, True])
def test_a_line_names_the_fields_of_reasons_and_warnings(folder: Path, refund: Scorer, *, explain: bool) -> None:
    """They are in the answer's order, without values or sentences, and empty if the answer had none."""
    predictions = answered(refund, [*REQUESTS, {**REQUESTS[0], "amount": 1e9}], explain=explain)
    Recorder(str(folder)).record(refund, predictions, 0.0)
    for line, answer in zip(record_lines(folder), predictions.answers, strict=True):
        assert line["reasons"] == [reason["field"] for reason in answer.get("reasons", [])]
        assert line["warnings"] == [warning["field"] for warning in answer.get("warnings", [])]
    assert record_lines(folder)[0]["warnings"] == []
    assert "amount" in record_lines(folder)[3]["warnings"]


@pytest.mark.parametrize(
    ("shadowed", "expected"),
    [
        (
            [Scored([], 0.0, probability, is_flagged=probability < 0.5) for probability in (0.25, 0.5, 0.75)],
            [
                {"version": SHADOW, "probability": 0.25, "flagged": True},
                {"version": SHADOW, "probability": 0.5, "flagged": False},
                {"version": SHADOW, "probability": 0.75, "flagged": False},
            ],
        ),
        (["KeyError"], [{"version": SHADOW, "error": "KeyError"}] * 3),
        ([], ["no such key"] * 3),
    ],
    ids=["scored", "failed", "disabled"],
)
def test_each_line_has_the_shadows_result(
    folder: Path, refund: Scorer, shadowed: list[Scored | str], expected: list[object]
) -> None:
    """The score of its own request, the failure of the whole batch, or nothing from a disabled shadow."""
    Recorder(str(folder)).record(refund, answered(refund), 0.0, (SHADOW, shadowed))
    assert [line.get("shadow", "no such key") for line in record_lines(folder)] == expected


def private(scorer: Scorer, **ways: str) -> Scorer:
    """The scorer with `private` set to these values for the named fields of its contract."""
    declared = scorer.contract.model_dump()
    for name, way in ways.items():
        declared["fields"][name]["private"] = way
    return Scorer(replace(scorer.bundle, contract=Contract.model_validate(declared, strict=False)))


@pytest.mark.parametrize(
    ("ways", "kept"),
    [
        (
            {"amount": "omit"},
            [
                *("years_active", "ip_accounts", "refunds", "item_category", "refund_rate"),
                *(name for name in PAST if name != "account_amount_30d"),
            ],
        ),
        ({"item": "omit"}, ["years_active", "amount", "ip_accounts", "refunds", *PAST, "refund_rate"]),
        ({"refunds": "omit"}, ["years_active", "amount", "ip_accounts", "item_category", *PAST]),
        ({"item": "hash"}, ["years_active", "amount", "ip_accounts", "refunds", *PAST, "refund_rate"]),
    ],
    ids=["number", "text", "operand", "hash without a key"],
)
def test_private_fields_are_not_in_the_record(
    folder: Path, refund: Scorer, ways: dict[str, str], kept: list[str]
) -> None:
    """Features computed from them would reveal them, and are not there either; the rest and the score are unchanged."""
    plain = record(folder / "plain", refund)
    recorded = record(folder / "private", private(refund, **ways))
    assert [line["features"] for line in recorded] == [
        {name: line["features"][name] for name in kept} for line in plain
    ]
    assert [line["probability"] for line in recorded] == [line["probability"] for line in plain]


def recalled(scorer: Scorer) -> list[Recalled]:
    """What an empty history is asked and answers for each request."""
    assert scorer.past is not None
    events = [scorer.past.events(request) for request in read(scorer, OF_ACCOUNTS)]
    values = [[event.past.values(event.past.empty(), event.event) if event else [] for event in of] for of in events]
    return [Recalled(*of, 10.0, 10.001) for of in zip(events, values, strict=True)]


def test_the_past_is_recorded_only_hashed(folder: Path, refund: Scorer) -> None:
    """It is not recorded at all without a key, or if a field that the history reads is omitted from records."""
    for name, scorer, key, is_there in (
        ("with a key", refund, KEY, True),
        ("without one", refund, b"", False),
        ("an entity's key is omitted", private(refund, account_id="omit"), KEY, False),
        ("a measure is omitted", private(refund, amount="omit"), KEY, False),
        ("what it completes is omitted", private(refund, ip_accounts="omit"), KEY, False),
    ):
        Recorder(str(folder / name), key=key).record(
            scorer, answered(scorer, OF_ACCOUNTS), 0.0, None, b"", recalled(scorer)
        )
        lines = record_lines(folder / name)
        assert all(("past" in line) == is_there for line in lines), name
        assert "a-17" not in json.dumps(lines)
    (line, other) = record_lines(folder / "with a key")
    assert list(line["past"]["entities"]) == ["account"]
    assert other["past"]["entities"]["account"]["key"] == line["past"]["entities"]["account"]["key"]
    assert line["past"]["entities"]["account"]["measures"] == {"amount": 4500}


def categories(folder: Path, scorer: Scorer, key: bytes) -> list[str | None]:
    """The category of each request in the record, with a key."""
    Recorder(str(folder), key=key).record(private(scorer, item="hash"), answered(scorer), 0.0)
    return [line["features"]["item_category"] for line in record_lines(folder)]


def test_a_private_value_is_hashed_with_the_key(folder: Path, refund: Scorer) -> None:
    """Equal values have equal hashes, in any process with the key; a missing value stays missing."""
    first, second, third = categories(folder / "a", refund, KEY)
    assert (first, third) == (None, None)
    assert second == keyed_hash("Food, Perishable", KEY)
    assert re.fullmatch(rf"[0-9a-f]{{{HASH_DIGITS}}}", second)
    assert b"Perishable" not in record_files(folder / "a")[0].read_bytes()
    assert categories(folder / "b", refund, KEY) == [first, second, third]
    assert categories(folder / "c", refund, KEY + b"?")[1] != second
    features = [record_lines(folder / "a")[1]["features"], record(folder / "plain", refund)[1]["features"]]
    assert features[0] | {"item_category": None} == features[1] | {"item_category": None}


def test_different_values_have_different_hashes() -> None:
    """No two of ten thousand hashes are equal."""
    assert len({keyed_hash(f"value {number}", KEY) for number in range(10_000)}) == 10_000


def test_a_line_has_what_made_up_the_decision(folder: Path, refund: Scorer) -> None:
    """If the answer needed them, the base and the contributions of all recorded features sum to its log-odds."""
    parsed = read(refund)
    scored = refund.explained(refund.scores(parsed), every=True)
    Recorder(str(folder)).record(refund, Answered(parsed, scored, refund.answers(parsed, scored)), 0.0)
    for line, result in zip(record_lines(folder), scored, strict=True):
        assert list(line["contributions"]) == list(line["features"])
        log_odds = math.log(result.probability / (1 - result.probability))
        assert line["base"] + sum(line["contributions"].values()) == pytest.approx(log_odds, abs=1e-9)


def test_what_is_omitted_has_no_contribution(folder: Path, refund: Scorer) -> None:
    """A contribution would reveal something of the value."""
    hiding = private(refund, amount="omit")
    parsed = read(hiding)
    scored = hiding.explained(hiding.scores(parsed), every=True)
    Recorder(str(folder)).record(hiding, Answered(parsed, scored, hiding.answers(parsed, scored)), 0.0)
    for line, result in zip(record_lines(folder), scored, strict=True):
        assert "amount" not in line["contributions"]
        # The base includes it, so the sum of the others does not reveal it either.
        log_odds = math.log(result.probability / (1 - result.probability))
        assert line["base"] + sum(line["contributions"].values()) == pytest.approx(log_odds, abs=1e-9)


def test_a_line_has_the_ids_of_its_invocation(folder: Path, refund: Scorer) -> None:
    """They are beside the request's own id."""
    sources = {"gateway_request": "g1", "trace": "Root=1-5"}
    Recorder(str(folder)).record(refund, answered(refund), 0.0, sources=sources)
    assert all(line | sources == line for line in record_lines(folder))


def test_a_control_group_is_drawn_from_what_is_blocked(folder: Path, refund: Scorer) -> None:
    """Id and key decide, so a repeated request has the same draw; the share holds within five standard deviations."""
    refund = copy(refund)
    refund.control, refund.block, refund.threshold = 0.25, 0.0, 0.0
    recorder, other = Recorder(str(folder), key=KEY), Recorder(str(folder), key=b"another")
    predictions = answered(refund, [{**REQUESTS[0], "refund_id": str(number)} for number in range(1000)])
    recorder.record(refund, predictions, 0.0)
    recorder.record(refund, predictions, 0.0)
    controls = [line["control"] for line in record_lines(folder)]
    assert {control["share"] for control in controls} == {0.25}
    drawn = [control["let_through"] for control in controls]
    assert drawn[:1000] == drawn[1000:] == [recorder.is_let_through(refund, str(number)) for number in range(1000)]
    assert sum(drawn[:1000]) == pytest.approx(250, abs=5 * (1000 * 0.25 * 0.75) ** 0.5)
    assert drawn[:1000] != [other.is_let_through(refund, str(number)) for number in range(1000)]
    refund.block = 1.0
    recorder.record(refund, answered(refund), 0.0)
    assert all("control" not in line for line in record_lines(folder)[2000:])


def test_without_a_key_nobody_is_let_through(folder: Path, refund: Scorer) -> None:
    """Otherwise a caller who chooses ids could find one that is let through."""
    refund = copy(refund)
    refund.control, refund.block, refund.threshold = 0.5, 0.0, 0.0
    recorder = Recorder(str(folder))
    assert not any(recorder.is_let_through(refund, str(number)) for number in range(100))
    recorder.record(refund, answered(refund), 0.0)
    assert all("control" not in line for line in record_lines(folder))


def test_what_was_let_through_has_its_reasons_in_the_record(folder: Path, refund: Scorer) -> None:
    """The model's decision was to block; the answer does not give its reasons."""
    refund = copy(refund)
    refund.control, refund.block, refund.threshold = 0.5, 0.0, 0.0
    parsed = read(refund)
    scored = refund.explained(refund.scores(parsed))
    shown = [result._replace(is_flagged=False, band="approve") for result in scored]
    Recorder(str(folder), key=KEY).record(refund, Answered(parsed, scored, refund.answers(parsed, shown)), 0.0)
    usual = refund.answers(parsed, scored)
    for line, answer in zip(record_lines(folder), usual, strict=True):
        assert line["reasons"] == [reason["field"] for reason in answer["reasons"]]


@pytest.mark.parametrize("rate", [0.02, 0.25, 0.9])
def test_a_share_of_the_predictions_is_recorded(folder: Path, refund: Scorer, rate: float) -> None:
    """Each has its own draw (within five standard deviations), and its line has the rate and its shadow's score."""
    recorder = Recorder(str(folder), rate=rate)
    predictions = answered(refund, [{**REQUESTS[0], "refund_id": str(number)} for number in range(1000)])
    shadowed = [Scored([], 0.0, number / 1000, is_flagged=False) for number in range(1000)]
    recorder.record(refund, predictions, 0.0, (refund.version, shadowed))
    recorded = record_lines(folder)
    assert len(recorded) == pytest.approx(1000 * rate, abs=5 * (1000 * rate * (1 - rate)) ** 0.5)
    assert {line["rate"] for line in recorded} == {rate}
    assert [line["shadow"]["probability"] for line in recorded] == [int(line["id"]) / 1000 for line in recorded]
    # An id that is sent again has the same draw.
    recorder.record(refund, predictions, 0.0)
    assert [line["id"] for line in record_lines(folder)] == 2 * [line["id"] for line in recorded]


def test_requests_without_an_id_are_drawn_one_by_one(folder: Path, refund: Scorer) -> None:
    """They are neither all recorded nor all left out, although nothing tells them apart."""
    recorder = Recorder(str(folder), rate=0.5)
    recorder.record(refund, answered(refund, [REQUESTS[1]] * 1000), 0.0)
    assert len(record_lines(folder)) == pytest.approx(500, abs=5 * 250**0.5)


OUTCOMES = [("refund", "r1", True), ("transaction", "é\n", False)]


def test_outcomes_are_recorded_beside_predictions(folder: Path, refund: Scorer) -> None:
    """They are in the same file, in the order of arrival, and the caller is told that they were recorded."""
    recorder = Recorder(str(folder))
    recorder.record(refund, answered(refund, REQUESTS[:1]), 0.0)
    assert recorder.record_outcomes(OUTCOMES) is True
    recorder.record(refund, answered(refund, REQUESTS[:1]), 0.0)
    assert len(record_files(folder)) == 1
    assert ["outcome" in line for line in record_lines(folder)] == [False, True, True, False]


def test_an_outcome_has_scorer_id_and_label(folder: Path) -> None:
    """The label is 0 or 1; the line also has the time at which it was received."""
    before = time()
    Recorder(str(folder)).record_outcomes(OUTCOMES)
    first, second = record_lines(folder)
    assert before <= first.pop("time") <= second.pop("time") <= time()
    assert first == {"outcome": FORMAT, "scorer": "refund", "id": "r1", "label": 1}
    assert second == {"outcome": FORMAT, "scorer": "transaction", "id": "é\n", "label": 0}
    assert type(first["label"]) is type(second["label"]) is int


def test_every_outcome_is_recorded_whatever_the_rate(folder: Path, refund: Scorer) -> None:
    """A batch from which no prediction is drawn leaves neither a line nor a folder."""
    recorder = Recorder(str(folder), rate=1e-9)
    recorder.record(refund, answered(refund), 0.0)
    assert not folder.parent.exists()
    recorder.record_outcomes(OUTCOMES * 100)
    assert len(record_lines(folder)) == 200


def test_monitoring_reads_what_is_recorded(folder: Path, refund: Scorer) -> None:
    """It reads every line, including hashed values, and finds none invalid."""
    recorder = Recorder(str(folder), rate=0.999999, key=KEY)
    hashing = private(refund, item="hash", amount="omit")
    recorder.record(hashing, answered(hashing), 0.0123456)
    recorder.record_outcomes(OUTCOMES)
    baseline = refund.bundle.baseline["features"]
    log = read_log(str(folder), "refund", Binning(baseline, KEY, frozenset(hashing.hashed_features)))
    assert log.counts == {"predictions": 3, "outcomes": 1, "lines of scorer 'transaction'": 1}
    place = 1 + baseline["item_category"]["labels"].index("Food, Perishable")
    assert log.bins[:, list(baseline).index("item_category")].tolist() == [0, place, 0]
    assert log.milliseconds.tolist() == [12.346] * 3


@pytest.mark.parametrize("seconds", [1.0, 0.001, 0.0])
def test_two_recorders_have_a_file_each(folder: Path, refund: Scorer, clock: list[float], seconds: float) -> None:
    """They may start at the same time; a new process does not change an existing file."""
    record(folder, refund)
    (first,) = record_files(folder)
    content = first.read_bytes()
    clock[0] += seconds
    record(folder, refund)
    assert line_counts(folder) == [3, 3]
    assert first.read_bytes() == content


def test_a_file_is_named_by_day_process_and_time(folder: Path, refund: Scorer, clock: list[float]) -> None:
    """No two processes write into the same file, and names sort by time. Only the owner can read a file."""
    record(folder, refund)
    (path,) = record_files(folder)
    assert path.name.startswith(f"2024-10-04-{os.getpid()}-{clock[0]:.3f}")
    assert path.suffix == ".jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_day_has_its_own_files(folder: Path, refund: Scorer, clock: list[float]) -> None:
    """The last second of a day is in its file, the first of the next day in the next; days are UTC's."""
    recorder = Recorder(str(folder))
    times = [MIDNIGHT + 1, MIDNIGHT + DAY_SECONDS - 1, MIDNIGHT + DAY_SECONDS, MIDNIGHT + DAY_SECONDS + 1]
    for timestamp in times:
        clock[0] = float(timestamp)
        recorder.record(refund, answered(refund, REQUESTS[:1]), 0.0)
    assert [path.name[:10] for path in record_files(folder)] == ["2024-10-04", "2024-10-05"]
    assert line_counts(folder) == [2, 2]
    assert [line["time"] for line in record_lines(folder)] == times


@pytest.fixture
def max_file_bytes(monkeypatch: pytest.MonkeyPatch) -> int:
    """The size limit of a file: a few lines."""
    monkeypatch.setattr("handler.records.record.MAX_FILE_BYTES", 2000)
    return 2000


def test_a_full_file_is_followed_by_another(
    folder: Path, refund: Scorer, clock: list[float], max_file_bytes: int
) -> None:
    """None is above the limit, none much below it, no line is lost, and only one file is open at a time."""
    recorder = Recorder(str(folder))
    for number in range(50):
        clock[0] += 1
        recorder.record(refund, answered(refund, [{**REQUESTS[0], "refund_id": f"{number:02}"}]), 0.0)
    sizes = [path.stat().st_size for path in record_files(folder)]
    a_line = len(record_files(folder)[0].read_bytes().splitlines(keepends=True)[0])
    assert max(sizes) <= max_file_bytes
    assert min(sizes[:-1]) > max_file_bytes - 1.1 * a_line
    assert [line["id"] for line in record_lines(folder)] == [f"{number:02}" for number in range(50)]
    open_files = [os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").iterdir()]
    assert [path for path in open_files if path.startswith(str(folder))] == [str(record_files(folder)[-1])]


@pytest.mark.usefixtures("max_file_bytes")
@pytest.mark.parametrize("seconds", [1, 0])
def test_a_batch_is_never_divided(folder: Path, refund: Scorer, clock: list[float], seconds: int) -> None:
    """A batch above the limit has its own file, even if several files are started at the same time."""
    recorder = Recorder(str(folder))
    for n_requests in (1, 30, 1):
        clock[0] += seconds
        recorder.record(refund, answered(refund, REQUESTS[:1] * n_requests), 0.0)
    assert sorted(line_counts(folder)) == [1, 1, 30]


def test_lines_of_several_writers_are_kept_apart(folder: Path, refund: Scorer) -> None:
    """Each has its recorder, as the processes of a server do."""
    predictions = answered(refund, REQUESTS * 100)
    recorders = [Recorder(str(folder)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda recorder: recorder.record(refund, predictions, 0.0), recorders))
    assert len(record_lines(folder)) == 4 * 5 * 300


def test_a_record_may_go_to_stdout(refund: Scorer, capfd: pytest.CaptureFixture[str]) -> None:
    """Lambda adds it to its log; outcomes go there, too."""
    recorder = Recorder("stdout")
    recorder.record(refund, answered(refund), 0.0)
    recorder.record_outcomes(OUTCOMES)
    written = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["scorer"] for line in written] == ["refund"] * 4 + ["transaction"]


@pytest.mark.parametrize(("blocked", "problem"), [("log/predictions", "File exists"), ("log", "Not a directory")])
def test_a_failure_to_write_is_logged_once_and_overcome(
    folder: Path, refund: Scorer, caplog: pytest.LogCaptureFixture, blocked: str, problem: str
) -> None:
    """The error has no value, and the caller is told. Once the folder can be made, recording goes on."""
    path = folder.parents[1] / blocked
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file")
    recorder = Recorder(str(folder))
    for _ in range(3):
        recorder.record(refund, answered(refund), 0.0)
        assert recorder.record_outcomes(OUTCOMES) is False
    path.unlink()
    recorder.record(refund, answered(refund), 0.0)
    assert [line["id"] for line in record_lines(folder)] == ["r1", None, "é\n"]
    (log,) = caplog.records
    assert (log.levelname, log.getMessage()) == ("ERROR", f"predictions cannot be recorded: {problem}")


def run(script: str, *arguments: str, stdout: Path | None = None) -> str:
    """The stderr of a process, whose stdout may be a device."""
    prelude = """
import json, os, sys
from handler.records.record import Recorder
"""
    command = [sys.executable, "-c", prelude + script, *arguments]
    with (stdout or Path(os.devnull)).open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


def test_a_full_disk_fails_no_request() -> None:
    """The failure is logged once."""
    script = """
recorder = Recorder("stdout")
for _ in range(3):
    recorder.record_outcomes([("refund", "r1", True)])
"""
    assert run(script, stdout=Path("/dev/full")) == "predictions cannot be recorded: No space left on device\n"


def test_two_containers_have_a_file_each(folder: Path) -> None:
    """Each has a process 1, and both start a file at the same time."""
    script = """
import handler.records.record

os.getpid = lambda: 1
handler.records.record.time = lambda: 1_728_000_000.0
Recorder(sys.argv[1]).record_outcomes([("refund", "r1", True)])
"""
    for _ in range(2):
        run(script, str(folder))
    assert line_counts(folder) == [1, 1]


def test_a_file_that_could_not_be_opened_is_opened_later(folder: Path) -> None:
    """Until then the full file is closed, and the process may open no more files."""
    script = """
import resource
import handler.records.record

handler.records.record.MAX_FILE_BYTES = 1
recorder = Recorder(sys.argv[1])
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
for name, most in (("before", limits[0]), ("lost", 0), ("lost", 0), ("after", limits[0])):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    recorder.record_outcomes([("refund", name, True)])
"""
    assert run(script, str(folder)) == "predictions cannot be recorded: Too many open files\n"
    assert [line["id"] for line in record_lines(folder)] == ["before", "after"]


def test_a_truncated_line_damages_no_other(folder: Path) -> None:
    """After a failed write the next record starts on a new line."""
    script = """
import resource
recorder = Recorder(sys.argv[1])
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
for name, most in (("before", limits[0]), ("torn", 150), ("lost", 150), ("after", limits[0])):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    recorder.record_outcomes([("refund", name, True)])
"""
    assert run(script, str(folder)) == "predictions cannot be recorded: File too large\n"
    (path,) = record_files(folder)
    before, torn, after = path.read_bytes().splitlines()
    assert (json.loads(before)["id"], json.loads(after)["id"]) == ("before", "after")
    assert torn.startswith(b'{"outcome":1,"time":')
    assert not torn.endswith(b"}")


def test_metrics_go_to_stdout_before_the_records_in_one_write(
    refund: Scorer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One system call fewer for each request in Lambda."""
    written: list[bytes] = []
    real = os.write
    monkeypatch.setattr(
        "handler.records.record.os.write", lambda file, content: written.append(content) or real(file, content)
    )
    Recorder("stdout").record(refund, answered(refund, REQUESTS[:2]), 0.0, None, b"metrics\n")
    (content,) = written
    assert content.startswith(b'metrics\n{"record":1,')
    assert content.count(b"\n") == 3
    assert capfd.readouterr().out == content.decode()


def test_metrics_are_written_without_records_too(
    refund: Scorer, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line of metrics goes to stdout, even if no prediction is sampled or the record is in a folder."""
    for recorder in (Recorder("stdout", rate=1e-9), Recorder(str(folder))):
        recorder.record(refund, answered(refund, REQUESTS[:1]), 0.0, None, b"metrics\n")
        assert capfd.readouterr().out == "metrics\n"
    assert len(record_lines(folder)) == 1


def test_a_short_record_opens_the_file_that_a_long_one_could_not(
    folder: Path, refund: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the failure no file is open, so even a record that would have fitted into the full one needs a new one."""
    short, long = answered(refund, REQUESTS[:1]), answered(refund, REQUESTS[:1] * 8)
    recorder = Recorder(str(folder))
    recorder.record(refund, short, 0.0)
    (first,) = record_files(folder)
    monkeypatch.setattr(recorder, "_bytes_left", 2 * first.stat().st_size)
    with monkeypatch.context() as failing:
        failing.setattr("handler.records.record._new_file", lambda *_: os.open("/dev/null/none", os.O_WRONLY))
        recorder.record(refund, long, 0.0)
    recorder.record(refund, short, 0.0)
    assert len(record_files(folder)) == 2
