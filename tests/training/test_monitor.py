"""The monitor: real lines of a trained scorer -> leave it, look at it, retrain it; and chance alone rarely alarms."""

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from handler.records import record as written
from handler.records.record import Recorder
from handler.scoring.scorer import Answered, Scorer, load_scorer
from training import monitor
from training.data.requests import requests_of
from training.declaration import ScorerDeclaration
from training.delivery.pointer import promote
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter
from training.model.distributions import binned, score_baseline
from training.monitoring.binning import Binning
from training.monitoring.log import Log
from training.params import SECONDS_A_DAY

PROJECT = Path(__file__).parents[2]
START = 1_750_000_000.0
"""2025-06-15 15:06:40, in UTC."""
WEEKS = 6
ROWS_A_WEEK = 700
# The trained mini scorer has a hundred rows a week that it has not learned from; a block needs five hundred.
REPEATS = 6


@dataclass(frozen=True)
class Pool:
    """Rows that were scored: what a log holds of each."""

    probability: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_]
    bins: npt.NDArray[np.uint16]
    label: npt.NDArray[np.int8]

    def log(self, seed: int) -> Log:
        """A log of six weeks of rows that are drawn from these again and again, with their outcomes a day later."""
        rng = np.random.default_rng(seed)
        size = WEEKS * ROWS_A_WEEK
        drawn = rng.integers(0, len(self.label), size)
        time = START + np.sort(rng.random(size)) * 7 * WEEKS * SECONDS_A_DAY
        ids = np.arange(1, size + 1, dtype=np.uint64)
        return Log(
            time=time,
            probability=self.probability[drawn],
            flagged=self.flagged[drawn],
            n_warnings=np.zeros(size, dtype=np.uint8),
            milliseconds=np.full(size, 0.3),
            weight=np.ones(size),
            id=ids,
            version=np.zeros(size, dtype=np.intp),
            bins=self.bins[drawn],
            versions=["v"],
            outcome_time=time + SECONDS_A_DAY,
            outcome_id=ids,
            outcome_label=self.label[drawn],
            counts={},
        )


def rows_of(trained: Path, *windows: str) -> pd.DataFrame:
    """The rows of some of a trained scorer's windows."""
    return pd.concat([pd.read_parquet(trained / "build" / "mini" / "rows" / f"{one}.parquet") for one in windows])


@pytest.fixture(scope="module")
def scorer(mini_bundle: Path) -> Scorer:
    """The mini scorer, as the function loads it."""
    return load_scorer(mini_bundle)


@pytest.fixture(scope="module")
def normal(trained: Path, scorer: Scorer) -> tuple[Scorer, Pool]:
    """All of the mini scorer's rows, scored, and the scorer with these very rows as its baseline."""
    rows = rows_of(trained, "train", "calibrate", "test")
    scored = scorer.scores([scorer.request_model.model_validate(one) for one in requests_of(rows, scorer.contract)])
    vectors = np.array([one.vector for one in scored], dtype=np.float32)
    features = scorer.bundle.features
    described = {name: binned(vectors[:, index], features.labels[index]) for index, name in enumerate(features.names)}
    binning = Binning(described)
    shown = [[scorer.display(index, float(value)) for value in vectors[:, index]] for index in range(len(described))]
    label = rows["is_fraud"].to_numpy(dtype=np.int8)
    probability = np.array([one.probability for one in scored])
    pool = Pool(
        probability,
        np.array([one.is_flagged for one in scored]),
        np.stack([binning.bins(name, shown[index]) for index, name in enumerate(features.names)], axis=1),
        label,
    )
    score = score_baseline(probability, label, scorer.threshold)
    baseline = {**scorer.bundle.baseline, "features": described, "score": score}
    return Scorer(replace(scorer.bundle, baseline=baseline)), pool


