"""What resampling is worth on the benchmark sets: every arm on the same folds, with paired intervals."""

from typing import Any

from benchmarks.quality_handbook import tested_weeks
from benchmarks.quality_part import Line, Part
from benchmarks.quality_sets import declared_set
from benchmarks.quality_ulb import first_and_last
from training.compare import choice, compare_variants, variant_name
from training.data.catalogue import read_catalogues
from training.declaration import ScorerDeclaration
from training.model.folds import Fold, training_folds

SHOWN = ("recall_at_1pct_fpr", "brier_score", "ece", "ece_raw")


def arm_lines(name: str, report: dict[str, Any]) -> list[Line]:
    """A set's report of its arms as lines: average precision, what it gains over the declared arm, and the rest."""
    lines = []
    for arm, found in report.items():
        precision = found["average_precision"]
        low, high = precision["interval"]
        line = {"set": name, "arm": arm, "average_precision": precision["value"], "gain": precision["difference"]}
        lines.append(line | {"gain_low": low, "gain_high": high} | {metric: found[metric]["value"] for metric in SHOWN})
    return lines


def handbook_arms() -> Part:
    """The arms on chapter 5's test weeks, beside whose published numbers they stand; nothing is chosen from them."""
    scorer, rows = declared_set("handbook")
    return _compared("handbook", [week.fold for week in tested_weeks(rows, scorer)], scorer)


def ulb_arms() -> Part:
    """The arms on the prequential folds of the first four fifths."""
    scorer, rows = declared_set("ulb")
    first, _ = first_and_last(scorer, rows)
    return _compared("ulb", training_folds(first, scorer, read_catalogues(scorer)), scorer)


def _compared(name: str, folds: list[Fold], scorer: ScorerDeclaration) -> Part:
    report = compare_variants(folds, scorer)
    _, sentence = choice(report, variant_name(scorer.resampling))
    frauds = sum(int(fold.validate_label.sum()) for fold in folds)
    return Part(arm_lines(name, report), [f"{name}, {frauds:,} frauds in {len(folds)} blocks: {sentence}"])
