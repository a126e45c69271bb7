"""Monitor a scorer by its prediction log: whether to leave, watch or retrain the model, with the reasons.

`make monitor SCORER=refund LOG=predictions`. Writes reports/<scorer>/monitor.json, .csv and .html, and ends with the
exit status 0 (ok), 10 (watch), 20 (retrain) or 30 (insufficient: too little was read to say any of these).
"""

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from handler.scoring.scorer import Scorer
from training.data.times import parse_utc_date
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.serving import monitored_scorer
from training.errors import counted
from training.monitoring.binning import UNRECORDED, Binning, unread_hashes
from training.monitoring.blocks import Reference, blocks_of, join_outcomes, reviews_of
from training.monitoring.groups import group_rates
from training.monitoring.log import Log, read_log
from training.monitoring.sufficiency import notes, other_versions, shortfalls
from training.monitoring.verdict import LEVELS, BlockVerdict, judge_block, state_after
from training.params import Monitoring
from training.report.monitor_page import monitor_page
from training.report.monitor_report import (
    INSUFFICIENT,
    Block,
    GroupRates,
    JudgedBlock,
    MonitorReport,
    Reviews,
    block_table,
    monitor_summary,
)
from training.run.command import one_line_errors
from training.run.files import REPORTS, write_json, write_table, write_text

EXIT_STATUS = dict(zip((*LEVELS, INSUFFICIENT), (0, 10, 20, 30), strict=True))


def report_of(log: Log, scorer: Scorer, declared: ScorerDeclaration, origin: str = "") -> MonitorReport:
    """What the log shows, block by block, and the resulting state; `origin` says where the scorer was read from."""
    log, policy = log.without_repeats(), declared.monitoring
    features = scorer.bundle.baseline["features"]
    # Values hashed with another key would all look new.
    unread = unread_hashes(log.bins, features, scorer.hashed_features)
    if unread:
        is_unread = [name in unread for name in features]
        log = replace(log, bins=np.where(is_unread, np.uint16(UNRECORDED), log.bins))
    recorded = frozenset(name for _, name, _ in scorer.recorded_features if name not in unread)
    reference = Reference(scorer.bundle.baseline, scorer.threshold, scorer.version, recorded)
    joined = join_outcomes(log, policy, declared.split.label_delay_days)
    blocks = _judged_blocks(blocks_of(log, joined.label, reference, policy), policy)
    state, reasons = _state(log, blocks, policy, reference)
    reviews, groups = reviews_of(log, policy), group_rates(log, joined.label)
    return MonitorReport(
        scorer=scorer.bundle.scorer,
        baseline=scorer.version,
        begins=round(log.time[0]) if len(log.time) else None,
        ends=round(log.time[-1]) if len(log.time) else None,
        state=state,
        reasons=reasons,
        notes=(
            *notes(log, blocks, state, policy),
            *_of_version(scorer, blocks, origin, unread),
            *_of_people(blocks, reviews),
            *_of_groups(groups),
        ),
        counts=log.counts | joined.counts | other_versions(log, reference),
        reviews=reviews,
        **({"groups": groups} if groups else {}),
        blocks=blocks,
    )


def _of_version(scorer: Scorer, blocks: Sequence[JudgedBlock], origin: str, unread: Sequence[str]) -> Iterator[str]:
    """Notes on the version that the log is compared with; `unread` are the features hashed with another key."""
    if unread:
        yield (
            f"{', '.join(unread)}: recorded as hashes made with another key; set PREDICTIONS_KEY to the function's, "
            "or these features are not monitored"
        )
    unrecorded = {name for block in blocks for name in block.unrecorded}
    if hashed := sorted(unrecorded & set(scorer.hashed_features)):
        yield f"{', '.join(hashed)}: declared private: hash, which the function records only if it has PREDICTIONS_KEY"
    if origin:
        yield f"version {scorer.version} is {origin}"


