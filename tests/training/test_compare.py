"""Resampling variants: compared on the same rows and resamples, with probabilities judged on a block's later half."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import parallel_config
from sklearn.metrics import average_precision_score, brier_score_loss
from xgboost import XGBClassifier

from tests.training.made_folds import made_fold
from training import calibrate, compare, train, tune
from training.compare import (
    METRICS,
    VARIANTS,
    VariantScores,
    chosen_variant_name,
    compare_variants,
    fit_resampled,
    fit_variants,
    scores_of,
    verdict_of,
)
from training.data.split import FoldError
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.evaluation.calibration import calibrated
from training.model.chosen import ChosenResampling, chosen_resampling
from training.model.early_stopping import EVERY, FoldFits
from training.model.fit import build_model
from training.model.folds import Fold
from training.model.resampling import Resampler, fraud_weight, variant_name
from training.params import Resampling

NONE = Resampling(method="none")

Folds = list[Fold]
Scorer = ScorerDeclaration
Report = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def in_one_process() -> Iterator[None]:
    """Run joblib's tasks in this process."""
    with parallel_config(backend="sequential"):
        yield


@pytest.fixture(scope="module")
def folds() -> Folds:
    """Two folds with 12 % frauds, each validated on 150 rows."""
    return [made_fold(seed, 450, 150, fraud_rate=0.12) for seed in (1, 2)]


@pytest.fixture(scope="module")
def report(in_one_process: None, folds: Folds, mini_scorer: Scorer) -> Report:  # noqa: ARG001 - goes first
    """The mini scorer's comparison, with smote 0.3 declared."""
    return report_on(folds, mini_scorer)


def report_on(folds: Folds, scorer: Scorer) -> Report:
    """The report of a comparison."""
    return compare_variants(folds, scorer)[-1]


def scored(variant: Resampling, fold: Fold, scorer: Scorer) -> VariantScores:
    """A variant's scores on a fold."""
    fitted, _ = fit_resampled(variant, fold, scorer)
    return scores_of(fitted.predict(fold.validate, output_margin=True), fold)


def declaring(scorer: Scorer, variant: Resampling) -> Scorer:
    """The scorer with another resampling."""
    return scorer.model_copy(update={"resampling": variant})


def one_core_model(scorer: Scorer, **keys: float) -> XGBClassifier:
    """The scorer's model on one core, not fitted."""
    return build_model(scorer.model.on_one_core, scorer.contract, seed=scorer.seed, **keys)


def test_a_declared_variant_joins_the_usual_ones(report: Report) -> None:
    """A declared variant is compared with all usual ones; its difference from itself is 0 in every resample."""
    assert list(report) == [*map(variant_name, VARIANTS), "smote 0.3"]
    for metric in METRICS:
        assert report["smote 0.3"][metric]["difference"] == 0
        assert report["smote 0.3"][metric]["interval"] == [0, 0]


def test_a_variant_named_twice_appears_once(folds: Folds, mini_scorer: Scorer) -> None:
    """A declared variant that is one of the usual ones is not compared twice."""
    report = report_on(folds, declaring(mini_scorer, Resampling(method="smote", ratio=0.1)))
    assert list(report) == list(map(variant_name, VARIANTS))
    assert report["smote 0.1"]["average_precision"]["difference"] == 0


def test_the_declared_variant_keeps_its_neighbours(mini_scorer: Scorer) -> None:
    """A usual variant that is declared is compared as declared, neighbours included."""
    declared = Resampling(method="smote", ratio=0.1, neighbours=200)
    with pytest.raises(StageError, match="SMOTE with 200 neighbours needs at least 201"):
        compare_variants([made_fold(1, 450, 150, fraud_rate=0.06)], declaring(mini_scorer, declared))


def test_draws_are_paired(folds: Folds, mini_scorer: Scorer) -> None:
    """Variants with equal models, because their ratio is already met, differ by 0 in every resample."""
    report = report_on(folds, declaring(mini_scorer, NONE))
    for name in ("smote 0.03", "undersample 0.1"):
        for metric in METRICS:
            assert report[name][metric]["interval"] == [0, 0]
    low, high = report["class_weight 1"]["brier_score_raw"]["interval"]
    assert low < report["class_weight 1"]["brier_score_raw"]["difference"] < high


def test_one_seed_one_report(report: Report, folds: Folds, mini_scorer: Scorer) -> None:
    """Compared twice, the variants have the same numbers to the last bit."""
    assert report_on(folds, mini_scorer) == report


