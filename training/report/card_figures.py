"""The figures of a scorer's model card."""

from functools import partial

from training.report import plots
from training.report.html import Picture
from training.report.markdown import percent
from training.report.stage_reports import Reports


def pictures(reports: Reports) -> dict[str, Picture]:
    """The pictures by name, without those of comparisons that were not made."""
    declared, metrics = reports.declared, reports.metrics
    at_threshold = f"recall is {percent(declared['recall'])} and precision {percent(declared['precision'])}"
    figures = {
        "importance": Picture(
            "What the model uses, and what it would lose",
            "Bars per feature; the table of features above has the numbers.",
            partial(plots.importance, reports.importance),
        ),
        "precision_recall": Picture(
            "Precision and recall on the test window",
            f"Precision falls as recall grows. At the declared threshold {at_threshold}.",
            partial(
                plots.precision_recall,
                reports.precision_recall,
                reports.thresholds,
                declared,
                metrics["fraud_rate"],
            ),
        ),
        "tradeoff": Picture(
            "What a threshold does on the test window",
            f"Above a higher threshold lie fewer frauds and fewer alerts. At the declared one {at_threshold}.",
            partial(plots.tradeoff, reports.thresholds, declared["threshold"]),
        ),
        "reliability": Picture(
            "Predicted and observed fraud rate on the test window",
            "Groups of like probability, before and after calibration, with 95 % intervals, on logarithmic axes. "
            "On the dotted line both rates are equal.",
            partial(plots.reliability, reports.reliability, reports.reliability_uncalibrated),
        ),
    }
    if reports.costs:
        figures["costs"] = Picture(
            "What 1,000 requests cost by how many are flagged",
            f"On the test window. At the declared threshold {percent(declared['alert_rate'])} are flagged.",
            partial(plots.costs, reports.costs, declared["alert_rate"]),
        )
    if report := reports.resampling:
        draw = partial(plots.variants, report["variants"])
        figures["variants"] = Picture("Ways to rebalance", f"With 95 % intervals. {report['verdict']}.", draw)
    if report := reports.selection:
        draw = partial(plots.candidates, report["candidates"])
        figures["candidates"] = Picture("Kinds of model", f"Mean and spread over folds. {report['verdict']}.", draw)
    if report := reports.tuning:
        draw = partial(plots.history, report["trials"])
        figures["history"] = Picture("The search for parameters", f"One dot per trial. {report['verdict']}.", draw)
    return figures