def _of_people(blocks: Sequence[JudgedBlock], reviews: Reviews | None) -> Iterator[str]:
    """Notes on what reviewers found, and on how far the outcomes of blocked requests are known."""
    if reviews:
        low, high = reviews.agreed_interval
        yield (
            f"reviewers agree with the model on {reviews.agreed / reviews.reviewed:.0%} ({low:.0%} to {high:.0%}) of "
            f"{counted(reviews.reviewed, 'request')}, and confirm {reviews.confirmed:,} of {reviews.flagged:,} flags"
        )
    latest = blocks[-1].measured if blocks else None
    if latest and latest.control:
        yield (
            f"blocked requests are measured by {counted(latest.control, 'request')} of the control group; the estimate "
            f"of the frauds is as precise as one from {counted(latest.frauds, 'fraud')} without weights"
        )
    elif latest and latest.control == 0:
        yield "no outcome of the control group is known yet, so nothing is known about the blocked requests"
    elif latest and latest.lacks_blocked:
        yield (
            "hardly any outcome of a blocked request is known, so recall, precision and fraud rate cover the other "
            "requests only, and are compared with theirs; decision.control would measure all requests"
        )


def _of_groups(groups: Sequence[GroupRates]) -> Iterator[str]:
    """Notes on the groups whose legitimate requests are flagged significantly more often than those of others."""
    for rates in groups:
        if rates.ratio and rates.ratio_interval and rates.ratio_interval[0] > 1:
            low, high = rates.ratio_interval
            yield (
                f"legitimate requests with {rates.field} {rates.group} are flagged {rates.ratio:.2f} times as often as "
                f"others ({low:.2f} to {high:.2f})"
            )


def _judged_blocks(blocks: Iterable[Block], policy: Monitoring) -> tuple[JudgedBlock, ...]:
    verdicts = ((block, judge_block(block, policy)) for block in blocks)
    return tuple(
        JudgedBlock(**dict(block), verdict=verdict.level, reasons=verdict.reasons) for block, verdict in verdicts
    )


def _state(
    log: Log, blocks: Sequence[JudgedBlock], policy: Monitoring, reference: Reference
) -> tuple[str, tuple[str, ...]]:
    """The state and its reasons; an alarm stands even if little else was read, but ok needs a sufficient log."""
    state = state_after([BlockVerdict(block.verdict, block.reasons) for block in blocks], policy)
    if state in {"ok", INSUFFICIENT} and (reasons := shortfalls(log, blocks, policy, reference)):
        return INSUFFICIENT, reasons
    return state, next((block.reasons for block in reversed(blocks) if block.verdict == state), ())


def main() -> None:
    """Write the report on one scorer, and exit with the status of its state."""
    parser = argparse.ArgumentParser(prog="python -m training.monitor", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("log", help="a file or folder of records, or s3://bucket/prefix; gzip or not")
    parser.add_argument("--since", type=parse_utc_date, default=float("-inf"), help="a date, in UTC")
    parser.add_argument("--until", type=parse_utc_date, default=float("inf"))
    parser.add_argument("--store", default=os.environ.get("STORE") or "store")
    parser.add_argument(
        "--key", default=os.environ.get("PREDICTIONS_KEY", ""), help="the key with which private values are hashed"
    )
    options = parser.parse_args()
    if not options.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    with one_line_errors("monitor", ValueError):
        declared = declared_scorer(options.scorer)
        scorer, origin = monitored_scorer(options.scorer, options.store)
        binning = Binning(scorer.bundle.baseline["features"], options.key.encode(), frozenset(scorer.hashed_features))
        audited = [name for name, _ in scorer.recorded_groups]
        log = read_log(options.log, options.scorer, binning, audited).during(options.since, options.until)
        report = report_of(log, scorer, declared, origin).rounded()
    folder = REPORTS / options.scorer
    write_json(folder / "monitor.json", report.content())
    write_table(folder / "monitor.csv", block_table(report))
    write_text(folder / "monitor.html", monitor_page(report))
    print(monitor_summary(report))  # noqa: T201 - the command's answer
    print(folder / "monitor.html")  # noqa: T201 - as above
    raise SystemExit(EXIT_STATUS[report.state])


if __name__ == "__main__":
    main()
