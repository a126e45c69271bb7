"""The log: records are read back exactly from files, folders and S3, in chunks of any size."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest

from handler.records import record as written
from handler.records.record import Recorder
from handler.scoring.fields import SECONDS_A_DAY
from handler.scoring.scorer import Answered, Scorer, load_scorer
from tests.training.monitoring.log_lines import BINNING, METRICS, START, outcome, prediction
from training.data.requests import requests_of
from training.errors import DataError
from training.monitoring import log_files, log_lines
from training.monitoring.binning import Binning
from training.monitoring.log import ALIKE, OUTSIDE, REPEATED, Log, read_log
from training.monitoring.log_files import read_lines

N_REQUESTS = 60


@pytest.fixture
def log_file(tmp_path: Path) -> Callable[..., str]:
    """Write lines, JSON or text, to a file, and return its path."""

    def write(*lines: dict[str, Any] | str, end: str = "\n", name: str = "log.jsonl") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)
        return str(path)

    return write


def several(count: int = 40) -> list[dict[str, Any]]:
    """One prediction a second, each with its own id, and an outcome for each."""
    lines = []
    for number in range(count):
        values = {"amount": number / 10, "country": ["DE", "NA", "FR", None][number % 4]}
        scored = {"features": values, "probability": number / count, "version": f"v{number // 3 % 4}"}
        lines.append(prediction(time=START + number, id=str(number), **scored))
        lines.append(outcome(time=START + 100 + number, id=str(number), label=number % 2))
    return lines


def assert_equal(left: Log, right: Log) -> None:
    """Check that two logs are equal in every column."""
    for name, column in left.__dict__.items():
        if isinstance(column, np.ndarray):
            np.testing.assert_array_equal(column, getattr(right, name), err_msg=name)
    assert (left.versions, left.counts) == (right.versions, right.counts)


@dataclass
class Recorded:
    """Requests that training did not see, and the folder into which a recorder writes them."""

    scorer: Scorer
    requests: list[dict[str, Any]]
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def record(self, **settings: Any) -> list[Answered]:  # noqa: ANN401 - the recorder's own
        """Record the requests one minute apart, the later ones first; returns their answers in order of time."""
        # The name of the file in the folder depends on the time too.
        clock = [START]
        self.monkeypatch.setattr(written, "time", lambda: clock[0])
        recorder = Recorder(str(self.folder), **settings)
        answered = []
        for minute, values in zip(range(len(self.requests), 0, -1), self.requests, strict=True):
            request = self.scorer.request_model.model_validate(values)
            scored = self.scorer.score(request)
            answered.append(Answered((request,), (scored,), (self.scorer.answer(request, scored),)))
            clock[0] = START + 60.0 * minute
            recorder.record(self.scorer, answered[-1], 0.0125)
        return answered[::-1]

    def read(self) -> Log:
        """Read the log with the bins of the monitor."""
        return read_log(str(self.folder), "mini", Binning(self.scorer.bundle.baseline["features"]))


@pytest.fixture
def recorded(
    trained_rows: Callable[[str], pd.DataFrame], mini_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Recorded:
    """Sixty requests with ids, not recorded yet."""
    scorer = load_scorer(mini_bundle)
    rows = trained_rows("test").head(N_REQUESTS)
    identified = zip(requests_of(rows, scorer.contract), rows["row_id"], strict=True)
    requests = [{**request, "row_id": row_id} for request, row_id in identified]
    return Recorded(scorer, requests, tmp_path / "log", monkeypatch)


def expected_bins(scorer: Scorer, vectors: Sequence[Sequence[float]]) -> np.ndarray:
    """The bins of these vectors, computed with numpy only."""
    columns = []
    for (name, described), column in zip(scorer.bundle.baseline["features"].items(), np.array(vectors).T, strict=True):
        assert name in scorer.bundle.features.names
        places = 1 + (np.searchsorted(described["edges"], column) if "edges" in described else column)
        columns.append(np.where(np.isnan(column), 0, places))
    return np.stack(columns, axis=1)


def test_predictions_are_read_back(recorded: Recorded) -> None:
    """Predictions and their times are read exactly, in order of time, and each value has the baseline's bin."""
    answered = recorded.record()
    log, scored = recorded.read(), [answer.scored[0] for answer in answered]
    assert log.time.tolist() == [START + 60 * number for number in range(1, N_REQUESTS + 1)]
    assert log.probability.tolist() == [row.probability for row in scored]
    assert log.flagged.tolist() == [row.is_flagged for row in scored]
    assert log.n_warnings.tolist() == [len(answer.answers[0].get("warnings", ())) for answer in answered]
    assert set(log.milliseconds.tolist()) == {12.5}
    assert set(log.weight.tolist()) == {1.0}
    assert [log.versions[code] for code in log.version] == [recorded.scorer.version] * N_REQUESTS
    assert log.counts == {"predictions": N_REQUESTS}
    assert len(set(log.id.tolist())) == N_REQUESTS
    np.testing.assert_array_equal(log.bins, expected_bins(recorded.scorer, [row.vector for row in scored]))
    assert (log.bins == 0).any()


