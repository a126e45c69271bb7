"""Compare ways to rebalance training rows on the same prequential folds, with paired intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from handler.scoring.features import feature_types
from training.data.split import FoldError
from training.data.window import read_training
from training.declaration import ScorerDeclaration, declared_scorer
from training.evaluation.calibration import CalibrationError, calibrated, fit_platt
from training.evaluation.intervals import draw_weights, interval
from training.evaluation.metrics import (
    Ranking,
    average_precision,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    rank,
    recall_at_fpr,
)
from training.model.fit import build_model
from training.model.folds import Fold, training_folds
from training.model.resampling import Resampler, fraud_weight
from training.params import Resampling
from training.run.command import run
from training.run.files import REPORTS, write_json, write_table
from training.run.matrix import Floats, Labels
from training.run.progress import on_all_cores, progress, say

DRAWS = 200
# Higher is better for the first two, lower for the rest; those named raw are before recalibration.
METRICS = ("average_precision", "recall_at_1pct_fpr", "brier_score", "ece", "brier_score_raw", "ece_raw")
VARIANTS = (
    Resampling(method="none"),
    Resampling(method="smote", ratio=0.03),
    Resampling(method="smote", ratio=0.1),
    Resampling(method="smote", ratio=1.0),
    Resampling(method="undersample", ratio=0.1),
    Resampling(method="class_weight", ratio=1.0),
)


@dataclass(frozen=True)
class VariantScores:
    """One variant's scores of one validation block: the ranking of all rows, and the later rows' probabilities."""

    ranking: Ranking
    later: slice
    label: Labels
    raw: Floats
    recalibrated: Floats
    bins: dict[str, npt.NDArray[np.intp]]

    def measured(self, weight: Floats) -> list[float]:
        """The METRICS of the block under the weights of its rows."""
        counts = self.ranking.counts(weight)
        later = weight[self.later]
        values = [average_precision(*counts), recall_at_fpr(*counts)]
        for name in ("recalibrated", "raw"):
            probability = getattr(self, name)
            values.append(brier_score(probability, self.label, later))
            values.append(expected_calibration_error(probability, self.label, self.bins[name], later))
        return values


def score_variant(variant: Resampling, fold: Fold, scorer: ScorerDeclaration) -> VariantScores:
    """A variant's scores on a fold; the earlier half of the block recalibrates, the later half is measured."""
    resampler = Resampler(variant, feature_types(scorer.contract), scorer.seed)
    rows, label = resampler.fit_resample(fold.train, fold.train_label)
    weight = fraud_weight(variant, fold.train_label)
    model = build_model(scorer.model.on_one_core, scorer.contract, seed=scorer.seed, fraud_weight=weight)
    margin = model.fit(rows, label).predict(fold.validate, output_margin=True)
    half = len(margin) // 2
    slope, intercept = _recalibration(margin[:half], fold.validate_label[:half])
    raw = calibrated(margin[half:], {"slope": 1.0, "intercept": 0.0})
    recalibrated = calibrated(margin[half:], {"slope": slope, "intercept": intercept})
    return VariantScores(
        ranking=rank(margin, fold.validate_label),
        later=slice(half, None),
        label=fold.validate_label[half:],
        raw=raw,
        recalibrated=recalibrated,
        bins={"raw": calibration_bins(raw), "recalibrated": calibration_bins(recalibrated)},
    )


def _recalibration(margin: Floats, label: Labels) -> tuple[float, float]:
    """Platt's slope and intercept; for a model no better than chance those that give every row the fraud rate."""
    if not 0 < (n_frauds := int(label.sum())) < len(label):
        raise FoldError(
            f"{n_frauds} frauds in {len(label):,} rows, the earlier half of a validation block, which is needed "
            "for recalibration; lower folds.count or raise folds.validate_share"
        )
    try:
        return fit_platt(margin, label)
    except CalibrationError:
        return 0.0, float(np.log(n_frauds / (len(label) - n_frauds)))


