"""Checks when the frauds of a file happened: a window without frauds is refused, and long gaps are reported."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from training.data.split import Bounds, window_bounds
from training.data.times import check_time, timestamp_text
from training.errors import DataError, counted
from training.intake.infer import Inferred
from training.params import Split
from training.run.matrix import Floats, Labels

# A gap in which this many frauds would be usual is not due to chance.
MOST_MISSED = 20
# The limit is lower at the two ends, where labels are often lacking, than for the many gaps between frauds.
MOST_MISSED_AT_AN_END = 10
# With at least this many rows of the rarer class for each change of class, the rows are sorted by class.
SORTED_ROWS = 20


def check_label_times(inferred: Inferred, split: Split, *, has_time: bool) -> list[str]:
    """Notices of long periods without a fraud.

    Raises DataError if the rows are sorted by the label instead of by time, or a window would have no fraud.
    """
    rows = inferred.rows
    times = check_time(rows[inferred.time]).dropna().sort_values(kind="stable")
    seconds, labels = times.to_numpy(), rows[inferred.label].loc[times.index].to_numpy()
    if not has_time:
        _require_unsorted(seconds, labels)
    bounds = window_bounds(seconds, split)
    _require_frauds(seconds, labels, bounds, has_time=has_time)
    return list(_gaps(seconds, labels, has_time=has_time))


def _shown(seconds: float, *, has_time: bool) -> str:
    """A time as text; without TIME, the row number that stands for it, counted from 1 as users do."""
    return timestamp_text(seconds).replace("T", " ") if has_time else f"row {seconds + 1:,.0f}"


def _require_unsorted(seconds: Floats, labels: Labels) -> None:
    """Raise DataError if the rows, in the order of the file, are sorted by their label."""
    frauds = np.flatnonzero(labels == 1)
    n_changes = np.count_nonzero(np.diff(labels))
    if n_changes * SORTED_ROWS > min(len(frauds), len(labels) - len(frauds)):
        return
    first, last = (_shown(seconds[place], has_time=False).removeprefix("row ") for place in frauds[[0, -1]])
    raise DataError(
        f"the rows are sorted by the label (the frauds are in rows {first} to {last}), so they are not in order of "
        "time: name the column with the time of each row as TIME, or sort the rows by time"
    )


def _require_frauds(seconds: Floats, labels: Labels, bounds: Bounds, *, has_time: bool) -> None:
    """Raise DataError, with the times, if the rows to train, calibrate or test on are of one class."""
    frauds = seconds[labels == 1]
    first, last, latest = (_shown(time, has_time=has_time) for time in (frauds[0], frauds[-1], seconds[-1]))
    at = "from" if has_time else "in"
    test_from = bounds["test"][0]
    if frauds[0] >= test_from > seconds[0]:
        n_since = int((seconds >= frauds[0]).sum())
        trained_until = _shown(seconds[seconds < test_from][-1], has_time=has_time)
        raise DataError(
            f"the first fraud is {at} {first}, but the training rows, the first 80% of the file, end with "
            f"{trained_until}: frauds before the first one seem not to have been recorded; use only the rows since "
            f"then ({counted(n_since, 'row')})"
        )
    if frauds[-1] < test_from <= seconds[-1]:
        n_later = int((seconds > frauds[-1]).sum())
        raise DataError(
            f"the last fraud is {at} {last}, and the {counted(n_later, 'later row has', 'later rows have')} none "
            f"(until {latest}): their labels seem not to be known yet; leave those rows out of the file"
        )
    for start, end in bounds.values():
        is_inside = (seconds >= start) & (seconds < end)
        if is_inside.any() and labels[is_inside].all():
            since, until = (_shown(seconds[is_inside][place], has_time=has_time) for place in (0, -1))
            raise DataError(
                f"every row from {since} to {until} is a fraud ({counted(int(is_inside.sum()), 'row')}), but nothing "
                "can be measured without the legitimate rows of that period; add them"
            )


def _gaps(seconds: Floats, labels: Labels, *, has_time: bool) -> Iterator[str]:
    """A sentence for each period in which many frauds would be usual but there is none."""
    # Rows at the time of a fraud are in no gap, whatever their order.
    frauds = np.unique(seconds[labels == 1])
    n_frauds = int(labels.sum())
    for before, after in pairwise([-np.inf, *frauds.tolist(), np.inf]):
        n_rows = int(np.searchsorted(seconds, after, "left") - np.searchsorted(seconds, before, "right"))
        n_usual = n_rows * n_frauds / (len(seconds) - n_rows)
        is_between = np.isfinite(before) and np.isfinite(after)
        if n_usual < (MOST_MISSED if is_between else MOST_MISSED_AT_AN_END):
            continue
        missed = f"({counted(n_rows, 'row')}, in which about {n_usual:.0f} frauds would be expected)"
        first, last = (_shown(time, has_time=has_time) if np.isfinite(time) else "" for time in (after, before))
        if not last:
            yield f"WARNING: no fraud before {first} {missed}: if none were recorded, use only the rows since then"
        elif not first:
            yield f"WARNING: no fraud after {last} {missed}: if the labels are not known yet, leave those rows out"
        else:
            yield f"WARNING: no fraud between {last} and {first} {missed}: were the labels of these rows recorded?"
