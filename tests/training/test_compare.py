"""Resampling variants: measured on the same rows and draws, probabilities only on the later half of a block."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.metrics import average_precision_score, brier_score_loss
from xgboost import XGBClassifier

from training.compare import METRICS, VARIANTS, choice, compare_variants, score_variant, variant_name
from training.data.split import FoldError
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.evaluation.calibration import calibrated
from training.model.fit import build_model
from training.model.folds import Fold
from training.model.resampling import Resampler, fraud_weight
from training.params import Resampling

NONE = Resampling(method="none")

Folds = list[Fold]
Scorer = ScorerDeclaration
Report = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def in_one_process() -> Iterator[None]:
    """What joblib would do in other processes happens in this one."""
    with parallel_config(backend="sequential"):
        yield


def made_fold(seed: int, n_rows: int, n_validated: int, *, fraud_rate: float) -> Fold:
    """A fold of encoded rows in the mini scorer's eight columns, its frauds among the others."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n_rows + n_validated) < fraud_rate).astype(np.int8)
    matrix = rng.normal(size=(len(label), 8)).astype(np.float32)
    matrix[:, 0] += 2 * label
    matrix[:, [3, 4, 5]] = rng.integers(0, 2, (len(label), 3))
    return Fold(matrix[:n_rows], label[:n_rows], matrix[n_rows:], label[n_rows:])


@pytest.fixture(scope="module")
def folds() -> Folds:
    """Two folds with 12 % frauds, each validated on 150 rows."""
    return [made_fold(seed, 450, 150, fraud_rate=0.12) for seed in (1, 2)]


@pytest.fixture(scope="module")
def report(in_one_process: None, folds: Folds, mini_scorer: Scorer) -> Report:  # noqa: ARG001 - goes first
    """The mini scorer's comparison, smote 0.3 being declared."""
    return compare_variants(folds, mini_scorer)


def declaring(scorer: Scorer, variant: Resampling) -> Scorer:
    """The scorer with another resampling."""
    return scorer.model_copy(update={"resampling": variant})


def one_core_model(scorer: Scorer, **keys: float) -> XGBClassifier:
    """The scorer's model on one core, not fitted."""
    return build_model(scorer.model.on_one_core, scorer.contract, seed=scorer.seed, **keys)


def test_a_declared_variant_joins_the_usual_ones(report: Report) -> None:
    """A declared variant is compared with all usual ones; it differs from itself by exactly 0, in every draw."""
    assert list(report) == [*map(variant_name, VARIANTS), "smote 0.3"]
    for metric in METRICS:
        assert report["smote 0.3"][metric]["difference"] == 0
        assert report["smote 0.3"][metric]["interval"] == [0, 0]


def test_a_variant_named_twice_appears_once(folds: Folds, mini_scorer: Scorer) -> None:
    """A declared variant that is one of the usual ones is not compared twice."""
    report = compare_variants(folds, declaring(mini_scorer, Resampling(method="smote", ratio=1.0)))
    assert list(report) == list(map(variant_name, VARIANTS))
    assert report["smote 1"]["average_precision"]["difference"] == 0


def test_the_declared_variant_keeps_its_neighbours(folds: Folds, mini_scorer: Scorer) -> None:
    """A usual variant that is declared is compared as declared, neighbours included."""
    declared = Resampling(method="smote", ratio=1.0, neighbours=200)
    with pytest.raises(StageError, match="SMOTE with 200 neighbours needs more"):
        compare_variants(folds, declaring(mini_scorer, declared))


def test_draws_are_paired(folds: Folds, mini_scorer: Scorer) -> None:
    """Variants whose models are equal, as their ratio is met already, differ by nothing in every single draw."""
    report = compare_variants(folds, declaring(mini_scorer, NONE))
    for name in ("smote 0.03", "undersample 0.1"):
        for metric in METRICS:
            assert report[name][metric]["interval"] == [0, 0]
    low, high = report["smote 1"]["brier_score_raw"]["interval"]
    assert low < report["smote 1"]["brier_score_raw"]["difference"] < high


