"""Calibration: Platt's parameters are recovered from simulated margins, and the stage writes the policy's threshold."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from handler.scoring.calibration import log_odds_to_probability
from handler.scoring.fields import SECONDS_A_DAY
from training.calibrate import main
from training.data.times import timestamp_text
from training.data.window import read_training
from training.declaration import ScorerDeclaration, declared_scorer
from training.evaluation.calibration import CalibrationError, calibrated, fit_platt
from training.evaluation.threshold import operating_points
from training.model.chosen import chosen_model
from training.model.fit import fit_pipeline, margins

N_ROWS = 100_000

Read = Callable[[str], Any]
Rows = tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]


def simulated(slope: float, intercept: float) -> Rows:
    """Margins, and labels whose log-odds are a linear function of them."""
    rng = np.random.default_rng(3)
    margin = rng.normal(-2, 2, N_ROWS).astype(np.float32)
    probability = 1 / (1 + np.exp(-(slope * margin + intercept)))
    return margin, (rng.random(N_ROWS) < probability).astype(np.int8)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.6, -1.5), (1.7, -3.0)])
def test_platt_recovers_the_line(slope: float, intercept: float) -> None:
    """The fit finds the slope and intercept with which the labels were drawn."""
    line = fit_platt(*simulated(slope, intercept))
    assert line == pytest.approx((slope, intercept), abs=0.05)


def test_calibrated_probabilities() -> None:
    """Probabilities add up to the number of frauds and never fall as the margin rises.

    The two fitted numbers are rounded to eight decimals, so they are the same on every processor.
    """
    margin, label = simulated(0.6, -1.5)
    slope, intercept = fit_platt(margin, label)
    assert (slope, intercept) == (round(slope, 8), round(intercept, 8))
    probability = calibrated(np.sort(margin), {"slope": slope, "intercept": intercept})
    assert probability.mean() == pytest.approx(label.mean(), rel=1e-3)
    assert (np.diff(probability) >= 0).all()
    assert ((probability > 0) & (probability < 1)).all()


def test_separable_margins_stay_finite() -> None:
    """Platt's smoothed targets keep the fit finite where a margin separates the classes perfectly."""
    margin = np.concatenate([np.full(50, 3.0), np.full(950, -3.0)]).astype(np.float32)
    slope, intercept = fit_platt(margin, (margin > 0).astype(np.int8))
    assert calibrated(np.array([3.0]), {"slope": slope, "intercept": intercept})[0] == pytest.approx(51 / 52, abs=1e-6)


def test_reversed_model_is_refused() -> None:
    """A model that ranks frauds below legitimate rows is refused."""
    margin, label = simulated(1.0, -1.0)
    with pytest.raises(CalibrationError, match=r"the slope of the calibration is -.*no better than chance"):
        fit_platt(-margin, label)


@pytest.mark.parametrize("margin", [0.0, 1.5, -3.3])
def test_constant_margins_are_refused(margin: float) -> None:
    """A model that gives every row the same margin ranks no better than chance."""
    label = np.array([1] * 20 + [0] * 980, dtype=np.int8)
    with pytest.raises(CalibrationError, match="no better than chance"):
        fit_platt(np.full(1_000, margin, dtype=np.float32), label)


def test_probability_is_the_functions_own() -> None:
    """The calibrated probability equals the function's, to the last bit."""
    margin = np.array([-80.5, -2.25, 0.0, 0.1, 700.0], dtype=np.float32)
    probability = calibrated(margin, {"slope": 0.7, "intercept": -1.1})
    assert probability.tolist() == [log_odds_to_probability(0.7 * float(value) - 1.1) for value in margin]


