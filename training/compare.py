"""Compare: the ways to rebalance training rows, judged on the same prequential folds with paired intervals."""

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
    """One arm's scores of one validation block: the ranking of all rows, and the later rows' probabilities."""

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
        found = [average_precision(*counts), recall_at_fpr(*counts)]
        for name in ("recalibrated", "raw"):
            probability = getattr(self, name)
            found.append(brier_score(probability, self.label, later))
            found.append(expected_calibration_error(probability, self.label, self.bins[name], later))
        return found


def score_variant(arm: Resampling, fold: Fold, scorer: ScorerDeclaration) -> VariantScores:
    """An arm on a fold. The earlier half of the block recalibrates, the later half judges the probabilities."""
    resampler = Resampler(arm, feature_types(scorer.contract), scorer.seed)
    rows, label = resampler.fit_resample(fold.train, fold.train_label)
    weight = fraud_weight(arm, fold.train_label)
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
    """Slope and intercept by Platt; where a model ranks no better than chance, those that give all the fraud rate."""
    if not 0 < (n_frauds := int(label.sum())) < len(label):
        raise FoldError(
            f"{n_frauds} frauds in {len(label):,} rows, the earlier half of a validation block, which has to "
            "recalibrate; lower folds.count or raise folds.validate_share"
        )
    try:
        return fit_platt(margin, label)
    except CalibrationError:
        return 0.0, float(np.log(n_frauds / (len(label) - n_frauds)))


def compare_variants(folds: Sequence[Fold], scorer: ScorerDeclaration) -> dict[str, Any]:
    """Per arm its METRICS, and how they differ from the declared arm's, with 95 % intervals over paired draws."""
    arms = {variant_name(arm): arm for arm in (*_possible(VARIANTS, folds), scorer.resampling)}
    tasks = [(score_variant, arm, fold, scorer) for arm in arms.values() for fold in folds]
    judged = on_all_cores(tasks, "arms x folds")
    by_fold = [judged[position :: len(folds)] for position in range(len(folds))]
    measured = _over_folds(by_fold, [np.ones(len(fold.validate_label)) for fold in folds])
    # One stream of draws a fold, the same for every arm: what is left of a difference is the arm's.
    streams = [draw_weights(fold.validate_label, DRAWS, scorer.seed + number) for number, fold in enumerate(folds)]
    drawn = np.array(
        [_over_folds(by_fold, weights) for weights in progress(zip(*streams, strict=True), "draws", total=DRAWS)]
    )
    declared = list(arms).index(variant_name(scorer.resampling))
    report: dict[str, Any] = {}
    for position, name in enumerate(arms):
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
    """The draws; those of calibration errors, which only grow with a draw's noise, moved to what was measured."""
    for column in (METRICS.index("ece"), METRICS.index("ece_raw")):
        differences[:, column] += measured[column] - np.median(differences[:, column])
    return differences


def _possible(arms: Sequence[Resampling], folds: Sequence[Fold]) -> list[Resampling]:
    """The arms that every fold has enough frauds for; what is left out is told."""
    fewest = min(int(fold.train_label.sum()) for fold in folds)
    possible = [arm for arm in arms if arm.method != "smote" or fewest > arm.neighbours]
    if len(possible) < len(arms):
        say(f"SMOTE is left out: a fold has {fewest} frauds to learn from, too few to have neighbours")
    return possible


def _over_folds(by_fold: Sequence[Sequence[VariantScores]], weights: Sequence[Floats]) -> Floats:
    """The mean over folds of each arm's METRICS: (n_arms, n_metrics)."""
    found = [[arm.measured(weight) for arm in arms] for arms, weight in zip(by_fold, weights, strict=True)]
    return np.mean(found, axis=0)


def variant_name(arm: Resampling) -> str:
    """How a report calls an arm: smote 0.1, none."""
    return "none" if arm.method == "none" or not arm.ratio else f"{arm.method} {arm.ratio:g}"


def choice(report: dict[str, Any], declared: str) -> tuple[str, str]:
    """The arm with the highest average precision, and a sentence on what it is worth over the declared one.

    The interval is that of the validation rows; it does not know that the best of several arms looks better than it is.
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
    """Compare the resampling arms for one scorer: `python -m training.compare refund`."""
    scorer = declared_scorer(name)
    window, catalogue = read_training(name)
    report = compare_variants(training_folds(window, scorer, catalogue), scorer)
    declared = variant_name(scorer.resampling)
    chosen, sentence = choice(report, declared)
    table = pd.DataFrame(
        [{"arm": arm, **{metric: found[metric]["value"] for metric in METRICS}} for arm, found in report.items()]
    )
    write_table(REPORTS / name / "resampling.csv", table)
    summary = {"declared": declared, "chosen": chosen, "verdict": sentence, "arms": report}
    write_json(REPORTS / name / "resampling.json", summary)
    say(table.to_string(index=False, float_format="%.4g"))
    say(sentence)


if __name__ == "__main__":
    run(main)