def test_one_seed_one_report(report: Report, folds: Folds, mini_scorer: Scorer) -> None:
    """Compared twice, the variants have the same numbers to the last bit."""
    assert compare_variants(folds, mini_scorer) == report


def test_values_are_means_over_folds(report: Report, folds: Folds, mini_scorer: Scorer) -> None:
    """A variant's value is the mean over folds of what scikit-learn finds for its models."""
    precisions, errors = [], []
    for fold in folds:
        weight = (fold.train_label == 0).sum() / fold.train_label.sum()
        model = one_core_model(mini_scorer, fraud_weight=weight).fit(fold.train, fold.train_label)
        margin = model.predict(fold.validate, output_margin=True)
        precisions.append(average_precision_score(fold.validate_label, margin))
        errors.append(brier_score_loss(fold.validate_label[75:], 1 / (1 + np.exp(-margin[75:].astype(float)))))
    assert report["class_weight 1"]["average_precision"]["value"] == pytest.approx(np.mean(precisions))
    assert report["class_weight 1"]["brier_score_raw"]["value"] == pytest.approx(np.mean(errors))


def test_only_the_later_half_judges_probabilities(folds: Folds, mini_scorer: Scorer) -> None:
    """The weight of the earlier half, which recalibrates, moves the ranking metrics and no other."""
    scores = score_variant(NONE, folds[0], mini_scorer)
    whole = np.ones(150)
    changed = np.where(np.arange(150) < 75, np.arange(150) % 3, 1.0)
    before, after = scores.measured(whole), scores.measured(changed)
    assert before[2:] == after[2:]
    assert before[0] != after[0]
    assert len(scores.raw) == len(scores.recalibrated) == len(scores.label) == 75


def test_labels_of_the_later_half_do_not_recalibrate(folds: Folds, mini_scorer: Scorer) -> None:
    """Whatever happened in the later half, the probabilities that it judges are the same, in the model's order."""
    fold = folds[0]
    label = np.where(np.arange(150) < 75, fold.validate_label, 1 - fold.validate_label)
    scores, other = (score_variant(NONE, f, mini_scorer) for f in (fold, replace(fold, validate_label=label)))
    np.testing.assert_array_equal(other.recalibrated, scores.recalibrated)
    assert other.measured(np.ones(150)) != scores.measured(np.ones(150))
    np.testing.assert_array_equal(np.argsort(scores.raw), np.argsort(scores.recalibrated))


@pytest.mark.parametrize("method", ["smote", "class_weight"])
def test_recalibration_mends_what_resampling_did(mini_scorer: Scorer, method: str) -> None:
    """As many frauds as legitimate rows inflate the probabilities; two numbers from earlier rows correct most of it."""
    variant = Resampling.model_validate({"method": method, "ratio": 1.0})
    scores = score_variant(variant, made_fold(4, 2_000, 2_000, fraud_rate=0.05), mini_scorer)
    measures = dict(zip(METRICS, scores.measured(np.ones(2_000)), strict=True))
    assert measures["ece"] < measures["ece_raw"] / 3
    assert measures["brier_score"] < measures["brier_score_raw"]


def test_smote_without_a_ratio_is_none(folds: Folds, mini_scorer: Scorer) -> None:
    """A ratio of 0 asks for nothing: the same name, the same model, the same numbers."""
    nothing = Resampling(method="smote", ratio=0)
    assert variant_name(nothing) == "none"
    found, declared = (score_variant(variant, folds[0], mini_scorer) for variant in (nothing, NONE))
    assert found.raw.tobytes() == declared.raw.tobytes()


def test_a_variant_is_scored_by_its_own_rows_and_weight(folds: Folds, mini_scorer: Scorer) -> None:
    """A variant's margins are those of a model fitted by hand on its resampled rows."""
    variant = mini_scorer.resampling
    types = ["q", "q", "q", "c", "q", "c", "q", "q"]
    rows, label = Resampler(variant, types, mini_scorer.seed).fit_resample(folds[0].train, folds[0].train_label)
    weight = fraud_weight(variant, folds[0].train_label)
    assert weight == 1
    margin = one_core_model(mini_scorer).fit(rows, label).predict(folds[0].validate, output_margin=True)
    raw = calibrated(margin[75:], {"slope": 1.0, "intercept": 0.0})
    np.testing.assert_array_equal(score_variant(variant, folds[0], mini_scorer).raw, raw)


