"""Compare ways to rebalance training rows on the same prequential folds, with paired intervals, and choose one."""

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
from training.errors import counted
from training.evaluation.calibration import (
    CalibrationError,
    brier_score,
    calibrated,
    calibration_bins,
    expected_calibration_error,
    fit_platt,
)
from training.evaluation.intervals import draw_weights, interval, is_within_standard_errors
from training.evaluation.metrics import Ranking, average_precision, rank, recall_at_fpr
from training.model.chosen import ChosenResampling
from training.model.early_stopping import FoldFits, cut, fit_fold
from training.model.folds import Fold, later_half, resampled_fold, training_folds
from training.model.resampling import variant_name
from training.params import Resampling
from training.run.command import run
from training.run.files import BUILD, REPORTS, write_json, write_table, write_text
from training.run.matrix import Floats, Labels, Matrix
from training.run.processes import on_all_cores
from training.run.progress import progress, say

DRAWS = 200
# Higher is better for the first two, lower for the rest; the `_raw` ones are measured before recalibration.
METRICS = ("average_precision", "recall_at_1pct_fpr", "brier_score", "ece", "brier_score_raw", "ece_raw")
# In order of complexity, the simplest first: among equally good variants the first is chosen.
VARIANTS = (
    Resampling(method="none"),
    Resampling(method="class_weight", ratio=1.0),
    Resampling(method="undersample", ratio=0.1),
    Resampling(method="smote", ratio=0.03),
    Resampling(method="smote", ratio=0.1),
)
# Limits for SMOTE: with more columns nearest neighbours mean little, and with more cells each variant takes minutes.
SMOTE_COLUMNS, SMOTE_CELLS = 100, 20_000_000


@dataclass(frozen=True)
class VariantScores:
    """A variant's scores on one validation block: the ranking of all rows, and the later half's probabilities."""

    ranking: Ranking
    later: slice
    label: Labels
    raw: Floats
    recalibrated: Floats
    bins: dict[str, npt.NDArray[np.intp]]

    def measured(self, weight: Floats) -> list[float]:
        """The METRICS of the block, with one weight per row."""
        counts = self.ranking.counts(weight)
        later = weight[self.later]
        values = [average_precision(*counts), recall_at_fpr(*counts)]
        for name in ("recalibrated", "raw"):
            probability = getattr(self, name)
            values.append(brier_score(probability, self.label, later))
            values.append(expected_calibration_error(probability, self.label, self.bins[name], later))
        return values


def fit_resampled(variant: Resampling, fold: Fold, scorer: ScorerDeclaration) -> Any:  # noqa: ANN401 - xgboost has no types
    """Fit the declared and default parameters on a fold whose training rows the variant has rebalanced."""
    return fit_fold(resampled_fold(fold, scorer, variant), scorer, scorer.model, variant)


def scores_of(margin: Matrix, fold: Fold) -> VariantScores:
    """A fold's scores; probabilities are recalibrated on the earlier half of the block and measured on the later."""
    later = later_half(fold)
    half = later.start
    slope, intercept = _recalibration(margin[:half], fold.validate_label[:half])
    raw = calibrated(margin[half:], {"slope": 1.0, "intercept": 0.0})
    recalibrated = calibrated(margin[half:], {"slope": slope, "intercept": intercept})
    return VariantScores(
        ranking=rank(margin, fold.validate_label),
        later=later,
        label=fold.validate_label[half:],
        raw=raw,
        recalibrated=recalibrated,
        bins={"raw": calibration_bins(raw), "recalibrated": calibration_bins(recalibrated)},
    )


def _recalibration(margin: Matrix, label: Labels) -> tuple[float, float]:
    """Platt's slope and intercept; for a model no better than chance, the pair that gives every row the fraud rate."""
    if not 0 < (n_frauds := int(label.sum())) < len(label):
        raise FoldError(
            f"the earlier half of a validation block has {n_frauds} frauds in {len(label):,} rows, but recalibration "
            "needs both frauds and legitimate rows; lower folds.count or raise folds.validate_share"
        )
    try:
        return fit_platt(margin, label)
    except CalibrationError:
        return 0.0, float(np.log(n_frauds / (len(label) - n_frauds)))


