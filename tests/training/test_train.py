"""Training: the model's settings, what it has learned, and the reference that drift is measured against."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from handler.contract import Contract, DeclaredField
from training.declaration import Scorer
from training.prepare import prepare
from training.train import build_pipeline, describe, margins


def one_field(field: DeclaredField) -> Contract:
    """A contract with a single field, named value."""
    return Contract(route="/x", answer="decision", id=None, fields={"value": field}, features={})


def column(values: list[float]) -> npt.NDArray[np.float32]:
    """A matrix of one feature."""
    return np.array(values, dtype=np.float32).reshape(-1, 1)


def test_declared_parameters_reach_the_model(mini_scorer: Scorer, mini_catalogue: pd.DataFrame) -> None:
    """The model has the declared numbers, the seed, and a base score of one half."""
    found = build_pipeline(mini_scorer, mini_catalogue)[-1].get_params()
    assert (found["n_estimators"], found["max_depth"], found["learning_rate"]) == (20, 3, 0.3)
    assert (found["random_state"], found["n_jobs"], found["base_score"]) == (7, 2, 0.5)


def test_one_declaration_one_model(mini_rows: pd.DataFrame, mini_scorer: Scorer, mini_catalogue: pd.DataFrame) -> None:
    """Trained twice on the same rows, the model has the same bytes."""
    rows = prepare(mini_rows, mini_scorer).windows["train"]
    first, again = (
        build_pipeline(mini_scorer, mini_catalogue).fit(rows, rows["is_fraud"].to_numpy())[-1].get_booster()
        for _ in range(2)
    )
    assert first.save_raw("ubj") == again.save_raw("ubj")


def test_more_of_a_fraud_signal_is_not_safer(trained: Path) -> None:
    """Ten times the amount raises the margin on average, as frauds are dearer."""
    pipeline = joblib.load(trained / "build" / "mini" / "pipeline.joblib")
    rows = pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet")
    dearer = rows.assign(amount=rows["amount"] * 10)
    assert margins(pipeline, dearer).mean() > margins(pipeline, rows).mean() + 0.5


def test_label_time_and_id_change_nothing(trained: Path) -> None:
    """What a request does not carry, or the model must not see, changes no margin."""
    pipeline = joblib.load(trained / "build" / "mini" / "pipeline.joblib")
    rows = pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet")
    changed = rows.assign(is_fraud=1 - rows["is_fraud"], at=0.0, row_id="x")
    np.testing.assert_array_equal(margins(pipeline, changed), margins(pipeline, rows))


def test_scoring_does_not_resample(trained: Path) -> None:
    """Scoring gives one margin a row; synthetic frauds belong to training alone."""
    pipeline = joblib.load(trained / "build" / "mini" / "pipeline.joblib")
    rows = pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet")
    assert margins(pipeline, rows).shape == (len(rows),)


def test_reference_of_a_number() -> None:
    """A number is described by its share of missing values and 101 percentiles of the others."""
    values = [float(value) for value in range(101)] + [np.nan] * 99
    reference = describe(column(values), one_field(DeclaredField(type="number")), {})
    assert reference["value"]["missing"] == 0.495
    percentiles = reference["value"]["percentiles"]
    assert (percentiles[0], percentiles[-1], len(percentiles)) == (0.0, 100.0, 101)
    # The value at or below each percentile, so one less where a product of floats falls short of a whole number.
    assert percentiles == pytest.approx(range(101), abs=1)


def test_reference_of_a_number_that_is_always_missing() -> None:
    """A number without a value has no percentiles."""
    reference = describe(column([np.nan, np.nan]), one_field(DeclaredField(type="number")), {})
    assert reference == {"value": {"missing": 1.0, "percentiles": []}}


def test_reference_of_a_category() -> None:
    """A category is described by the shares of its labels and of the missing, which add up to 1."""
    contract = one_field(DeclaredField(type="category"))
    reference = describe(column([1, 1, 2, 0, np.nan]), contract, {"value": ["a", "b"]})
    assert reference == {"value": {"missing": 0.2, "shares": {"other": 0.2, "a": 0.4, "b": 0.2}}}


def test_reference_where_a_label_is_called_other(mini_scorer: Scorer, mini_catalogue: pd.DataFrame) -> None:
    """Data in which a category is really called "other" still have shares that add up to 1."""
    rng = np.random.default_rng(8)
    rows = pd.DataFrame({name: np.full(300, np.nan) for name in mini_scorer.fields}).assign(
        amount=rng.random(300), country=["DE"] * 200 + ["other"] * 90 + ["rare"] * 10, item=None
    )
    encoder = build_pipeline(mini_scorer, mini_catalogue)[0].fit(rows)
    reference = describe(encoder.transform(rows), mini_scorer.contract, encoder.vocabulary_)
    assert sum(reference["country"]["shares"].values()) == pytest.approx(1.0)


def test_stage_reports_rows_and_synthetic_frauds(trained: Path) -> None:
    """The report counts the training rows, their frauds, the synthetic ones and the features."""
    report = json.loads((trained / "reports" / "mini" / "training.json").read_text())
    rows = pd.read_parquet(trained / "build" / "mini" / "rows" / "train.parquet")
    n_frauds = int(rows["is_fraud"].sum())
    assert (report["rows"], report["frauds"], report["features"]) == (len(rows), n_frauds, 8)
    assert report["synthetic_frauds"] == int(0.3 * (len(rows) - n_frauds)) - n_frauds
    assert set(report["texts"]["item"]) == {"accuracy", "answered", "accuracy_answered", "unknown_called_other"}


def test_stage_describes_every_feature(trained: Path) -> None:
    """The reference stands on the training rows as they are, without synthetic frauds."""
    reference = json.loads((trained / "build" / "mini" / "reference.json").read_text())
    rows = pd.read_parquet(trained / "build" / "mini" / "rows" / "train.parquet")
    assert list(reference) == [
        "amount",
        "speed",
        "visits",
        "country",
        "is_new",
        "item_kind",
        "amount_per_visit",
        "momentum",
    ]
    assert reference["speed"]["missing"] == pytest.approx(rows["speed"].isna().mean(), abs=1e-6)
    assert reference["country"]["shares"]["NA"] == pytest.approx((rows["country"] == "NA").mean(), abs=1e-6)
    assert reference["amount"]["percentiles"][-1] == pytest.approx(rows["amount"].max(), rel=1e-6)


def test_outputs_do_not_depend_on_the_hash_seed(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_stage: Callable[[Path, str], subprocess.CompletedProcess[str]],
) -> None:
    """Every file of the stage has the same bytes in another process, the pickled pipeline too."""
    project = Path(shutil.copytree(trained, tmp_path / "project"))
    monkeypatch.setenv("PYTHONHASHSEED", "12345")
    assert run_stage(project, "train").returncode == 0
    for name in ("pipeline.joblib", "model.ubj", "vocabulary.json", "reference.json"):
        assert (project / "build" / "mini" / name).read_bytes() == (trained / "build" / "mini" / name).read_bytes()
