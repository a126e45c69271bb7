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

from handler.scoring.contract import Contract, DeclaredField
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.model.distributions import describe
from training.model.encoder import FeatureEncoder
from training.model.fit import build_model, fit_pipeline, margins, matrix_margins
from training.model.resampling import fraud_weight
from training.params import Model, Resampling
from training.run.matrix import FeatureMatrix
from training.train import main


def one_field(field: DeclaredField) -> Contract:
    """A contract with a single field, named value."""
    return Contract(route="/x", answer="decision", id=None, fields={"value": field}, features={})


def column(values: list[float]) -> npt.NDArray[np.float32]:
    """A matrix of one feature."""
    return np.array(values, dtype=np.float32).reshape(-1, 1)


def test_given_parameters_reach_the_model(
    mini_windows: dict[str, pd.DataFrame], mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame
) -> None:
    """The model has the numbers it was given, not the declared ones, the seed, and a base score of one half."""
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
    found = fit_pipeline(mini_scorer, model, mini_catalogue, mini_windows["train"])[-1].get_params()
    assert {name: found[name] for name in Model.model_fields if name in found} == model.model_dump(
        exclude={"rounds", "threads"}
    )
    assert (found["n_estimators"], found["n_jobs"]) == (11, 1)
    assert (found["random_state"], found["base_score"], found["scale_pos_weight"]) == (7, [0.5], 1.0)


def test_class_weight_reaches_the_model(
    mini_windows: dict[str, pd.DataFrame], mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame
) -> None:
    """With class weights declared, the model weighs frauds by the labels of its training rows."""
    scorer = mini_scorer.model_copy(update={"resampling": Resampling(method="class_weight", ratio=0.5)})
    rows = mini_windows["train"].assign(is_fraud=np.arange(900) % 10 == 0)
    assert fit_pipeline(scorer, Model(rounds=2), mini_catalogue, rows)[-1].scale_pos_weight == 4.5


def test_directions_reach_the_model(mini_scorer: ScorerDeclaration) -> None:
    """The model is bound by the contract's directions, column by column."""
    contract = Contract(
        route="/x",
        answer="decision",
        id=None,
        fields={
            "country": DeclaredField(type="category"),
            "amount": DeclaredField(type="money", monotone="increasing"),
            "age": DeclaredField(type="number", monotone="decreasing"),
        },
        features={},
    )
    assert build_model(Model(), contract, seed=7).monotone_constraints == (0, 1, -1)
    assert set(build_model(Model(), mini_scorer.contract, seed=7).monotone_constraints) == {0}


def test_exact_trees_have_no_bins() -> None:
    """The exact tree method is asked for without the bins that it does not have, and it learns."""
    found = build_model(Model(rounds=3, tree_method="exact"), one_field(DeclaredField(type="number")), seed=7)
    assert (found.tree_method, found.max_bin) == ("exact", None)
    margin = found.fit(column([*range(60)]), np.arange(60) >= 30).predict(column([1, 58]), output_margin=True)
    assert margin[0] < margin[1]


def test_one_declaration_one_model(
    mini_windows: dict[str, pd.DataFrame], mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame
) -> None:
    """Trained twice on the same rows, the model has the same bytes."""
    first, again = (
        fit_pipeline(mini_scorer, mini_scorer.model.on_one_core, mini_catalogue, mini_windows["train"])[-1]
        for _ in range(2)
    )
    assert first.get_booster().save_raw("ubj") == again.get_booster().save_raw("ubj")


@pytest.mark.parametrize("method", ["smote", "undersample", "class_weight", "none"])
def test_the_model_is_scikit_learns(
    mini_windows: dict[str, pd.DataFrame], mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame, method: str
) -> None:
    """Where all rows are one chunk, the model is to the bit what XGBClassifier learns of the resampled rows."""
    declared = Resampling.model_validate({"method": method, "ratio": 0.3, "neighbours": 3})
    scorer, rows = mini_scorer.model_copy(update={"resampling": declared}), mini_windows["train"]
    encoder, resampler, model = (step for _, step in fit_pipeline(scorer, scorer.model, mini_catalogue, rows).steps)
    label = rows["is_fraud"].to_numpy()
    weight = fraud_weight(declared, label)
    expected = build_model(scorer.model, scorer.contract, seed=scorer.seed, fraud_weight=weight)
    expected.fit(*resampler.fit_resample(encoder.transform(rows), label))
    assert model.get_booster().save_raw("ubj") == expected.get_booster().save_raw("ubj")


