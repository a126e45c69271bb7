"""What retraining is worth, week by week: on the shipped scorers, and on the handbook's cards. `make backtests`.

The shipped rows go on for eight weeks more, drawn by the same generator with other seeds, so that the fraud that begins
late can be noticed, learned and judged. Windows are days long here: with shares of all rows, what is learned from would
end long before the fraud begins. The handbook's rows are its own; labels there are known after seven days.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import style
from numpy.random import SeedSequence

from benchmarks.machine import machine
from benchmarks.quality_handbook_protocol import FIRST_DAY
from benchmarks.quality_part import AbsentError
from benchmarks.quality_sets import declared_set
from benchmarks.served import ROOT
from training.backtest import by_days, policy_lines, report_of
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
from training.report.html import LOOK
from training.run.files import BUILD, REPORTS, rounded, write_json, write_whole
from training.synthesize import SEED

RESULT = BUILD / "benchmarks" / "backtests.json"
RECORDED = REPORTS / "backtests.json"
DRAW = {"transaction": (draw_transactions, 300_000), "refund": (draw_refunds, 120_000)}
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


def further(table: pa.Table, time: str, first: int, days: int) -> pa.Table:
    """The rows of the repeated days, moved on by so many."""
    start = np.datetime64(START, "us")
    begins, ends = (start + np.timedelta64(day, "D") for day in (first, DAYS))
    kept = table.filter(
        pc.and_(pc.greater_equal(table[time], pa.scalar(begins)), pc.less(table[time], pa.scalar(ends)))
    )
    moved = pc.add(kept[time], pa.scalar(np.timedelta64(days, "D").astype("timedelta64[us]")))
    return kept.set_column(kept.schema.get_field_index(time), time, moved.cast(table.schema.field(time).type))


def history(name: str, scorer: ScorerDeclaration) -> pd.DataFrame:
    """A shipped scorer's rows and eight weeks more, checked, in order of time."""
    draw, n_rows = DRAW[name]
    place = list(DRAW).index(name)
    tables = [draw(n_rows, SeedSequence(SEED).spawn(2)[place]).table]
    length = REPEATED[1] - REPEATED[0]
    for turn in range(1, MORE + 1):
        drawn: Drawn = draw(n_rows, SeedSequence(SEED + turn).spawn(2)[place])
        tables.append(further(drawn.table, scorer.time, REPEATED[0], turn * length))
    rows = pa.concat_tables(tables).to_pandas()
    # Ids of another seed are drawn from the same names; here nobody asks for them.
    without_id = scorer.model_copy(update={"id": None})
    return check_rows(rows, without_id).clean.sort_values(scorer.time, kind="stable", ignore_index=True)


def shipped(name: str) -> dict[str, Any]:
    """The replay of a shipped scorer, and what retraining brought back."""
    scorer = by_days(declared_scorer(name, ROOT / "params.yaml"), CALIBRATE_DAYS, TEST_DAYS)
    rows = history(name, scorer)
    parameters = Model.model_validate_json((ROOT / BUILD / name / "tuned.json").read_bytes())
    midnight = START.astype("datetime64[s]").astype(float)
    begins = midnight + FIRST_WEEK_DAY * SECONDS_A_DAY
    found = report_of(Replay(rows, scorer, parameters, read_catalogues(scorer), begins, EVERY))
    late = midnight + LATE_PATTERN_DAY * SECONDS_A_DAY
    return found | {"restored": {policy: restored(found, policy, late) for policy in found["policies"]}}


