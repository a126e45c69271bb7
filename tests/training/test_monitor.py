"""The monitor: from a trained scorer's log to ok, watch or retrain, and how rarely chance raises an alarm."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.records import record as written
from handler.records.record import Recorder
from handler.scoring.fields import SECONDS_A_DAY
from handler.scoring.scorer import Answered, Scorer, load_scorer
from tests.training.workplace import Workplace
from training import monitor
from training.data.requests import requests_of
from training.declaration import ScorerDeclaration
from training.delivery.pointer import promote
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter
from training.evaluation.calibration import calibrated
from training.model.bins import binned
from training.model.distributions import score_distribution
from training.monitoring.binning import Binning
from training.monitoring.blocks import OUTCOME_COLUMNS
from training.monitoring.log import Log
from training.report.monitor_page import monitor_page
from training.report.monitor_report import block_table

PROJECT = Path(__file__).parents[2]
START = 1_750_000_000.0
"""2025-06-15 15:06:40, in UTC."""
WEEKS = 6
ROWS_A_WEEK = 700
# The mini scorer has a hundred rows a week that it has not learned from, but a block needs five hundred.
REPEATS = 6
WriteLog = Callable[..., None]


@dataclass(frozen=True)
class Pool:
    """Scored rows, as a log has them, that are also the baseline of their scorer."""

    scorer: Scorer
    declaration: ScorerDeclaration
    probability: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_]
    bins: npt.NDArray[np.uint16]
    label: npt.NDArray[np.int8]

    def log(self, seed: int) -> Log:
        """A log of six weeks, drawn from these rows with replacement, with outcomes a day later."""
        rng = np.random.default_rng(seed)
        size = WEEKS * ROWS_A_WEEK
        drawn = rng.integers(0, len(self.label), size)
        time = START + np.sort(rng.random(size)) * 7 * WEEKS * SECONDS_A_DAY
        ids = np.arange(1, size + 1, dtype=np.uint64)
        return Log(
            time=time,
            probability=self.probability[drawn],
            flagged=self.flagged[drawn],
            blocked=np.full(size, -1, dtype=np.int8),
            label_weight=np.ones(size),
            n_warnings=np.zeros(size, dtype=np.uint8),
            milliseconds=np.full(size, 0.3),
            weight=np.ones(size),
            id=ids,
            version=np.zeros(size, dtype=np.intp),
            bins=self.bins[drawn],
            versions=[self.scorer.version],
            outcome_time=time + SECONDS_A_DAY,
            outcome_id=ids,
            outcome_label=self.label[drawn],
            outcome_source=np.full(len(drawn), 3, dtype=np.uint8),
            outcome_by=np.zeros(len(drawn), dtype=np.uint64),
            counts={},
        )

    def with_bins(self, feature: str, rows: slice, number: int) -> "Pool":
        """The pool with a feature of some rows moved into this bin."""
        bins = self.bins.copy()
        bins[rows, self.scorer.bundle.features.names.index(feature)] = number
        return replace(self, bins=bins)

    def report(self, log: Log | None = None) -> dict[str, Any]:
        """The monitor's report on a log, by default on one drawn from these rows."""
        return monitor.report_of(log or self.log(0), self.scorer, self.declaration).content()


@pytest.fixture(scope="module")
def scorer(mini_bundle: Path) -> Scorer:
    """The mini scorer, as the function loads it."""
    return load_scorer(mini_bundle)


@pytest.fixture(scope="module")
def pool(
    trained: Path, trained_rows: Callable[[str], pd.DataFrame], scorer: Scorer, mini_scorer: ScorerDeclaration
) -> Pool:
    """The mini scorer's calibration rows with their scores, and the scorer with these rows as its baseline."""
    margin = pd.read_parquet(trained / "build" / "mini" / "calibration.parquet")["margin"].to_numpy()
    rows = trained_rows("train").tail(len(margin))
    scored = scorer.scores([scorer.request_model.model_validate(row) for row in requests_of(rows, scorer.contract)])
    vectors = np.array([row.vector for row in scored], dtype=np.float32)
    features = scorer.bundle.features
    described = {name: binned(vectors[:, index], features.labels[index]) for index, name in enumerate(features.names)}
    binning = Binning(described)
    shown = [[scorer.display(index, float(value)) for value in vectors[:, index]] for index in range(len(described))]
    label = rows["is_fraud"].to_numpy(dtype=np.int8)
    probability = calibrated(margin, scorer.bundle.manifest["calibration"])
    score = score_distribution(probability, label, scorer.threshold)
    baseline = {**scorer.bundle.baseline, "features": described, "score": score}
    return Pool(
        Scorer(replace(scorer.bundle, baseline=baseline)),
        mini_scorer,
        probability,
        probability >= scorer.threshold,
        np.stack([binning.bins(name, shown[index]) for index, name in enumerate(features.names)], axis=1),
        label,
    )


