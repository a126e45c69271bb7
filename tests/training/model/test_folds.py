"""Prequential folds: blocks in time order, models that learn only from what was known before, and clear refusals."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.split import FoldError, check_folds, prequential_positions
from training.data.window import Window, read_training
from training.declaration import ScorerDeclaration
from training.model.encoder import FeatureEncoder
from training.model.folds import Fold, out_of_time_margins, resample_folds, training_folds
from training.params import Folds, Split
from training.run import processes
from training.run.matrix import Labels, Matrix, Positions

COUNTRY = 3

Frame = pd.DataFrame
Scorer = ScorerDeclaration
Seconds = npt.NDArray[np.float64]
FoldsOf = Callable[..., list[Fold]]
WindowOf = Callable[..., Window]


@pytest.fixture
def rows(mini_windows: dict[str, Frame]) -> Frame:
    """The first 900 rows of the mini scorer's training window, in time order."""
    return mini_windows["train"].head(900)


@pytest.fixture
def folds_of(window_of: WindowOf, mini_scorer: Scorer, mini_catalogue: Frame) -> FoldsOf:
    """Make the folds of a training window with these rows, as the mini scorer or another one declares them."""

    def make(rows: Frame, scorer: ScorerDeclaration = mini_scorer) -> list[Fold]:
        return training_folds(window_of(rows), scorer, mini_catalogue)

    return make


def every_third(n_rows: int) -> Labels:
    """Labels in which every third row is fraud."""
    return (np.arange(n_rows) % 3 == 0).astype(np.int8)


def with_folds(scorer: ScorerDeclaration, **keys: float) -> ScorerDeclaration:
    """The scorer with other folds."""
    return scorer.model_copy(update={"folds": scorer.folds.model_copy(update=keys)})


def test_blocks_are_equal_parts_of_the_latest_rows() -> None:
    """Three blocks over half of 24 rows hold four each; every model learns from all rows before its block."""
    folds = prequential_positions(np.arange(24.0), every_third(24), Folds(count=3, validate_share=0.5), 0)
    assert [block.tolist() for _, block in folds] == [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21, 22, 23]]
    assert [train.tolist() for train, _ in folds] == [list(range(12)), list(range(16)), list(range(20))]


# The times of 30 to 80 rows in order, some of them equal.
TIMES = st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=30, max_size=80).map(np.cumsum)
DECLARED = st.builds(Folds, count=st.integers(2, 4), validate_share=st.sampled_from([0.3, 0.5, 0.7]))


@settings(max_examples=200)
@given(TIMES, DECLARED, st.sampled_from([0.0, 1.0, 7.0]))
def test_blocks_are_in_time_order(seconds: Seconds, declared: Folds, delay: float) -> None:
    """The validation blocks cover the latest rows once; a model learns from exactly the rows known before its block.

    Rows with the same time are in one block, and never both in training and validation.
    """
    try:
        folds = prequential_positions(seconds, every_third(len(seconds)), declared, delay)
    except FoldError:  # ties leave a part without a class
        return
    covered = np.concatenate([block for _, block in folds])
    np.testing.assert_array_equal(covered, np.arange(covered[0], len(seconds)))
    for (_, block), (_, following) in pairwise(folds):
        assert seconds[block[-1]] < seconds[following[0]]
    for train, block in folds:
        np.testing.assert_array_equal(train, np.flatnonzero(seconds < seconds[block[0]] - delay))


@given(st.integers(40, 400), DECLARED)
def test_blocks_hold_equally_many_rows(n_rows: int, declared: Folds) -> None:
    """If all times differ, block sizes differ by at most one row, and blocks cover the declared share."""
    folds = prequential_positions(np.arange(float(n_rows)), every_third(n_rows), declared, 0)
    sizes = [len(block) for _, block in folds]
    assert len(sizes) == declared.count
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == pytest.approx(declared.validate_share * n_rows, abs=1)


LEARN = "lower folds.validate_share or split.label_delay_days, raise folds.sample, or add older frauds"
VALIDATE = "raise folds.validate_share, or leave out rows whose labels are not known yet"
BOTH = "it needs both classes"


