"""History features of all rows at once equal the fold of one event at a time, to the last bit."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score
from xgboost import XGBClassifier

from handler.scoring.history import DAY, History
from tests.entity_takes import CARD, CARD_AND_PAIR, FIELDS, contract_of, declared_takes
from training.data import folded_sample, past_features
from training.data.entity_fold import fold_rows
from training.data.folded_sample import require_equal_to_fold, sampled_places
from training.data.past_features import history_columns
from training.data.past_rows import PastRows, Texts
from training.errors import DataError
from training.params import Compute
from training.run.processes import Workers

N = 4_000


def drawn_rows(seed: int) -> pd.DataFrame:
    """Rows of few cards, with ties, missing values and amounts of any size."""
    draw = np.random.default_rng(seed)
    gaps = draw.choice([0, 1, 7, 100, 900, 4_000, 90_000], N, p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.07, 0.03])
    amounts = np.where(draw.random(N) < 0.1, np.nan, np.round(draw.lognormal(3, 3, N), 2))
    amounts[::97] = 1e14
    return pd.DataFrame(
        {
            "at": 1_700_000_000 + np.cumsum(gaps) + draw.choice([0.0, 0.25], N),
            "card": draw.choice([*(f"c{number}" for number in range(40)), "none", "", None], N),
            "device": draw.choice([*"abcdefgh", "", None], N),
            "amount": amounts,
            "weight": np.where(draw.random(N) < 0.1, np.nan, draw.normal(0, 50, N)),
            "label": (draw.random(N) < 0.1).astype(int),
        }
    ).sort_values("at", ignore_index=True)


def past_rows(rows: pd.DataFrame) -> PastRows:
    """The rows as the stage reads them."""
    return PastRows(
        rows["at"].to_numpy(),
        rows["label"].to_numpy(),
        {name: Texts.of([pa.array(rows[name], pa.string(), from_pandas=True)]) for name in ("card", "device")},
        {name: rows[name].to_numpy(np.float64) for name in ("amount", "weight")},
    )


def by_fold(rows: pd.DataFrame, history: History) -> dict[str, np.ndarray]:
    """The same features computed by the fold, one row after the other."""
    past = past_rows(rows)
    columns = {name: np.full(len(rows), np.nan) for name in history.features}
    names = list(history.entities)
    for folded in fold_rows(past, contract_of(history), Workers(Compute(), 1), scorer="", is_read=True):
        for feature, values in zip(history.features_of(names[folded.entity]), folded.features.T, strict=True):
            columns[feature][folded.places] = values
    return columns


@pytest.mark.parametrize(("seed", "block_rows"), [(1, 250_000), (2, 50), (3, 1)])
def test_all_at_once_equals_the_fold(seed: int, block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every feature of every row is equal to the last bit, also if blocks have few rows."""
    monkeypatch.setattr(past_features, "BLOCK_ROWS", block_rows)
    rows, history = drawn_rows(seed), declared_takes(CARD_AND_PAIR)
    expected = by_fold(rows, history)
    columns = history_columns(past_rows(rows), history, FIELDS)
    assert list(columns) == list(history.features)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


@pytest.mark.parametrize("n_rows", [1, 500, 3_999])
def test_later_rows_change_nothing(n_rows: int) -> None:
    """Features of the first rows are the same to the last bit, whether or not the file goes on."""
    rows, history = drawn_rows(5), declared_takes(CARD_AND_PAIR)
    whole_file = history_columns(past_rows(rows), history, FIELDS)
    begin = history_columns(past_rows(rows[:n_rows]), history, FIELDS)
    for name, values in begin.items():
        np.testing.assert_array_equal(values, whole_file[name][:n_rows])


def test_without_keys_all_is_missing() -> None:
    """If no row names a card, every feature is missing."""
    rows, history = drawn_rows(6).assign(card=None), declared_takes(CARD_AND_PAIR)
    columns = history_columns(past_rows(rows), history, FIELDS)
    assert all(np.isnan(values).all() for values in columns.values())


