"""Unlikely combinations, from a table written by hand and from those that training learns."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import product
from math import exp, nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.scoring.combinations import MIN_NEGATIVE_LIFT, Combinations, binner
from handler.scoring.scorer import Scorer
from training.data.requests import field_values
from training.model.combinations import learn_combinations
from training.model.encoder import encode_rows

BUILD = Path(__file__).parents[3] / "build"
# A chain (ETH, BTC, or missing), a token that depends on it (USDT, ETH, BTC, or missing), an independent amount.
CHAIN, TOKEN, AMOUNT = range(3)
USUAL, RARE = -1.0, -9.0
TABLE: dict[str, Any] = {
    "bins": [{"codes": [0, 1]}, {"codes": [0, 1, 2]}, {"edges": [10.0, 100.0]}],
    "parents": [-1, CHAIN, -1],
    "tables": [
        [[RARE, USUAL, USUAL]],
        [
            [USUAL, USUAL, USUAL, USUAL],
            [USUAL, USUAL, USUAL, RARE],
            [RARE, RARE, RARE, USUAL],
        ],
        [[USUAL, USUAL, USUAL, RARE]],
    ],
    "marginals": [[RARE, USUAL, USUAL], [USUAL] * 4, [USUAL, USUAL, USUAL, RARE]],
    "limit": -8.0,
}


@pytest.mark.parametrize(
    ("bins", "places"),
    [
        (
            {"edges": [10.0, 100.0]},
            {nan: 0, -1e300: 1, 9.999: 1, 10.0: 1, 10.001: 2, 100.0: 2, 100.5: 3, 3e38: 3},
        ),
        ({"edges": []}, {nan: 0, -1.0: 1, 1e9: 1}),
        ({"codes": [2, 0, 2, 1]}, {nan: 0, 0.0: 3, 1.0: 1, 2.0: 3, 3.0: 2}),
    ],
    ids=["number", "number without edges", "category"],
)
def test_each_value_has_its_bin(bins: dict[str, Any], places: dict[float, int]) -> None:
    """Missing values have the first bin; an edge is the last value of its bin; rare categories share one bin."""
    bin_of = binner(bins)
    assert {value: bin_of(value) for value in places} == places


@pytest.mark.parametrize(
    ("vectors", "pair"),
    [
        ([[0.0, 0.0, 5.0], [0.0, 1.0, 50.0], [1.0, 2.0, 5.0], [0.0, nan, 5.0], [1.0, 2.0, nan]], None),
        ([[0.0, 2.0, 5.0], [1.0, 0.0, 5.0], [1.0, 1.0, 50.0], [1.0, nan, 5.0]], (CHAIN, TOKEN)),
        ([[nan, 0.0, 5.0], [0.0, 0.0, 500.0], [nan, 0.0, 500.0]], None),
    ],
    ids=["usual", "unlikely", "rare by itself"],
)
def test_an_unlikely_combination_is_named(vectors: list[list[float]], pair: tuple[int, int] | None) -> None:
    """A pair is a feature and one that depends on it. Missing is a value, too; a rare value alone makes no pair."""
    assert [Combinations(TABLE).unlikely_pair(vector) for vector in vectors] == [pair] * len(vectors)


def test_of_several_pairs_the_least_likely_is_named() -> None:
    """It is named even if another pair comes first."""
    learned = {
        "bins": [{"codes": [0, 1]}] * 3,
        "parents": [-1, 0, 1],
        "tables": [
            [[USUAL] * 3],
            [[USUAL] * 3, [USUAL] * 3, [USUAL, -5.0, USUAL]],
            [[USUAL] * 3, [USUAL, USUAL, -6.0], [USUAL] * 3],
        ],
        "marginals": [[USUAL] * 3] * 3,
        "limit": -8.0,
    }
    assert Combinations(learned).unlikely_pair([1.0, 0.0, 1.0]) == (1, 2)
    assert Combinations(learned).unlikely_pair([1.0, 0.0, 0.0]) is None


@pytest.mark.parametrize(
    ("marginal", "pair"),
    [
        (USUAL, (CHAIN, TOKEN)),
        (RARE + MIN_NEGATIVE_LIFT + 0.01, (CHAIN, TOKEN)),
        (RARE + MIN_NEGATIVE_LIFT, None),
        (RARE, None),
    ],
)
def test_a_pair_is_named_if_its_values_avoid_each_other(marginal: float, pair: tuple[int, int] | None) -> None:
    """They occur together less than a tenth as often as by chance; a value that is rare by itself makes no pair."""
    marginals = [*TABLE["marginals"]]
    marginals[TOKEN] = [marginal] * 4
    assert Combinations({**TABLE, "marginals": marginals}).unlikely_pair([1.0, 0.0, 5.0]) == pair


def test_a_vector_at_the_limit_is_not_unlikely() -> None:
    """Only a vector below the limit is."""
    total = USUAL + RARE + USUAL
    vector = [1.0, 0.0, 5.0]
    assert Combinations({**TABLE, "limit": total}).unlikely_pair(vector) is None
    assert Combinations({**TABLE, "limit": total + 0.001}).unlikely_pair(vector) == (CHAIN, TOKEN)


N_ROWS = 4000
CHAINS, TOKENS = ("other", "ETH", "BTC", "TRON"), ("other", "ETH", "BTC", "TRX")


def payments(n_odd: int = 2) -> npt.NDArray[np.float32]:
    """Chain, token and amount: all tokens but a few are on their own chain; the amount is independent."""
    rng = np.random.default_rng(7)
    chain = rng.integers(1, 4, N_ROWS)
    token = chain.copy()
    token[:n_odd] = chain[:n_odd] % 3 + 1
    return np.stack([chain, token, rng.lognormal(size=N_ROWS)], axis=1).astype(np.float32)


def rows_of(matrix: npt.NDArray[np.float32]) -> list[list[float]]:
    """The rows as lists of Python floats, as the function has them."""
    rows: list[list[float]] = matrix.astype(np.float64).tolist()
    return rows


@pytest.fixture(scope="module")
def learned() -> Combinations:
    """The combinations learned from those payments, as read back from a bundle."""
    return Combinations(json.loads(json.dumps(learn_combinations(payments(), [CHAINS, TOKENS, None]))))


def test_learned_pairs_are_named_if_unlikely(learned: Combinations) -> None:
    """Each of their values alone is usual. A usual pair is not named with any amount, because it is independent."""
    for chain, token in ((1.0, 2.0), (2.0, 3.0), (3.0, 1.0), (1.0, 3.0)):
        assert learned.unlikely_pair([chain, token, 1.0]) in {(0, 1), (1, 0)}
    for value, amount in product((1.0, 2.0, 3.0), (0.1, 1.0, 10.0)):
        assert learned.unlikely_pair([value, value, amount]) is None


def test_a_missing_value_where_none_was_missing_is_unlikely() -> None:
    """So is a value where all were missing; a value that never occurred in training is no combination."""
    matrix = payments(n_odd=0)
    matrix[matrix[:, 0] == 2, 1] = np.nan
    learned = Combinations(learn_combinations(matrix, [CHAINS, TOKENS, None]))
    assert learned.unlikely_pair([2.0, nan, 1.0]) is None
    assert learned.unlikely_pair([1.0, nan, 1.0]) in {(0, 1), (1, 0)}
    assert learned.unlikely_pair([2.0, 1.0, 1.0]) in {(0, 1), (1, 0)}
    assert learned.unlikely_pair([2.0, 2.0, 1.0]) is None


def test_a_number_may_depend_on_a_category() -> None:
    """A price that is usual in one category is unlikely in another."""
    matrix = payments(n_odd=0)
    matrix[:, 2] = np.where(matrix[:, 0] == 1, 10, 1000) * matrix[:, 2].clip(0.5, 2)
    learned = Combinations(learn_combinations(matrix, [CHAINS, TOKENS, None]))
    assert learned.unlikely_pair([2.0, 2.0, 1000.0]) is None
    pair = learned.unlikely_pair([1.0, 1.0, 1000.0])
    assert pair is not None
    assert 2 in pair


def test_rare_labels_share_a_bin() -> None:
    """Only the most frequent of 200 labels have their own bin; a rare one makes no combination."""
    labels = [str(number) for number in range(200)]
    column = np.minimum(np.random.default_rng(7).geometric(0.03, N_ROWS), 199)
    learned = Combinations(learn_combinations(column[:, None].astype(np.float32), [labels]))
    assert [learned.unlikely_pair([float(code)]) for code in range(200)] == [None] * 200


@st.composite
def matrices(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], list[Sequence[str] | None]]:
    """A training matrix of any size: numbers and categories, some dependent on the column before, some missing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_rows, n_features = draw(st.integers(1, 3000)), draw(st.integers(1, 5))
    columns, labels = [], []
    for _ in range(n_features):
        if draw(st.booleans()):
            n_labels = draw(st.integers(2, 40))
            column = rng.integers(0, n_labels, n_rows).astype(np.float32)
            if columns and draw(st.booleans()):
                column = np.nan_to_num(columns[-1]).clip(0, n_labels - 1).round()
            labels.append([str(code) for code in range(n_labels)])
        else:
            column = draw(st.sampled_from([rng.normal, rng.standard_cauchy, rng.exponential]))(size=n_rows)
            column = column.round(draw(st.integers(0, 3))).astype(np.float32)
            labels.append(None)
        column[rng.random(n_rows) < draw(st.sampled_from([0, 0.1, 0.9, 1]))] = np.nan
        columns.append(column)
    return np.stack(columns, axis=1), labels


