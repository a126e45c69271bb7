"""What a control group is worth: `make bench-control`.

The first part measures the recall that the monitor reports for a model that blocks half of the frauds, whose labels
stay unknown: with control groups of several sizes and without one, over many draws of the group. The second part is a
year of retraining every four weeks, in which each model learns from what earlier models let pass. It has three
variants: with every label, without the labels of blocked requests, and with a control group, each of whose rows is
repeated once for every request that it represents. Its rows are the shipped refunds, extended with other seeds.
"""

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from contextlib import chdir
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.monitoring.backtests import history
from benchmarks.monitoring.steady_log import TEST_DAYS, labelled_rows
from benchmarks.tables import SCORERS, date_of, table
from handler.scoring.fields import SECONDS_A_DAY
from training.data.catalogue import read_catalogues
from training.errors import StageError
from training.evaluation.metrics import average_precision, rank
from training.evaluation.threshold import threshold_for
from training.intake.synthetic.draws import START
from training.model.chosen import chosen_model, chosen_scorer
from training.monitoring.blocks import measured_performance
from training.monitoring.dated_model import DatedModel, ScoredRows, dated_declaration, model_at
from training.params import Policy

SIZES = {"draws": (1_000, 3), "rows": (120_000, 12_000), "periods": (13, 1), "every": (1, 40)}
SHARES = (0.01, 0.05, 0.1)
# The share of the frauds that are blocked when the recall is measured.
BLOCKED = 0.5
# The share of the control group in the year of retraining.
SHARE = 0.05
NAME = "refund"
FIRST_DAY, PERIOD_DAYS = 119, 28
ALL, NONE, CONTROL = "every label is known", "what was blocked is never known", f"a control group of {SHARE:.0%}"


def estimates(name: str, options: Namespace) -> dict[str, Any]:
    """The recall of a model that blocks half of the frauds, measured with control groups and without one."""
    labelled = labelled_rows(name, options.every)
    scored = labelled.scored(labelled.rows)
    label, flagged = scored.label, scored.flagged
    blocked = scored.probability >= threshold_for(scored.probability, label, Policy(recall=BLOCKED))
    flagged = flagged | blocked
    truth = float(label[flagged].sum() / label.sum())
    unknown = np.where(blocked, -1, label).astype(np.int8)
    without = measured_performance(scored.probability, flagged, unknown, np.ones(len(label)))
    shares: dict[str, Any] = {}
    for share in SHARES:
        drawn = []
        for seed in tqdm(range(options.draws), f"{name}, {share:.0%}", leave=False):
            let_through = np.random.default_rng(seed).random(len(label)) < share
            weight = np.where(blocked, np.where(let_through, 1 / share, 0.0), 1.0)
            drawn.append(measured_performance(scored.probability, flagged, label, weight))
        # If no request was let through, the recall is unknown (None).
        measured = [(draw.recall, draw.recall_interval) for draw in drawn if draw.recall is not None]
        shares[f"{share:g}"] = {
            "requests": fmean(draw.control or 0 for draw in drawn),
            "unknown": 1 - len(measured) / len(drawn),
            "recall": _mean(recall for recall, _ in measured),
            "within": _mean(low <= truth <= high for _, (low, high) in measured),
            "width": _mean(high - low for _, (low, high) in measured),
        }
    return {
        "frauds": int(label.sum()),
        "blocked": int(blocked.sum()),
        "recall": truth,
        "without": {"recall": without.recall, "interval": list(without.recall_interval)},
        "shares": shares,
    }


def _mean(values: Iterable[float]) -> float:
    """The mean, or NaN without values, as in a run that is too small for a figure."""
    return fmean(numbers) if (numbers := list(values)) else float("nan")


def labelled(rows: pd.DataFrame, scored: ScoredRows, variant: str, seed: int) -> pd.DataFrame:
    """The rows whose labels become known; those of the control group are repeated for every row that they represent."""
    if variant == ALL:
        return rows
    let_through = np.random.default_rng(seed).random(len(rows)) < SHARE
    times = np.where(scored.blocked, (let_through & (variant == CONTROL)) * round(1 / SHARE), 1)
    return rows.iloc[np.repeat(np.arange(len(rows)), times)]