def test_a_card_of_nearly_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card with nine rows in ten and many devices is computed exactly, and the check samples only its first rows."""
    monkeypatch.setattr(past_features, "BLOCK_ROWS", 500)
    monkeypatch.setattr(folded_sample, "ROWS_A_KEY", 700)
    rows, history = drawn_rows(8), declared_takes(CARD_AND_PAIR)
    draw = np.random.default_rng(8)
    devices = [f"d{number}" for number in draw.integers(0, 300, N)]
    rows = rows.assign(card=rows["card"].where(draw.random(N) < 0.1, "everybody"), device=devices)
    past = past_rows(rows)
    columns = history_columns(past, history, FIELDS)
    expected = by_fold(rows, history)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
    places = dict(sampled_places(past, history, seed=1))["card"]
    assert np.bincount(past.keys(history.entities["card"])[places]).max() == 700
    require_equal_to_fold(past, contract_of(history), columns, seed=1)


def test_a_fast_path_that_is_wrong_stops_the_run() -> None:
    """A differing value in the sample stops the run with the feature, the row and both values."""
    rows, history = drawn_rows(7), declared_takes(CARD_AND_PAIR)
    past = past_rows(rows)
    columns = history_columns(past, history, FIELDS)
    require_equal_to_fold(past, contract_of(history), columns, seed=1)
    columns["max_7d"][2_000:] += 0.01
    with pytest.raises(DataError, match=r"^history\.features\.max_7d of row .* is .*, but the function would compute "):
        require_equal_to_fold(past, contract_of(history), columns, seed=1)


def test_resolution_makes_ties() -> None:
    """With a resolution of five minutes, rows within the same five minutes do not count for each other."""
    rows, history = drawn_rows(4), declared_takes(CARD_AND_PAIR, resolution="5m")
    rows["at"] = rows["at"] // 3_600 * 3_600 + np.random.default_rng(4).random(N) * 299
    rows = rows.sort_values("at", ignore_index=True)
    counted = history_columns(past_rows(rows), history, FIELDS)["count_30d"]
    first = rows["at"] // 3_600 == rows["at"][0] // 3_600
    assert set(counted[first & rows["card"].isin([f"c{number}" for number in range(40)])]) == {0.0}


def bursts_of_cards() -> pd.DataFrame:
    """Payments of forty days, in which frauds come as ten of one card within half an hour and have no other sign."""
    draw = np.random.default_rng(12)
    usual = pd.DataFrame({"at": draw.random(6_000) * 40 * DAY, "card": draw.integers(0, 400, 6_000), "label": 0})
    begins = np.repeat(draw.random(60) * 40 * DAY, 10)
    frauds = pd.DataFrame(
        {"at": begins + draw.random(600) * 1_800, "card": np.repeat(draw.integers(0, 400, 60), 10), "label": 1}
    )
    rows = pd.concat([usual, frauds]).sort_values("at", ignore_index=True)
    amounts = np.round(draw.lognormal(3, 1, len(rows)), 2)
    return rows.assign(at=rows["at"] + 1_700_000_000, card="c" + rows["card"].astype(str), amount=amounts)


def average_precision_on_later_rows(rows: pd.DataFrame, *, with_history: bool) -> float:
    """The average precision of a small model of the amount, with or without the history features."""
    history = declared_takes(CARD)
    columns = history_columns(past_rows(rows.assign(device=None, weight=0.0)), history, FIELDS)
    # `risk` is left out because it is computed from the labels themselves.
    kept = [name for name in columns if with_history and name != "risk"]
    features = np.column_stack([rows["amount"], *(columns[name] for name in kept)])
    n_train = len(rows) * 2 // 3
    model = XGBClassifier(n_estimators=40, max_depth=3, n_jobs=1, random_state=0)
    model.fit(features[:n_train], rows["label"][:n_train])
    score = model.predict_proba(features[n_train:])[:, 1]
    return float(average_precision_score(rows["label"][n_train:], score))


def test_the_gain_vanishes_with_other_cards() -> None:
    """With cards shuffled within each day, the history adds nothing."""
    rows = bursts_of_cards()
    shuffled = rows.assign(card=rows.groupby(rows["at"] // DAY)["card"].sample(frac=1, random_state=1).to_numpy())
    assert (shuffled["card"].to_numpy() != rows["card"].to_numpy()).mean() > 0.9
    without = average_precision_on_later_rows(rows, with_history=False)
    assert average_precision_on_later_rows(rows, with_history=True) > without + 0.4
    assert average_precision_on_later_rows(shuffled, with_history=True) < without + 0.05