def compare_variants(folds: Sequence[Fold], scorer: ScorerDeclaration) -> dict[str, Any]:
    """Per variant its METRICS, and their differences from the declared one's with 95 % intervals over paired draws."""
    variants = {variant_name(variant): variant for variant in (*_possible(VARIANTS, folds, scorer), scorer.resampling)}
    tasks = [(score_variant, variant, fold, scorer) for variant in variants.values() for fold in folds]
    scores = on_all_cores(tasks, "variants x folds")
    by_fold = [scores[position :: len(folds)] for position in range(len(folds))]
    measured = _over_folds(by_fold, [np.ones(len(fold.validate_label)) for fold in folds])
    # One stream of draws per fold, the same for every variant, so that differences are due to the variant alone.
    streams = [draw_weights(fold.validate_label, DRAWS, scorer.seed + number) for number, fold in enumerate(folds)]
    drawn = np.array(
        [_over_folds(by_fold, weights) for weights in progress(zip(*streams, strict=True), "draws", total=DRAWS)]
    )
    declared = list(variants).index(variant_name(scorer.resampling))
    report: dict[str, Any] = {}
    for position, name in enumerate(variants):
        differences = interval(
            _centred(drawn[:, position] - drawn[:, declared], measured[position] - measured[declared])
        )
        values = zip(measured[position], measured[position] - measured[declared], differences, strict=True)
        report[name] = {
            metric: {"value": float(value), "difference": float(difference), "interval": list(bounds)}
            for metric, (value, difference, bounds) in zip(METRICS, values, strict=True)
        }
    return report


def _centred(differences: Floats, measured: Floats) -> Floats:
    """The draws; calibration errors, which a draw's noise only increases, are centred on the measured value."""
    for column in (METRICS.index("ece"), METRICS.index("ece_raw")):
        differences[:, column] += measured[column] - np.median(differences[:, column])
    return differences


def _possible(variants: Sequence[Resampling], folds: Sequence[Fold], scorer: ScorerDeclaration) -> list[Resampling]:
    """The variants that the features allow and every fold has enough frauds for; a line says what is left out."""
    if "q" not in feature_types(scorer.contract):
        say("SMOTE is left out: it needs a numeric field")
        return [variant for variant in variants if variant.method != "smote"]
    fewest = min(int(fold.train_label.sum()) for fold in folds)
    possible = [variant for variant in variants if variant.method != "smote" or fewest > variant.neighbours]
    if len(possible) < len(variants):
        say(f"SMOTE is left out: a fold has {fewest} frauds in its training rows, too few for the neighbours")
    return possible


def _over_folds(by_fold: Sequence[Sequence[VariantScores]], weights: Sequence[Floats]) -> Floats:
    """The mean over folds of each variant's METRICS: (n_variants, n_metrics)."""
    metrics = [[scores.measured(weight) for scores in fold] for fold, weight in zip(by_fold, weights, strict=True)]
    return np.mean(metrics, axis=0)


def variant_name(variant: Resampling) -> str:
    """The name of a variant in reports, such as "smote 0.1" or "none"."""
    return "none" if variant.method == "none" or not variant.ratio else f"{variant.method} {variant.ratio:g}"


def choice(report: dict[str, Any], declared: str) -> tuple[str, str]:
    """The variant with the highest average precision, and a sentence on its gain over the declared one.

    The interval covers the choice of validation rows; it does not correct for choosing the best of several variants.
    """
    best = max(report, key=lambda name: report[name]["average_precision"]["value"])
    if best == declared:
        return best, f"{declared}, as declared, has the highest average precision of the arms"
    gain = report[best]["average_precision"]
    low, high = gain["interval"]
    worth = f"{gain['difference']:+.4f} average precision (95 % {low:+.4f} to {high:+.4f}) over {declared}"
    if low > 0:
        return best, f"{best} would be the better choice: {worth}"
    return best, f"{best} has the highest average precision, {worth}: no difference that these rows can show"


def main(name: str) -> None:
    """Compare the resampling variants for one scorer: `python -m training.compare refund`."""
    scorer = declared_scorer(name)
    window, catalogue = read_training(name)
    report = compare_variants(training_folds(window, scorer, catalogue), scorer)
    declared = variant_name(scorer.resampling)
    chosen, sentence = choice(report, declared)
    table = pd.DataFrame(
        [{"arm": variant, **{key: values[key]["value"] for key in METRICS}} for variant, values in report.items()]
    )
    write_table(REPORTS / name / "resampling.csv", table)
    summary = {"declared": declared, "chosen": chosen, "verdict": sentence, "arms": report}
    write_json(REPORTS / name / "resampling.json", summary)
    say(table.to_string(index=False, float_format="%.4g"))
    say(sentence)


if __name__ == "__main__":
    run(main)
