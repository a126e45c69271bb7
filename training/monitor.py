"""Monitor: the function's log -> leave the model, look at it, or retrain it, with the reasons.

`make monitor SCORER=refund LOG=predictions`. Writes reports/<scorer>/monitor.json, .csv and .html, and ends with the
exit status 0 (ok), 10 (watch) or 20 (retrain).
"""

import argparse
import os
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from handler.scoring.scorer import Scorer
from training.data.times import parse_utc_date
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.serving import monitored_scorer
from training.monitoring.binning import Binning
from training.monitoring.blocks import blocks_of, join_outcomes
from training.monitoring.log import Log, read_log
from training.monitoring.verdict import LEVELS, judge_block, settle_state
from training.report.monitor_page import monitor_page
from training.run.command import one_line_errors
from training.run.files import REPORTS, rounded, write_json, write_table, write_text

EXIT_STATUS = dict(zip(LEVELS, (0, 10, 20), strict=True))
# What of a block is a column of the table.
MEASURES = ("recall", "precision", "average_precision", "labelled", "frauds")


def report_of(log: Log, scorer: Scorer, declared: ScorerDeclaration) -> dict[str, Any]:
    """What the log says of a scorer, block by block, and the state that follows."""
    joined = join_outcomes(log, declared.monitoring, declared.split.label_delay_days)
    described = blocks_of(log, joined.label, scorer.bundle.baseline, declared.monitoring, scorer.threshold)
    blocks, verdicts = [], []
    for block in described:
        verdicts.append(judge_block(block, declared.monitoring))
        blocks.append({**block, "verdict": verdicts[-1].level, "reasons": list(verdicts[-1].reasons)})
    state = settle_state(verdicts, declared.monitoring)
    latest = next((verdict.reasons for verdict in reversed(verdicts) if verdict.level == state), ())
    return {
        "scorer": scorer.bundle.scorer,
        "baseline": scorer.version,
        "state": state,
        "reasons": list(latest),
        "counts": log.counts | joined.counts,
        "blocks": blocks,
    }


def block_table(report: dict[str, Any]) -> pd.DataFrame:
    """One line a block, for DVC's plots and a spreadsheet."""
    rows = []
    for block in report["blocks"]:
        shifts = {f"psi_{name}": one["psi"] for name, one in block["features"].items()}
        rows.append(
            {
                "from": moment(block["from"]),
                "verdict": block["verdict"],
                "predictions": block["predictions"],
                "alert_rate": block["alert_rate"],
                "estimated_recall": block["estimated"]["recall"],
                **{name: block["measured"][name] for name in MEASURES},
                "psi_score": block["score"]["psi"],
                **shifts,
            }
        )
    return pd.DataFrame(rows)


def moment(seconds: float) -> str:
    """A moment in UTC, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def main() -> None:
    """Write the report of one scorer, and end with the status of its state."""
    parser = argparse.ArgumentParser(prog="python -m training.monitor", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("log", help="a file or folder of records, or s3://bucket/prefix; .gz or not")
    parser.add_argument("--since", type=parse_utc_date, default=float("-inf"), help="a date, in UTC")
    parser.add_argument("--until", type=parse_utc_date, default=float("inf"))
    parser.add_argument("--store", default=os.environ.get("STORE") or "store")
    parser.add_argument(
        "--key", default=os.environ.get("PREDICTIONS_KEY", ""), help="what private values are hashed with"
    )
    asked = parser.parse_args()
    if not asked.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    with one_line_errors("monitor", ValueError):
        declared = declared_scorer(asked.scorer)
        scorer = monitored_scorer(asked.scorer, asked.store)
        binning = Binning(scorer.bundle.baseline["features"], asked.key.encode(), frozenset(scorer.hashed_features))
        log = read_log(asked.log, asked.scorer, binning).during(asked.since, asked.until)
        report = rounded(report_of(log, scorer, declared))
    folder = REPORTS / asked.scorer
    write_json(folder / "monitor.json", report)
    write_table(folder / "monitor.csv", block_table(report))
    write_text(folder / "monitor.html", monitor_page(report))
    print(summary(report))  # noqa: T201 - the command's answer
    print(folder / "monitor.html")  # noqa: T201 - as above
    raise SystemExit(EXIT_STATUS[report["state"]])


def summary(report: dict[str, Any]) -> str:
    """What the person on call wants to read."""
    n_rows = sum(block["predictions"] for block in report["blocks"])
    counted = ", ".join(f"{name}: {count:,}" for name, count in report["counts"].items()) or "nothing was read"
    lines = [
        f"{report['scorer']}: {report['state']}, {n_rows:,} predictions in {len(report['blocks'])} blocks ({counted})"
    ]
    lines += [f"  {reason}" for reason in report["reasons"]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