def test_entities_of_the_earlier_half_alone_are_no_draw(folds: Folds, mini_scorer: Scorer) -> None:
    """If a block's rows are of few entities, each resample still has rows of the later half, as probabilities need."""
    scorer = declaring(mini_scorer, NONE)
    few = [replace(fold, validate_groups=np.repeat([0, 1], 75)) for fold in folds]
    report = report_on(few, scorer)
    assert all(np.isfinite(report["smote 0.1"][metric]["interval"]).all() for metric in METRICS)


def test_values_are_means_over_folds(report: Report, folds: Folds, mini_scorer: Scorer) -> None:
    """A variant's value is the mean over folds of scikit-learn's metric for its models."""
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
    """Weights of the earlier half, which recalibrates, change the ranking metrics and no others."""
    scores = scored(NONE, folds[0], mini_scorer)
    whole = np.ones(150)
    changed = np.where(np.arange(150) < 75, np.arange(150) % 3, 1.0)
    before, after = scores.measured(whole), scores.measured(changed)
    assert before[2:] == after[2:]
    assert before[0] != after[0]
    assert len(scores.raw) == len(scores.recalibrated) == len(scores.label) == 75


def test_labels_of_the_later_half_do_not_recalibrate(folds: Folds, mini_scorer: Scorer) -> None:
    """Labels of the later half change neither the probabilities that are judged on it nor their order."""
    fold = folds[0]
    label = np.where(np.arange(150) < 75, fold.validate_label, 1 - fold.validate_label)
    scores, other = (scored(NONE, f, mini_scorer) for f in (fold, replace(fold, validate_label=label)))
    np.testing.assert_array_equal(other.recalibrated, scores.recalibrated)
    assert other.measured(np.ones(150)) != scores.measured(np.ones(150))
    np.testing.assert_array_equal(np.argsort(scores.raw), np.argsort(scores.recalibrated))


@pytest.mark.parametrize("method", ["smote", "class_weight"])
def test_recalibration_mends_what_resampling_did(mini_scorer: Scorer, method: str) -> None:
    """Equal numbers of frauds and legitimate rows inflate probabilities; recalibration mends most of this."""
    variant = Resampling.model_validate({"method": method, "ratio": 1.0})
    scores = scored(variant, made_fold(4, 2_000, 2_000, fraud_rate=0.05), mini_scorer)
    measures = dict(zip(METRICS, scores.measured(np.ones(2_000)), strict=True))
    assert measures["ece"] < measures["ece_raw"] / 3
    assert measures["brier_score"] < measures["brier_score_raw"]


def test_smote_without_a_ratio_is_none(folds: Folds, mini_scorer: Scorer) -> None:
    """A ratio of 0 does nothing: name, model and figures are those of `none`."""
    nothing = Resampling(method="smote", ratio=0)
    assert variant_name(nothing) == "none"
    without_ratio, none = (scored(variant, folds[0], mini_scorer) for variant in (nothing, NONE))
    assert without_ratio.raw.tobytes() == none.raw.tobytes()


def test_a_variant_is_scored_by_its_own_rows_and_weight(folds: Folds, mini_scorer: Scorer) -> None:
    """A variant's margins are those of a model fitted directly on its resampled rows."""
    variant = mini_scorer.resampling
    types = ["q", "q", "q", "c", "q", "c", "q", "q"]
    rows, label = Resampler(variant, types, mini_scorer.seed).fit_resample(folds[0].train, folds[0].train_label)
    weight = fraud_weight(variant, folds[0].train_label)
    assert weight == 1
    margin = one_core_model(mini_scorer).fit(rows, label).predict(folds[0].validate, output_margin=True)
    raw = calibrated(margin[75:], {"slope": 1.0, "intercept": 0.0})
    np.testing.assert_array_equal(scored(variant, folds[0], mini_scorer).raw, raw)


def test_a_block_that_cannot_recalibrate_is_named(folds: Folds, mini_scorer: Scorer) -> None:
    """If all frauds of a block are in its later half, the message is about the rows rather than the model."""
    label = np.where(np.arange(150) < 75, 0, folds[0].validate_label).astype(np.int8)
    late = replace(folds[0], validate_label=label)
    with pytest.raises(FoldError, match="0 frauds in 75"):
        scored(NONE, late, mini_scorer)


