"""Training: the model's settings, what it learns from, and the reference that drift is measured against."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from handler.scoring.contract import Contract
from handler.scoring.features import feature_names
from handler.scoring.fields import DeclaredField
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.model.chosen import ChosenResampling
from training.model.distributions import describe
from training.model.encoder import FeatureEncoder
from training.model.fit import build_model, fit_pipeline, margins, matrix_margins
from training.model.resampling import fraud_weight
from training.params import Model, Resampling
from training.run.matrix import FeatureMatrix
from training.train import main

Frame = pd.DataFrame
Read = Callable[[str], Any]
Fit = Callable[..., Any]


def contract_of(**fields: dict[str, str]) -> Contract:
    """A contract with these fields."""
    return Contract(
        route="/x",
        answer="decision",
        id=None,
        fields={name: DeclaredField.model_validate(keys) for name, keys in fields.items()},
        features={},
    )


def column(values: list[float]) -> npt.NDArray[np.float32]:
    """A matrix with a single feature."""
    return np.array(values, dtype=np.float32).reshape(-1, 1)


@pytest.fixture
def fit(mini_windows: dict[str, Frame], mini_scorer: ScorerDeclaration, mini_catalogue: Frame) -> Fit:
    """Fit the mini scorer's pipeline on its training window, or with another model, rows or resampling."""

    def fit_mini(model: Model = mini_scorer.model, rows: Frame | None = None, **resampling: Any) -> Any:  # noqa: ANN401 - no types
        declared = mini_scorer.resampling if not resampling else Resampling.model_validate(resampling)
        scorer = mini_scorer.model_copy(update={"resampling": declared})
        return fit_pipeline(scorer, model, mini_catalogue, mini_windows["train"] if rows is None else rows)

    return fit_mini


def test_given_parameters_reach_the_model(fit: Fit) -> None:
    """The model has the given parameters rather than the declared ones, the seed, and a base score of one half."""
    model = Model(
        rounds=11,
        max_depth=4,
        learning_rate=0.2,
        min_child_weight=2.5,
        subsample=0.7,
        colsample_bytree=0.6,
        reg_lambda=3.0,
        max_bin=1024,
        threads=1,
    )
    parameters = fit(model)[-1].get_params()
    assert {name: parameters[name] for name in Model.model_fields if name in parameters} == model.model_dump(
        exclude={"rounds", "threads"}
    )
    assert (parameters["n_estimators"], parameters["n_jobs"]) == (11, 1)
    assert (parameters["random_state"], parameters["base_score"], parameters["scale_pos_weight"]) == (7, [0.5], 1.0)


def test_class_weight_reaches_the_model(fit: Fit, mini_windows: dict[str, Frame]) -> None:
    """With class weights, frauds are weighted by the labels of the training rows."""
    rows = mini_windows["train"].assign(is_fraud=np.arange(1_200) % 10 == 0)
    assert fit(Model(rounds=2), rows, method="class_weight", ratio=0.5)[-1].scale_pos_weight == 4.5


def test_directions_reach_the_model(mini_scorer: ScorerDeclaration) -> None:
    """The model is bound by the contract's directions, column by column."""
    amount, age = {"type": "money", "monotone": "increasing"}, {"type": "number", "monotone": "decreasing"}
    contract = contract_of(country={"type": "category"}, amount=amount, age=age)
    assert build_model(Model(), contract, seed=7).monotone_constraints == (0, 1, -1)
    assert set(build_model(Model(), mini_scorer.contract, seed=7).monotone_constraints) == {0}


def test_exact_trees_have_no_bins() -> None:
    """The exact tree method, which has no bins, is requested without them, and learns."""
    model = build_model(Model(rounds=3, tree_method="exact"), contract_of(value={"type": "number"}), seed=7)
    assert (model.tree_method, model.max_bin) == ("exact", None)
    margin = model.fit(column([*range(60)]), np.arange(60) >= 30).predict(column([1, 58]), output_margin=True)
    assert margin[0] < margin[1]