def test_outcomes_are_read_back(recorded: Recorded) -> None:
    """Outcomes have the ids of their predictions and come in order of time."""
    recorded.record()
    names = [request["row_id"] for request in recorded.requests]
    recorder = Recorder(str(recorded.folder / "outcomes"))
    recorder.record_outcomes([("mini", name, index % 3 == 0) for index, name in enumerate(names)])
    log = recorded.read()
    assert log.outcome_id.tolist() == log.id[::-1].tolist()
    assert log.outcome_label.tolist() == [int(index % 3 == 0) for index in range(N_REQUESTS)]
    assert log.counts == {"predictions": N_REQUESTS, "outcomes": N_REQUESTS}


def test_rate_becomes_weights(recorded: Recorded) -> None:
    """If half of the predictions are recorded, each one has a weight of two."""
    recorded.record(rate=0.5)
    log = recorded.read()
    assert 0 < len(log.time) < N_REQUESTS
    assert set(log.weight.tolist()) == {2.0}


def test_versions_are_distinguished(log_file: Callable[..., str]) -> None:
    """Each prediction knows the version that made it."""
    lines = [prediction(version=version, time=START + at) for at, version in enumerate(["b", "a", "c", "a"])]
    log = read_log(log_file(*lines), "mini", BINNING)
    assert log.versions == ["a", "b", "c"]
    assert [log.versions[code] for code in log.version] == ["b", "a", "c", "a"]


def test_end_of_a_file_is_read(log_file: Callable[..., str]) -> None:
    """An empty last line is counted as such, and a last line without a newline is read."""
    assert read_log(log_file(prediction(), ""), "mini", BINNING).counts == {"predictions": 1, "empty lines": 1}
    assert read_log(log_file(*several(), end=""), "mini", BINNING).counts == {"predictions": 40, "outcomes": 40}


