"""Windows in time order: their order, sizes and label delay, and the data that is refused."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handler.scoring.fields import SECONDS_A_DAY
from training.data.split import split_by_time, window_bounds
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.params import Split

SHARES = {"calibrate": 0.25, "test": 0.25}
DAYS = {"calibrate_days": 10, "test_days": 7}
# One row an hour; every window has both classes.
HOURLY = pd.DataFrame({"at": 3_600.0 * np.arange(1_500), "is_fraud": np.arange(1_500) % 2})


def windows_of(rows: pd.DataFrame, scorer: ScorerDeclaration, **split: float) -> dict[str, pd.DataFrame]:
    """The windows of rows with this split."""
    return split_by_time(rows, scorer.model_copy(update={"split": Split.model_validate(split)}))


def drawn_rows(half_days: list[int], data: st.DataObject) -> pd.DataFrame:
    """A row of each class at each of these times, in any order."""
    order = data.draw(st.permutations(half_days))
    seconds = np.repeat(np.array(order, dtype=float) * SECONDS_A_DAY / 2, 2)
    return pd.DataFrame({"row_id": range(len(seconds)), "at": seconds, "is_fraud": [0, 1] * len(order)})


TEST_ONLY = st.just({"test": 0.25}) | st.fixed_dictionaries({"test_days": st.sampled_from([2.0, 5.5, 10.0])})
WITH_CALIBRATION = st.just(SHARES) | st.fixed_dictionaries(dict.fromkeys(DAYS, st.sampled_from([2.0, 5.5, 10.0])))


@given(
    half_days=st.lists(st.integers(0, 60), min_size=8, max_size=80),
    split=TEST_ONLY | WITH_CALIBRATION,
    delay_days=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    data=st.data(),
)
def test_windows_are_ordered_and_share_no_timestamp(
    mini_scorer: ScorerDeclaration,
    half_days: list[int],
    split: dict[str, float],
    delay_days: float,
    data: st.DataObject,
) -> None:
    """Rows with the same timestamp are never split across windows, and only the label delay leaves rows out.

    Without a calibration window the model thus learns from every row whose label was known before the test window.
    """
    rows = drawn_rows(half_days, data)
    try:
        whole = windows_of(rows, mini_scorer, **split)
        windows = windows_of(rows, mini_scorer, **split, label_delay_days=delay_days)
    except DataError:
        assume(False)
    assert sorted(pd.concat(whole.values())["row_id"]) == list(range(len(rows)))
    bounds = window_bounds(np.sort(rows["at"].to_numpy()), Split.model_validate(split))
    if "test_days" in split:
        assert bounds["test"][0] == rows["at"].max() - split["test_days"] * SECONDS_A_DAY
    if "calibrate_days" in split:
        assert bounds["calibrate"][0] == bounds["test"][0] - split["calibrate_days"] * SECONDS_A_DAY
    for earlier, later in pairwise(whole):
        start = bounds[later][0]
        assert whole[earlier]["at"].max() < start <= whole[later]["at"].min()
        labelled = whole[earlier][whole[earlier]["at"] < start - delay_days * SECONDS_A_DAY]
        pd.testing.assert_frame_equal(windows[earlier], labelled.reset_index(drop=True))
    pd.testing.assert_frame_equal(windows["test"], whole["test"])


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        ({"test": 0.2}, {"train": 1_200, "test": 300}),
        ({"test": 0.2, "label_delay_days": 2}, {"train": 1_200 - 48, "test": 300}),
        # The last row ends the last day, and the row exactly seven days before it is in the test window too.
        ({"test_days": 7, "label_delay_days": 2}, {"train": 1_500 - 1 - (7 + 2) * 24, "test": 7 * 24 + 1}),
        (SHARES, {"train": 750, "calibrate": 375, "test": 375}),
        (SHARES | {"label_delay_days": 2}, {"train": 750 - 48, "calibrate": 375 - 48, "test": 375}),
        (
            DAYS | {"label_delay_days": 2},
            {"train": 1_500 - 1 - (7 + 10 + 2) * 24, "calibrate": (10 - 2) * 24, "test": 7 * 24 + 1},
        ),
    ],
)
def test_windows_have_the_declared_sizes(
    mini_scorer: ScorerDeclaration, split: dict[str, float], sizes: dict[str, int]
) -> None:
    """Windows cover their shares of the rows, or their days; earlier rows train, except in the label delay."""
    assert {name: len(rows) for name, rows in windows_of(HOURLY, mini_scorer, **split).items()} == sizes


def test_more_history_extends_only_the_training_window(mini_scorer: ScorerDeclaration) -> None:
    """With windows of days, older rows do not change the later windows."""
    whole, recent = (windows_of(rows, mini_scorer, **DAYS) for rows in (HOURLY, HOURLY.tail(900)))
    for name in ("calibrate", "test"):
        pd.testing.assert_frame_equal(whole[name], recent[name])
    assert len(whole["train"]) - len(recent["train"]) == 600


def test_rows_with_the_same_timestamp_keep_their_order(mini_scorer: ScorerDeclaration) -> None:
    """The order is kept, so that every machine trains on the same sequence."""
    windows = windows_of(HOURLY.assign(at=HOURLY.index % 10 * 60.0, number=HOURLY.index), mini_scorer, **SHARES)
    assert (windows["train"].groupby("at")["number"].diff().dropna() > 0).all()


LENGTHEN = "lengthen it (split), or leave out the latest rows if their labels are not known yet"
SHORTEN = "add older rows of both classes, or shorten the test window or the label delay (split)"
REMOVE = "lengthen it, or remove it from split: the validation blocks of the folds then calibrate"
ONE_CLASS: npt.NDArray[np.intp] = np.where(np.arange(1_500) < 1_000, np.arange(1_500) % 2, 0)
EARLY = np.arange(1_500) < 1_331


@pytest.mark.parametrize(
    ("split", "label", "content", "remedy"),
    [
        ({"test_days": 70}, HOURLY["is_fraud"], "train window has no rows", SHORTEN),
        (DAYS | {"label_delay_days": 10}, HOURLY["is_fraud"], "calibrate window has no rows", REMOVE),
        ({"test": 0.25}, ONE_CLASS, "test window has only is_fraud = 0 in 375 rows", LENGTHEN),
        # Frauds in the last week only, then frauds before the last week only.
        ({"test_days": 14}, HOURLY.index >= 1_332, "train window has only is_fraud = 0 in 1,163 rows", SHORTEN),
        (
            {"test_days": 7},
            (HOURLY["is_fraud"] == 1) & (HOURLY.index < 1_331),
            "test window has only is_fraud = 0 in 169 rows",
            LENGTHEN,
        ),
    ],
    ids=["longer than the history", "shorter than the delay", "one class", "late frauds", "no late frauds"],
)
def test_window_without_both_classes_is_named(
    mini_scorer: ScorerDeclaration, split: dict[str, float], label: npt.NDArray[np.intp], content: str, remedy: str
) -> None:
    """A window that lacks a class is refused by its name, with a remedy."""
    with pytest.raises(DataError) as caught:
        windows_of(HOURLY.assign(is_fraud=np.asarray(label, np.int8)), mini_scorer, **split)
    assert str(caught.value) == f"the {content}; it must have both classes: {remedy}"


@pytest.mark.parametrize("split", [{"test": 0.2}, {"test_days": 7.0}, {"calibrate": 0.2, "test": 0.2}])
def test_one_time_has_no_later_window(split: dict[str, float]) -> None:
    """Rows that all have the same time cannot be split by time; the message says which time it is."""
    with pytest.raises(DataError) as caught:
        window_bounds(np.full(900, 1_609_459_200.0), Split.model_validate(split))
    assert str(caught.value) == (
        "all 900 rows have the same time, 2021-01-01T00:00:00, but the test window must be later than the training "
        "window: name a finer column as time, or add rows with other times"
    )


@given(st.lists(st.integers(1, 50), min_size=3, max_size=12))
def test_few_different_times_leave_no_window_empty(sizes: list[int]) -> None:
    """With at least as many distinct times as windows, each window has rows, however many rows share a time."""
    seconds = np.repeat(np.arange(len(sizes), dtype=float), sizes)
    for split in (Split(test=0.2), Split(calibrate=0.2, test=0.2)):
        bounds = window_bounds(seconds, split).values()
        windows = [(seconds >= start) & (seconds < end) for start, end in bounds]
        assert all(window.any() for window in windows)
        assert (sum(window.astype(int) for window in windows) == 1).all()