@pytest.mark.parametrize("method", ["smote", "undersample", "class_weight", "none"])
def test_the_model_is_scikit_learns(
    fit: Fit, mini_windows: dict[str, Frame], mini_scorer: ScorerDeclaration, method: str
) -> None:
    """If all rows form one chunk, the model equals XGBClassifier's on the resampled rows, to the bit."""
    keys = {"method": method, "ratio": 0.3, "neighbours": 3}
    encoder, resampler, model = (step for _, step in fit(**keys).steps)
    rows, label = mini_windows["train"], mini_windows["train"]["is_fraud"].to_numpy()
    weight = fraud_weight(Resampling.model_validate(keys), label)
    expected = build_model(mini_scorer.model, mini_scorer.contract, seed=mini_scorer.seed, fraud_weight=weight)
    expected.fit(*resampler.fit_resample(encoder.transform(rows), label))
    assert model.get_booster().save_raw("ubj") == expected.get_booster().save_raw("ubj")


def test_margins_of_chunks_are_those_of_the_rows(fit: Fit, mini_windows: dict[str, Frame]) -> None:
    """Encoded rows that are scored by chunks have the same margins as the rows."""
    pipeline = fit()
    encoded = FeatureMatrix(pipeline[0].transform(mini_windows["test"]), 77)
    np.testing.assert_array_equal(matrix_margins(pipeline, encoded), margins(pipeline, mini_windows["test"]))


def test_margins_follow_signals_alone(trained_pipeline: Any, trained_rows: Read) -> None:  # noqa: ANN401 - no types
    """Ten times the amount raises the mean margin; label, time and id change nothing."""
    rows = trained_rows("test")
    margin = margins(trained_pipeline, rows)
    assert margins(trained_pipeline, rows.assign(amount=rows["amount"] * 10)).mean() > margin.mean() + 0.5
    unseen = rows.assign(is_fraud=1 - rows["is_fraud"], at=0.0, row_id="x")
    np.testing.assert_array_equal(margins(trained_pipeline, unseen), margin)


def test_reference_of_a_number() -> None:
    """A number is described by its share of missing values and 101 percentiles of the others, if there are any."""
    contract = contract_of(value={"type": "number"})
    values = [float(value) for value in range(101)] + [np.nan] * 99
    reference = describe(column(values), contract, {})["value"]
    assert reference["missing"] == 0.495
    percentiles = reference["percentiles"]
    assert (percentiles[0], percentiles[-1], len(percentiles)) == (0.0, 100.0, 101)
    # Each value is at or below its percentile, so rounding of a product may give the next lower one.
    assert percentiles == pytest.approx(range(101), abs=1)
    assert describe(column([np.nan, np.nan]), contract, {}) == {"value": {"missing": 1.0, "percentiles": []}}


def test_reference_of_a_category() -> None:
    """A category is described by the shares of its levels and of missing values, which add up to 1."""
    contract = contract_of(value={"type": "category"})
    reference = describe(column([1, 1, 2, 0, np.nan]), contract, {"value": ["a", "b"]})
    assert reference == {"value": {"missing": 0.2, "shares": {"other": 0.2, "a": 0.4, "b": 0.2}}}


def test_reference_where_a_label_is_called_other(mini_scorer: ScorerDeclaration, mini_catalogue: Frame) -> None:
    """If a level is itself called "other", the shares still add up to 1."""
    rng = np.random.default_rng(8)
    rows = pd.DataFrame({name: np.full(300, np.nan) for name in mini_scorer.fields}).assign(
        amount=rng.random(300), country=["DE"] * 200 + ["other"] * 90 + ["rare"] * 10, item=None
    )
    encoder = FeatureEncoder(mini_scorer.contract, mini_catalogue).fit(rows)
    matrix = encoder.transform(rows)
    reference = describe(matrix, mini_scorer.contract, encoder.vocabulary_)
    assert sum(reference["country"]["shares"].values()) == pytest.approx(1.0)
    assert describe(FeatureMatrix(matrix, 100), mini_scorer.contract, encoder.vocabulary_) == reference


