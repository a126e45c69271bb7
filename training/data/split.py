"""Windows and folds in time order; rows with the same timestamp are never split across them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from handler.scoring.fields import SECONDS_A_DAY
from training.data.times import timestamp_text
from training.declaration import ScorerDeclaration
from training.errors import DataError, StageError, counted
from training.params import Folds, Split
from training.run.matrix import Labels, Positions

WINDOWS = ("train", "calibrate", "test")
# The file of the rows in none of the windows: those in a label delay or the warm-up, which a history still reads.
UNLEARNED = "unlearned"

# What to do about a window that lacks a class.
REMEDIES = {
    "train": "add older rows of both classes, or shorten the test window or the label delay (split)",
    "calibrate": "lengthen it, or remove it from split: the validation blocks of the folds then calibrate",
    "test": "lengthen it (split), or leave out the latest rows if their labels are not known yet",
}

Bounds = dict[str, tuple[float, float]]


def window_bounds(seconds: npt.NDArray[np.float64], split: Split) -> Bounds:
    """The start (inclusive) and the end (exclusive) of each window; `seconds` are the times of all rows, ascending.

    Without a calibration window there are two windows. Rows within the label delay before the next window are in none.
    Raises DataError if all rows have the same time.
    """
    if seconds[0] == seconds[-1]:
        raise DataError(
            f"all {len(seconds):,} rows have the same time, {timestamp_text(float(seconds[0]))}, but the test window "
            "must be later than the training window: name a finer column as time, or add rows with other times"
        )
    starts = [-np.inf, *_boundaries(seconds, split)]
    ends = [start - split.label_delay_seconds for start in starts[1:]]
    names = WINDOWS if split.has_calibration_window else ("train", "test")
    return dict(zip(names, zip(starts, [*ends, np.inf], strict=True), strict=True))


def _boundaries(seconds: npt.NDArray[np.float64], split: Split) -> list[float]:
    """The first timestamps of the windows after the training window."""
    if split.test is not None:
        shares = [split.test] if split.calibrate is None else [split.test + split.calibrate, split.test]
        places = (round(len(seconds) * (1 - share)) for share in shares)
        return _on_different_times(seconds, [float(seconds[min(place, len(seconds) - 1)]) for place in places])
    test_from = float(seconds[-1]) - (split.test_days or 0.0) * SECONDS_A_DAY
    if split.calibrate_days is None:
        return [test_from]
    return [test_from - split.calibrate_days * SECONDS_A_DAY, test_from]


def _on_different_times(seconds: npt.NDArray[np.float64], starts: list[float]) -> list[float]:
    """The starts of the windows, moved if too few distinct times would leave a window without rows."""
    if starts[0] == seconds[0]:
        starts[0] = _next_time(seconds, starts[0])
    for number in range(1, len(starts)):
        if starts[number] <= starts[number - 1]:
            starts[number] = _next_time(seconds, starts[number - 1])
    if len(starts) > 1 and starts[-1] == starts[-2]:
        # Both windows would begin at the last time, so the calibration window begins one earlier.
        starts[-2] = float(seconds[max(int(np.searchsorted(seconds, starts[-2])) - 1, 0)])
    return starts


def _next_time(seconds: npt.NDArray[np.float64], time: float) -> float:
    """The first time after `time`, or `time` itself if it is the last."""
    return float(seconds[min(int(np.searchsorted(seconds, time, side="right")), len(seconds) - 1)])


def require_classes(name: str, label: npt.NDArray[np.int8], scorer: ScorerDeclaration) -> None:
    """Raise DataError if a window lacks a class."""
    if len(np.unique(label)) < 2:  # noqa: PLR2004 - two classes
        content = f"only {scorer.label} = {label[0]} in {counted(len(label), 'row')}" if len(label) else "no rows"
        raise DataError(f"the {name} window has {content}; it must have both classes: {REMEDIES[name]}")


def split_by_time(rows: pd.DataFrame, scorer: ScorerDeclaration) -> dict[str, pd.DataFrame]:
    """The rows in time order as train, calibrate (if it is a window of its own) and test.

    Raises DataError if a window lacks a class.
    """
    rows = rows.sort_values(scorer.time, kind="stable", ignore_index=True)
    seconds = rows[scorer.time].to_numpy()
    windows = {}
    for name, (start, end) in window_bounds(seconds, scorer.split).items():
        window = rows[(seconds >= start) & (seconds < end)].reset_index(drop=True)
        require_classes(name, window[scorer.label].to_numpy(), scorer)
        windows[name] = window
    return windows


def window_report(seconds: npt.NDArray[np.float64], label: npt.NDArray[np.int8]) -> dict[str, Any]:
    """The first and last timestamp of a split's window, and its numbers of rows and frauds."""
    frauds = int(label.sum())
    first, last = timestamp_text(float(seconds[0])), timestamp_text(float(seconds[-1]))
    return {"from": first, "to": last, "rows": len(label), "frauds": frauds, "fraud_rate": frauds / len(label)}


