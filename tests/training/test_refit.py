"""The refit stage: with `split.refit` the shipped model also learns the test window, and its twin is judged."""

import json
import shutil
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest

from handler.scoring.bundle import MANIFEST
from training import package, refit
from training.declaration import declared_scorer
from training.model.chosen import chosen_model
from training.model.fit import fit_pipeline, margins
from training.run.files import read_text_table

BUILT, BUNDLE = Path("build", "mini"), Path("build", "bundles", "mini")


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained project as the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


def manifest_in(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle."""
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return content


def test_without_a_declaration_nothing_is_fitted(trained: Path) -> None:
    """Without `split.refit` the judged model itself ships, and no twin is kept."""
    assert list((trained / BUILT / "refit").iterdir()) == []
    assert list((trained / BUILT / "judged").iterdir()) == []
    assert set(manifest_in(trained / BUNDLE)["windows"]) == {"train", "calibrate", "test"}


def test_the_model_that_ships_learns_the_calibration_window(project: Path) -> None:
    """A declared calibration window is learned too, so no rows between training and test are left out."""
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("{test: 0.2}", "{test: 0.2, calibrate: 0.2, refit: true}"))
    train = pd.read_parquet(BUILT / "rows" / "train.parquet")
    train[:900].to_parquet(BUILT / "rows" / "train.parquet", index=False)
    train[900:].to_parquet(BUILT / "rows" / "calibrate.parquet", index=False)
    rows = pd.concat([train, pd.read_parquet(BUILT / "rows" / "test.parquet")], ignore_index=True)
    refit.main("mini")
    by_hand = fit_pipeline(
        declared_scorer("mini"), chosen_model("mini"), read_text_table(BUILT / "catalogue.csv"), rows
    )
    fitted = joblib.load(BUILT / "refit" / "pipeline.joblib")
    assert margins(fitted, rows).tolist() == margins(by_hand, rows).tolist()
    assert json.loads((BUILT / "refit" / "window.json").read_text())["rows"] == len(rows) == 1_500


def test_the_model_that_ships_learns_the_test_window(trained: Path, project: Path) -> None:
    """It is fitted to both windows with the chosen parameters, keeps calibration and threshold, and names its twin."""
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("{test: 0.2}", "{test: 0.2, refit: true}"))
    refit.main("mini")
    windows = [pd.read_parquet(BUILT / "rows" / f"{window}.parquet") for window in ("train", "test")]
    rows = pd.concat(windows, ignore_index=True)
    catalogue = read_text_table(BUILT / "catalogue.csv")
    by_hand = fit_pipeline(declared_scorer("mini"), chosen_model("mini"), catalogue, rows)
    fitted = joblib.load(BUILT / "refit" / "pipeline.joblib")
    assert margins(fitted, rows).tolist() == margins(by_hand, rows).tolist()
    package.main("mini")
    shipped, judged = manifest_in(BUNDLE), manifest_in(BUILT / "judged")
    assert judged == manifest_in(trained / BUNDLE)
    for key in ("calibration", "decision", "metrics", "intervals"):
        assert shipped[key] == judged[key]
    assert shipped["windows"]["refit"]["rows"] == len(rows) == 1_500
    assert shipped["windows"]["refit"]["judged_by"] == judged["version"] != shipped["version"]