@pytest.mark.parametrize("size", [None, 300])
def test_compressed_file_is_the_same(
    log_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    """A .gz file with two members gives the same log, even if it is read in small chunks."""
    plain = Path(log_file(*several()))
    content, whole = plain.read_bytes(), read_log(str(plain), "mini", BINNING)
    plain.with_name("log.gz").write_bytes(gzip.compress(content[:999]) + gzip.compress(content[999:]))
    if size:
        monkeypatch.setattr(log_files, "CHUNK_BYTES", size)
    assert_equal(read_log(str(plain.with_name("log.gz")), "mini", BINNING), whole)


@pytest.mark.usefixtures("two_processes")
def test_folder_is_the_same(log_file: Callable[..., str], tmp_path: Path) -> None:
    """A folder gives the same log as one file: nested and compressed files are read, and records are sorted by time."""
    lines = several()
    whole = read_log(log_file(*lines), "mini", BINNING)
    log_file(*lines[50:], name="folder/a.jsonl")
    log_file(*lines[20:50], name="folder/2026/01/b.jsonl", end="")
    text = "\n".join(json.dumps(line) for line in lines[:20]).encode()
    (tmp_path / "folder" / "2026" / "c.gz").write_bytes(gzip.compress(text))
    assert_equal(read_log(str(tmp_path / "folder"), "mini", BINNING), whole)
    for number, line in enumerate(reversed(lines)):
        log_file(line, name=f"reversed/{number:02}.jsonl")
    assert_equal(read_log(str(tmp_path / "reversed"), "mini", BINNING), whole)


@pytest.mark.parametrize("size", [7, 300, 1_000])
def test_chunks_are_the_same(log_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Chunks of any size, even shorter than a line, give the same lines and the same log."""
    lines = [*several(), METRICS]
    path = log_file(*lines, "{", end="")
    whole = read_log(path, "mini", BINNING)
    monkeypatch.setattr(log_files, "CHUNK_BYTES", size)
    assert_equal(read_log(path, "mini", BINNING), whole)
    assert [json.loads(line) for line in list(read_lines(path))[:-1]] == lines


def test_clock_may_be_ahead_by_minutes(log_file: Callable[..., str]) -> None:
    """A record may be minutes ahead of the monitor's clock, but not days."""
    lines = [prediction(time=time() + 600), prediction(time=time() + 3 * SECONDS_A_DAY), prediction(time=0)]
    counts = read_log(log_file(*lines), "mini", BINNING).counts
    assert counts == {"predictions": 1, "lines dated before 2020 or in the future": 2}


def test_line_without_end_is_one_broken_line(log_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than any record is not kept in memory and counts once; the lines around it are read."""
    monkeypatch.setattr(log_files, "CHUNK_BYTES", 100)
    for module in (log_files, log_lines):
        monkeypatch.setattr(module, "LONGEST_LINE_BYTES", 400)
    endless = json.dumps(prediction(id="a" * 10_000))
    path = log_file(prediction(), endless, outcome(), endless, end="")
    counts = {"predictions": 1, "broken lines (too long)": 1, "outcomes": 1, "broken lines (no JSON, or cut short)": 1}
    assert read_log(path, "mini", BINNING).counts == counts


def test_log_without_a_prediction_is_empty(log_file: Callable[..., str]) -> None:
    """A file without lines, or only with those of other scorers, gives no predictions but all columns."""
    for lines, counts in (((), {}), ((prediction(), outcome()), {"lines of scorer 'mini'": 2})):
        log = read_log(log_file(*lines, end=""), "refund", BINNING)
        assert len(log.time) == len(log.outcome_time) == 0
        assert (log.bins.shape, log.counts) == ((0, 2), counts)


def test_window_includes_its_start_only(log_file: Callable[..., str]) -> None:
    """A window contains predictions from its start up to, but not including, its end, and all outcomes."""
    log = read_log(log_file(*several()), "mini", BINNING).during(START + 10, START + 20)
    assert log.time.tolist() == [START + second for second in range(10, 20)]
    assert log.probability.tolist() == [number / 40 for number in range(10, 20)]
    assert len(log.bins) == len(log.id) == len(log.weight) == 10
    assert len(log.outcome_time) == 40
    assert log.counts == {"predictions": 40, "outcomes": 40, OUTSIDE: 30}


def test_repeated_predictions_count_once(log_file: Callable[..., str]) -> None:
    """A repeated prediction counts once, but not one with another result or version, or without an id."""
    lines = [
        prediction(),
        prediction(),
        prediction(time=START + 9),
        prediction(probability=0.5),
        prediction(version="v2"),
        *[prediction(id=None)] * 3,
        prediction(id=None, time=START + 9),
    ]
    log = read_log(log_file(*lines), "mini", BINNING).without_repeats()
    assert log.counts == {"predictions": 9, REPEATED: 2, ALIKE: 2}
    assert log.time.tolist() == [START] * 6 + [START + 9]
    whole = read_log(log_file(*several()), "mini", BINNING)
    assert_equal(whole.without_repeats(), whole)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("", "LOG= must name a file or folder"),
        ("nowhere", "nowhere does not exist; PREDICTIONS= makes the function record"),
        (".", "holds no file; PREDICTIONS= makes the function record"),
    ],
)
@pytest.mark.usefixtures("working_folder")
def test_missing_log_is_named(address: str, error: str) -> None:
    """The message names the missing path or the empty folder, and says what is needed."""
    with pytest.raises(DataError, match=error):
        read_log(address, "mini", BINNING)


def test_bucket_holds_the_same(log_file: Callable[..., str], bucket: str) -> None:
    """A prefix in S3 gives the same log as files, including compressed objects; a missing prefix is named."""
    lines = several()
    whole = read_log(log_file(*lines), "mini", BINNING)
    text = [json.dumps(line) + "\n" for line in lines]
    client = boto3.client("s3")
    # The S3 console creates an empty object for each folder.
    client.put_object(Bucket=bucket, Key="logs/2026/")
    client.put_object(Bucket=bucket, Key="logs/2026/a.jsonl", Body="".join(text[:30]).encode())
    client.put_object(Bucket=bucket, Key="logs/b.jsonl.gz", Body=gzip.compress("".join(text[30:]).encode()))
    client.put_object(Bucket=bucket, Key="elsewhere/c.jsonl", Body=text[0].encode())
    assert_equal(read_log(f"s3://{bucket}/logs", "mini", BINNING), whole)
    with pytest.raises(DataError, match=f"s3://{bucket}/nowhere does not exist"):
        read_log(f"s3://{bucket}/nowhere", "mini", BINNING)
