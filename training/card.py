"""Card: the reports on one scorer -> its model card, for an auditor who asks why, as Markdown and as one HTML page."""

import logging

from training.declaration import declared_scorer
from training.report.card_decisions import decisions, promise
from training.report.card_figures import pictures
from training.report.card_making import making
from training.report.card_results import calibration, results, segments
from training.report.card_text import data, explanations, limits, purpose, reproducibility
from training.report.html import Section, page
from training.report.markdown import plain
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
