"""Records: what was written comes back exactly, wherever and in whatever pieces it lies."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest

from handler.records import record as written
from handler.records.record import FORMAT, Recorder
from handler.scoring.scorer import Answered, Scorer, load_scorer
from training.data.requests import requests_of
from training.errors import DataError
from training.monitoring import log as records
from training.monitoring.binning import Binning
from training.monitoring.log import Log, read_lines, read_log
from training.params import SECONDS_A_DAY

N_REQUESTS = 60
START = 1_750_000_000.0
EDGES = [0.0, 1.0, 2.0]
FEATURES: dict[str, Any] = {
    "amount": {"edges": EDGES, "counts": [1] * 5},
    "country": {"labels": ["other", "DE", "NA"], "counts": [1] * 4},
}
BINNING = Binning(FEATURES)
METRICS = {"_aws": {"Timestamp": 1, "CloudWatchMetrics": []}, "Milliseconds": 3.2, "scorer": "mini"}


def prediction(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON can hold
    """The line of a prediction, but for some keys."""
    return {
        "record": FORMAT,
        "time": START,
        "scorer": "mini",
        "version": "v1",
        "id": "a",
        "features": {"amount": 1.5, "country": "DE"},
        "probability": 0.25,
        "flagged": False,
        "reasons": [],
        "warnings": [],
        "milliseconds": 0.3,
    } | changes


def outcome(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON can hold
    """The line of an outcome, but for some keys."""
    return {"outcome": FORMAT, "time": START, "scorer": "mini", "id": "a", "label": 1} | changes


@pytest.fixture
def log_file(tmp_path: Path) -> Callable[..., str]:
    """Writes lines, JSON or text, to a file, and returns its path."""

    def write(*lines: dict[str, Any] | str, end: str = "\n", name: str = "log.jsonl") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)
        return str(path)

    return write


def several(count: int = 40) -> list[dict[str, Any]]:
    """Predictions of one id a second, and their outcomes."""
    found = []
    for number in range(count):
        values = {"amount": number / 10, "country": ["DE", "NA", "FR", None][number % 4]}
        scored = {"features": values, "probability": number / count, "version": f"v{number // 3 % 4}"}
        found.append(prediction(time=START + number, id=str(number), **scored))
        found.append(outcome(time=START + 100 + number, id=str(number), label=number % 2))
    return found


def assert_equal(one: Log, other: Log) -> None:
    """Two logs hold the same in every column."""
    for name, column in one.__dict__.items():
        if isinstance(column, np.ndarray):
            np.testing.assert_array_equal(column, getattr(other, name), err_msg=name)
    assert (one.versions, one.counts) == (other.versions, other.counts)


@pytest.fixture
def scorer(mini_bundle: Path) -> Scorer:
    """The mini scorer, as the function loads it."""
    return load_scorer(mini_bundle)


@pytest.fixture
def requests(scorer: Scorer, trained: Path) -> list[dict[str, Any]]:
    """Requests with an id, of rows that training did not see."""
    rows = pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet").head(N_REQUESTS)
    ids = rows["row_id"].to_list()
    return [{**request, "row_id": i} for request, i in zip(requests_of(rows, scorer.contract), ids, strict=True)]


@pytest.fixture
def record_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scorer: Scorer, requests: list[dict[str, Any]]
) -> Callable[..., list[Answered]]:
    """Has a recorder write requests into a folder `log`, one a minute, the later ones first; returns their answers."""

    def record(**settings: Any) -> list[Answered]:  # noqa: ANN401 - the recorder's own
        clock = iter(START + 60.0 * number for number in range(len(requests), 0, -1))
        recorder = Recorder(str(tmp_path / "log"), **settings)
        # The folder's file is named by the time too.
        now = [START]
        monkeypatch.setattr(written, "time", lambda: now[0])
        found = []
        for request in requests:
            asked = scorer.request_model.model_validate(request)
            scored = scorer.score(asked)
            found.append(Answered((asked,), (scored,), (scorer.answer(asked, scored),)))
            now[0] = next(clock)
            recorder.record(scorer, found[-1], 0.0125)
        return found

    return record


def binning_of(scorer: Scorer, **settings: Any) -> Binning:  # noqa: ANN401 - the record's own
    """How the monitor bins what a scorer recorded."""
    return Binning(scorer.bundle.baseline["features"], **settings)


def expected_bins(scorer: Scorer, vectors: Sequence[Sequence[float]]) -> np.ndarray:
    """The bins of vectors, by numpy alone."""
    columns = []
    for (name, described), column in zip(scorer.bundle.baseline["features"].items(), np.array(vectors).T, strict=True):
        assert name in scorer.bundle.features.names
        places = 1 + (np.searchsorted(described["edges"], column) if "edges" in described else column)
        columns.append(np.where(np.isnan(column), 0, places))
    return np.stack(columns, axis=1)


def test_predictions_come_back(tmp_path: Path, scorer: Scorer, record_all: Callable[..., list[Answered]]) -> None:
    """What was scored and when is read exactly, in the order of time."""
    answered = record_all()[::-1]
    log = read_log(str(tmp_path / "log"), "mini", binning_of(scorer))
    assert log.time.tolist() == [START + 60 * number for number in range(1, N_REQUESTS + 1)]
    assert log.probability.tolist() == [one.scored[0].probability for one in answered]
    assert log.flagged.tolist() == [one.scored[0].is_flagged for one in answered]
    assert log.n_warnings.tolist() == [len(one.answers[0].get("warnings", ())) for one in answered]
    assert set(log.milliseconds.tolist()) == {12.5}
    assert set(log.weight.tolist()) == {1.0}
    assert [log.versions[code] for code in log.version] == [scorer.version] * N_REQUESTS
    assert log.counts == {"predictions": N_REQUESTS}
    assert len(set(log.id.tolist())) == N_REQUESTS


def test_bins_are_those_of_the_vectors(
    tmp_path: Path, scorer: Scorer, record_all: Callable[..., list[Answered]]
) -> None:
    """Each recorded value falls into the bin in which the baseline counted it."""
    answered = record_all()[::-1]
    log = read_log(str(tmp_path / "log"), "mini", binning_of(scorer))
    np.testing.assert_array_equal(log.bins, expected_bins(scorer, [one.scored[0].vector for one in answered]))
    assert (log.bins == 0).any()


def test_outcomes_come_back(
    tmp_path: Path, scorer: Scorer, requests: list[dict[str, Any]], record_all: Callable[..., list[Answered]]
) -> None:
    """Outcomes are read with the ids of their predictions, in the order of time."""
    record_all()
    recorder = Recorder(str(tmp_path / "log" / "outcomes"))
    recorder.record_outcomes([("mini", one["row_id"], index % 3 == 0) for index, one in enumerate(requests)])
    log = read_log(str(tmp_path / "log"), "mini", binning_of(scorer))
    assert log.outcome_id.tolist() == log.id[::-1].tolist()
    assert log.outcome_label.tolist() == [int(index % 3 == 0) for index in range(N_REQUESTS)]
    assert log.counts == {"predictions": N_REQUESTS, "outcomes": N_REQUESTS}


def test_rate_becomes_weights(tmp_path: Path, scorer: Scorer, record_all: Callable[..., list[Answered]]) -> None:
    """Where half of the predictions are recorded, each stands for two."""
    record_all(rate=0.5)
    log = read_log(str(tmp_path / "log"), "mini", binning_of(scorer))
    assert 0 < len(log.time) < N_REQUESTS
    assert set(log.weight.tolist()) == {2.0}


def test_versions_are_distinguished(log_file: Callable[..., str]) -> None:
    """Each prediction knows the version that made it."""
    lines = [prediction(version=version, time=START + at) for at, version in enumerate(["b", "a", "c", "a"])]
    log = read_log(log_file(*lines), "mini", BINNING)
    assert log.versions == ["a", "b", "c"]
    assert [log.versions[code] for code in log.version] == ["b", "a", "c", "a"]


def test_empty_last_line_is_counted(log_file: Callable[..., str]) -> None:
    """An empty line at the end of a file is counted as one in the middle is."""
    assert read_log(log_file(prediction(), ""), "mini", BINNING).counts == {"predictions": 1, "empty lines": 1}


def test_file_without_a_last_newline_is_read_whole(log_file: Callable[..., str]) -> None:
    """The last line counts without a newline after it."""
    assert read_log(log_file(*several(), end=""), "mini", BINNING).counts == {"predictions": 40, "outcomes": 40}


def test_compressed_file_is_the_same(log_file: Callable[..., str], tmp_path: Path) -> None:
    """A .gz file holds the same log, also one that was written in two goes."""
    plain = Path(log_file(*several()))
    content = plain.read_bytes()
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(content[:999]) + gzip.compress(content[999:]))
    assert_equal(read_log(f"{plain}.gz", "mini", BINNING), read_log(str(plain), "mini", BINNING))


@pytest.mark.usefixtures("two_processes")
def test_folder_is_the_same(log_file: Callable[..., str], tmp_path: Path) -> None:
    """A folder of files, nested and compressed ones among them, holds the same log as one file."""
    lines = several()
    whole = read_log(log_file(*lines), "mini", BINNING)
    log_file(*lines[50:], name="folder/a.jsonl")
    log_file(*lines[20:50], name="folder/2026/01/b.jsonl", end="")
    text = "\n".join(json.dumps(line) for line in lines[:20]).encode()
    (tmp_path / "folder" / "2026" / "c.gz").write_bytes(gzip.compress(text))
    assert_equal(read_log(str(tmp_path / "folder"), "mini", BINNING), whole)


@pytest.mark.parametrize("size", [7, 300, 1_000])
def test_chunks_are_the_same(log_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """However small the pieces in which a file is read, shorter than a line too, the log is the same."""
    path = log_file(*several(), METRICS, "{", end="")
    whole = read_log(path, "mini", BINNING)
    monkeypatch.setattr(records, "CHUNK_BYTES", size)
    assert_equal(read_log(path, "mini", BINNING), whole)


def test_compressed_chunks_are_the_same(
    log_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A compressed file is read in pieces too."""
    plain = Path(log_file(*several()))
    (tmp_path / "log.gz").write_bytes(gzip.compress(plain.read_bytes()))
    whole = read_log(str(plain), "mini", BINNING)
    monkeypatch.setattr(records, "CHUNK_BYTES", 300)
    assert_equal(read_log(str(tmp_path / "log.gz"), "mini", BINNING), whole)


