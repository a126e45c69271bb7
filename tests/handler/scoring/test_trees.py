"""The trees in Python equal the model: their leaves add up to its margins, and partly resolved trees give a bound."""

from math import inf, nan

import numpy as np
import pytest

from handler.scoring.scorer import Scorer
from handler.scoring.trees import Split, Sum, float32, resolved, sum_of, trees_of

# A number decides, then a category; a missing number goes to the right.
CATEGORY = Split(1, nan, frozenset({2}), -1.0, 3.0, -1.0)
TREE = Split(0, float32(0.1), None, -2.0, CATEGORY, CATEGORY)


def drawn_rows(scorer: Scorer, n_rows: int) -> list[list[float]]:
    """Rows whose values are permuted columns of the golden rows, some of them missing."""
    rng = np.random.default_rng(1)
    values = np.array([scorer.score(scorer.golden_request(case)).vector for case in scorer.bundle.golden])
    rows = rng.permuted(values, axis=0)[:n_rows]
    rows[rng.random(rows.shape) < 0.1] = nan
    return [[float32(value) for value in row] for row in rows]


@pytest.mark.parametrize("name", ["transaction", "refund"])
def test_leaves_add_up_to_the_margin(name: str, request: pytest.FixtureRequest) -> None:
    """The difference is the same base score for every row, whatever is missing."""
    scorer: Scorer = request.getfixturevalue(name)
    trees, rows = sum_of(trees_of(scorer.bundle.booster.model_json())), drawn_rows(scorer, 20)
    bases = np.array(scorer.bundle.booster.margins(rows)) - [trees.resolved(row, ()).rest for row in rows]
    assert np.ptp(bases) < 1e-5


def test_what_moves_is_left(refund: Scorer) -> None:
    """Resolving in two steps gives the same sum; the bound is below all sums, and all thresholds are the model's."""
    trees, rows = sum_of(trees_of(refund.bundle.booster.model_json())), drawn_rows(refund, 20)
    all_thresholds, moving = trees.thresholds(), set(range(4))
    for row in rows:
        left = trees.resolved(row, moving)
        assert len(left.trees) < len(trees.trees)
        assert {feature for feature, thresholds in left.thresholds().items() if thresholds} <= moving
        assert all(set(thresholds) <= set(all_thresholds[feature]) for feature, thresholds in left.thresholds().items())
        for other in rows:
            moved = other[:4] + row[4:]
            assert left.resolved(moved, ()).rest == pytest.approx(trees.resolved(moved, ()).rest, abs=1e-9)
            assert left.least() <= left.resolved(moved, ()).rest + 1e-9


@pytest.mark.parametrize(
    ("row", "leaf"),
    [
        ([0.0, 2.0], -2.0),
        ([float32(0.1), 2.0], 3.0),  # a value equal to the threshold goes to the right
        ([nan, 1.0], -1.0),
        ([9.0, 2.0], 3.0),
        ([9.0, 1.0], -1.0),
        ([9.0, nan], -1.0),
    ],
)
def test_a_row_goes_one_way(row: list[float], leaf: float) -> None:
    """Numbers by the threshold, categories by the set, missing values as the node says."""
    assert resolved(TREE, row, ()) == leaf


def test_what_is_too_large_is_infinite() -> None:
    """In the float32 buffers that XGBoost reads, such a value is infinite, too."""
    assert [float32(value) for value in (0.1, 1e300, -1e300)] == [0.10000000149011612, inf, -inf]


def test_what_a_feature_leaves() -> None:
    """Both branches of a moving feature, one of a known feature; equal branches become one."""
    assert resolved(TREE, [0.0, 2.0], {0}) == Split(0, TREE.threshold, None, -2.0, 3.0, 3.0)
    assert resolved(TREE, [0.0, 2.0], {1}) == -2.0
    assert resolved(Split(0, 1.0, None, CATEGORY, -1.0, CATEGORY), [0.0, 1.0], {0}) == -1.0
    both = sum_of([TREE, 5.0], 1.0)
    assert both == Sum([TREE], 6.0)
    assert (both.least(), both.thresholds()) == (4.0, {0: [TREE.threshold]})
