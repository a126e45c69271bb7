"""What retraining is worth, week by week: on the shipped scorers, and on the handbook's cards. `make backtests`.

The shipped rows are continued for eight weeks, drawn by the same generator with other seeds, so that the fraud that
begins late can be detected, learned and measured. Windows are days long here: with shares of all rows, the training
window would end long before the fraud begins. The handbook's rows are its own; its labels are known after seven days.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import style
from numpy.random import SeedSequence

from benchmarks.command import REPORTS, ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.quality.handbook_weeks import FIRST_DAY
from benchmarks.quality.part import AbsentError
from benchmarks.quality.sets import declared_set
from benchmarks.tables import SCORERS, date_of, number, table
from training.backtest import by_days, report_of
from training.data.catalogue import read_catalogues
from training.data.row_checks import check_rows
from training.declaration import ScorerDeclaration, declared_scorer
from training.intake.synthetic.draws import DAYS
from training.intake.synthetic.population import LATE_PATTERN_DAY, START, Drawn
from training.intake.synthetic.refunds import draw_refunds
from training.intake.synthetic.transactions import draw_transactions
from training.monitoring.replay import Replay
from training.params import SECONDS_A_DAY, Decision, Model, Quarantine
from training.report.backtest_page import draw_recall
from training.report.backtest_report import Week
from training.report.html import LOOK
from training.run.files import BUILD, write_whole
from training.synthesize import SEED

# `weeks` are replayed at most; `one_in` of the handbook's customers are taken.
SIZES = {"transaction": (300_000, 60_000), "refund": (120_000, 40_000), "weeks": (520, 2), "one_in": (1, 30)}
DRAW = {"transaction": draw_transactions, "refund": draw_refunds}
SETS = (*SCORERS, "handbook")
# Whole weeks, after the late fraud began: what the further weeks are drawn like.
REPEATED = (154, DAYS)
MORE = 2
FIRST_WEEK_DAY = 119
CALIBRATE_DAYS, TEST_DAYS = 14.0, 7.0
EVERY = 4
# The handbook: of 183 days the first 91 make the first model; no cost is declared there.
HANDBOOK_FROM_DAY = 91
# About the hundred cards a day that the book has looked at.
HANDBOOK_DECISION = Decision(review_rate=0.01)
# Three means of a day's amounts are negative, by 7e-15.
HANDBOOK_QUARANTINE = Quarantine(max_share=1e-5)
HANDBOOK_MODEL = Model(rounds=100, max_depth=3, learning_rate=0.1, max_bin=256, threads=2)


def repeated(table: pa.Table, time: str, days: int) -> pa.Table:
    """The rows of the repeated days, with timestamps so many days later."""
    start = np.datetime64(START, "us")
    begins, ends = (pa.scalar(start + np.timedelta64(day, "D")) for day in REPEATED)
    kept = table.filter(pc.and_(pc.greater_equal(table[time], begins), pc.less(table[time], ends)))
    later = pc.add(kept[time], pa.scalar(np.timedelta64(days, "D").astype("timedelta64[us]")))
    return kept.set_column(kept.schema.get_field_index(time), time, later.cast(table.schema.field(time).type))


def history(name: str, scorer: ScorerDeclaration, n_rows: int) -> pd.DataFrame:
    """A shipped scorer's rows and eight weeks more, checked, in order of time."""

    def draw(turn: int) -> pa.Table:
        drawn: Drawn = DRAW[name](n_rows, SeedSequence(SEED + turn).spawn(2)[list(DRAW).index(name)])
        return drawn.table

    length = REPEATED[1] - REPEATED[0]
    further = [repeated(draw(turn), scorer.time, turn * length) for turn in range(1, MORE + 1)]
    rows = pa.concat_tables([draw(0), *further]).to_pandas()
    # Ids of another seed are drawn from the same names; they are not needed here.
    without_id = scorer.model_copy(update={"id": None})
    return check_rows(rows, without_id).clean.sort_values(scorer.time, kind="stable", ignore_index=True)


