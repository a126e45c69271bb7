"""Backtest a scorer on its history: what a frozen model, a retraining schedule and alarms would have caught and cost.

`make backtest SCORER=refund`. Writes reports/<scorer>/backtest.json, .csv and .html.
"""

import argparse

from training.data.catalogue import read_catalogues
from training.data.past_features import read_with_past_features
from training.data.split import split_by_time
from training.data.times import parse_utc_date
from training.errors import StageError
from training.model.chosen import chosen_model, chosen_scorer
from training.monitoring.dated_model import dated_declaration
from training.monitoring.replay import Replay, replay_report
from training.report.backtest_page import backtest_page
from training.report.backtest_report import backtest_lines, week_table
from training.run.command import one_line_errors
from training.run.files import REPORTS, write_json, write_table, write_text


def replay_of(name: str, *, since: float | None, every: int, days: float | None) -> Replay:
    """The replay that a backtest of a declared scorer shows.

    By default it starts with the test window, because the model was tuned on the rows before it.
    """
    scorer, parameters = chosen_scorer(name), chosen_model(name)
    if scorer.split.weight:
        raise StageError(
            f"split.weight of {name} is {scorer.split.weight}, but a backtest counts each row once; remove it, and use "
            "rows that each stand for one request and have a label"
        )
    rows = read_with_past_features(scorer)
    start = float(split_by_time(rows, scorer)["test"][scorer.time].min()) if since is None else since
    return Replay(
        rows, dated_declaration(scorer, days) if days else scorer, parameters, read_catalogues(scorer), start, every
    )


def main() -> None:
    """Replay one scorer's history."""
    parser = argparse.ArgumentParser(prog="python -m training.backtest", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument(
        "--since", type=parse_utc_date, help="a date, in UTC; by default the first day of the test window"
    )
    parser.add_argument("--every", type=int, default=4, help="how many weeks apart the schedule retrains; by default 4")
    parser.add_argument(
        "--days", type=float, metavar="TEST", help="the length of the test window in days, instead of the declared one"
    )
    options = parser.parse_args()
    if not options.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    if options.every < 1:
        parser.error(f"--every is {options.every}; it must be at least 1")
    if options.days is not None and not options.days > 0:
        parser.error(f"--days is {options.days:g}; it must be above 0")
    with one_line_errors("backtest"):
        replay = replay_of(options.scorer, since=options.since, every=options.every, days=options.days)
        report = replay_report(replay).model_copy(update={"scorer": options.scorer}).rounded()
    folder = REPORTS / options.scorer
    write_json(folder / "backtest.json", report.content())
    write_table(folder / "backtest.csv", week_table(report))
    write_text(folder / "backtest.html", backtest_page(report))
    print(backtest_lines(report))  # noqa: T201 - the command's answer
    print(folder / "backtest.html")  # noqa: T201 - as above


if __name__ == "__main__":
    main()
