"""Monitor a scorer by its prediction log: leave the model, look at it, or retrain it, with the reasons.

`make monitor SCORER=refund LOG=predictions`. Writes reports/<scorer>/monitor.json, .csv and .html, and ends with the
exit status 0 (ok), 10 (watch) or 20 (retrain).
"""

import argparse
import os
from datetime import UTC, datetime

import pandas as pd

from handler.scoring.scorer import Scorer
from training.data.times import parse_utc_date
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.serving import monitored_scorer
from training.monitoring.binning import Binning
from training.monitoring.blocks import blocks_of, join_outcomes
from training.monitoring.log import Log, read_log
from training.monitoring.verdict import LEVELS, judge_block, state_after
from training.report.monitor_page import monitor_page
from training.report.monitor_report import JudgedBlock, MonitorReport
from training.run.command import one_line_errors
from training.run.files import REPORTS, write_json, write_table, write_text

EXIT_STATUS = dict(zip(LEVELS, (0, 10, 20), strict=True))
# Measured performance that the table has columns for.
MEASURES = ("recall", "precision", "average_precision", "labelled", "frauds")


def report_of(log: Log, scorer: Scorer, declared: ScorerDeclaration) -> MonitorReport:
    """What the log shows of a scorer, block by block, and the state that follows."""
    joined = join_outcomes(log, declared.monitoring, declared.split.label_delay_days)
    blocks = list(blocks_of(log, joined.label, scorer.bundle.baseline, declared.monitoring, scorer.threshold))
    verdicts = [judge_block(block, declared.monitoring) for block in blocks]
    state = state_after(verdicts, declared.monitoring)
    return MonitorReport(
        scorer=scorer.bundle.scorer,
        baseline=scorer.version,
        state=state,
        reasons=next((verdict.reasons for verdict in reversed(verdicts) if verdict.level == state), ()),
        counts=log.counts | joined.counts,
        blocks=tuple(
            JudgedBlock(**dict(block), verdict=verdict.level, reasons=verdict.reasons)
            for block, verdict in zip(blocks, verdicts, strict=True)
        ),
    )


def block_table(report: MonitorReport) -> pd.DataFrame:
    """One line per block, for DVC's plots and a spreadsheet."""
    return pd.DataFrame(
        [
            {
                "from": f"{datetime.fromtimestamp(block.begins, UTC):%Y-%m-%d %H:%M}",
                "verdict": block.verdict,
                "predictions": block.predictions,
                "alert_rate": block.alert_rate,
                "estimated_recall": block.estimated.recall,
                **{name: getattr(block.measured, name) for name in MEASURES},
                "psi_score": block.score.psi,
                **{f"psi_{name}": shift.psi for name, shift in block.features.items()},
            }
            for block in report.blocks
        ]
    )


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
    options = parser.parse_args()
    if not options.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    with one_line_errors("monitor", ValueError):
        declared = declared_scorer(options.scorer)
        scorer = monitored_scorer(options.scorer, options.store)
        binning = Binning(scorer.bundle.baseline["features"], options.key.encode(), frozenset(scorer.hashed_features))
        log = read_log(options.log, options.scorer, binning).during(options.since, options.until)
        report = report_of(log, scorer, declared).rounded()
    folder = REPORTS / options.scorer
    write_json(folder / "monitor.json", report.content())
    write_table(folder / "monitor.csv", block_table(report))
    write_text(folder / "monitor.html", monitor_page(report))
    print(summary(report))  # noqa: T201 - the command's answer
    print(folder / "monitor.html")  # noqa: T201 - as above
    raise SystemExit(EXIT_STATUS[report.state])


def summary(report: MonitorReport) -> str:
    """The state, what was read and the reasons, for the person on call."""
    n_predictions = sum(block.predictions for block in report.blocks)
    counts = ", ".join(f"{name}: {count:,}" for name, count in report.counts.items()) or "nothing was read"
    first = f"{report.scorer}: {report.state}, {n_predictions:,} predictions in {len(report.blocks)} blocks ({counts})"
    return "\n".join([first, *(f"  {reason}" for reason in report.reasons)])


if __name__ == "__main__":
    main()