def replayed(
    rows: pd.DataFrame, scorer: ScorerDeclaration, parameters: Model, start: float, weeks: int
) -> dict[str, Any]:
    """The report of a replay of at most so many weeks."""
    rows = rows[rows[scorer.time] <= start + (7 * weeks + 1) * SECONDS_A_DAY]
    return report_of(Replay(rows, scorer, parameters, read_catalogues(scorer), start, EVERY)).content()


def shipped(name: str, options: Namespace) -> dict[str, Any]:
    """The replay of a shipped scorer, and what retraining brought back."""
    scorer = by_days(declared_scorer(name, ROOT / "params.yaml"), CALIBRATE_DAYS, TEST_DAYS)
    rows = history(name, scorer, getattr(options, name))
    parameters = Model.model_validate_json((ROOT / BUILD / name / "tuned.json").read_bytes())
    midnight = START.astype("datetime64[s]").astype(float)
    report = replayed(rows, scorer, parameters, midnight + FIRST_WEEK_DAY * SECONDS_A_DAY, options.weeks)
    late = midnight + LATE_PATTERN_DAY * SECONDS_A_DAY
    return report | {"restored": {policy: restored(report, policy, late) for policy in report["policies"]}}


def restored(report: Mapping[str, Any], policy: str, late: float) -> dict[str, Any]:
    """Recall at the frozen model's alerts: before the late fraud, since, and from this policy's last retraining on."""
    weeks, frozen = (report["policies"][name]["weeks"] for name in (policy, "frozen"))
    before = [place for place, week in enumerate(frozen) if week["from"] + 7 * SECONDS_A_DAY <= late]
    learned = [place for place, week in enumerate(weeks) if week["from"] >= late and week["learned_until"] > late]
    return {
        "days_to_watch": _days_until(weeks, late, ("watch", "retrain")),
        "days_to_retrain": _days_until(weeks, late, ("retrain",)),
        "days_to_learn": (weeks[learned[0]]["from"] - late) / SECONDS_A_DAY if learned else None,
        "weeks_after": len(learned),
        "recall_before": _recall(frozen, before),
        "recall_after": _recall(weeks, learned),
        "frozen_after": _recall(frozen, learned),
    }


def _days_until(weeks: list[dict[str, Any]], late: float, states: tuple[str, ...]) -> float | None:
    """From the late fraud to the first week after it with one of these states."""
    reached = (week["from"] for week in weeks if week["from"] > late and week["state"] in states)
    return next((round((begins - late) / SECONDS_A_DAY, 1) for begins in reached), None)


def _recall(weeks: list[dict[str, Any]], places: list[int]) -> float | None:
    frauds = sum(weeks[place]["frauds"] for place in places)
    return sum(weeks[place]["caught_at_frozen_alerts"] for place in places) / frauds if frauds else None


def handbook(options: Namespace) -> dict[str, Any]:
    """The replay of the handbook's cards, and how far the estimated performance is from the measured, by week."""
    declared, rows = declared_set("handbook", options.one_in)
    changes = {"decision": HANDBOOK_DECISION, "quarantine": HANDBOOK_QUARANTINE}
    scorer = by_days(declared, CALIBRATE_DAYS, TEST_DAYS).model_copy(update=changes)
    midnight = FIRST_DAY.timestamp()
    rows = rows.assign(**{scorer.time: rows[scorer.time] + midnight})
    checked = check_rows(rows, scorer).clean.sort_values(scorer.time, kind="stable", ignore_index=True)
    report = replayed(checked, scorer, HANDBOOK_MODEL, midnight + HANDBOOK_FROM_DAY * SECONDS_A_DAY, options.weeks)
    return report | {"estimates": {name: estimates(policy["weeks"]) for name, policy in report["policies"].items()}}


