"""Whether a log is enough to say ok, and what else a reader of the state must know about it."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from handler.scoring.fields import SECONDS_A_DAY
from training.data.times import day_text
from training.errors import counted
from training.monitoring.binning import UNRECORDED
from training.monitoring.blocks import Reference
from training.monitoring.log import MISDATED, OUTSIDE, Log
from training.monitoring.log_lines import BROKEN, FOREIGN, OUTCOMES, PREDICTIONS, is_unusable
from training.params import Monitoring
from training.report.monitor_report import JudgedBlock

MOST_UNUSABLE = 0.5
# At most this many silences are named, the longest ones.
NAMED_SILENCES = 3
# By the beginning of a count's name, the remedy if no prediction was read and this kind is the most frequent.
_REMEDIES = {
    FOREIGN: "SCORER= must name the scorer that wrote the log",
    BROKEN: "a record must be a JSON object on one line, as the function writes it",
    MISDATED: "`time` must be in seconds since 1970",
    "lines of format": "another program or another version of the function wrote them",
}


def shortfalls(log: Log, blocks: Sequence[JudgedBlock], policy: Monitoring, reference: Reference) -> tuple[str, ...]:
    """Why the log is not enough to say ok; empty if it is."""
    if not blocks:
        return (f"no prediction was read: {_instead(log.counts)}",)
    reasons = (_unjudged(blocks, policy), _unusable(log.counts), _unserved(blocks, reference))
    return tuple(reason for reason in reasons if reason)


def _instead(counts: Mapping[str, int]) -> str:
    """What the log holds instead of predictions."""
    if OUTSIDE in counts:
        return "all predictions of the log are outside the window of --since and --until"
    instead = Counter({name: count for name, count in counts.items() if name.startswith(tuple(_REMEDIES))})
    for name, _ in instead.most_common(1):
        remedy = next(remedy for start, remedy in _REMEDIES.items() if name.startswith(start))
        return f"the log holds {name}; {remedy}"
    if OUTCOMES in counts:
        return "the log holds outcomes only; LOG= must name the predictions too"
    # Sound logs contain lines of text and metrics, too.
    return (
        "the log holds no record; PREDICTIONS= makes the function record its predictions"
        if counts
        else "the log is empty"
    )


def _unjudged(blocks: Sequence[JudgedBlock], policy: Monitoring) -> str | None:
    judged = [block for block in blocks if block.is_judged]
    needed = f"the {policy.min_rows:,} that monitoring.min_rows in params.yaml asks for"
    if not judged:
        largest = counted(max(block.rows for block in blocks), "recorded prediction")
        return f"no block of {policy.block_days:g} days was judged: the largest has {largest}, fewer than {needed}"
    blocks_since = (blocks[-1].begins - judged[-1].begins) / (policy.block_days * SECONDS_A_DAY)
    if round(blocks_since) > policy.consecutive:
        return (
            f"the last judged block ended on {day_text(judged[-1].ends)}; each block since then has fewer recorded "
            f"predictions than {needed}"
        )
    return None


def _unusable(counts: Mapping[str, int]) -> str | None:
    by_cause = Counter({name: count for name, count in counts.items() if is_unusable(name)})
    unusable = by_cause.total()
    usable = sum(count for name, count in counts.items() if name in {PREDICTIONS, OUTCOMES} or name.startswith(FOREIGN))
    if unusable <= MOST_UNUSABLE * (unusable + usable):
        return None
    lines, most_frequent = counted(unusable + usable, "line"), by_cause.most_common(1)[0][0]
    return f"{unusable:,} of {lines} cannot be used; the most frequent kind is: {most_frequent}"


def _unserved(blocks: Sequence[JudgedBlock], reference: Reference) -> str | None:
    if any(reference.version in block.versions for block in blocks):
        return None
    return f"no prediction was made by version {reference.version}, whose baseline the log is compared with"


def notes(log: Log, blocks: Sequence[JudgedBlock], state: str, policy: Monitoring) -> tuple[str, ...]:
    """What else must be known besides the state: silences, and an alarm raised by the last block alone."""
    judged = [block for block in blocks if block.is_judged]
    alone = []
    if judged and judged[-1].reasons and judged[-1].verdict != state and state not in {"watch", "retrain"}:
        block = judged[-1]
        last = f"the last judged block, from {day_text(block.begins)}, says {block.verdict}"
        alone = [f"{last}, which does not change the state: {'; '.join(block.reasons)}"]
    return (*_silences(log, policy), *alone)


def _silences(log: Log, policy: Monitoring) -> list[str]:
    """The longest times without a prediction that are longer than a block."""
    lengths = np.diff(log.time)
    longest = np.argsort(-lengths, kind="stable")[:NAMED_SILENCES]
    return [
        f"no prediction from {day_text(log.time[at])} to {day_text(log.time[at + 1])}, "
        f"{lengths[at] / SECONDS_A_DAY:.0f} days"
        for at in sorted(longest)
        if lengths[at] > policy.block_days * SECONDS_A_DAY
    ]


def other_versions(log: Log, reference: Reference) -> dict[str, int]:
    """How many predictions are of other versions, and how many of these lack a feature that the reference records."""
    is_other = np.array([version != reference.version for version in log.versions], dtype=bool)[log.version]
    counts = {"predictions of other versions": int(is_other.sum())}
    for index, name in enumerate(reference.baseline["features"]):
        if name in reference.recorded:
            n_without = int((log.bins[is_other, index] == UNRECORDED).sum())
            counts[f"predictions of other versions without {name}"] = n_without
    return {name: count for name, count in counts.items() if count}
