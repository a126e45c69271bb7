"""Write a scorer's model card from its reports: as Markdown, as JSON, and as one HTML page with figures."""

import logging

from training.declaration import declared_scorer
from training.report.card_figures import pictures
from training.report.card_reports import read_reports
from training.report.html import page
from training.report.model_card import card_content, model_card
from training.run.command import run
from training.run.files import REPORTS, write_json, write_text
from training.run.progress import say


def main(name: str) -> None:
    """Write one scorer's model card: `python -m training.card refund`."""
    # On a new machine matplotlib logs once that it is building its font cache.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    reports = read_reports(name, declared_scorer(name))
    card = model_card(reports)
    folder = REPORTS / name
    write_text(folder / "card.md", card.markdown)
    write_json(folder / "card.json", card_content(reports))
    write_text(folder / "card.html", page(f"Model card: {name}", card.sections, pictures(reports)))
    say(f"{folder / 'card.md'}, {folder / 'card.html'}: {card.verdict.replace('*', '')}")


if __name__ == "__main__":
    run(main)