def test_chance_rarely_alarms(pool: Pool) -> None:
    """Of forty logs of six weeks without drift, at most two are watched, and none says retrain."""
    states = Counter(pool.report(pool.log(seed))["state"] for seed in range(40))
    assert states["watch"] <= 2
    assert states["retrain"] == 0


def test_log_without_drift_gives_no_reason(pool: Pool) -> None:
    """A log without drift is ok, each of its six blocks was judged, and the table has a row for each."""
    report = monitor.report_of(pool.log(0), pool.scorer, pool.declaration)
    assert (report.state, report.reasons, len(report.blocks)) == ("ok", (), WEEKS)
    assert all(block.rows > 500 and block.measured.frauds > 30 for block in report.blocks)
    table = block_table(report)
    assert len(table) == WEEKS
    assert table["from"].str.fullmatch(r"2025-0[67]-\d\d \d\d:\d\d").all()
    assert table["recall"].to_list() == [block.measured.recall for block in report.blocks]
    assert table["psi_amount"].to_list() == [block.features["amount"].psi for block in report.blocks]


def with_random_labels(pool: Pool) -> Pool:
    """The pool with labels that are independent of the scores."""
    return replace(pool, label=np.random.default_rng(0).permuted(pool.label))


def with_more_frauds(pool: Pool) -> Pool:
    """The pool with twice as many frauds at the same scores."""
    is_more = np.random.default_rng(0).random(len(pool.label)) < 0.12
    return replace(pool, label=np.where(is_more, 1, pool.label).astype(np.int8))


def without_speed(pool: Pool) -> Pool:
    """The pool with the feature `speed` missing everywhere."""
    return pool.with_bins("speed", slice(None), 0)


def test_hashes_of_another_key_are_no_drift(pool: Pool) -> None:
    """Without the function's key every value would look new, so the feature is left out, and a note says so."""
    hashing = copy(pool.scorer)
    hashing.hashed_features = ("country",)
    unread = replace(pool.with_bins("country", slice(None), 1), scorer=hashing)
    report = monitor.report_of(unread.log(0), hashing, pool.declaration)
    assert (report.state, report.reasons) == ("ok", ())
    assert not any("country" in block.features for block in report.blocks)
    assert report.notes[0].startswith("country: recorded as hashes made with another key; set PREDICTIONS_KEY")
    # In a field that is not hashed, the same is drift; a single known hash shows that the key is right.
    assert replace(unread, scorer=pool.scorer).report()["state"] == "watch"
    readable = unread.with_bins("country", slice(0, 1), 2)
    assert monitor.report_of(readable.log(0), hashing, pool.declaration).state == "watch"


@pytest.mark.parametrize(
    ("change", "state", "reasons"),
    [
        (with_random_labels, "retrain", r"^the recall is "),
        (with_more_frauds, "retrain", r" frauds, but the scores predict "),
        (without_speed, "watch", r"^speed is missing in 100% of the requests; "),
        (lambda pool: with_random_labels(without_speed(pool)), "watch", r"^speed is missing in 100% of the requests; "),
        (lambda pool: pool.with_bins("momentum", slice(None, None, 2), 1), "watch", r"^momentum drifts:.*$"),
    ],
    ids=["random labels", "more frauds", "a missing feature", "missing, and random labels", "a drifted feature"],
)
def test_drift_is_reported(pool: Pool, change: Callable[[Pool], Pool], state: str, reasons: str) -> None:
    """Labels that contradict the scores mean retrain; a drifted or missing feature only means watch."""
    report = change(pool).report()
    assert report["state"] == state
    assert re.search(reasons, "\n".join(report["reasons"]))
    assert {block["verdict"] for block in report["blocks"]} == {state}


def test_one_bad_week_does_not_change_the_state(pool: Pool) -> None:
    """A single deviating block is reported, but does not change the state."""
    log = pool.log(0)
    flagged = log.flagged | ((log.time >= START + 14 * SECONDS_A_DAY) & (log.time < START + 21 * SECONDS_A_DAY))
    report = pool.report(replace(log, flagged=flagged))
    assert [block["verdict"] for block in report["blocks"]].count("watch") == 1
    assert report["state"] == "ok"