def retrained(rows: pd.DataFrame, options: Namespace) -> dict[str, Any]:
    """Per variant, the performance of each period's model on all rows of that period."""
    scorer, parameters = dated_declaration(chosen_scorer(NAME, ROOT), TEST_DAYS), chosen_model(NAME, ROOT)
    with chdir(ROOT):
        catalogue = read_catalogues(scorer)
    seconds = rows[scorer.time].to_numpy()
    start = START.astype("datetime64[s]").astype(float) + FIRST_DAY * SECONDS_A_DAY
    edges = np.searchsorted(seconds, start + PERIOD_DAYS * SECONDS_A_DAY * np.arange(options.periods + 1))
    variants: dict[str, Any] = {}
    for variant in (ALL, NONE, CONTROL):
        learned, model, described = [rows.iloc[: edges[0]]], None, list[dict[str, float]]()
        for number, (begin, end) in enumerate(pairwise(edges.tolist())):
            at = start + number * PERIOD_DAYS * SECONDS_A_DAY
            later = rows.iloc[begin:end]
            model = _next(model, at, pd.concat(learned, ignore_index=True), scorer, parameters, catalogue)
            scored = model.scored(later, scorer)
            learned.append(labelled(later, scored, variant, number))
            frauds, legitimate = rank(scored.probability, scored.label).counts()
            described.append(
                {
                    "average_precision": average_precision(frauds, legitimate),
                    "recall": float(scored.label[scored.flagged].sum() / scored.label.sum()),
                    "blocked_frauds": float(scored.label[scored.blocked].sum() / scored.label.sum()),
                    "is_new": float(model.at == at),
                }
            )
        variants[variant] = described
    return variants


def _next(model: DatedModel | None, at: float, rows: pd.DataFrame, *arguments: Any) -> DatedModel:  # noqa: ANN401 - of model_at
    """The model of a date, or the previous one if the known rows are not enough to train one."""
    try:
        return model_at(at, rows, *arguments)
    except StageError:
        if model is None:
            raise
        return model


def control_table(report: Mapping[str, Any]) -> str:
    """The measured recall with its interval, and how often the interval contains the true recall."""
    names = [name for name in SCORERS if name in report]
    of = [report[name] for name in names]
    rows = [
        ["frauds, requests that the model blocks", *(f"{each['frauds']:,}, {each['blocked']:,}" for each in of)],
        ["true recall", *(f"{each['recall']:.1%}" for each in of)],
        ["recall measured without a control group", *(_measured(each["without"]) for each in of)],
    ]
    for share in SHARES:
        groups = [each["shares"][f"{share:g}"] for each in of]
        rows.append(
            [
                f"with a control group of {share:.0%}: its requests, mean recall, width and coverage of the interval",
                *(
                    f"{group['requests']:.1f}, {group['recall']:.1%}, {group['width']:.1%}, {group['within']:.1%}"
                    for group in groups
                ),
            ]
        )
    return table([f"`make bench-control` on {date_of(report)}", *names], rows)


def _measured(without: Mapping[str, Any]) -> str:
    low, high = without["interval"]
    return f"{without['recall']:.1%} ({low:.1%} to {high:.1%})"


def retraining_table(report: Mapping[str, Any]) -> str:
    """The figures of a year of retraining, by which labels the models learn from."""
    rows = []
    for variant, periods in report["retrained"].items():
        differences = [
            period["average_precision"] - full["average_precision"]
            for period, full in zip(periods, report["retrained"][ALL], strict=True)
        ]
        error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
        rows.append(
            [
                variant,
                f"{fmean(period['average_precision'] for period in periods):.3f}",
                "" if variant == ALL else f"{fmean(differences):+.3f} ± {error:.3f}",
                f"{fmean(period['recall'] for period in periods):.1%}",
                f"{fmean(period['blocked_frauds'] for period in periods):.1%}",
                f"{sum(period['is_new'] for period in periods):.0f} of {len(periods)}",
            ]
        )
    headings = [
        "labels that the models learn from",
        "average precision",
        "difference",
        "recall",
        "frauds blocked",
        "new models",
    ]
    return table(headings, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print both tables."""
    options = options_of("monitoring.control", __doc__, SIZES, arguments)
    report: dict[str, Any] = {"machine": machine(), "draws": options.draws}
    report |= {name: estimates(name, options) for name in ((NAME,) if options.smallest else SCORERS)}
    scorer = chosen_scorer(NAME, ROOT)
    with chdir(ROOT):
        rows = history(NAME, scorer, options.rows, more=options.periods)
    report["retrained"] = retrained(rows, options)
    print(control_table(report))
    print(retraining_table(report))
    keep("control", report, options)


if __name__ == "__main__":
    main()
