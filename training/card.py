"""Card: the reports on one scorer -> its model card, for an auditor who asks why, as Markdown and as one HTML page."""

import logging
from functools import partial

from training.declaration import declared_scorer
from training.report import plots as card_plots
from training.report.card_decisions import decisions, promise
from training.report.card_making import making
from training.report.card_results import calibration, results, segments
from training.report.card_text import data, explanations, limits, purpose, reproducibility
from training.report.html import Picture, Section, page
from training.report.markdown import percent, plain
from training.report.stage_reports import Reports, read_reports
from training.run.command import run
from training.run.files import REPORTS, write_text
from training.run.progress import say


def card(reports: Reports) -> list[Section]:
    """The card's sections in order, each with the names of its pictures."""
    return [
        Section(_head(reports)),
        Section(purpose(reports)),
        Section(data(reports)),
        Section(making(reports), ("importance", "arms", "candidates", "history")),
        Section(results(reports), ("precision_recall",)),
        Section(decisions(reports), ("tradeoff",)),
        Section(calibration(reports), ("reliability",)),
        Section(segments(reports)),
        Section(explanations(reports)),
        Section(limits(reports)),
        Section(reproducibility(reports)),
    ]


def _head(reports: Reports) -> str:
    promised = promise(reports)
    return (
        f"# Model card: {plain(reports.name)}\n\nVersion `{reports.manifest['version']}`, which answers "
        f"`POST {reports.contract.route}`. Its policy: {promised.policy}. {promised.verdict}\n"
    )


def pictures(reports: Reports) -> dict[str, Picture]:
    """The pictures by name; those of comparisons that were not made are missing."""
    declared, metrics = reports.declared, reports.metrics
    at_threshold = f"recall is {percent(declared['recall'])} and precision {percent(declared['precision'])}"
    found = {
        "importance": Picture(
            "What the model uses, and what it would lose",
            "Bars per feature; the table of features above has the numbers.",
            partial(card_plots.importance, reports.importance),
        ),
        "precision_recall": Picture(
            "Precision and recall on the test window",
            f"Precision falls as recall grows. At the declared threshold {at_threshold}.",
            partial(
                card_plots.precision_recall,
                reports.precision_recall,
                reports.thresholds,
                declared,
                metrics["fraud_rate"],
            ),
        ),
        "tradeoff": Picture(
            "What a threshold does on the test window",
            f"Above a higher threshold lie fewer frauds and fewer alerts. At the declared one {at_threshold}.",
            partial(card_plots.tradeoff, reports.thresholds, declared["threshold"]),
        ),
        "reliability": Picture(
            "Predicted and observed fraud rate on the test window",
            "Groups of like probability, before and after calibration, with 95 % intervals, on logarithmic axes. "
            "On the dotted line both rates are equal.",
            partial(card_plots.reliability, reports.reliability, reports.reliability_uncalibrated),
        ),
    }
    if report := reports.resampling:
        draw = partial(card_plots.arms, report["arms"])
        found["arms"] = Picture("Ways to rebalance", f"With 95 % intervals. {report['verdict']}.", draw)
    if report := reports.selection:
        draw = partial(card_plots.candidates, report["candidates"])
        found["candidates"] = Picture("Kinds of model", f"Mean and spread over folds. {report['verdict']}.", draw)
    if report := reports.tuning:
        draw = partial(card_plots.history, report["trials"])
        found["history"] = Picture("The search for parameters", f"One dot per trial. {report['verdict']}.", draw)
    return found


def main(name: str) -> None:
    """Write one scorer's model card: `python -m training.card refund`."""
    # On a new machine matplotlib says that it lists the fonts, which it does once.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    reports = read_reports(name, declared_scorer(name))
    sections = card(reports)
    folder = REPORTS / name
    write_text(folder / "card.md", "\n".join(section.text for section in sections))
    write_text(folder / "card.html", page(f"Model card: {name}", sections, pictures(reports)))
    say(f"{folder / 'card.md'}, {folder / 'card.html'}: {promise(reports).verdict.replace('*', '')}")


if __name__ == "__main__":
    run(main)