class Place:
    """A copy of the trained project as working folder, in which the stage runs again with another split."""

    def __init__(self, folder: Path) -> None:
        """Use the folder."""
        self.built, self._params = folder / "build" / "mini", folder / "params.yaml"
        self._report = folder / "reports" / "mini" / "calibration.json"

    def declare(self, split: str) -> ScorerDeclaration:
        """Declare the split; returns the scorer."""
        self.replace("{test: 0.2}", split)
        return declared_scorer("mini", self._params)

    def replace(self, old: str, new: str) -> None:
        """Change the text of the declaration."""
        self._params.write_text(self._params.read_text().replace(old, new))

    def fitted(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run the stage; returns what it writes for the next ones, and its report."""
        main("mini")
        return json.loads((self.built / "calibration.json").read_text()), json.loads(self._report.read_text())


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of the trained project."""
    folder = tmp_path / "again"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return Place(folder)


@pytest.mark.parametrize("delay_days", [0, 2])
def test_rows_are_scored_by_models_of_earlier_rows(place: Place, trained_rows: Read, delay_days: int) -> None:
    """The later half of 1,200 rows calibrates, in three blocks, each scored by a model of the rows before it.

    Rows within the label delay before a block are left out. Platt's parameters are fitted to these margins.
    """
    scorer = place.declare(f"{{test: 0.2, label_delay_days: {delay_days}}}")
    rows, (_, catalogue), parameters = trained_rows("train"), read_training(scorer, "mini"), chosen_model("mini")
    by_hand = []
    for start in (600, 800, 1_000):
        settled = rows[rows["at"] < rows["at"][start] - delay_days * SECONDS_A_DAY]
        assert len(settled) == start or delay_days
        by_hand.append(margins(fit_pipeline(scorer, parameters, catalogue, settled), rows[start : start + 200]))
    fitted, report = place.fitted()
    scored, label = pd.read_parquet(place.built / "calibration.parquet"), rows["is_fraud"][600:].to_numpy()
    np.testing.assert_array_equal(scored["at"], rows["at"][600:])
    np.testing.assert_array_equal(scored["is_fraud"], label)
    np.testing.assert_allclose(scored["margin"], np.concatenate(by_hand), atol=1e-6)
    assert tuple(fitted["calibration"].values()) == pytest.approx(fit_platt(np.concatenate(by_hand), label), abs=1e-5)
    assert report == {
        "from": timestamp_text(rows["at"][600]),
        "to": timestamp_text(rows["at"][1_199]),
        "rows": 600,
        "frauds": int(label.sum()),
        "fraud_rate": pytest.approx(label.mean(), abs=1e-5),
    }


def test_threshold_keeps_the_declared_recall(trained: Path) -> None:
    """Over the rows of all blocks, the threshold reaches the declared recall and is not far above it.

    The thresholds of other aims, and the figures of these rows, are written with it.
    """
    fitted = json.loads((trained / "build" / "mini" / "calibration.json").read_text())
    scored = pd.read_parquet(trained / "build" / "mini" / "calibration.parquet")
    probability, label = calibrated(scored["margin"].to_numpy(), fitted["calibration"]), scored["is_fraud"].to_numpy()
    assert fitted["decision"]["policy"] == {"recall": 0.9}
    frauds, threshold = probability[label == 1], fitted["decision"]["threshold"]
    assert 0.9 <= (frauds >= threshold).mean() < 0.9 + 2 / len(frauds)
    assert fitted["operating_points"] == operating_points(probability, label, threshold)
    assert fitted["operating_points"]["declared"] == threshold == fitted["operating_points"]["recall 0.9"]
    score, flagged = fitted["score"], probability >= threshold
    assert (score["rows"], score["frauds"], sum(score["counts"])) == (600, label.sum(), 600)
    assert (score["flagged"], score["caught"]) == (flagged.sum(), flagged[label == 1].sum())
    assert 0 < score["caught"] < score["flagged"]


@pytest.mark.parametrize(
    ("decision", "rows_a_card", "warned"),
    [
        (
            "{recall: 0.7, confidence: 0.9}",
            2,
            "is 0.9 for {frauds} independent frauds, but these belong to only {cards} card",
        ),
        ("{precision: 0.2, confidence: 0.6}", 2, " independent alerts, but these belong to only "),
        ("{recall: 0.7, confidence: 0.9}", 1, None),
        ("{recall: 0.7}", 2, None),
    ],
)
def test_confidence_of_dependent_rows_is_warned_of(
    place: Place, decision: str, rows_a_card: int, warned: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bound takes frauds, or alerts, for independent; a warning counts the entities if several rows share one."""
    place.replace("{recall: 0.9}", decision)
    place.replace("entity: null", "entity: card")
    path = place.built / "rows" / "train.parquet"
    rows = pd.read_parquet(path)
    # Frauds of one card follow each other, as in reality.
    number = rows.groupby("is_fraud").cumcount() // rows_a_card
    cards = number.astype(str) + rows["is_fraud"].map({0: "-good", 1: "-bad"})
    rows.assign(card=cards).to_parquet(path, index=False)
    place.fitted()
    printed = capsys.readouterr().out
    is_fraud = rows.index.isin(range(600, 1_200)) & (rows["is_fraud"] == 1)
    if warned is None:
        assert "WARNING" not in printed
    else:
        counts = {"frauds": is_fraud.sum(), "cards": cards[is_fraud].nunique()}
        assert "WARNING: decision.confidence is 0." in printed
        assert warned.format(**counts) in printed


def test_a_calibration_window_of_its_own(place: Place, trained_rows: Read, trained_pipeline: Any) -> None:  # noqa: ANN401 - no types
    """If a calibration window is declared, its rows alone calibrate, scored by the model that ships."""
    place.declare("{calibrate: 0.2, test: 0.2}")
    shutil.copy(place.built / "rows" / "test.parquet", place.built / "rows" / "calibrate.parquet")
    fitted, report = place.fitted()
    rows = trained_rows("test")
    slope, intercept = fit_platt(margins(trained_pipeline, rows), rows["is_fraud"].to_numpy())
    assert fitted["calibration"] == {"slope": slope, "intercept": intercept}
    assert report["rows"] == fitted["score"]["rows"] == 300