@pytest.mark.parametrize(
    ("n_rows", "frauds", "count", "delay", "message"),
    [
        (
            100,
            [10, 60, 80],
            3,
            0,
            "3 frauds in the training window are too few for folds.count 3; lower folds.count, or add more rows",
        ),
        (100, [10, 80], 2, 0, "2 frauds in the training window are too few for folds.count 2; add more rows"),
        (100, [10], 2, 0, "1 fraud in the training window is too few for folds.count 2; add more rows"),
        (
            2_000,
            range(0, 1_300, 10),
            2,
            0,
            (
                "fold 2 of 2, whose validation rows begin on 1,500, has 0 frauds in 500 validation rows; "
                f"{BOTH}: {VALIDATE}"
            ),
        ),
        (
            2_000,
            range(0, 1_300, 10),
            3,
            0,
            (
                "fold 2 of 3, whose validation rows begin on 1,333, has 0 frauds in 334 validation rows; "
                f"{BOTH}: lower folds.count, {VALIDATE}"
            ),
        ),
        # Frauds in the last week only.
        (
            100,
            range(50, 100, 3),
            2,
            0,
            (f"fold 1 of 2, whose validation rows begin on 50, has 0 frauds in 50 training rows; {BOTH}: {LEARN}"),
        ),
        # No label before the first block would have been known.
        (
            60,
            range(0, 60, 3),
            3,
            40,
            (f"fold 1 of 3, whose validation rows begin on 30, has 0 frauds in 0 training rows; {BOTH}: {LEARN}"),
        ),
    ],
)
def test_folds_without_frauds(n_rows: int, frauds: Sequence[int], count: int, delay: float, message: str) -> None:
    """Folds that lack a class are refused with their numbers and a remedy, before anything is encoded."""
    label = np.zeros(n_rows, dtype=np.int8)
    label[list(frauds)] = 1
    with pytest.raises(FoldError) as caught:
        prequential_positions(np.arange(float(n_rows)), label, Folds(count=count), delay)
    assert str(caught.value) == message


DAY, YEAR_2021 = 86_400.0, 1_609_459_200.0


def test_a_coarse_time_reduces_the_folds() -> None:
    """Rows of one time stay in one block, so three distinct times make at most two blocks, whatever is declared."""
    seconds = np.repeat([0.0, 30 * DAY, 60 * DAY], 30)
    folds = prequential_positions(seconds, every_third(90), Folds(count=4, validate_share=0.5), 7 * DAY)
    assert [(len(train), len(block)) for train, block in folds] == [(30, 30), (60, 30)]


TOGETHER, OLDER = (
    "rows with the same time stay together, and the training window has only",
    "name a finer column than at as time, or",
)