@given(matrices())
def test_at_most_one_training_row_in_a_thousand_is_unlikely(
    drawn: tuple[npt.NDArray[np.float32], list[Sequence[str] | None]],
) -> None:
    """For any training matrix; each pair has two different features."""
    matrix, labels = drawn
    learned = Combinations(learn_combinations(matrix, labels))
    pairs = [pair for row in rows_of(matrix) if (pair := learned.unlikely_pair(row))]
    assert len(pairs) <= len(matrix) / 1000
    assert all(len({*pair}) == 2 for pair in pairs)


def test_hardly_any_training_row_of_a_scorer_is_unlikely(scorer: Scorer) -> None:
    """At most two rows in a thousand are, as the function encodes them."""
    rows = pd.read_parquet(BUILD / scorer.bundle.scorer / "rows" / "train.parquet")[::4]
    combinations = Combinations(scorer.bundle.baseline["combinations"])
    encoded = map(scorer.bundle.features.encode, zip(*field_values(rows, scorer.contract), strict=True))
    assert sum(combinations.unlikely_pair(vector) is not None for vector in encoded) <= 0.002 * len(rows)


def test_the_function_bins_training_rows_as_training_did(scorer: Scorer) -> None:
    """A field's bins have as many rows as its marginals say; for a derived feature one row in 500 may differ."""
    rows = pd.read_parquet(BUILD / scorer.bundle.scorer / "rows" / "train.parquet")[::10]
    vocabulary = json.loads((BUILD / "bundles" / scorer.bundle.scorer / "vocabulary.json").read_bytes())
    matrix = encode_rows(rows, scorer.contract, vocabulary)
    learned = learn_combinations(matrix, scorer.bundle.features.labels)
    vectors = [scorer.bundle.features.encode(row) for row in zip(*field_values(rows, scorer.contract), strict=True)]
    for index, (bins, marginal) in enumerate(zip(learned["bins"], learned["marginals"], strict=True)):
        bin_of = binner(bins)
        counts = Counter(bin_of(vector[index]) for vector in vectors)
        # The marginals have four digits.
        expected = [exp(share) * (len(rows) + 0.5 * len(marginal)) - 0.5 for share in marginal]
        allowed = 1 if index < len(scorer.contract.fields) else 0.002 * len(rows)
        assert [counts[place] for place in range(len(marginal))] == pytest.approx(expected, rel=1e-3, abs=allowed)


@pytest.mark.parametrize(
    "numbers",
    [[5.0, 9.99, 20.0], [0.1, 0.3, 0.7], [1 / 3, 1 / 2, 1.0]],
    ids=["float32 lies below", "float32 lies above", "endless digits"],
)
def test_a_number_that_a_third_of_the_rows_have_is_usual(numbers: list[float]) -> None:
    """Each category has one number, such as a price or a ratio of counts, in the function's precision."""
    chain = np.random.default_rng(7).integers(1, 4, N_ROWS)
    matrix = np.stack([chain, np.array(numbers)[chain - 1]], axis=1).astype(np.float32)
    learned = Combinations(learn_combinations(matrix, [CHAINS, None]))
    assert [learned.unlikely_pair([float(code), number]) for code, number in enumerate(numbers, start=1)] == [None] * 3
    assert learned.unlikely_pair([1.0, numbers[2]]) in {(0, 1), (1, 0)}
