"""The stage baseline: its counts are those of the rows it names, and it writes the same bytes each time."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.scoring.combinations import Combinations
from training.baseline import main

Read = Callable[[str], Any]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def baseline(trained: Path) -> dict[str, Any]:
    """The mini scorer's baseline, as the stage wrote it."""
    content: dict[str, Any] = json.loads((trained / "build" / "mini" / "baseline.json").read_text())
    return content


def test_features_are_those_of_the_training_rows(trained_rows: Read, baseline: dict[str, Any]) -> None:
    """Counts add up to the training rows and match each column's missing values and levels; rare ones are "other"."""
    rows, features = trained_rows("train"), baseline["features"]
    assert {sum(feature["counts"]) for feature in features.values()} == {len(rows)}
    missing = {name: features[name]["counts"][0] for name in ("amount", "speed", "visits", "is_new")}
    assert missing == {name: int(rows[name].isna().sum()) for name in missing}
    assert missing["speed"] > 0
    expected = rows["country"].value_counts()
    counts = dict(zip(features["country"]["labels"], features["country"]["counts"][1:], strict=True))
    assert counts.pop("other") == expected.drop(list(counts)).sum()
    assert counts == expected[list(counts)].to_dict()


def test_score_is_that_of_the_calibration_rows(trained: Path, baseline: dict[str, Any]) -> None:
    """The threshold's figures are those that calibrate counted, on rows that the scoring models had not seen."""
    fitted = json.loads((trained / "build" / "mini" / "calibration.json").read_text())
    assert baseline["score"] == fitted["score"]
    assert baseline["score"]["rows"] == 600


def test_combinations_cover_every_feature(baseline: dict[str, Any]) -> None:
    """The learned tree has every feature of the baseline, and the function reads it."""
    learned = baseline["combinations"]
    assert len(learned["parents"]) == len(learned["bins"]) == len(learned["tables"]) == len(baseline["features"])
    Combinations(learned).unlikely_pair([float("nan")] * len(baseline["features"]))


def test_stage_writes_the_same_bytes_twice(
    trained: Path, baseline: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The same rows and pipeline give the same bytes."""
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "again"))
    path = Path("build", "mini", "baseline.json")
    path.unlink()
    main("mini")
    assert path.read_bytes() == (trained / path).read_bytes()
    assert json.loads(capsys.readouterr().out)["rows"] == baseline["score"]["rows"]