def report(normal: tuple[Scorer, Pool], declared: ScorerDeclaration, seed: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - columns of any kind
    """What the monitor says of a log that is drawn from the normal rows, but for some of their columns."""
    scorer, pool = normal
    return monitor.report_of(replace(pool, **changes).log(seed), scorer, declared).content()


def test_chance_rarely_alarms(normal: tuple[Scorer, Pool], mini_scorer: ScorerDeclaration) -> None:
    """Of forty logs of six weeks without drift at most two are watched, and none says retrain."""
    states = Counter(report(normal, mini_scorer, seed)["state"] for seed in range(40))
    assert states["watch"] <= 2
    assert states["retrain"] == 0


def test_calm_log_gives_no_reason(normal: tuple[Scorer, Pool], mini_scorer: ScorerDeclaration) -> None:
    """A log without drift is ok, and each of its six blocks was looked at."""
    found = report(normal, mini_scorer)
    assert (found["state"], found["reasons"], len(found["blocks"])) == ("ok", [], WEEKS)
    assert all(block["rows"] > 500 and block["measured"]["frauds"] > 30 for block in found["blocks"])


def test_random_labels_say_retrain(normal: tuple[Scorer, Pool], mini_scorer: ScorerDeclaration) -> None:
    """Where frauds have nothing to do with the scores any more, the recall is the reason to retrain."""
    label = np.random.default_rng(0).permuted(normal[1].label)
    found = report(normal, mini_scorer, label=label)
    assert found["state"] == "retrain"
    assert found["reasons"][0].startswith("the recall is ")


def test_more_frauds_than_promised_say_retrain(normal: tuple[Scorer, Pool], mini_scorer: ScorerDeclaration) -> None:
    """Where twice as many are frauds at the same scores, the number of frauds is a reason to retrain."""
    pool = normal[1]
    label = np.where(np.random.default_rng(0).random(len(pool.label)) < 0.12, 1, pool.label).astype(np.int8)
    found = report(normal, mini_scorer, label=label)
    assert found["state"] == "retrain"
    assert any(" frauds where the scores promise " in reason for reason in found["reasons"])


@pytest.mark.parametrize("is_also_wrong", [False, True])
def test_missing_feature_is_watched(
    normal: tuple[Scorer, Pool],
    mini_scorer: ScorerDeclaration,
    is_also_wrong: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A feature that is missing everywhere is named and watched, also where the model suffers from it."""
    scorer, pool = normal
    bins = pool.bins.copy()
    bins[:, scorer.bundle.features.names.index("speed")] = 0
    label = np.random.default_rng(0).permuted(pool.label) if is_also_wrong else pool.label
    found = report(normal, mini_scorer, bins=bins, label=label)
    assert found["state"] == "watch"
    assert found["reasons"][0].startswith("speed is missing in 100% of the requests, ")
    assert {block["verdict"] for block in found["blocks"]} == {"watch"}


def test_moved_feature_is_watched(normal: tuple[Scorer, Pool], mini_scorer: ScorerDeclaration) -> None:
    """Where half of the rows have a feature's smallest values, it is named and watched."""
    scorer, pool = normal
    bins = pool.bins.copy()
    bins[::2, scorer.bundle.features.names.index("momentum")] = 1
    found = report(normal, mini_scorer, bins=bins)
    assert found["state"] == "watch"
    assert [reason.split(":")[0] for reason in found["reasons"]] == ["momentum drifts"]


def test_one_bad_week_changes_nothing(normal: tuple[Scorer, Pool], mini_scorer: ScorerDeclaration) -> None:
    """One block that is off is reported, and does not change the state."""
    scorer, pool = normal
    log = pool.log(0)
    flagged = log.flagged | ((log.time >= START + 14 * SECONDS_A_DAY) & (log.time < START + 21 * SECONDS_A_DAY))
    found = monitor.report_of(replace(log, flagged=flagged), scorer, mini_scorer).content()
    assert [block["verdict"] for block in found["blocks"]].count("watch") == 1
    assert found["state"] == "ok"


def test_without_outcomes_it_is_not_retrained(normal: tuple[Scorer, Pool], mini_scorer: ScorerDeclaration) -> None:
    """Without an outcome nothing contradicts the model, and its performance is unknown."""
    scorer, pool = normal
    log = replace(
        pool.log(0),
        outcome_time=np.zeros(0),
        outcome_id=np.zeros(0, dtype=np.uint64),
        outcome_label=np.zeros(0, dtype=np.int8),
    )
    found = monitor.report_of(log, scorer, mini_scorer).content()
    assert found["state"] == "ok"
    assert {block["measured"]["recall"] for block in found["blocks"]} == {None}


def test_table_has_a_line_for_each_block(normal: tuple[Scorer, Pool], mini_scorer: ScorerDeclaration) -> None:
    """The table's columns are the blocks' own numbers."""
    scorer, pool = normal
    found = monitor.report_of(pool.log(0), scorer, mini_scorer)
    table = monitor.block_table(found)
    assert len(table) == WEEKS
    assert table["from"].str.fullmatch(r"2025-0[67]-\d\d \d\d:\d\d").all()
    assert table["recall"].to_list() == [block.measured.recall for block in found.blocks]
    assert table["psi_amount"].to_list() == [block.features["amount"].psi for block in found.blocks]


@pytest.fixture
def workplace(trained: Path, tmp_path: Path) -> Path:
    """A user's folder with the declaration and the packaged bundle."""
    folder = tmp_path / "workplace"
    shutil.copytree(trained / "build" / "bundles", folder / "build" / "bundles")
    shutil.copytree(trained / "data", folder / "data")
    shutil.copy(trained / "params.yaml", folder)
    return folder


@pytest.fixture
def write_log(trained: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, scorer: Scorer) -> Callable[..., Path]:
    """Has a recorder write rows that the model has not learned from, over six weeks; outcomes come a day later."""

    def write(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows) -> Path:
        rows = pd.concat([rows_of(trained, "calibrate", "test")] * REPEATS, ignore_index=True)
        rows = change(rows.assign(row_id=rows.index.astype(str)).sample(frac=1, random_state=0))
        clock = [START]
        monkeypatch.setattr(written, "time", lambda: clock[0])
        recorder = Recorder(str(workplace / "log"))
        moments = START + np.arange(len(rows)) * 7 * WEEKS * SECONDS_A_DAY / len(rows)
        asked = zip(requests_of(rows, scorer.contract), rows["row_id"], rows["is_fraud"], moments, strict=True)
        for request, name, is_fraud, moment in asked:
            one = scorer.request_model.model_validate({**request, "row_id": name})
            scored = scorer.score(one)
            clock[0] = moment
            recorder.record(scorer, Answered((one,), (scored,), (scorer.answer(one, scored),)), 0.0003)
            clock[0] = moment + SECONDS_A_DAY
            recorder.record_outcomes([("mini", name, bool(is_fraud))])
        return workplace / "log"

    return write


@pytest.fixture
def run_here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command in this process; returns what it exits with: a status or a sentence."""

    def run(*arguments: str) -> Any:  # noqa: ANN401 - an int or a text
        monkeypatch.chdir(workplace)
        monkeypatch.setattr(sys, "argv", ["monitor", *arguments])
        with pytest.raises(SystemExit) as ended:
            monitor.main()
        return ended.value.code

    return run


def read_report(workplace: Path) -> dict[str, Any]:
    """The report that the command wrote."""
    found: dict[str, Any] = json.loads((workplace / "reports" / "mini" / "monitor.json").read_text())
    return found


def shuffled_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with one another's labels."""
    return rows.assign(is_fraud=np.random.default_rng(0).permuted(rows["is_fraud"]))


def without_speed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without the field `speed`."""
    return rows.assign(speed=np.nan)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows, ("ok", 0, "")),
        (without_speed, ("watch", 10, "  speed is missing in 100% of the requests, ")),
        (shuffled_labels, ("retrain", 20, "  the recall is ")),
    ],
    ids=["its own rows", "a field is missing", "labels at random"],
)
def test_command_says_what_to_do(
    write_log: Callable[..., Path],
    run_here: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    expected: tuple[str, int, str],
) -> None:
    """The command prints the state and its reasons, writes its three files, and ends with the state's status."""
    state, status, reason = expected
    log = write_log(change)
    workplace = log.parent
    assert run_here("mini", str(log)) == status
    printed = capsys.readouterr()
    assert printed.err == ""
    first, *reasons, last = printed.out.splitlines()
    assert first == f"mini: {state}, 3,600 predictions in 6 blocks (predictions: 3,600, outcomes: 3,600)"
    assert [one[: len(reason)] for one in reasons[:1]] == ([reason] if reason else [])
    assert last == "reports/mini/monitor.html"
    folder = workplace / "reports" / "mini"
    assert sorted(path.name for path in folder.iterdir()) == ["monitor.csv", "monitor.html", "monitor.json"]
    assert read_report(workplace)["state"] == state
    assert len(pd.read_csv(folder / "monitor.csv")) == WEEKS


@pytest.mark.parametrize(
    ("arguments", "days", "n_rows"),
    [
        (("--since", "2025-07-06T15:06:40"), 21, 1_800),
        (("--until", "2025-07-06T17:06:40+02:00"), 0, 1_800),
        (("--since", "2025-06-22T15:06:40", "--until", "2025-07-06T15:06:40"), 7, 1_200),
    ],
)
def test_window_is_asked_for(
    write_log: Callable[..., Path],
    run_here: Callable[..., Any],
    arguments: tuple[str, ...],
    days: int,
    n_rows: int,
) -> None:
    """Only predictions of the window count, its start belongs to it and its end does not; outcomes join from later."""
    log = write_log()
    run_here("mini", str(log), *arguments)
    blocks = read_report(log.parent)["blocks"]
    assert blocks[0]["from"] == pytest.approx(START + days * SECONDS_A_DAY, rel=1e-5)
    assert sum(block["rows"] for block in blocks) == n_rows
    assert blocks[-1]["measured"]["labelled"] == n_rows


def test_nothing_in_the_window_is_ok(
    workplace: Path, write_log: Callable[..., Path], run_here: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a prediction in the window the state is ok, of 0 blocks, and the page is made."""
    assert run_here("mini", str(write_log()), "--since", "2030-01-01") == 0
    assert capsys.readouterr().out.startswith("mini: ok, 0 predictions in 0 blocks (")
    assert read_report(workplace)["blocks"] == []
    assert "There is no prediction in this window." in (workplace / "reports" / "mini" / "monitor.html").read_text()


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
def test_mistake_ends_in_a_sentence(run_here: Callable[..., Any], arguments: tuple[str, ...], sentence: str) -> None:
    """A mistake ends the command with one sentence that names it."""
    assert re.fullmatch(sentence, str(run_here(*arguments)))


def test_bad_date_is_named(run_here: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what is no date, and what one looks like."""
    assert run_here("mini", "log", "--since", "yesterday") == 2
    assert "'yesterday' is not a date such as 2026-11-24 or 2026-11-24T06:00" in capsys.readouterr().err


def damage(log: Path) -> dict[str, int]:
    """Puts everything into a log that has no place in it, and returns what it must be counted as."""
    files = sorted(log.glob("*.jsonl"))
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    predicted, outcome_line = (next(one for one in lines if key in one) for key in (b'"record"', b'"outcome"'))
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
        *(json.dumps({**record, "time": moment, "id": f"at {moment}"}).encode() for moment in (0, 4e9, 1e300)),
        json.dumps({**outcome, "time": 4e9, "label": 1 - outcome["label"]}).encode(),
        json.dumps({**outcome, "id": "nobody"}).encode(),
        json.dumps({**outcome, "time": outcome["time"] - 1, "label": 1 - outcome["label"]}).encode(),
    ]
    (log / "a.jsonl").write_bytes(b"\n".join(bad) + b"\n")
    # The lines of a folder need not be by time either.
    for file in files:
        file.write_bytes(b"\n".join(reversed(file.read_bytes().splitlines())) + b"\n")
    return {
        "predictions": 3_600,
        "outcomes": 3_602,
        "broken lines": 4,
        "lines of format 0": 1,
        "lines of other scorers": 1,
        "other lines, such as metrics": 1,
        "empty lines": 1,
        "lines dated before 2020 or in the future": 4,
        "outcomes that correct an earlier one": 1,
        "outcomes of unknown ids": 1,
    }


def test_bad_lines_change_nothing_but_the_counts(write_log: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """Torn, foreign, old, misdated and mixed up lines are counted, and the report is what it was without them."""
    log = write_log()
    run_here("mini", str(log))
    clean = read_report(log.parent)
    counts = damage(log)
    assert run_here("mini", str(log)) == 0
    found = read_report(log.parent)
    assert found["counts"] == counts
    assert {**found, "counts": None} == {**clean, "counts": None}


def test_window_without_a_fraud_is_reported(write_log: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """Where no outcome is a fraud the recall is unknown in every block, and nothing says retrain."""
    log = write_log(lambda rows: rows.assign(is_fraud=0))
    assert run_here("mini", str(log)) != 20
    measured = [block["measured"] for block in read_report(log.parent)["blocks"]]
    assert {one["frauds"] for one in measured} == {0}
    assert {one["recall"] for one in measured} == {None}


def test_released_version_is_compared_with(
    trained: Path,
    variant: Callable[..., Path],
    write_log: Callable[..., Path],
    run_here: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a store whose pointer names another version than is packaged, that version's baseline is used."""
    log = write_log()
    workplace, store = log.parent, FolderStoreWriter(log.parent / "released")
    version = publish(store, variant(shift=0.01))
    monkeypatch.chdir(workplace)
    promote(store, "mini", version, trained / "build" / "mini" / "rows" / "test.parquet", force="a test")
    run_here("mini", str(log), "--store", "released")
    assert read_report(workplace)["baseline"] == version
    run_here("mini", str(log))
    assert read_report(workplace)["baseline"] == load_scorer(workplace / "build" / "bundles" / "mini").version
