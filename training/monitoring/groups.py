"""Whether decisions treat alike the groups that the model cannot see, by the audit fields of the prediction log."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.intervals import ratio_interval, share_interval
from training.evaluation.segments import MIN_LEGITIMATE, MIN_ROWS, UNKNOWN
from training.monitoring.blocks import without_unknown_blocks
from training.monitoring.log import NO_ID, Log
from training.report.monitor_report import GroupRates
from training.run.matrix import Floats, Labels

Members = npt.NDArray[np.bool_]


def group_rates(log: Log, label: Labels) -> tuple[GroupRates, ...]:
    """The alert rate and false positive rate of each value of an audit field with at least MIN_ROWS predictions.

    `label` is 1, 0, or -1 if unknown. If few labels of blocked predictions are known, the false alarms that matter most
    are unknown, and no group gets a false positive rate.
    """
    _, lacks_blocked = without_unknown_blocks(label, log.blocked, log.label_weight)
    return tuple(_rates(log, np.full_like(label, -1) if lacks_blocked else label))


def _rates(log: Log, label: Labels) -> Iterator[GroupRates]:
    legitimate = (label == 0) & (log.label_weight > 0)
    for name, hashes in log.audit.items():
        values, counts = np.unique(hashes, return_counts=True)
        frequent = [value for value, count in zip(values.tolist(), counts.tolist(), strict=True) if count >= MIN_ROWS]
        for value in sorted(frequent, key=lambda value: (value == NO_ID, log.audit_texts.get(value, ""))):
            yield _of_group(log, name, value, hashes == value, legitimate)


def _of_group(log: Log, name: str, value: int, member: Members, legitimate: Members) -> GroupRates:
    alerts, _ = _share(log.flagged[member], log.weight[member])
    weight = log.weight * log.label_weight
    own, n_own = _share(log.flagged[member & legitimate], weight[member & legitimate])
    other, n_other = _share(log.flagged[~member & legitimate], weight[~member & legitimate])
    ratio: dict[str, Any] = {}
    if own and other and min(n_own, n_other) >= MIN_LEGITIMATE:
        ratio = {"ratio": own / other, "ratio_interval": ratio_interval(own, n_own, other, n_other)}
    return GroupRates(
        field=name,
        group=UNKNOWN if value == NO_ID else log.audit_texts[value],
        predictions=int(member.sum()),
        alert_rate=alerts,
        legitimate=int((member & legitimate).sum()),
        false_positive_rate=own if n_own else None,
        false_positive_interval=share_interval(own * n_own, n_own),
        **ratio,
    )


def _share(flagged: Members, weight: Floats) -> tuple[float, float]:
    """The weighted share that is flagged, and its effective sample size (Kish 1965); 0 and 0 without rows."""
    total = float(weight.sum())
    return (float(weight @ flagged) / total, total**2 / float(weight @ weight)) if total else (0.0, 0.0)