@pytest.mark.parametrize(
    ("n_times", "frauds", "message"),
    [
        (
            1,
            range(0, 60, 3),
            (
                f"{TOGETHER} 1 time (2021-01-01T00:00:00 to 2021-01-01T00:00:00), enough for 0 folds instead of 3; at "
                f"least 2 are needed: {OLDER} add older rows"
            ),
        ),
        (
            2,
            range(0, 60, 3),
            (
                f"{TOGETHER} 2 times (2021-01-01T00:00:00 to 2021-01-02T00:00:00), enough for 1 fold instead of 3; at "
                f"least 2 are needed: {OLDER} add older rows"
            ),
        ),
        (
            3,
            range(0, 20, 3),
            (
                "fold 1 of 2, whose validation rows begin on 2021-01-02T00:00:00, has 0 frauds in 20 validation rows; "
                f"{BOTH}: {VALIDATE}; or name a finer column as time than at, which has 3 values"
            ),
        ),
    ],
)
def test_a_time_too_coarse_for_folds_is_named(n_times: int, frauds: Sequence[int], message: str) -> None:
    """If too few distinct times make folds impossible, the message names the times and their column."""
    label = np.zeros(60, dtype=np.int8)
    label[list(frauds)] = 1
    seconds = np.repeat(YEAR_2021 + DAY * np.arange(n_times), 60 // n_times)
    with pytest.raises(FoldError) as caught:
        prequential_positions(seconds, label, Folds(count=3), 0, "at")
    assert str(caught.value) == message


def test_a_delay_is_a_cause_beside_a_coarse_time() -> None:
    """With monthly times and labels that take over a year, the message names both the delay and the coarse time."""
    with pytest.raises(FoldError) as caught:
        prequential_positions(np.repeat(30 * DAY * np.arange(12), 30), every_third(360), Folds(), 400 * DAY, "month")
    assert str(caught.value) == (
        "fold 1 of 4, whose validation rows begin on 15,552,000, has 0 frauds in 0 training rows; it needs both "
        f"classes: {LEARN}; or name a finer column as time than month, which has 12 values"
    )


@pytest.mark.parametrize(("share", "left"), [(0.001, "0 rows"), (0.0025, "1 row"), (0.008, "3 rows")])
def test_a_share_of_fewer_rows_than_folds_is_named(share: float, left: str) -> None:
    """If the validation blocks would have less than a row each, the message says to raise their share."""
    with pytest.raises(FoldError) as caught:
        prequential_positions(np.arange(400.0), every_third(400), Folds(count=4, validate_share=share), 0)
    assert str(caught.value) == (
        f"folds.validate_share is {share:g}, which leaves {left} of the 400 in the training window for the blocks of 4 "
        "folds; raise it"
    )


def test_a_row_in_each_block_is_enough_to_cut() -> None:
    """With as many validation rows as folds, each block has one row, and is refused because it lacks a class."""
    with pytest.raises(FoldError, match=r"^fold 1 of 4, .* in 1 validation row; it needs both classes"):
        prequential_positions(np.arange(400.0), every_third(400), Folds(count=4, validate_share=0.01), 0)


def test_a_block_of_frauds_only() -> None:
    """A block without a legitimate row is refused like one without a fraud."""
    seconds, label = np.arange(100.0), np.append(every_third(80), np.ones(20, dtype=np.int8))
    folds = [(np.arange(60), np.arange(60, 80)), (np.arange(80), np.arange(80, 100))]
    with pytest.raises(FoldError, match=r"^fold 2 of 2, .* on 80, has 20 frauds in 20 validation rows; it needs"):
        check_folds(folds, seconds, label)


def test_folds_of_a_window_are_encoded(rows: Frame, folds_of: FoldsOf) -> None:
    """Three folds cover the later half of 900 rows, with all eight features and the label of each row."""
    folds = folds_of(rows)
    assert [fold.train.shape for fold in folds] == [(450, 8), (600, 8), (750, 8)]
    assert [fold.validate.shape for fold in folds] == [(150, 8)] * 3
    np.testing.assert_array_equal(folds[1].train_label, rows["is_fraud"][:600])
    np.testing.assert_array_equal(folds[1].validate_label, rows["is_fraud"][600:750])
    np.testing.assert_array_equal(folds[1].validate[:, 0], rows["amount"][600:750].astype(np.float32))


def test_folds_have_the_entities_of_their_validation_rows(rows: Frame, mini_scorer: Scorer, folds_of: FoldsOf) -> None:
    """Rows of one card share a number, so intervals over folds can resample cards; without an entity there are none."""
    assert [fold.validate_groups for fold in folds_of(rows)] == [None] * 3
    card = np.arange(len(rows)) // 5
    carded = folds_of(rows.assign(card=card), mini_scorer.model_copy(update={"entity": "card"}))
    assert [fold.validate_groups.tolist() for fold in carded] == [(np.arange(150) // 5).tolist()] * 3


def test_label_delay_of_the_split_counts_between_folds(rows: Frame, mini_scorer: Scorer, folds_of: FoldsOf) -> None:
    """The declared delay excludes rows whose labels were not yet known when each block begins."""
    split = Split(test=0.2, label_delay_days=2)
    folds = folds_of(rows, mini_scorer.model_copy(update={"split": split}))
    for start, fold in zip((450, 600, 750), folds, strict=True):
        assert len(fold.train) == (rows["at"] < rows["at"][start] - 2 * 86_400).sum() < start
        assert len(fold.validate) == 150


def test_sampling_touches_training_rows_only(rows: Frame, mini_scorer: Scorer, folds_of: FoldsOf) -> None:
    """With a sample of half the rows, each model learns from about half, and validates on every row of its block."""
    rows = rows.assign(country="DE")
    sampled = folds_of(rows, with_folds(mini_scorer, sample=0.5))
    for fold, whole in zip(sampled, folds_of(rows), strict=True):
        assert len(fold.train) == len(fold.train_label) == pytest.approx(len(whole.train) / 2, rel=0.15)
        assert {row.tobytes() for row in fold.train} <= {row.tobytes() for row in whole.train}
        assert fold.validate.tobytes() == whole.validate.tobytes()
        assert fold.validate_label.tobytes() == whole.validate_label.tobytes()


def test_one_row_is_sampled_for_all_folds_or_for_none(rows: Frame, mini_scorer: Scorer, folds_of: FoldsOf) -> None:
    """The sample is drawn once with the scorer's seed, so an earlier fold's rows are the first of a later fold's."""
    scorer = with_folds(mini_scorer, sample=0.5)
    first, second, third = folds_of(rows, scorer)
    for earlier, later in ((first, second), (second, third)):
        np.testing.assert_array_equal(later.train[: len(earlier.train), 0], earlier.train[:, 0])
    np.testing.assert_array_equal(folds_of(rows, scorer)[0].train, first.train)


def test_a_sample_too_small_to_learn_from(rows: Frame, mini_scorer: Scorer, folds_of: FoldsOf) -> None:
    """A sample that loses every fraud is refused, and the sentence says that the sample may be raised."""
    with pytest.raises(FoldError, match=r"^fold 1 of 3, .* has 0 frauds in 0 training rows; .* raise folds.sample, or"):
        folds_of(rows, with_folds(mini_scorer, sample=0.001))


def test_vocabulary_is_the_training_rows_own(rows: Frame, folds_of: FoldsOf) -> None:
    """A country that first appears in a block is "other" there, and known to the next fold's model."""
    late = rows.assign(country=rows["country"].where(rows.index < 600, "late"))
    _, second, third = folds_of(late)
    assert (second.validate[:, COUNTRY] == 0).all()
    assert (third.validate[:, COUNTRY] > 0).all()


def test_the_encoder_learns_nothing_from_validation_rows(
    rows: Frame, mini_scorer: Scorer, mini_catalogue: Frame, folds_of: FoldsOf
) -> None:
    """Training rows are encoded the same, whatever the validation rows contain."""
    other = rows.assign(country=rows["country"].where(rows.index < 450, "FR"))
    [first, *_], [changed, *_] = (folds_of(variant) for variant in (rows, other))
    assert changed.train.tobytes() == first.train.tobytes()
    encoder = FeatureEncoder(mini_scorer.contract, mini_catalogue).fit(rows[:450])
    assert first.validate.tobytes() == encoder.transform(rows[450:600]).tobytes()


def test_resampling_leaves_validation_rows(rows: Frame, mini_scorer: Scorer, folds_of: FoldsOf) -> None:
    """Resampled folds learn from more frauds and are validated on the same rows."""
    folds = folds_of(rows)
    for fold, resampled in zip(folds, resample_folds(folds, mini_scorer), strict=True):
        assert resampled.train_label.sum() == int(0.3 * (fold.train_label == 0).sum()) > fold.train_label.sum()
        assert resampled.validate is fold.validate
        assert resampled.validate_label is fold.validate_label


def test_out_of_time_margins_are_those_of_earlier_rows() -> None:
    """Each validation row has a margin, in order, from the model of rows known before its block."""
    folds = prequential_positions(np.arange(24.0), every_third(24), Folds(count=3, validate_share=0.5), 2)

    def margins_of(train: Positions, block: Positions) -> Matrix:
        # Encodes the newest row that was learned from and, in the decimals, the row itself.
        return (train.max() + block / 100).astype(np.float32)

    positions, margins = out_of_time_margins(folds, margins_of)
    assert positions.tolist() == list(range(12, 24))
    np.testing.assert_allclose(margins, np.repeat([9, 13, 17], 4) + np.arange(12, 24) / 100, rtol=1e-6)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run in this process, because starting others takes seconds."""
    monkeypatch.setattr(processes.joblib, "cpu_count", lambda: 1)


@pytest.mark.usefixtures("one_process")
def test_row_groups_change_no_fold(
    rows: Frame,
    mini_scorer: Scorer,
    mini_catalogue: Frame,
    folds_of: FoldsOf,
    window_of: WindowOf,
) -> None:
    """Folds are the same to the bit, whatever the row groups of the window's file."""
    cut_up = training_folds(window_of(rows, group_rows=200), mini_scorer, mini_catalogue)
    for fold, whole in zip(cut_up, folds_of(rows), strict=True):
        assert fold.train.tobytes() == whole.train.tobytes()
        assert fold.validate.tobytes() == whole.validate.tobytes()


def test_read_training_knows_the_country_na(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini_scorer: ScorerDeclaration
) -> None:
    """Rows and catalogue come from the stages' files, and a catalogue name such as NA is not read as missing."""
    folder = tmp_path / "build" / "mini"
    (folder / "rows").mkdir(parents=True)
    pd.DataFrame({"amount": [1.5, np.nan]}).to_parquet(folder / "rows" / "train.parquet")
    (folder / "catalogue.csv").write_text("field,name,category\nitem,NA,Food\nitem,007,Toys\n")
    monkeypatch.chdir(tmp_path)
    rows, catalogue = read_training(mini_scorer, "mini")
    assert rows["amount"].isna().tolist() == [False, True]
    assert catalogue.to_dict("list") == {"field": ["item"] * 2, "name": ["NA", "007"], "category": ["Food", "Toys"]}
