"""What retraining is worth, week by week: on the shipped scorers, and on the handbook's cards. `make backtests`.

The shipped rows are extended by eight weeks, drawn by the same generator with other seeds, so that the fraud that
begins late can be detected, learned and measured. The test window is long enough to hold the frauds that the gate
needs. An accepted model is refitted on that window too, because otherwise it would not have seen the last month. The
handbook's rows are used as they are; its labels are known after seven days.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import style
from numpy.random import SeedSequence

from benchmarks.command import REPORTS, ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.quality.handbook import FIRST_DAY
from benchmarks.quality.sets import AbsentError, declared_set
from benchmarks.tables import SCORERS, date_of, number, table
from handler.scoring.fields import SECONDS_A_DAY
from training.data.catalogue import read_catalogues
from training.data.past_features import add_past_features
from training.data.row_checks import check_rows
from training.declaration import ScorerDeclaration
from training.intake.synthetic.draws import DAYS, START, Drawn
from training.intake.synthetic.refunds import draw_refunds
from training.intake.synthetic.transactions import draw_transactions
from training.model.chosen import chosen_model, chosen_scorer
from training.monitoring.dated_model import dated_declaration
from training.monitoring.replay import Replay, replay_report
from training.params import Decision, Model, Quarantine
from training.report.backtest_page import draw_recall
from training.report.backtest_report import Week
from training.report.html import LOOK
from training.run.files import write_whole
from training.synthesize import SEED

# Rows of each shipped scorer; at most `weeks` are replayed; one in `one_in` of the handbook's customers is used.
SIZES = {"transaction": (300_000, 0), "refund": (120_000, 20_000), "weeks": (520, 2), "one_in": (1, 60)}
DRAW = {"transaction": draw_transactions, "refund": draw_refunds}
# The other shipped scorer runs the same code.
SMALLEST = ("refund",)
SETS = (*SCORERS, "handbook")
# The days, after the late fraud began, that the further weeks repeat: four whole weeks.
REPEATED = (154, DAYS)
MORE = 2
FIRST_WEEK_DAY = 119
TEST_DAYS = 35.0
EVERY = 4
# The handbook has 183 days, of which the first 91 train the first model. It declares no costs.
HANDBOOK_FROM_DAY = 91
# About the hundred cards a day that investigators check in the handbook.
HANDBOOK_DECISION = Decision(review_rate=0.01)
# Three daily means of amounts are negative by 7e-15, and thus quarantined.
HANDBOOK_QUARANTINE = Quarantine(max_share=1e-5)
MEASURED: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "recall": lambda week: week["caught"] / week["frauds"],
    "precision": lambda week: week["caught"] / week["alerts"],
    "average_precision": lambda week: week["average_precision"],
}
HANDBOOK_MODEL = Model(rounds=100, max_depth=3, learning_rate=0.1, max_bin=256, threads=2)


def repeated(table: pa.Table, time: str, days: int) -> pa.Table:
    """The rows of the repeated days, with timestamps `days` days later."""
    start = np.datetime64(START, "us")
    begins, ends = (pa.scalar(start + np.timedelta64(day, "D")) for day in REPEATED)
    kept = table.filter(pc.and_(pc.greater_equal(table[time], begins), pc.less(table[time], ends)))
    later = pc.add(kept[time], pa.scalar(np.timedelta64(days, "D").astype("timedelta64[us]")))
    return kept.set_column(kept.schema.get_field_index(time), time, later.cast(table.schema.field(time).type))


def history(name: str, scorer: ScorerDeclaration, n_rows: int, more: int = MORE) -> pd.DataFrame:
    """A shipped scorer's rows and `more` times four further weeks, checked and in order of time."""

    def draw(turn: int) -> pa.Table:
        drawn: Drawn = DRAW[name](n_rows, SeedSequence(SEED + turn).spawn(2)[list(DRAW).index(name)])
        return drawn.table

    length = REPEATED[1] - REPEATED[0]
    further = [repeated(draw(turn), scorer.time, turn * length) for turn in range(1, more + 1)]
    rows = pa.concat_tables([draw(0), *further]).to_pandas()
    # The ids of another seed may be the same; they are not needed here.
    without_id = scorer.model_copy(update={"id": None})
    clean = check_rows(rows, without_id).clean.sort_values(scorer.time, kind="stable", ignore_index=True)
    return add_past_features(clean, scorer)


def replayed(
    rows: pd.DataFrame, scorer: ScorerDeclaration, parameters: Model, start: float, weeks: int
) -> dict[str, Any]:
    """The report of a replay of at most `weeks` weeks."""
    rows = rows[rows[scorer.time] <= start + (7 * weeks + 1) * SECONDS_A_DAY]
    return replay_report(Replay(rows, scorer, parameters, read_catalogues(scorer), start, EVERY)).content()


