"""Label times: a part without frauds is refused before anything is trained, and long gaps get a warning with dates."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from training.errors import DataError
from training.intake.infer import Inferred, infer
from training.intake.label_times import check_label_times
from training.intake.suggested_params import settings_for
from training.params import Split

N = 4_000
SPLIT = Split(test=0.2)
# Each day has forty rows, two of them frauds.
DAYS = pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(N) // 40, unit="D")
USUAL = np.arange(N) % 20 == 0


def labelled(is_fraud: np.ndarray, *, has_time: bool = True) -> Inferred:
    """A file of a hundred days with these frauds."""
    rows = pd.DataFrame({"x": np.arange(N) % 7 / 2, "at": DAYS, "y": is_fraud.astype(int)})
    return infer(rows if has_time else rows.drop(columns="at"), "y", "at" if has_time else None)


def refusal(is_fraud: np.ndarray, *, has_time: bool = True) -> str:
    """The message of the refusal."""
    with pytest.raises(DataError) as refused:
        check_label_times(labelled(is_fraud, has_time=has_time), SPLIT, has_time=has_time)
    return str(refused.value)


def test_labels_all_along_are_fine() -> None:
    """Frauds at a steady rate bring neither an error nor a notice."""
    for has_time in (True, False):
        assert check_label_times(labelled(USUAL, has_time=has_time), SPLIT, has_time=has_time) == []


def test_labels_that_stop_are_refused() -> None:
    """If the last rows have no fraud, the message says since when, and how many rows these are."""
    sentence = refusal(USUAL & (np.arange(N) < 3_000))
    assert sentence.startswith("the last fraud is from 2025-03-16 00:00:00, and the 1,000 later rows have none")
    assert "until 2025-04-10 00:00:00" in sentence
    assert "leave those rows out" in sentence
    sentence = refusal(USUAL & (np.arange(N) < 3_000), has_time=False)
    assert sentence.startswith("the last fraud is in row 2,981, and the 1,019 later rows have none (until row 4,000)")


def test_labels_that_begin_late_are_refused() -> None:
    """If the rows to train on have no fraud, the message says when they end and when the first fraud is."""
    sentence = refusal(USUAL & (np.arange(N) >= 3_320))
    assert sentence.startswith("the first fraud is from 2025-03-25 00:00:00, but the training rows")
    assert "end with 2025-03-21 00:00:00: frauds before" in sentence
    assert sentence.endswith("use only the rows since then (680 rows)")


def test_frauds_alone_are_refused() -> None:
    """If all of the last rows are frauds, the message says from when to when."""
    sentence = refusal(USUAL | (np.arange(N) >= 3_000))
    assert sentence.startswith("every row from 2025-03-22 00:00:00 to 2025-04-10 00:00:00 is a fraud (800 rows)")


@pytest.mark.parametrize(
    ("is_fraud", "rows"),
    [(np.arange(N) < 300, "1 to 300"), (np.arange(N) >= 3_700, "3,701 to 4,000"), (np.arange(N) >= 50, "51 to 4,000")],
)
def test_rows_sorted_by_the_label_are_refused(is_fraud: np.ndarray, rows: str) -> None:
    """Without a time, rows that are sorted by their labels are refused."""
    sentence = refusal(is_fraud, has_time=False)
    assert sentence.startswith(f"the rows are sorted by the label (the frauds are in rows {rows})")


@pytest.mark.parametrize(
    ("has_fraud", "notice"),
    [
        (lambda row: row >= 1_000, "no fraud before 2025-01-26 00:00:00 (1,000 rows, in which about 50 frauds"),
        (lambda row: row < 3_500, "no fraud after 2025-03-29 00:00:00 (480 rows, in which about 24 frauds"),
        (
            lambda row: (row < 400) | (row >= 1_400),
            "no fraud between 2025-01-10 00:00:00 and 2025-02-05 00:00:00 (1,0",
        ),
    ],
)
def test_long_gaps_are_told(has_fraud: Callable[[np.ndarray], np.ndarray], notice: str) -> None:
    """A period of full traffic without a fraud gets a warning with its dates, its rows and the usual frauds."""
    [warning] = check_label_times(labelled(USUAL & has_fraud(np.arange(N))), SPLIT, has_time=True)
    assert warning.startswith(f"WARNING: {notice}")


def test_rows_at_the_time_of_a_fraud_are_in_no_gap() -> None:
    """If only the month is known, the order of rows within it means nothing."""
    month = np.repeat(np.arange(8.0), N // 8)
    rows = pd.DataFrame({"x": np.arange(N) % 7 / 2, "month": month, "y": (np.arange(N) % (N // 8) < 30).astype(int)})
    assert check_label_times(infer(rows, "y", "month"), SPLIT, has_time=True) == []


@pytest.mark.parametrize(("first", "end"), [(400, 1_400), (1_150, 2_000), (1_000, 2_200), (600, 1_900)])
def test_folds_go_around_a_gap(first: int, end: int) -> None:
    """If the usual folds lack frauds because of the gap, other folds are chosen."""
    row = np.arange(N)
    file = labelled(USUAL & ((row < first) | (row >= end)))
    assert settings_for(file)["folds"].startswith("{count: ")


def test_frauds_at_one_time_are_refused() -> None:
    """Frauds of a single day can be in only one fold; the message avoids the project's own terms."""
    with pytest.raises(
        DataError, match="the training rows, the first 80% of the file, have 20 frauds at too few"
    ) as no:
        settings_for(labelled(np.arange(N) // 40 * (np.arange(N) % 2) == 20))
    for word in ("folds", "split", "params"):
        assert word not in str(no.value)
