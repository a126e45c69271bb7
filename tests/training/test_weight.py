"""Rows that stand for several requests, such as a control group's, count that often from training to the gate."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from handler.scoring.bundle import MANIFEST
from handler.scoring.scorer import load_scorer
from tests.training.conftest import PARAMS, REMEMBERED_PARAMS, remembered_rows
from training.data.window import Window, repeated
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.contenders import Contender
from training.delivery.gate import judge_challenger
from training.errors import StageError
from training.evaluation.intervals import entity_groups
from training.params import Gate

DAYS = PARAMS.replace("{test: 0.2}", "{test_days: 12}")
WEIGHTED = DAYS.replace("test_days: 12", "test_days: 12, weight: stands_for")


def test_fractions_are_carried_on() -> None:
    """Three rows of a third make one request; rows of 33.3 stand for 33 or 34, and together for their exact sum."""
    assert repeated(np.array([1 / 3] * 3 + [0.0, 2.0])).tolist() == [2, 4, 4]
    times = np.bincount(repeated(np.full(300, 100 / 3)))
    assert set(times) == {33, 34}
    assert times.sum() == 10_000


def test_a_window_repeats_rows_across_row_groups(tmp_path: Path) -> None:
    """Columns, row groups and rows at positions agree for any row groups."""
    rows = pd.DataFrame({"value": np.arange(10.0), "times": [0, 1, 3, 0, 2, 1, 0, 0, 4, 0.0]})
    rows.to_parquet(tmp_path / "rows.parquet", row_group_size=3)
    window = Window(tmp_path / "rows.parquet", weight="times")
    expected = [1, 2, 2, 2, 4, 4, 5, 8, 8, 8, 8]
    assert window.column("value").tolist() == expected
    assert [value for rows in window.frames(["value"]) for value in rows["value"]] == expected
    assert sum(window.sizes) == len(window) == len(expected)
    some = np.array([0, 2, 3, 6, 9])
    assert [value for part in window.parts(some) for value in part.read(["value"])["value"]] == [1, 2, 2, 5, 8]
    assert np.unique(window.drawn_by(None)).tolist() == [1, 2, 4, 5, 8]
    rows.assign(card=[*"abc", None, "b", None, "c", *"def"]).to_parquet(tmp_path / "cards.parquet")
    window = Window(tmp_path / "cards.parquet", weight="times")
    assert entity_groups(window.drawn_by("card")).tolist() == [0, 1, 1, 1, 0, 0, 2, 3, 3, 3, 3]


def test_copies_are_read_in_parts_of_the_size_of_a_group(tmp_path: Path) -> None:
    """However many requests a row stands for, no more rows than a row group has are in memory at once."""
    rows = pd.DataFrame({"value": np.arange(10.0), "times": [50.0, *[1.0] * 9]})
    rows.to_parquet(tmp_path / "rows.parquet", row_group_size=5)
    window = Window(tmp_path / "rows.parquet", weight="times")
    assert max(window.sizes) == 5
    assert sum(window.sizes) == len(window) == 59
    read = [value for part in window.frames(["value"]) for value in part["value"]]
    assert read == window.column("value").tolist()


@pytest.fixture
def weighted_rows(mini_rows: pd.DataFrame) -> pd.DataFrame:
    """The mini scorer's rows in order of time; each fraud stands for three requests, other rows for none to two."""
    draws = np.random.default_rng(8).integers(0, 3, len(mini_rows))
    times = np.where(mini_rows["is_fraud"] == 1, 3.0, draws)
    return mini_rows.assign(stands_for=times).sort_values("at", kind="stable", ignore_index=True)