def test_stage_reports_what_it_learned_from(reported: Read, trained_rows: Read) -> None:
    """The report counts the training rows, their frauds, the rows after resampling and the features."""
    report, rows = reported("training.json"), trained_rows("train")
    n_frauds = int(rows["is_fraud"].sum())
    assert (report["rows"], report["frauds"], report["features"]) == (len(rows), n_frauds, 8)
    assert report["rows_learned_from"] == len(rows) + int(0.3 * (len(rows) - n_frauds)) - n_frauds
    assert set(report["texts"]["item"]) == {"accuracy", "answered", "accuracy_answered", "unknown_called_other"}


def test_stage_trains_the_tuned_model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters of the tuned file are trained and reported, whatever params.yaml says."""
    project = Path(shutil.copytree(trained, tmp_path / "project"))
    tuned = Model(rounds=5, max_depth=2, learning_rate=0.1)
    (project / "build" / "mini" / "tuned.json").write_text(tuned.model_dump_json())
    monkeypatch.chdir(project)
    main("mini")
    model = joblib.load(project / "build" / "mini" / "pipeline.joblib")[-1]
    assert model.get_booster().num_boosted_rounds() == 5
    assert (model.max_depth, model.learning_rate) == (2, 0.1)
    assert json.loads((project / "reports" / "mini" / "training.json").read_text())["model"] == tuned.model_dump()


def test_stage_rebalances_as_the_folds_chose(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resampling that the compare stage chose is used and reported, whatever params.yaml says."""
    project = Path(shutil.copytree(trained, tmp_path / "project"))
    chosen = ChosenResampling(resampling=Resampling(method="class_weight", ratio=1.0), rounds=20)
    (project / "build" / "mini" / "resampling.json").write_text(chosen.model_dump_json())
    monkeypatch.chdir(project)
    main("mini")
    report = json.loads((project / "reports" / "mini" / "training.json").read_text())
    assert report["resampling"] == chosen.resampling.model_dump()
    assert report["rows_learned_from"] == report["rows"]
    model = joblib.load(project / "build" / "mini" / "pipeline.joblib")[-1]
    assert model.scale_pos_weight == pytest.approx((report["rows"] - report["frauds"]) / report["frauds"])


def test_stage_describes_every_feature(trained: Path, trained_rows: Read, mini_scorer: ScorerDeclaration) -> None:
    """The reference describes the training rows themselves, without synthetic frauds."""
    reference, rows = json.loads((trained / "build" / "mini" / "reference.json").read_text()), trained_rows("train")
    assert list(reference) == feature_names(mini_scorer.contract)
    assert reference["speed"]["missing"] == pytest.approx(rows["speed"].isna().mean(), abs=1e-6)
    assert reference["country"]["shares"]["NA"] == pytest.approx((rows["country"] == "NA").mean(), abs=1e-6)
    assert reference["amount"]["percentiles"][-1] == pytest.approx(rows["amount"].max(), rel=1e-6)


def test_outputs_do_not_depend_on_the_hash_seed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_stage: Callable[..., Any]
) -> None:
    """Every file of the stage, including the pickled pipeline, has the same bytes in another process."""
    project = Path(shutil.copytree(trained, tmp_path / "project"))
    monkeypatch.setenv("PYTHONHASHSEED", "12345")
    assert run_stage(project, "train").returncode == 0
    for name in ("pipeline.joblib", "model.ubj", "vocabulary.json", "reference.json"):
        assert (project / "build" / "mini" / name).read_bytes() == (trained / "build" / "mini" / name).read_bytes()


def test_a_device_that_is_not_there_is_refused(mini_scorer: ScorerDeclaration) -> None:
    """XGBoost itself would train on the CPU with a warning at most."""
    with pytest.raises(StageError, match=r"compute\.device is cuda:1, which this XGBoost cannot use; install"):
        build_model(Model(), mini_scorer.contract, seed=7, device="cuda:1")