def test_files_need_not_come_in_order(log_file: Callable[..., str], tmp_path: Path) -> None:
    """Whichever container wrote first, and wherever outcomes lie, the log is by time."""
    lines = several()
    whole = read_log(log_file(*lines), "mini", BINNING)
    for number, line in enumerate(reversed(lines)):
        log_file(line, name=f"folder/{number:02}.jsonl")
    assert_equal(read_log(str(tmp_path / "folder"), "mini", BINNING), whole)


def test_clock_ahead_by_minutes_is_no_matter(log_file: Callable[..., str]) -> None:
    """A function's clock may be ahead of the monitor's, but not by days."""
    lines = [prediction(time=time() + 600), prediction(time=time() + 3 * SECONDS_A_DAY), prediction(time=0)]
    counts = read_log(log_file(*lines), "mini", BINNING).counts
    assert counts == {"predictions": 1, "lines dated before 2020 or in the future": 2}


def test_line_without_end_is_one_broken_line(log_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is longer than any record is not kept in memory, and counts once; those around it are read."""
    monkeypatch.setattr(records, "CHUNK_BYTES", 100)
    monkeypatch.setattr(records, "LONGEST_LINE_BYTES", 400)
    endless = json.dumps(prediction(id="a" * 10_000))
    path = log_file(prediction(), endless, outcome(), endless, end="")
    assert read_log(path, "mini", BINNING).counts == {"predictions": 1, "broken lines": 2, "outcomes": 1}
    assert max(map(len, read_lines(path))) < 500


def test_lines_come_one_by_one(log_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are read as they are, whatever the pieces."""
    lines = several()
    path = log_file(*lines, end="")
    monkeypatch.setattr(records, "CHUNK_BYTES", 300)
    assert [json.loads(line) for line in read_lines(path)] == lines


def test_log_of_other_scorers_is_empty(log_file: Callable[..., str]) -> None:
    """A log without a line of the scorer has no prediction, and says so."""
    log = read_log(log_file(prediction(), outcome()), "refund", BINNING)
    assert len(log.time) == len(log.outcome_time) == 0
    assert log.bins.shape == (0, 2)
    assert log.counts == {"lines of other scorers": 2}


def test_empty_file_is_an_empty_log(log_file: Callable[..., str]) -> None:
    """A file without a line is a log without a prediction."""
    log = read_log(log_file(end=""), "mini", BINNING)
    assert (len(log.time), log.bins.shape, log.counts) == (0, (0, 2), {})


def test_window_includes_its_start_only(log_file: Callable[..., str]) -> None:
    """A window holds the predictions from its start to before its end, and all outcomes."""
    log = read_log(log_file(*several()), "mini", BINNING).during(START + 10, START + 20)
    assert log.time.tolist() == [START + second for second in range(10, 20)]
    assert log.probability.tolist() == [number / 40 for number in range(10, 20)]
    assert len(log.bins) == len(log.id) == len(log.weight) == 10
    assert len(log.outcome_time) == 40


def test_no_log_is_named() -> None:
    """Without an address the message says what is needed."""
    with pytest.raises(DataError, match="LOG= must name a file or folder"):
        read_log("", "mini", BINNING)


def test_missing_log_is_named(tmp_path: Path) -> None:
    """The message names what is not there."""
    with pytest.raises(DataError, match=r"nowhere does not exist; PREDICTIONS= makes the function record"):
        read_log(str(tmp_path / "nowhere"), "mini", BINNING)


def test_empty_folder_is_named(tmp_path: Path) -> None:
    """The message names the folder that holds no file."""
    with pytest.raises(DataError, match=r"holds no file; PREDICTIONS= makes the function record"):
        read_log(str(tmp_path), "mini", BINNING)


def test_bucket_holds_the_same(log_file: Callable[..., str], bucket: str) -> None:
    """A prefix of S3 holds the same log as the files, compressed ones among them."""
    lines = several()
    whole = read_log(log_file(*lines), "mini", BINNING)
    text = [json.dumps(line) + "\n" for line in lines]
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="logs/2026/a.jsonl", Body="".join(text[:30]).encode())
    client.put_object(Bucket=bucket, Key="logs/b.jsonl.gz", Body=gzip.compress("".join(text[30:]).encode()))
    client.put_object(Bucket=bucket, Key="elsewhere/c.jsonl", Body=text[0].encode())
    assert_equal(read_log(f"s3://{bucket}/logs", "mini", BINNING), whole)


def test_missing_prefix_is_named(bucket: str) -> None:
    """The message names the prefix that is not there."""
    with pytest.raises(DataError, match=f"s3://{bucket}/nowhere does not exist"):
        read_log(f"s3://{bucket}/nowhere", "mini", BINNING)