def test_variants_without_smote_need_no_neighbours(mini_scorer: Scorer) -> None:
    """With four frauds, which are too few for SMOTE, variants without SMOTE are still compared."""
    whole = made_fold(3, 400, 150, fraud_rate=0.08)
    frauds = np.flatnonzero(whole.train_label)
    kept = np.sort(np.append(np.flatnonzero(whole.train_label == 0), frauds[:4]))
    few = replace(whole, train=whole.train[kept], train_label=whole.train_label[kept])
    report = report_on([few, few], declaring(mini_scorer, NONE))
    assert {"none", "undersample 0.1", "class_weight 1"} <= set(report)


AUTO = Resampling(method="auto")


def fits_with(**precisions: tuple[float, ...]) -> dict[str, tuple[Resampling, FoldFits]]:
    """Fits by variant, with these average precisions on the folds."""
    return {name: (NONE, FoldFits(rounds=10, margins=(), precisions=values)) for name, values in precisions.items()}


@pytest.mark.parametrize(
    ("precisions", "chosen"),
    [
        # The best one is ahead of a by .01 +- .005, and of b by .001 +- .004.
        ({"a": (0.50, 0.60), "b": (0.508, 0.610), "c": (0.505, 0.615)}, "b"),
        # Ahead by .005 +- .015.
        ({"a": (0.50, 0.60), "b": (0.49, 0.58), "c": (0.52, 0.59)}, "a"),
        # Ahead by .01 in every fold.
        ({"a": (0.50, 0.60), "b": (0.51, 0.61)}, "b"),
        # Ahead by .01 +- .01: a lead of exactly one standard error is within it.
        ({"a": (0.50, 0.60), "b": (0.50, 0.62)}, "a"),
        ({"a": (0.51, 0.61), "b": (0.50, 0.60)}, "a"),
        ({"a": (0.5, 0.6), "b": (0.5, 0.6)}, "a"),
    ],
)
def test_auto_takes_the_simplest_of_the_best(
    mini_scorer: Scorer, precisions: dict[str, tuple[float, ...]], chosen: str
) -> None:
    """The simplest variant, which comes first, within one standard error of the best is chosen."""
    assert chosen_variant_name(fits_with(**precisions), declaring(mini_scorer, AUTO)) == chosen


def test_a_named_method_stays(mini_scorer: Scorer) -> None:
    """A declared method is used, however much better another one is."""
    fits = fits_with(**{"none": (0.9, 0.9), "smote 0.3": (0.1, 0.1)})
    assert chosen_variant_name(fits, mini_scorer) == "smote 0.3"


def test_auto_is_compared_and_chosen(folds: Folds, mini_scorer: Scorer) -> None:
    """With auto, the usual variants are compared with the chosen one, and its fits give the number of rounds."""
    scorer = declaring(mini_scorer, AUTO)
    name, choice, report = compare_variants(folds, scorer)
    assert list(report) == list(map(variant_name, VARIANTS))
    fits = fit_variants(folds, scorer)
    assert name == chosen_variant_name(fits, scorer) == variant_name(choice.resampling)
    assert choice.rounds == fits[name][1].rounds == report[name]["rounds"] == 20
    for metric in METRICS:
        assert report[name][metric]["difference"] == 0


def report_of(**variants: Any) -> Report:  # noqa: ANN401 - three numbers each
    """A report with each variant's average precision, difference and interval."""
    keys = ("value", "difference", "interval")
    return {name: {"average_precision": dict(zip(keys, values, strict=True))} for name, values in variants.items()}


LOWER, HIGHER, MUCH_HIGHER = (0.4, -0.1, [-0.2, 0.1]), (0.6, 0.1, [-0.05, 0.25]), (0.6, 0.1, [0.05, 0.15])