def refitted(scorer: ScorerDeclaration) -> ScorerDeclaration:
    """The scorer with a test window that is long enough for the gate; an accepted model is refitted on it too."""
    long = dated_declaration(scorer, TEST_DAYS)
    return long.model_copy(update={"split": long.split.model_copy(update={"refit": True})})


def shipped(name: str, options: Namespace) -> dict[str, Any]:
    """The replay of a shipped scorer."""
    scorer = refitted(chosen_scorer(name, ROOT))
    rows = history(name, scorer, getattr(options, name))
    midnight = START.astype("datetime64[s]").astype(float)
    return replayed(rows, scorer, chosen_model(name, ROOT), midnight + FIRST_WEEK_DAY * SECONDS_A_DAY, options.weeks)


def handbook(options: Namespace) -> dict[str, Any]:
    """The replay of the handbook's cards, and the mean error of the weekly performance estimates."""
    declared, rows = declared_set("handbook", options.one_in)
    changes = {"decision": HANDBOOK_DECISION, "quarantine": HANDBOOK_QUARANTINE}
    scorer = refitted(declared).model_copy(update=changes)
    midnight = FIRST_DAY.timestamp()
    rows = rows.assign(**{scorer.time: rows[scorer.time] + midnight})
    checked = check_rows(rows, scorer).clean.sort_values(scorer.time, kind="stable", ignore_index=True)
    report = replayed(checked, scorer, HANDBOOK_MODEL, midnight + HANDBOOK_FROM_DAY * SECONDS_A_DAY, options.weeks)
    return report | {"estimates": {name: estimates(policy["weeks"]) for name, policy in report["policies"].items()}}


def estimates(weeks: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean absolute errors, over the weeks, of the performance estimated from the scores (CBPE)."""
    errors = {}
    for name, of_week in MEASURED.items():
        distances = [abs(week["estimated"][name] - of_week(week)) for week in weeks]
        errors[name] = {"mean_absolute_error": fmean(distances)}
    return errors


def draw(report: Mapping[str, Any]) -> None:
    """Draw a replay's weekly recalls, as reports/backtests.svg."""
    weeks = {
        name: [Week.model_validate_json(json.dumps(week)) for week in policy["weeks"]]
        for name, policy in report["policies"].items()
    }
    how = {"format": "svg", "facecolor": "white", "metadata": {"Date": None}}
    with style.context(LOOK):
        write_whole(REPORTS / "backtests.svg", lambda path: draw_recall(weeks).savefig(path, **how))


def backtests_table(report: Mapping[str, Any]) -> str:
    """What each policy would have caught and cost."""
    names = [name for name in SETS if name in report]
    columns = [_cells(report[name]) for name in names]
    rows = [[what, *(column[what] for column in columns)] for what in columns[0]]
    return table([f"`make backtests` on {date_of(report)}", *names], rows)


def _cells(replay: Mapping[str, Any]) -> dict[str, str]:
    """A set's column of the table: its cells by the title of their row."""
    totals = {name: policy["total"] for name, policy in replay["policies"].items()}
    cells = {"weeks replayed": str(replay["weeks"])}
    for name, total in totals.items():
        low, high = total["recall_at_frozen_alerts_interval"]
        cells[f"{name}: recall at equal alerts"] = f"{total['recall_at_frozen_alerts']:.3f} ({low:.3f} to {high:.3f})"
    for name, total in totals.items():
        cells[f"{name}: recall and alerts at its own threshold"] = f"{total['recall']:.3f}, {total['alerts']:,}"
    for name, total in totals.items():
        cost = f"{total['cost']:,.0f}" if "cost" in total else "not declared"
        cells[f"{name}: cost, USD"] = cost
    for name, total in totals.items():
        refused = f", {total['refused']} refused" if total["refused"] else ""
        cells[f"{name}: retrained"] = f"{total['retrained']} times{refused}"
    return cells


def estimates_fact(report: Mapping[str, Any]) -> str:
    """How far the estimated performance is from the performance that the labels later showed."""
    frozen = report["handbook"]["estimates"]["frozen"]
    errors = ", ".join(
        f"{number(frozen[name]['mean_absolute_error'])} of {name.replace('_', ' ')}" for name in MEASURED
    )
    return f"its mean absolute error over the handbook's weeks is {errors}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay every set, and print the table."""
    options = options_of("monitoring.backtests", __doc__, SIZES, arguments)
    names = SMALLEST if options.smallest else DRAW
    report: dict[str, Any] = {"machine": machine(), **{name: shipped(name, options) for name in names}}
    try:
        report["handbook"] = handbook(options)
    except AbsentError as error:
        print(f"the handbook is left out: {error}")
        if options.record:
            raise SystemExit("nothing is recorded without the handbook") from error
    print(backtests_table(report))
    if "handbook" in report:
        print(estimates_fact(report))
    keep("backtests", report, options)
    if options.record:
        draw(report["transaction"])


if __name__ == "__main__":
    main()