def fit_variants(folds: Sequence[Fold], scorer: ScorerDeclaration) -> dict[str, tuple[Resampling, FoldFits]]:
    """By name, each variant to compare, with its fits on the folds: those that the rows allow, and the declared one."""
    declared = () if scorer.resampling.method == "auto" else (scorer.resampling,)
    variants = {variant_name(variant): variant for variant in (*possible_variants(VARIANTS, folds, scorer), *declared)}
    tasks = [(fit_resampled, variant, fold, scorer) for variant in variants.values() for fold in folds]
    fits = on_all_cores(tasks, "variants x folds")
    starts = range(0, len(fits), len(folds))
    return {
        name: (variant, cut(fits[start : start + len(folds)], folds, scorer.model))
        for (name, variant), start in zip(variants.items(), starts, strict=True)
    }


def chosen_variant_name(fits: dict[str, tuple[Resampling, FoldFits]], scorer: ScorerDeclaration) -> str:
    """The declared variant's name; with `auto` the simplest one within a standard error of the best (Breiman 1984)."""
    if scorer.resampling.method != "auto":
        return variant_name(scorer.resampling)
    precisions = {name: np.array(fit.precisions) for name, (_, fit) in fits.items()}
    best = precisions[max(fits, key=lambda name: fits[name][1].mean)]
    return next(name for name, values in precisions.items() if is_within_standard_errors(best - values))


def variant_report(
    fits: dict[str, tuple[Resampling, FoldFits]], folds: Sequence[Fold], scorer: ScorerDeclaration, reference: str
) -> dict[str, Any]:
    """Each variant's METRICS, and their differences from the reference's with paired 95 % intervals."""
    by_fold = [[scores_of(fit.margins[number], fold) for _, fit in fits.values()] for number, fold in enumerate(folds)]
    measured = _over_folds(by_fold, [np.ones(len(fold.validate_label)) for fold in folds])
    # One stream of draws per fold, the same for every variant, so that differences are due to the variant alone.
    streams = [
        draw_weights(fold.validate_label, DRAWS, scorer.seed + number, fold.validate_groups, later_half(fold))
        for number, fold in enumerate(folds)
    ]
    drawn = np.array(
        [_over_folds(by_fold, weights) for weights in progress(zip(*streams, strict=True), "draws", total=DRAWS)]
    )
    base = list(fits).index(reference)
    report: dict[str, Any] = {}
    for position, (name, (_, fit)) in enumerate(fits.items()):
        differences = interval(_centred(drawn[:, position] - drawn[:, base], measured[position] - measured[base]))
        values = zip(measured[position], measured[position] - measured[base], differences, strict=True)
        report[name] = {
            metric: {"value": float(value), "difference": float(difference), "interval": list(bounds)}
            for metric, (value, difference, bounds) in zip(METRICS, values, strict=True)
        } | {"rounds": fit.rounds}
    return report


def _centred(differences: Floats, measured: Floats) -> Floats:
    """Centre the drawn differences of calibration errors, which a draw's noise only increases, on the measured ones."""
    for column in (METRICS.index("ece"), METRICS.index("ece_raw")):
        differences[:, column] += measured[column] - np.median(differences[:, column])
    return differences