def test_without_outcomes_it_is_not_retrained(pool: Pool) -> None:
    """Without outcomes nothing contradicts the model, and its performance is unknown."""
    log = pool.log(0)
    nothing = {name: getattr(log, name)[:0] for name in OUTCOME_COLUMNS}
    report = pool.report(replace(log, **nothing))
    assert report["state"] == "ok"
    assert {block["measured"]["recall"] for block in report["blocks"]} == {None}


def record(rows: pd.DataFrame, scorer: Scorer, log: Path) -> None:
    """Record six weeks of rows, each with its outcome a day later."""
    clock = [START]
    times = START + np.arange(len(rows)) * 7 * WEEKS * SECONDS_A_DAY / len(rows)
    columns = zip(requests_of(rows, scorer.contract), rows["row_id"], rows["is_fraud"], times, strict=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "time", lambda: clock[0])
        recorder = Recorder(str(log))
        for values, name, is_fraud, timestamp in columns:
            request = scorer.request_model.model_validate({**values, "row_id": name})
            scored = scorer.score(request)
            clock[0] = timestamp
            recorder.record(scorer, Answered((request,), (scored,), (scorer.answer(request, scored),)), 0.0003)
            clock[0] = timestamp + SECONDS_A_DAY
            recorder.record_outcomes([("mini", name, bool(is_fraud))])


@pytest.fixture(scope="module")
def latest(trained_rows: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """The latest rows, half of which the model has not learned from."""
    rows = pd.concat([trained_rows("train").tail(300), trained_rows("test")] * REPEATS, ignore_index=True)
    return rows.assign(row_id=rows.index.astype(str)).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def calm_log(latest: pd.DataFrame, scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of these rows."""
    log = tmp_path_factory.mktemp("calm") / "log"
    record(latest, scorer, log)
    return log


@pytest.fixture
def write_log(latest: pd.DataFrame, calm_log: Path, workplace: Workplace, scorer: Scorer) -> WriteLog:
    """Write a log of the latest rows, changed or not."""

    def write(change: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> None:
        if change:
            record(change(latest), scorer, workplace.folder / "log")
        else:
            shutil.copytree(calm_log, workplace.folder / "log")

    return write


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (None, ("ok", 0, "")),
        (lambda rows: rows.assign(speed=np.nan), ("watch", 10, "  speed is missing in 100% of the requests; ")),
        (
            lambda rows: rows.assign(is_fraud=np.random.default_rng(0).permuted(rows["is_fraud"])),
            ("retrain", 20, "  the recall is "),
        ),
    ],
    ids=["no drift", "a field is missing", "random labels"],
)
def test_command_prints_and_writes_the_state(
    workplace: Workplace,
    write_log: WriteLog,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pd.DataFrame], pd.DataFrame] | None,
    expected: tuple[str, int, str],
) -> None:
    """The command prints the state and its reasons, writes its three files, and ends with the state's status."""
    state, status, reason = expected
    write_log(change)
    assert workplace.run(monitor, "mini", "log") == status
    printed = capsys.readouterr()
    assert printed.err == ""
    first, *reasons, last = printed.out.splitlines()
    read = "3,600 predictions from 2025-06-15 to 2025-07-27 in 6 blocks (predictions: 3,600, outcomes: 3,600)"
    assert first == f"mini: {state}, {read}"
    assert reasons[0].startswith(reason or "  version ")
    assert re.fullmatch(
        r"  version \w{12} is packaged in \S+/mini, because store holds no release of mini", reasons[-1]
    )
    assert last == "reports/mini/monitor.html"
    assert sorted(path.name for path in workplace.reports.iterdir()) == ["monitor.csv", "monitor.html", "monitor.json"]
    assert workplace.report("monitor")["state"] == state
    assert len(pd.read_csv(workplace.reports / "monitor.csv")) == WEEKS


def test_window_of_time(workplace: Workplace, write_log: WriteLog, capsys: pytest.CaptureFixture[str]) -> None:
    """Predictions from the start until before the end of the window count, with later outcomes."""
    write_log()
    for arguments, days, n_rows in (
        (("--since", "2025-07-06T15:06:40"), 21, 1_800),
        (("--until", "2025-07-06T17:06:40+02:00"), 0, 1_800),
        (("--since", "2025-06-22T15:06:40", "--until", "2025-07-06T15:06:40"), 7, 1_200),
    ):
        workplace.run(monitor, "mini", "log", *arguments)
        blocks = workplace.report("monitor")["blocks"]
        assert blocks[0]["from"] == pytest.approx(START + days * SECONDS_A_DAY, rel=1e-5)
        assert sum(block["rows"] for block in blocks) == n_rows
        assert blocks[-1]["measured"]["labelled"] == n_rows
    capsys.readouterr()
    assert workplace.run(monitor, "mini", "log", "--since", "2030-01-01") == 30
    printed = capsys.readouterr().out
    assert printed.startswith("mini: insufficient, 0 predictions in 0 blocks (")
    assert "no prediction was read: all predictions of the log are outside the window" in printed
    assert workplace.report("monitor")["blocks"] == []
    assert "There is no prediction in this window." in (workplace.reports / "monitor.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nobody", "log"), r"monitor: .*nobody.*"),
        (("mini", "nowhere"), r"monitor: nowhere does not exist; .*"),
        (("mini", ""), r"monitor: LOG= must name a file or folder .*"),
        (("mini", "params.yaml", "--store", "params.yaml"), r"monitor: .*"),
    ],
    ids=["unknown scorer", "missing log", "no log", "a store that is a file"],
)
def test_mistake_ends_in_a_sentence(workplace: Workplace, arguments: tuple[str, ...], sentence: str) -> None:
    """A mistake ends the command with one sentence that names it."""
    assert re.fullmatch(sentence, str(workplace.run(monitor, *arguments)))


