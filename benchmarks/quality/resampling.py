"""What resampling is worth on the benchmark sets: every variant on the same folds, with paired intervals."""

from collections.abc import Mapping
from typing import Any

from benchmarks.quality.handbook import TESTED, weekly_folds
from benchmarks.quality.sets import Line, declared_set, window_of
from benchmarks.quality.ulb import first_and_last
from benchmarks.tables import SCORERS, number, report, table
from training.compare import compare_variants
from training.data.catalogue import read_catalogues
from training.model.folds import training_folds

SHOWN = ("recall_at_1pct_fpr", "ece_raw", "ece")


def variant_lines(name: str, variants: Mapping[str, Any]) -> list[Line]:
    """The variants of a set as lines: average precision, the gain over the chosen variant, and further metrics."""
    lines = []
    for variant, metrics in variants.items():
        precision = metrics["average_precision"]
        low, high = precision["interval"]
        line = {
            "set": name,
            "variant": variant,
            "average_precision": precision["value"],
            "gain": precision["difference"],
        }
        lines.append(
            line | {"gain_low": low, "gain_high": high} | {metric: metrics[metric]["value"] for metric in SHOWN}
        )
    return lines


def handbook_variants(one_in: int) -> list[Line]:
    """The variants on chapter 5's test weeks, for which numbers are published; nothing is chosen from them."""
    scorer, rows = declared_set("handbook", one_in)
    return variant_lines("handbook", compare_variants(weekly_folds(rows, scorer, TESTED), scorer)[-1])


def ulb_variants(one_in: int) -> list[Line]:
    """The variants on the prequential folds of the first four fifths."""
    scorer, rows = declared_set("ulb", one_in)
    first, _ = first_and_last(scorer, rows)
    with window_of(first) as window:
        folds = training_folds(window, scorer, read_catalogues(scorer))
    return variant_lines("ulb", compare_variants(folds, scorer)[-1])


def resampling_table(quality: Mapping[str, Any]) -> str:
    """Every variant on every set; a gain is over the chosen variant, which has none itself."""
    lines = [
        line for scorer in SCORERS for line in variant_lines(scorer, report(f"{scorer}/resampling.json")["variants"])
    ]
    rows = []
    for line in [*lines, *quality["handbook_variants"]["lines"], *quality["ulb_variants"]["lines"]]:
        gain = f"{line['gain']:+.3f} ({line['gain_low']:+.3f} to {line['gain_high']:+.3f})"
        chosen = line["gain_low"] == line["gain_high"] == 0
        measured = [f"{line['average_precision']:.3f}", "chosen" if chosen else gain]
        rows.append([line["set"], line["variant"], *measured, *(number(line[name]) for name in SHOWN)])
    heading = [
        "set",
        "variant",
        "average precision",
        "gain",
        "recall at 1 % FPR",
        "calibration error",
        "after recalibration",
    ]
    return table(heading, rows)