@pytest.mark.parametrize(
    ("smote", "is_automatic", "sentence"),
    [
        (
            LOWER,
            False,
            (
                "none, as declared, has the highest average precision, "
                "+0.1000 average precision (95 % -0.1000 to +0.2000) over smote"
            ),
        ),
        (
            MUCH_HIGHER,
            False,
            "smote would be a better choice: +0.1000 average precision (95 % +0.0500 to +0.1500) over none",
        ),
        (
            HIGHER,
            False,
            (
                "smote has the highest average precision, +0.1000 (95 % -0.0500 to +0.2500) over none, but the "
                "difference is not significant"
            ),
        ),
        (
            LOWER,
            True,
            "none has the highest average precision, +0.1000 average precision (95 % -0.1000 to +0.2000) over smote",
        ),
        (
            HIGHER,
            True,
            (
                "none is the simplest variant within one standard error of the highest average precision, which smote "
                "has; its lead is +0.1000 (95 % -0.0500 to +0.2500)"
            ),
        ),
    ],
    ids=["declared is best", "significantly better", "not significantly better", "chosen is best", "chosen is simpler"],
)
def test_choice_is_reported_with_its_interval(smote: Any, is_automatic: bool, sentence: str) -> None:  # noqa: ANN401, FBT001 - three numbers; a parameter
    """Another variant is recommended only if the interval of its gain over the declared one is above 0."""
    report = report_of(none=(0.5, 0.0, [0.0, 0.0]), smote=smote)
    assert verdict_of(report, "none", is_automatic=is_automatic) == sentence


def test_one_variant_alone_is_said() -> None:
    """If the rows allow only one variant, there is nothing to compare it with."""
    report = report_of(none=(0.5, 0.0, [0.0, 0.0]))
    assert verdict_of(report, "none", is_automatic=True) == "none is the only variant that these rows allow"


def test_stage_reports_every_variant(trained: Path, reported: Callable[[str], Any], mini_scorer: Scorer) -> None:
    """The report has the declared variant and a verdict, and the table a line for each variant.

    The next stages read the declared resampling and the declared number of rounds.
    """
    report, table = reported("resampling.json"), reported("resampling.csv")
    assert (report["is_automatic"], report["chosen"]) == (False, "smote 0.3")
    assert report["verdict"] == verdict_of(report["variants"], "smote 0.3", is_automatic=False)
    assert table.columns.tolist() == ["variant", *METRICS]
    assert table["variant"].tolist() == list(report["variants"])
    for name, *values in table.itertuples(index=False):
        expected = [report["variants"][name][metric]["value"] for metric in METRICS]
        assert values == pytest.approx(expected, rel=1e-5)
    written = ChosenResampling.model_validate_json((trained / "build" / "mini" / "resampling.json").read_bytes())
    assert written == ChosenResampling(resampling=mini_scorer.resampling, rounds=20)


def test_the_choice_reaches_the_model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With auto and no declared rounds, tune, train and calibrate use what compare and tune chose."""
    project = Path(shutil.copytree(trained, tmp_path / "project"))
    params = project / "params.yaml"
    declared = params.read_text().replace("{method: smote, ratio: 0.3, neighbours: 3}", "{method: auto}")
    params.write_text(declared.replace("{rounds: 20, ", "{").replace("trials: 3", "trials: 1"))
    monkeypatch.chdir(project)
    for stage in (compare, tune, train, calibrate):
        stage.main("mini")
    summary, training, tuning = (
        json.loads((project / "reports" / "mini" / f"{name}.json").read_text())
        for name in ("resampling", "training", "tuning")
    )
    chosen = chosen_resampling("mini")
    assert summary["is_automatic"]
    assert summary["chosen"] == variant_name(chosen.resampling) in summary["verdict"]
    assert list(summary["variants"]) == list(map(variant_name, VARIANTS))
    assert chosen.rounds == summary["variants"][summary["chosen"]]["rounds"]
    assert training["resampling"] == chosen.resampling.model_dump()
    # The only trial is the default model on the same resampled folds.
    assert training["model"]["rounds"] == tuning["trials"][0]["rounds"] == chosen.rounds
    assert chosen.rounds % EVERY == 0
    assert chosen.rounds < 500
    model = joblib.load(project / "build" / "mini" / "pipeline.joblib")[-1]
    assert model.get_booster().num_boosted_rounds() == chosen.rounds


def test_smote_is_left_out_where_it_would_take_long(
    folds: Folds, mini_scorer: Scorer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With very many rows or features SMOTE is not tried, and a line says why."""
    without = [variant for variant in VARIANTS if variant.method != "smote"]
    for limit, why in (("SMOTE_CELLS", "it would take too long with"), ("SMOTE_COLUMNS", "neighbours mean little")):
        with monkeypatch.context() as limited:
            limited.setattr(compare, limit, 1)
            assert compare.possible_variants(VARIANTS, folds, mini_scorer) == without
        assert why in capsys.readouterr().out
    assert compare.possible_variants(VARIANTS, folds, mini_scorer) == list(VARIANTS)