def test_margins_of_chunks_are_those_of_the_rows(
    mini_windows: dict[str, pd.DataFrame], mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame
) -> None:
    """Scored by chunks, encoded rows have the margins of the rows."""
    pipeline = fit_pipeline(mini_scorer, mini_scorer.model, mini_catalogue, mini_windows["train"])
    encoded = FeatureMatrix(pipeline[0].transform(mini_windows["test"]), 77)
    np.testing.assert_array_equal(matrix_margins(pipeline, encoded), margins(pipeline, mini_windows["test"]))


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


def test_reference_where_a_label_is_called_other(mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame) -> None:
    """Data in which a category is really called "other" still have shares that add up to 1."""
    rng = np.random.default_rng(8)
    rows = pd.DataFrame({name: np.full(300, np.nan) for name in mini_scorer.fields}).assign(
        amount=rng.random(300), country=["DE"] * 200 + ["other"] * 90 + ["rare"] * 10, item=None
    )
    encoder = FeatureEncoder(mini_scorer.contract, mini_catalogue).fit(rows)
    reference = describe(encoder.transform(rows), mini_scorer.contract, encoder.vocabulary_)
    assert sum(reference["country"]["shares"].values()) == pytest.approx(1.0)


def test_reference_of_chunks_is_that_of_the_rows(
    mini_windows: dict[str, pd.DataFrame], mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame
) -> None:
    """A matrix that is read in chunks has the reference of the whole."""
    encoder = FeatureEncoder(mini_scorer.contract, mini_catalogue).fit(mini_windows["train"])
    matrix = encoder.transform(mini_windows["train"])
    described = [
        describe(rows, mini_scorer.contract, encoder.vocabulary_) for rows in (matrix, FeatureMatrix(matrix, 100))
    ]
    assert described[0] == described[1]


def test_stage_reports_what_it_learned_from(trained: Path) -> None:
    """The report counts the training rows, their frauds, the rows after resampling and the features."""
    report = json.loads((trained / "reports" / "mini" / "training.json").read_text())
    rows = pd.read_parquet(trained / "build" / "mini" / "rows" / "train.parquet")
    n_frauds = int(rows["is_fraud"].sum())
    assert (report["rows"], report["frauds"], report["features"]) == (len(rows), n_frauds, 8)
    assert report["rows_learned_from"] == len(rows) + int(0.3 * (len(rows) - n_frauds)) - n_frauds
    assert set(report["texts"]["item"]) == {"accuracy", "answered", "accuracy_answered", "unknown_called_other"}


def test_stage_trains_the_tuned_model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tuned file says is what is trained and reported, whatever params.yaml has."""
    project = Path(shutil.copytree(trained, tmp_path / "project"))
    tuned = Model(rounds=5, max_depth=2, learning_rate=0.1)
    (project / "build" / "mini" / "tuned.json").write_text(tuned.model_dump_json())
    monkeypatch.chdir(project)
    main("mini")
    found = joblib.load(project / "build" / "mini" / "pipeline.joblib")[-1]
    assert found.get_booster().num_boosted_rounds() == 5
    assert (found.max_depth, found.learning_rate) == (2, 0.1)
    assert json.loads((project / "reports" / "mini" / "training.json").read_text())["model"] == tuned.model_dump()


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


def test_a_device_that_is_not_there_is_refused(mini_scorer: ScorerDeclaration) -> None:
    """XGBoost itself would train on the processor, and say so in a warning at most."""
    with pytest.raises(StageError, match=r"compute\.device is cuda:1, which this XGBoost cannot use; install"):
        build_model(Model(), mini_scorer.contract, seed=7, device="cuda:1")