def possible_variants(
    variants: Sequence[Resampling], folds: Sequence[Fold], scorer: ScorerDeclaration
) -> list[Resampling]:
    """The resampling variants to compare: those that suit the rows; if SMOTE is left out, a printed line says why."""
    fewest = min(int(fold.train_label.sum()) for fold in folds)
    n_rows, n_columns = max(fold.train.shape for fold in folds)
    without, why = [variant for variant in variants if variant.method != "smote"], ""
    if "q" not in feature_types(scorer.contract):
        why = "it needs a numeric field"
    elif n_columns > SMOTE_COLUMNS:
        why = f"nearest neighbours mean little among {n_columns} features"
    elif n_rows * n_columns > SMOTE_CELLS:
        why = f"it would take too long with {n_rows:,} rows of {n_columns} features in a fold"
    else:
        without = [variant for variant in variants if variant.method != "smote" or fewest > variant.neighbours]
        why = f"a fold has {counted(fewest, 'fraud')} in its training rows, too few for the neighbours that it uses"
    if len(without) < len(variants):
        say(f"SMOTE is left out: {why}")
    return without


def _over_folds(by_fold: Sequence[Sequence[VariantScores]], weights: Sequence[Floats]) -> Floats:
    """The mean over folds of each variant's METRICS: (n_variants, n_metrics)."""
    metrics = [[scores.measured(weight) for scores in fold] for fold, weight in zip(by_fold, weights, strict=True)]
    return np.mean(metrics, axis=0)


def verdict_of(report: dict[str, Any], chosen: str, *, is_automatic: bool) -> str:
    """One sentence that compares the chosen resampling variant with the best of the others.

    The interval covers the choice of validation rows; it does not correct for choosing the best of several variants.
    """
    others = [name for name in report if name != chosen]
    if not others:
        return f"{chosen} is the only variant that these rows allow"
    best = max(others, key=lambda name: report[name]["average_precision"]["value"])
    gain = report[best]["average_precision"]
    low, high = gain["interval"]
    if not is_automatic and low > 0:
        worth = f"{gain['difference']:+.4f} average precision (95 % {low:+.4f} to {high:+.4f}) over {chosen}"
        return f"{best} would be a better choice: {worth}"
    if gain["difference"] <= 0:
        worth = f"{-gain['difference']:+.4f} average precision (95 % {-high:+.4f} to {-low:+.4f}) over {best}"
        lead = "has the highest average precision" if is_automatic else "as declared, has the highest average precision"
        return f"{chosen}{' ' if is_automatic else ', '}{lead}, {worth}"
    worth = f"{gain['difference']:+.4f} (95 % {low:+.4f} to {high:+.4f})"
    if is_automatic:
        simplest = f"{chosen} is the simplest variant within one standard error of the highest average precision"
        return f"{simplest}, which {best} has; its lead is {worth}"
    return f"{best} has the highest average precision, {worth} over {chosen}, but the difference is not significant"


def compare_variants(folds: Sequence[Fold], scorer: ScorerDeclaration) -> tuple[str, ChosenResampling, dict[str, Any]]:
    """The name of the chosen resampling variant, the choice itself, and a report comparing all variants with it."""
    fits = fit_variants(folds, scorer)
    chosen = chosen_variant_name(fits, scorer)
    resampling, fit = fits[chosen]
    return (
        chosen,
        ChosenResampling(resampling=resampling, rounds=fit.rounds),
        variant_report(fits, folds, scorer, chosen),
    )


def main(name: str) -> None:
    """Compare the resampling variants for one scorer: `python -m training.compare refund`."""
    scorer = declared_scorer(name)
    window, catalogue = read_training(scorer, name)
    chosen, choice, report = compare_variants(training_folds(window, scorer, catalogue), scorer)
    is_automatic = scorer.resampling.method == "auto"
    sentence = verdict_of(report, chosen, is_automatic=is_automatic)
    table = pd.DataFrame(
        [{"variant": variant, **{key: values[key]["value"] for key in METRICS}} for variant, values in report.items()]
    )
    write_table(REPORTS / name / "resampling.csv", table)
    summary = {"is_automatic": is_automatic, "chosen": chosen, "verdict": sentence, "variants": report}
    write_json(REPORTS / name / "resampling.json", summary)
    write_text(BUILD / name / "resampling.json", choice.model_dump_json(indent=1) + "\n")
    say(table.to_string(index=False, float_format="%.4g"))
    say(sentence)


if __name__ == "__main__":
    run(main)