def restored(report: Mapping[str, Any], policy: str, late: float) -> dict[str, Any]:
    """Recall at the frozen model's alerts: before the late fraud, since, and from this policy's last retraining on."""
    weeks, frozen = (report["policies"][one]["weeks"] for one in (policy, "frozen"))
    before = [place for place, week in enumerate(frozen) if week["from"] + 7 * SECONDS_A_DAY <= late]
    since = [place for place, week in enumerate(weeks) if week["from"] >= late]
    learned = [place for place in since if weeks[place]["learned_until"] > late]
    watched = next((week["from"] for week in weeks if week["from"] > late and week["state"] != "ok"), None)
    asked = next((week["from"] for week in weeks if week["from"] > late and week["state"] == "retrain"), None)
    return {
        "days_to_watch": watched and round((watched - late) / SECONDS_A_DAY, 1),
        "days_to_retrain": asked and round((asked - late) / SECONDS_A_DAY, 1),
        "days_to_learn": (weeks[learned[0]]["from"] - late) / SECONDS_A_DAY if learned else None,
        "weeks_after": len(learned),
        "recall_before": _recall(frozen, before),
        "recall_after": _recall(weeks, learned),
        "frozen_after": _recall(frozen, learned),
    }


def _recall(weeks: list[dict[str, Any]], places: list[int]) -> float | None:
    frauds = sum(weeks[place]["frauds"] for place in places)
    return sum(weeks[place]["caught_at_frozen_alerts"] for place in places) / frauds if frauds else None


def handbook() -> dict[str, Any]:
    """The replay of the handbook's cards, and how far the estimated performance is from the measured, by week."""
    declared, rows = declared_set("handbook")
    changes = {"decision": HANDBOOK_DECISION, "quarantine": HANDBOOK_QUARANTINE}
    scorer = by_days(declared, CALIBRATE_DAYS, TEST_DAYS).model_copy(update=changes)
    midnight = FIRST_DAY.timestamp()
    rows = rows.assign(**{scorer.time: rows[scorer.time] + midnight})
    checked = check_rows(rows, scorer).clean.sort_values(scorer.time, kind="stable", ignore_index=True)
    start = midnight + HANDBOOK_FROM_DAY * SECONDS_A_DAY
    found = report_of(Replay(checked, scorer, HANDBOOK_MODEL, read_catalogues(scorer), start, EVERY))
    return found | {"estimates": {policy: estimates(one["weeks"]) for policy, one in found["policies"].items()}}


def estimates(weeks: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean absolute errors over the weeks: of the estimate by the scores (CBPE), and of the weeks' own mean."""
    found = {}
    measured = {
        "recall": [week["caught"] / week["frauds"] for week in weeks],
        "precision": [week["caught"] / week["alerts"] for week in weeks],
        "average_precision": [week["average_precision"] for week in weeks],
    }
    for name, values in measured.items():
        real, by_scores = np.array(values), np.array([week["estimated"][name] for week in weeks])
        found[name] = {
            "measured": float(real.mean()),
            "estimated": float(by_scores.mean()),
            "mean_absolute_error": float(np.abs(by_scores - real).mean()),
            "spread": float(np.abs(real - real.mean()).mean()),
        }
    return found


def show(name: str, report: Mapping[str, Any]) -> None:
    """Print what a replay found."""
    print(f"{name}\n{policy_lines(report)}")
    for what in ("restored", "estimates"):
        for policy, one in report.get(what, {}).items():
            print(f"  {what}, {policy}: {rounded(one)}")


def picture(report: Mapping[str, Any]) -> None:
    """Draw a replay's recalls beside the record."""
    weeks = {name: one["weeks"] for name, one in report["policies"].items()}
    kept = {"format": "svg", "facecolor": "white", "metadata": {"Date": None}}
    with style.context(LOOK):
        write_whole(RECORDED.with_suffix(".svg"), lambda path: draw_recall(weeks).savefig(path, **kept))


def main() -> None:
    """Run all, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backtests", description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"keep the results in {RECORDED}, for the README")
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    for name in DRAW:
        found[name] = shipped(name)
        show(name, found[name])
    try:
        found["handbook"] = handbook()
        show("handbook", found["handbook"])
    except AbsentError as error:
        print(f"the handbook is left out: {error}")
        if asked.record:
            raise SystemExit("nothing is recorded without it") from error
    write_json(RESULT, found)
    if asked.record:
        write_json(RECORDED, found)
        picture(found["transaction"])


if __name__ == "__main__":
    main()