def test_a_block_that_cannot_recalibrate_is_named(folds: Folds, mini_scorer: Scorer) -> None:
    """Where a block's frauds all lie in its later half, the sentence is about the rows, not about the model."""
    label = np.where(np.arange(150) < 75, 0, folds[0].validate_label).astype(np.int8)
    late = replace(folds[0], validate_label=label)
    with pytest.raises(FoldError, match="0 frauds in 75"):
        score_variant(NONE, late, mini_scorer)


def test_variants_without_smote_need_no_neighbours(mini_scorer: Scorer) -> None:
    """Four frauds are too few for SMOTE; without SMOTE declared the other variants are still compared."""
    whole = made_fold(3, 400, 150, fraud_rate=0.08)
    frauds = np.flatnonzero(whole.train_label)
    kept = np.sort(np.append(np.flatnonzero(whole.train_label == 0), frauds[:4]))
    few = replace(whole, train=whole.train[kept], train_label=whole.train_label[kept])
    report = compare_variants([few, few], declaring(mini_scorer, NONE))
    assert {"none", "undersample 0.1", "class_weight 1"} <= set(report)


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (NONE, "none"),
        (Resampling(method="none", ratio=0.5), "none"),
        (Resampling(method="undersample", ratio=0), "none"),
        (Resampling(method="smote", ratio=0.1), "smote 0.1"),
        (Resampling(method="undersample", ratio=0.03), "undersample 0.03"),
        (Resampling(method="class_weight", ratio=1.0), "class_weight 1"),
    ],
)
def test_variants_are_named_by_method_and_ratio(variant: Resampling, name: str) -> None:
    """A variant's name is what tells it from the others; without an effect it is none."""
    assert variant_name(variant) == name


def report_of(**variants: Any) -> Report:  # noqa: ANN401 - three numbers each
    """A report with each variant's average precision, difference and interval."""
    keys = ("value", "difference", "interval")
    return {name: {"average_precision": dict(zip(keys, values, strict=True))} for name, values in variants.items()}


@pytest.mark.parametrize(
    ("smote", "best", "sentence"),
    [
        ((0.4, -0.1, [-0.2, 0.1]), "none", "none, as declared, has the highest average precision of the arms"),
        (
            (0.6, 0.1, [0.05, 0.15]),
            "smote",
            "smote would be the better choice: +0.1000 average precision (95 % +0.0500 to +0.1500) over none",
        ),
        (
            (0.6, 0.1, [-0.05, 0.25]),
            "smote",
            (
                "smote has the highest average precision, +0.1000 average precision (95 % -0.0500 to +0.2500) over "
                "none: no difference that these rows can show"
            ),
        ),
    ],
    ids=["declared is best", "significantly better", "not significantly better"],
)
def test_choice_is_reported_with_its_interval(smote: Any, best: str, sentence: str) -> None:  # noqa: ANN401 - three numbers
    """The best variant is recommended only where the interval of its gain lies above 0."""
    report = report_of(none=(0.5, 0.0, [0.0, 0.0]), smote=smote)
    assert choice(report, "none") == (best, sentence)


def test_stage_reports_every_variant(reported: Callable[[str], Any]) -> None:
    """The report names the declared variant and the best, and has a line per variant in the table."""
    report, table = reported("resampling.json"), reported("resampling.csv")
    assert report["declared"] == "smote 0.3"
    assert (report["chosen"], report["verdict"]) == choice(report["arms"], "smote 0.3")
    assert table.columns.tolist() == ["arm", *METRICS]
    assert table["arm"].tolist() == list(report["arms"])
    for name, *values in table.itertuples(index=False):
        expected = [report["arms"][name][metric]["value"] for metric in METRICS]
        assert values == pytest.approx(expected, rel=1e-5)
