"""What resampling is worth on the benchmark sets: every variant on the same folds, with paired intervals."""

from collections.abc import Mapping
from typing import Any

from benchmarks.quality.handbook import tested_weeks
from benchmarks.quality.part import Line, Part
from benchmarks.quality.sets import declared_set, window_of
from benchmarks.quality.ulb import first_and_last
from benchmarks.tables import number, table
from training.compare import choice, compare_variants, variant_name
from training.data.catalogue import read_catalogues
from training.declaration import ScorerDeclaration
from training.model.folds import Fold, training_folds

SHOWN = ("recall_at_1pct_fpr", "brier_score", "ece", "ece_raw")


def variant_lines(name: str, report: dict[str, Any]) -> list[Line]:
    """The variants of a set as lines: average precision, the gain over the declared variant, and further metrics."""
    lines = []
    for variant, metrics in report.items():
        precision = metrics["average_precision"]
        low, high = precision["interval"]
        line = {"set": name, "arm": variant, "average_precision": precision["value"], "gain": precision["difference"]}
        lines.append(
            line | {"gain_low": low, "gain_high": high} | {metric: metrics[metric]["value"] for metric in SHOWN}
        )
    return lines


def handbook_variants(one_in: int) -> Part:
    """The variants on chapter 5's test weeks, for which numbers are published; nothing is chosen from them."""
    scorer, rows = declared_set("handbook", one_in)
    return _compared("handbook", [week.fold for week in tested_weeks(rows, scorer)], scorer)


def ulb_variants(one_in: int) -> Part:
    """The variants on the prequential folds of the first four fifths."""
    scorer, rows = declared_set("ulb", one_in)
    first, _ = first_and_last(scorer, rows)
    with window_of(first) as window:
        return _compared("ulb", training_folds(window, scorer, read_catalogues(scorer)), scorer)


def _compared(name: str, folds: list[Fold], scorer: ScorerDeclaration) -> Part:
    report = compare_variants(folds, scorer)
    _, sentence = choice(report, variant_name(scorer.resampling))
    frauds = sum(int(fold.validate_label.sum()) for fold in folds)
    return Part(variant_lines(name, report), [f"{name}, {frauds:,} frauds in {len(folds)} blocks: {sentence}"])


def resampling_table(report: Mapping[str, Any]) -> str:
    """Every variant on every set; the declared one, with which the others are compared, is the one without a gain."""
    rows = []
    for part in ("shipped_arms", "handbook_arms", "ulb_arms"):
        for line in report[part]["lines"]:
            gain = f"{line['gain']:+.3f} ({line['gain_low']:+.3f} to {line['gain_high']:+.3f})"
            declared = line["gain_low"] == line["gain_high"] == 0
            measured = [f"{line['average_precision']:.3f}", "declared" if declared else gain]
            rows.append([line["set"], line["arm"], *measured])
            rows[-1] += [number(line[name]) for name in ("recall_at_1pct_fpr", "ece_raw", "ece")]
    heading = ["set", "arm", "average precision", "gain", "recall at 1 % FPR", "calibration error", "recalibrated"]
    return table(heading, rows)