# With fewer frauds, every metric is dominated by chance: a test window of a fifth of the rows has about six at most.
FEW_FRAUDS = 30
# The fewest folds that may be declared.
FEWEST_FOLDS = 2
# With at most this many distinct times, it is the times that decide which rows are in a block.
FEW_TIMES = 20


class FoldError(StageError):
    """Raised when the rows cannot be divided into folds that all have both classes."""


def prequential_positions(
    seconds: npt.NDArray[np.float64], label: Labels, declared: Folds, delay_seconds: float, time: str = "time"
) -> list[tuple[Positions, Positions]]:
    """The split of rows into folds: the positions of the training and of the validation rows of each fold.

    The validation blocks are consecutive and have equally many rows; each model learns from all rows before its block,
    except those within the label delay. If there are so few distinct times that several blocks would begin at the same
    one, there are fewer folds. `seconds`, the values of the column `time`, must ascend. Raises FoldError if there are
    fewer than two folds, or if a part lacks a class.
    """
    if (n_frauds := int(label.sum())) <= declared.count:
        fewer = "lower folds.count, or " if n_frauds > FEWEST_FOLDS else ""
        raise FoldError(
            f"{counted(n_frauds, 'fraud')} in the training window {'is' if n_frauds == 1 else 'are'} too few for "
            f"folds.count {declared.count}; {fewer}add more rows"
        )
    first = round(len(seconds) * (1 - declared.validate_share))
    if (n_validated := len(seconds) - first) < declared.count:
        raise FoldError(
            f"folds.validate_share is {declared.validate_share:g}, which leaves {counted(n_validated, 'row')} of the "
            f"{len(seconds):,} in the training window for the blocks of {declared.count} folds; raise it"
        )
    cuts = np.linspace(first, len(seconds), declared.count + 1).round().astype(int)
    starts = np.unique(np.maximum(seconds[cuts[:-1]], _next_time(seconds, seconds[0])))
    if (n_folds := int((starts > seconds[0]).sum())) < FEWEST_FOLDS:
        first_time, last_time = (timestamp_text(float(seconds[place])) for place in (0, -1))
        raise FoldError(
            "rows with the same time stay together, and the training window has only "
            f"{counted(len(np.unique(seconds)), 'time')} ({first_time} to {last_time}), enough for "
            f"{counted(n_folds, 'fold')} instead of {declared.count}; at least {FEWEST_FOLDS} are needed: name a finer "
            f"column than {time} as time, or add older rows"
        )
    folds = []
    for start, end in pairwise([*starts, np.inf]):
        earlier = np.flatnonzero(seconds < start - delay_seconds)
        block = np.flatnonzero((seconds >= start) & (seconds < end))
        folds.append((earlier, block))
    check_folds(folds, seconds, label, time)
    return folds


def check_folds(
    folds: Sequence[tuple[Positions, Positions]], seconds: npt.NDArray[np.float64], label: Labels, time: str = "time"
) -> None:
    """Raise FoldError if a fold's training or validation rows lack a class; `time` names the column of their times."""
    fewer = "lower folds.count, " if len(folds) > FEWEST_FOLDS else ""
    remedies = {
        "training": "lower folds.validate_share or split.label_delay_days, raise folds.sample, or add older frauds",
        "validation": f"{fewer}raise folds.validate_share, or leave out rows whose labels are not known yet",
    }
    n_times = len(np.unique(seconds))
    finer = f"; or name a finer column as time than {time}, which has {n_times} values" if n_times <= FEW_TIMES else ""
    for number, (train, block) in enumerate(folds, start=1):
        begins = timestamp_text(float(seconds[block[0]]))
        for what, part in (("training", train), ("validation", block)):
            if not 0 < (n_frauds := int(label[part].sum())) < len(part):
                raise FoldError(
                    f"fold {number} of {len(folds)}, whose validation rows begin on {begins}, has "
                    f"{counted(n_frauds, 'fraud')} in {counted(len(part), f'{what} row')}; it needs both classes: "
                    f"{remedies[what]}{finer}"
                )