def estimates(weeks: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean absolute errors over the weeks: of the estimate from the scores (CBPE), and of the weeks' own mean."""
    errors = {}
    measured = {
        "recall": [week["caught"] / week["frauds"] for week in weeks],
        "precision": [week["caught"] / week["alerts"] for week in weeks],
        "average_precision": [week["average_precision"] for week in weeks],
    }
    for name, values in measured.items():
        real, estimated = np.array(values), np.array([week["estimated"][name] for week in weeks])
        errors[name] = {
            "measured": float(real.mean()),
            "estimated": float(estimated.mean()),
            "mean_absolute_error": float(np.abs(estimated - real).mean()),
            "spread": float(np.abs(real - real.mean()).mean()),
        }
    return errors


def draw(report: Mapping[str, Any]) -> None:
    """Draw a replay's recalls beside the record."""
    weeks = {
        name: [Week.model_validate_json(json.dumps(week)) for week in policy["weeks"]]
        for name, policy in report["policies"].items()
    }
    how = {"format": "svg", "facecolor": "white", "metadata": {"Date": None}}
    with style.context(LOOK):
        write_whole(REPORTS / "backtests.svg", lambda path: draw_recall(weeks).savefig(path, **how))


def backtests_table(report: Mapping[str, Any]) -> str:
    """Per policy what it would have caught and cost, and what it brought back of what the late fraud took."""
    replays = [report[name] for name in SETS if name in report]
    policies = list(replays[0]["policies"])
    lines: dict[str, Callable[[Mapping[str, Any]], str]] = {"weeks replayed": lambda replay: str(replay["weeks"])}
    shown = {
        "equal alerts": _equal,
        "as set: recall, alerts": _as_set,
        "missed and reviews, USD": _cost,
        "retrained": _retrained,
    }
    for what, of_policy in shown.items():
        lines |= {f"{name}: {what}": partial(of_policy, name) for name in policies}
    lines["equal alerts before the late fraud"] = _before
    lines |= {f"{name}: after learning it": partial(_learned, name) for name in ("scheduled", "on watch")}
    rows = [[what, *map(line, replays)] for what, line in lines.items()]
    return table([f"`make backtests` on {date_of(report)}", *(name for name in SETS if name in report)], rows)


def estimates_fact(report: Mapping[str, Any]) -> str:
    """How far the estimated performance is from what the labels then gave."""
    estimates = report["handbook"]["estimates"]["frozen"]
    errors = ", ".join(
        f"{number(estimates[name]['mean_absolute_error'])} of {name.replace('_', ' ')}"
        for name in ("recall", "precision", "average_precision")
    )
    return f"its mean absolute error over the handbook's weeks is {errors}"


def _equal(policy: str, replay: Mapping[str, Any]) -> str:
    total = replay["policies"][policy]["total"]
    low, high = total["recall_at_frozen_alerts_interval"]
    return f"{total['recall_at_frozen_alerts']:.3f} ({low:.3f} to {high:.3f})"


def _as_set(policy: str, replay: Mapping[str, Any]) -> str:
    total = replay["policies"][policy]["total"]
    return f"{total['recall']:.3f}, {total['alerts']:,}"


def _retrained(policy: str, replay: Mapping[str, Any]) -> str:
    total = replay["policies"][policy]["total"]
    return f"{total['retrained']} times" + (f", {total['refused']} refused" if total["refused"] else "")


def _cost(policy: str, replay: Mapping[str, Any]) -> str:
    total = replay["policies"][policy]["total"]
    return f"{total['cost']:,.0f}" if "cost" in total else "not declared"


def _before(replay: Mapping[str, Any]) -> str:
    return f"{replay['restored']['frozen']['recall_before']:.3f}" if "restored" in replay else "none planted"


def _learned(policy: str, replay: Mapping[str, Any]) -> str:
    if "restored" not in replay:
        return "none planted"
    restored = replay["restored"][policy]
    if restored["recall_after"] is None:
        return "never retrained"
    after, frozen = (f"{restored[name]:.3f}" for name in ("recall_after", "frozen_after"))
    return f"{after}, from day {restored['days_to_learn']:g}; frozen {frozen}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay every set, and print the table."""
    options = options_of("monitoring.backtests", __doc__, SIZES, arguments)
    report: dict[str, Any] = {"machine": machine(), **{name: shipped(name, options) for name in DRAW}}
    try:
        report["handbook"] = handbook(options)
    except AbsentError as error:
        print(f"the handbook is left out: {error}")
        if options.record:
            raise SystemExit("nothing is recorded without it") from error
    print(backtests_table(report))
    if "handbook" in report:
        print(estimates_fact(report))
    keep("backtests", report, options)
    if options.record:
        draw(report["transaction"])


if __name__ == "__main__":
    main()