def test_bad_date_is_named(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """The message shows what is not a date, and what one looks like."""
    assert workplace.run(monitor, "mini", "log", "--since", "yesterday") == 2
    assert "'yesterday' is not a date such as 2026-11-24 or 2026-11-24T06:00" in capsys.readouterr().err


def write_lines(workplace: Workplace, *lines: str) -> None:
    """Replace the log by these lines."""
    folder = workplace.folder / "log"
    for file in folder.glob("*"):
        file.unlink()
    folder.mkdir(exist_ok=True)
    (folder / "lines").write_text("".join(f"{line}\n" for line in lines))


def written_lines(workplace: Workplace, key: str) -> list[str]:
    """The log's lines with this key, in order of time."""
    lines = [line for file in (workplace.folder / "log").iterdir() for line in file.read_text().splitlines()]
    return sorted((line for line in lines if f'"{key}"' in line), key=lambda line: json.loads(line)["time"])


def changed(lines: list[str], **values: Any) -> list[str]:  # noqa: ANN401 - whatever JSON can hold
    """The lines with these values changed."""
    return [json.dumps(json.loads(line) | values) for line in lines]


NOT_JUDGED: dict[str, tuple[Callable[[list[str], list[str]], list[str]], str]] = {
    "nothing": (lambda *_: [], "no prediction was read: the log is empty"),
    "text": (lambda *_: ["START RequestId: 8f", "END"], "no prediction was read: the log holds no record"),
    "outcomes": (lambda _, outcomes: outcomes, "no prediction was read: the log holds outcomes only"),
    "another scorer's": (
        lambda predictions, _: changed(predictions, scorer="other"),
        "no prediction was read: the log holds lines of scorer 'other'; SCORER= must name the scorer that wrote",
    ),
    "broken lines": (
        lambda predictions, _: [line[:-9] for line in predictions],
        "no prediction was read: the log holds broken lines (no JSON, or cut short); a record must be a JSON",
    ),
    "milliseconds": (
        lambda predictions, _: changed(predictions, time=START * 1000),
        "no prediction was read: the log holds lines dated before 2020 or in the future; `time` must be in seconds",
    ),
    "another format": (
        lambda predictions, _: changed(predictions, record=2),
        "no prediction was read: the log holds lines of format 2; ",
    ),
    "three predictions": (
        lambda predictions, outcomes: predictions[:3] + outcomes,
        "no block of 7 days was judged: the largest has 3 recorded predictions, fewer than the 500 that ",
    ),
    "more broken lines than others": (
        lambda predictions, _: predictions + [line[:-9] for line in [*predictions, predictions[0]]],
        "3,601 of 7,201 lines cannot be used; the most frequent kind is: broken lines (no JSON, or cut short)",
    ),
    "another version's": (
        lambda predictions, _: changed(predictions, version="0123456789ab"),
        "no prediction was made by version ",
    ),
    "few since long": (
        lambda predictions, _: [*predictions[:1_800], *changed(predictions[-1:], time=START + 90 * SECONDS_A_DAY)],
        "the last judged block ended on 2025-07-06; each block since then has fewer recorded predictions than",
    ),
}


def test_nothing_judged_is_insufficient(
    workplace: Workplace, write_log: WriteLog, capsys: pytest.CaptureFixture[str]
) -> None:
    """If nothing, or too little, was judged, state and status say so, and the reason says what was read."""
    write_log()
    predictions, outcomes = written_lines(workplace, "record"), written_lines(workplace, "outcome")
    for name, (lines_of, reason) in NOT_JUDGED.items():
        write_lines(workplace, *lines_of(predictions, outcomes))
        assert workplace.run(monitor, "mini", "log") == 30, name
        first, said, *_ = capsys.readouterr().out.splitlines()
        assert first.startswith("mini: insufficient, "), name
        assert said.startswith(f"  {reason}"), name
        assert workplace.report("monitor")["state"] == "insufficient"


def test_silence_is_named(workplace: Workplace, write_log: WriteLog) -> None:
    """Months without predictions get a note, and blocks before and after them are still judged."""
    write_log()
    predictions = written_lines(workplace, "record")
    later = [
        json.dumps((record := json.loads(line)) | {"time": record["time"] + 90 * 86_400})
        for line in predictions[1_800:]
    ]
    write_lines(workplace, *predictions[:1_800], *later)
    assert workplace.run(monitor, "mini", "log") == 0
    report = workplace.report("monitor")
    assert len(report["blocks"]) == WEEKS + 1
    assert report["notes"][0] == "no prediction from 2025-07-06 to 2025-10-04, 90 days"


def test_each_line_twice_counts_once(workplace: Workplace, write_log: WriteLog) -> None:
    """A log that was delivered twice gives the same report as once."""
    write_log()
    lines = [*written_lines(workplace, "record"), *written_lines(workplace, "outcome")]
    workplace.run(monitor, "mini", "log")
    once = workplace.report("monitor")
    write_lines(workplace, *(line for line in lines for _ in range(2)))
    workplace.run(monitor, "mini", "log")
    twice = workplace.report("monitor")
    assert {**twice, "counts": None} == {**once, "counts": None}
    assert twice["counts"]["predictions recorded again, counted once"] == 3_600
    assert twice["counts"]["outcomes recorded again"] == 3_600


def test_feature_in_no_record_is_watched(
    workplace: Workplace, write_log: WriteLog, capsys: pytest.CaptureFixture[str]
) -> None:
    """A feature that is missing from the version's own records is reported; in other versions' it is only counted."""
    write_log()
    records = [json.loads(line) for line in written_lines(workplace, "record")]
    for record in records:
        del record["features"]["country"]
    write_lines(workplace, *map(json.dumps, records))
    assert workplace.run(monitor, "mini", "log") == 10
    assert "\n  country is in no record\n" in capsys.readouterr().out
    for record in records[:600]:
        record["version"] = "0123456789ab"
    write_lines(workplace, *map(json.dumps, records))
    assert workplace.run(monitor, "mini", "log") == 10
    counts = workplace.report("monitor")["counts"]
    assert counts["predictions of other versions without country"] == counts["predictions of other versions"] == 600


def test_one_judged_block_is_named(pool: Pool) -> None:
    """A deviation of only the last block does not change the state, but gets a note."""
    log = pool.log(0)
    report = pool.report(replace(log, flagged=log.flagged | (log.time >= START + 35 * SECONDS_A_DAY)))
    assert report["state"] == "ok"
    assert report["notes"][0].startswith("the last judged block, from 2025-07-20, says watch, which does not")


@settings(deadline=None, max_examples=20)
@given(days=st.lists(st.floats(0, 7 * WEEKS), min_size=2, max_size=2), is_own=st.booleans(), seed=st.integers(0, 3))
def test_ok_implies_a_judged_block(pool: Pool, days: list[float], is_own: bool, seed: int) -> None:  # noqa: FBT001 - drawn
    """For any part of a log, ok means that a large enough block was judged, and all figures are finite."""
    since, until = sorted(days)
    log = pool.log(seed).during(START + since * SECONDS_A_DAY, START + until * SECONDS_A_DAY)
    report = monitor.report_of(log if is_own else replace(log, versions=["another"]), pool.scorer, pool.declaration)
    least = pool.declaration.monitoring.min_rows
    is_judged = any(block.rows >= least and block.verdict != "insufficient" for block in report.blocks)
    assert report.state != "ok" or (is_judged and is_own)
    assert report.state != "insufficient" or report.reasons
    json.dumps(report.content(), allow_nan=False)
    assert "nan" not in monitor_page(report).lower().split()
    assert not block_table(report).isin([np.inf, -np.inf]).any(axis=None)


def damage(log: Path) -> dict[str, int]:
    """Add every kind of unusable line to a log, out of order; returns the expected counts."""
    files = sorted(log.glob("*.jsonl"))
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    predicted, outcome_line = (next(line for line in lines if key in line) for key in (b'"record"', b'"outcome"'))
    record, outcome = json.loads(predicted), json.loads(outcome_line)
    bad = [
        predicted[:100],
        predicted[:50] + outcome_line,
        predicted[50:],
        b"\xff\x00",
        json.dumps({**record, "record": 0}).encode(),
        json.dumps({**record, "scorer": "other"}).encode(),
        b'{"_aws": {}}',
        b"",
        *(json.dumps({**record, "time": timestamp, "id": f"at {timestamp}"}).encode() for timestamp in (0, 4e9, 1e300)),
        json.dumps({**outcome, "time": 4e9, "label": 1 - outcome["label"]}).encode(),
        json.dumps({**outcome, "id": "nobody"}).encode(),
        json.dumps({**outcome, "time": outcome["time"] - 1, "label": 1 - outcome["label"]}).encode(),
    ]
    (log / "a.jsonl").write_bytes(b"\n".join(bad) + b"\n")
    # Lines in a folder may be in any order.
    for file in files:
        file.write_bytes(b"\n".join(reversed(file.read_bytes().splitlines())) + b"\n")
    return {
        "predictions": 3_600,
        "outcomes": 3_603,
        "broken lines (no JSON, or cut short)": 4,
        "lines of format 0": 1,
        "lines of scorer 'other'": 1,
        "other lines, such as metrics": 1,
        "empty lines": 1,
        "lines dated before 2020 or in the future": 4,
        "outcomes that correct an earlier one": 1,
        "outcomes recorded again": 1,
        "outcomes of ids that were never scored, recorded or read": 1,
    }


def test_bad_lines_change_nothing_but_the_counts(workplace: Workplace, write_log: WriteLog) -> None:
    """Truncated, foreign, old, misdated and unordered lines are counted, and otherwise change nothing."""
    write_log()
    workplace.run(monitor, "mini", "log")
    clean = workplace.report("monitor")
    counts = damage(workplace.folder / "log")
    assert workplace.run(monitor, "mini", "log") == 0
    assert workplace.report("monitor")["counts"] == counts
    assert {**workplace.report("monitor"), "counts": None} == {**clean, "counts": None}


def test_window_without_a_fraud_is_reported(workplace: Workplace, write_log: WriteLog) -> None:
    """If no outcome is a fraud, the recall is unknown in every block, and nothing says retrain."""
    write_log(lambda rows: rows.assign(is_fraud=0))
    assert workplace.run(monitor, "mini", "log") != 20
    assert {
        (block["measured"]["frauds"], block["measured"]["recall"]) for block in workplace.report("monitor")["blocks"]
    } == {(0, None)}


def test_released_version_is_the_baseline(
    trained: Path, workplace: Workplace, write_log: WriteLog, variant: Callable[..., Path], scorer: Scorer
) -> None:
    """If the store's pointer names a version, its baseline is used rather than the packaged version's."""
    write_log()
    store = FolderStoreWriter(workplace.folder / "released")
    version = publish(store, variant(shift=0.01))
    promote(store, "mini", version, trained / "build" / "mini" / "rows" / "test.parquet", force="a test")
    assert workplace.run(monitor, "mini", "log", "--store", "released") == 30
    report = workplace.report("monitor")
    assert report["baseline"] == version
    assert report["reasons"] == [
        f"no prediction was made by version {version}, whose baseline the log is compared with"
    ]
    assert report["counts"]["predictions of other versions"] == 3_600
    assert report["notes"] == [f"version {version} is released in released"]
    workplace.run(monitor, "mini", "log")
    assert workplace.report("monitor")["baseline"] == scorer.version