def content_of(folder: Path, *places: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The content of a project's JSON file."""
    return json.loads(Path(folder, *places).read_text())


def test_rows_count_as_if_they_were_written_so_often(
    weighted_rows: pd.DataFrame,
    train_on: Callable[[str, str, pd.DataFrame], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Model, calibration, thresholds, baseline, metrics and gate equal those of copied rows; intervals are wider."""
    written = weighted_rows.loc[repeated(weighted_rows["stands_for"].to_numpy())].drop(columns="stands_for")
    written["row_id"] = [f"written-{number}" for number in range(len(written))]
    folders = train_on("weighted", WEIGHTED, weighted_rows), train_on("written", DAYS, written)
    bundles = [folder / "build" / "bundles" / "mini" for folder in folders]
    for file in ("model.ubj", "vocabulary.json", "baseline.json", "reference.json", "golden.json"):
        assert (bundles[0] / file).read_bytes() == (bundles[1] / file).read_bytes(), file
    for file in ("decision", "calibration", "metrics"):
        assert content_of(bundles[0], MANIFEST)[file] == content_of(bundles[1], MANIFEST)[file], file
    rows, others = (content_of(folder, "reports", "mini", "rows.json")["windows"] for folder in folders)
    assert rows == others
    intervals, narrow = (content_of(bundle, MANIFEST)["intervals"] for bundle in bundles)
    for name in ("recall", "precision", "average_precision", "false_positive_rate"):
        assert np.ptp(intervals[name]) > 1.1 * np.ptp(narrow[name]), name

    verdicts = []
    for folder, bundle in zip(folders, bundles, strict=True):
        monkeypatch.chdir(folder)
        scorer = load_scorer(bundle)
        window = pd.read_parquet(folder / "build" / "mini" / "rows" / "test.parquet")
        contender = Contender(scorer.version, scorer)
        verdicts.append(judge_challenger(contender, contender, window, declared_scorer("mini")).measured)
    assert verdicts[0].rows == verdicts[1].rows == rows["test"]["rows"]
    assert verdicts[0].average_precision == verdicts[1].average_precision
    # A fraud that stands for three is no more evidence than one.
    weighted = json.loads((folders[0] / "reports" / "mini" / "rows.json").read_text())["windows"]["test"]["frauds"]
    gate = Gate(min_frauds=weighted // 3 + 1)
    for folder, is_doubted in zip(folders, (True, False), strict=True):
        monkeypatch.chdir(folder)
        scorer = load_scorer(folder / "build" / "bundles" / "mini")
        window = pd.read_parquet(folder / "build" / "mini" / "rows" / "test.parquet")
        contender = Contender(scorer.version, scorer)
        declared = declared_scorer("mini").model_copy(update={"gate": gate})
        doubts = judge_challenger(contender, contender, window, declared).doubts
        assert any("gate.min_frauds is" in doubt for doubt in doubts) == is_doubted
    assert verdicts[0].policy
    assert verdicts[1].policy
    assert verdicts[0].policy.value == verdicts[1].policy.value
    assert verdicts[0].policy.high - verdicts[0].policy.low > verdicts[1].policy.high - verdicts[1].policy.low


def test_a_history_counts_each_row_once(train_on: Callable[[str, str, pd.DataFrame], Path], remembered: Path) -> None:
    """Rows of weight 0, blocked and without a known label, are part of the past; function and training agree."""
    rows, rng = remembered_rows(), np.random.default_rng(9)
    weights = rng.choice([0.0, 1.0, 100 / 3], len(rows), p=[0.1, 0.8, 0.1])
    params = REMEMBERED_PARAMS.replace("{test: 0.2", "{test: 0.2, weight: stands_for")
    # The package stage compares the function with training, row by row.
    folder = train_on("weighted", params, rows.assign(stands_for=weights))
    read = [pd.read_parquet(place / "build" / "mini" / "rows" / "train.parquet") for place in (folder, remembered)]
    pd.testing.assert_frame_equal(read[0].drop(columns="stands_for"), read[1])


def test_a_weight_is_a_number(
    prepared: Callable[..., Any], weighted_rows: pd.DataFrame, mini_scorer: ScorerDeclaration
) -> None:
    """Rows without a weight, or with an impossible one, are quarantined with a reason."""
    scorer = mini_scorer.model_copy(update={"split": mini_scorer.split.model_copy(update={"weight": "stands_for"})})
    weights = [np.nan, -1, 10_001, np.inf]
    rows = weighted_rows.assign(stands_for=[*weights, *weighted_rows["stands_for"][len(weights) :]])
    quarantined = prepared(rows, scorer).report["quarantined"]
    assert quarantined["reasons"] == {
        "stands_for: is above 10000": 1,
        "stands_for: is below 0": 1,
        "stands_for: is infinite": 1,
        "stands_for: is missing": 1,
    }


def test_a_weight_is_no_field(mini_params: Path, tmp_path: Path) -> None:
    """A model must not see it."""
    params = tmp_path / "params.yaml"
    params.write_text(mini_params.read_text().replace("{test: 0.2}", "{test: 0.2, weight: amount}"))
    with pytest.raises(StageError, match=r"split\.weight is amount, which is also a field; a model must not see it"):
        declared_scorer("mini", params)
