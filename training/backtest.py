"""Backtest a scorer on its history: what a frozen model, a schedule and alarms would have caught and cost.

`make backtest SCORER=refund`. Writes reports/<scorer>/backtest.json, .csv and .html.
"""

import argparse

import pandas as pd

from training.data.catalogue import read_catalogues
from training.data.entity_history import add_past
from training.data.source import read_checked
from training.data.split import split_by_time
from training.data.times import parse_utc_date, timestamp_text
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.model.chosen import chosen_model, chosen_scorer
from training.monitoring.replay import Replay, total
from training.report.backtest_page import backtest_page
from training.report.backtest_report import BacktestReport, PolicyReport
from training.run.command import one_line_errors
from training.run.files import REPORTS, write_json, write_table, write_text

COLUMNS = ("state", "retrained", "rows", "frauds", "alerts", "caught", "caught_at_frozen_alerts", "average_precision")


def report_of(replay: Replay) -> BacktestReport:
    """What each policy would have done, in total and week by week."""
    return BacktestReport(
        begins=timestamp_text(replay.start),
        weeks=len(replay.begins),
        every_weeks=replay.every,
        label_delay_days=replay.scorer.split.label_delay_days,
        policies={name: PolicyReport(total=total(weeks), weeks=tuple(weeks)) for name, weeks in replay.run().items()},
    )


def week_table(report: BacktestReport) -> pd.DataFrame:
    """One line per policy and week, for DVC's plots and a spreadsheet."""
    return pd.DataFrame(
        [
            {
                "policy": name,
                "week": timestamp_text(week.begins),
                **{column: getattr(week, column) for column in COLUMNS},
            }
            for name, policy in report.policies.items()
            for week in policy.weeks
        ]
    )


def history_of(scorer: ScorerDeclaration) -> pd.DataFrame:
    """The checked rows of a scorer's file, in order of time."""
    return add_past(read_checked(scorer).sort_values(scorer.time, kind="stable", ignore_index=True), scorer)


def by_days(scorer: ScorerDeclaration, test_days: float) -> ScorerDeclaration:
    """The scorer with a test window of this length, and without a calibration window of its own."""
    days = {"test": None, "test_days": test_days, "calibrate": None, "calibrate_days": None}
    return scorer.model_copy(update={"split": scorer.split.model_copy(update=days)})


def replay_of(name: str, *, since: float | None, every: int, days: float | None) -> Replay:
    """The replay of a declared scorer; by default from where its training window ends, on which it was tuned."""
    scorer, parameters = chosen_scorer(name), chosen_model(name)
    if scorer.split.weight:
        raise StageError(
            f"split.weight of {name} is {scorer.split.weight}, and a backtest counts each row once; remove it for a "
            "backtest of rows that all have labels"
        )
    rows = history_of(scorer)
    start = float(split_by_time(rows, scorer)["test"][scorer.time].min()) if since is None else since
    return Replay(rows, by_days(scorer, days) if days else scorer, parameters, read_catalogues(scorer), start, every)


def main() -> None:
    """Replay one scorer's history."""
    parser = argparse.ArgumentParser(prog="python -m training.backtest", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument(
        "--since", type=parse_utc_date, help="a date, in UTC; by default where the training window ends"
    )
    parser.add_argument("--every", type=int, default=4, help="the schedule, in weeks")
    parser.add_argument("--days", type=float, metavar="TEST", help="another test window than split declares, in days")
    options = parser.parse_args()
    if not options.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    if options.every < 1:
        parser.error(f"--every is {options.every}; it must be at least 1")
    if options.days is not None and not options.days > 0:
        parser.error(f"--days is {options.days:g}; it must be above 0")
    with one_line_errors("backtest"):
        replay = replay_of(options.scorer, since=options.since, every=options.every, days=options.days)
        report = report_of(replay).model_copy(update={"scorer": options.scorer}).rounded()
    folder = REPORTS / options.scorer
    write_json(folder / "backtest.json", report.content())
    write_table(folder / "backtest.csv", week_table(report))
    write_text(folder / "backtest.html", backtest_page(report))
    print(policy_lines(report))  # noqa: T201 - the command's answer
    print(folder / "backtest.html")  # noqa: T201 - as above


def policy_lines(report: BacktestReport) -> str:
    """The policies' totals for a terminal."""
    lines = [f"{'policy':12} retrained refused  alerts  recall  at the frozen model's alerts       cost"]
    for name, policy in report.policies.items():
        sums = policy.total
        recall, recall_at_frozen_alerts = (
            "unknown" if share is None else f"{share:.3f}" for share in (sums.recall, sums.recall_at_frozen_alerts)
        )
        cost = "" if sums.cost is None else f"{sums.cost:10,.0f}"
        lines.append(
            f"{name:12} {sums.retrained:9} {sums.refused:7} {sums.alerts:7,} {recall:>7} "
            f"{recall_at_frozen_alerts:>29} {cost}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
