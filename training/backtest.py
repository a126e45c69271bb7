"""Backtest: history, week by week -> what a frozen model, a schedule and alarms would have caught and cost.

`make backtest SCORER=refund`. Writes reports/<scorer>/backtest.json, .csv and .html.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import pandas as pd

from training.data.catalogue import read_catalogues
from training.data.source import read_checked
from training.data.split import split_by_time
from training.data.times import parse_utc_date, timestamp_text
from training.declaration import ScorerDeclaration, declared_scorer
from training.errors import StageError
from training.monitoring.replay import Replay, total
from training.params import Model
from training.report.backtest_page import backtest_page
from training.run.command import one_line_errors
from training.run.files import BUILD, REPORTS, rounded, write_json, write_table, write_text

COLUMNS = ("state", "retrained", "rows", "frauds", "alerts", "caught", "caught_at_frozen_alerts", "average_precision")


def report_of(replay: Replay) -> dict[str, Any]:
    """What each policy would have done, in all and week by week."""
    policies = {name: {"total": total(weeks), "weeks": weeks} for name, weeks in replay.run().items()}
    return {
        "from": timestamp_text(replay.start),
        "weeks": len(replay.begins),
        "every_weeks": replay.every,
        "label_delay_days": replay.scorer.split.label_delay_days,
        "policies": policies,
    }


def week_table(report: dict[str, Any]) -> pd.DataFrame:
    """One line a policy and week, for DVC's plots and a spreadsheet."""
    return pd.DataFrame(
        [
            {"policy": name, "week": timestamp_text(week["from"]), **{column: week[column] for column in COLUMNS}}
            for name, one in report["policies"].items()
            for week in one["weeks"]
        ]
    )


def history_of(scorer: ScorerDeclaration) -> pd.DataFrame:
    """The checked rows of a scorer's file, in order of time."""
    return read_checked(scorer).sort_values(scorer.time, kind="stable", ignore_index=True)


def by_days(scorer: ScorerDeclaration, calibrate_days: float, test_days: float) -> ScorerDeclaration:
    """The scorer with windows of so many days."""
    days = {"calibrate_days": calibrate_days, "test_days": test_days}
    split = scorer.split.model_copy(update={"train": None, "calibrate": None, "test": None, **days})
    return scorer.model_copy(update={"split": split})


def replay_of(name: str, *, since: float | None, every: int, days: tuple[float, float] | None) -> Replay:
    """The replay of a declared scorer; by default from where its training window ends, on which it was tuned."""
    scorer = declared_scorer(name)
    rows = history_of(scorer)
    tuned = BUILD / name / "tuned.json"
    try:
        parameters = Model.model_validate_json(tuned.read_bytes())
    except OSError as error:
        raise StageError(f"{tuned} cannot be read: {error.strerror}; `make train` tunes") from error
    start = float(split_by_time(rows, scorer)["calibrate"][scorer.time].min()) if since is None else since
    return Replay(rows, by_days(scorer, *days) if days else scorer, parameters, read_catalogues(scorer), start, every)


def main() -> None:
    """Replay one scorer's history."""
    parser = argparse.ArgumentParser(prog="python -m training.backtest", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument(
        "--since", type=parse_utc_date, help="a date, in UTC; by default where the training window ends"
    )
    parser.add_argument("--every", type=int, default=4, help="the schedule, in weeks")
    parser.add_argument(
        "--days", type=float, nargs=2, metavar=("CALIBRATE", "TEST"), help="other windows than split declares, in days"
    )
    asked = parser.parse_args()
    if not asked.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    if asked.every < 1:
        parser.error(f"--every is {asked.every}; it must be at least 1")
    with one_line_errors("backtest"):
        replay = replay_of(asked.scorer, since=asked.since, every=asked.every, days=asked.days and tuple(asked.days))
        report = rounded({"scorer": asked.scorer, **report_of(replay)})
    folder = REPORTS / asked.scorer
    write_json(folder / "backtest.json", report)
    write_table(folder / "backtest.csv", week_table(report))
    write_text(folder / "backtest.html", backtest_page(report))
    print(policy_lines(report))  # noqa: T201 - the command's answer
    print(folder / "backtest.html")  # noqa: T201 - as above


def policy_lines(report: Mapping[str, Any]) -> str:
    """The policies' sums for a terminal."""
    lines = [f"{'policy':12} retrained refused  alerts  recall  at the frozen model's alerts       cost"]
    for name, one in report["policies"].items():
        sums = one["total"]
        cost = f"{sums['cost']:10,.0f}" if "cost" in sums else ""
        recalls = (
            "unknown" if sums[key] is None else f"{sums[key]:.3f}" for key in ("recall", "recall_at_frozen_alerts")
        )
        recall, equal = recalls
        lines.append(
            f"{name:12} {sums['retrained']:9} {sums['refused']:7} {sums['alerts']:7,} {recall:>7} {equal:>29} {cost}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
