"""Intervals: resamples have both classes, intervals agree with theory, and bounds hold as often as they claim."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from training.evaluation.intervals import (
    DRAWS,
    bootstrap,
    count_groups,
    draw_weights,
    entity_groups,
    grouped_share_interval,
    interval,
    is_within_standard_errors,
    lower_bound,
    share_interval,
    share_of_sample_interval,
    standard_error,
)
from training.run.matrix import Labels


@pytest.fixture
def label() -> Labels:
    """Forty rows, five of them frauds."""
    return (np.arange(40) % 8 == 0).astype(np.int8)


@given(n_frauds=st.integers(1, 5), n_legitimate=st.integers(1, 5), seed=st.integers(0, 1_000))
def test_every_draw_holds_both_classes(n_frauds: int, n_legitimate: int, seed: int) -> None:
    """Each resample has as many rows as the data, with both classes, however few rows a class has."""
    label = np.repeat([1, 0], [n_frauds, n_legitimate]).astype(np.int8)
    for weight in draw_weights(label, draws=20, seed=seed):
        assert weight.sum() == len(label)
        assert (weight == weight.astype(int)).all()
        assert 0 < weight[label == 1].sum() < len(label)


def test_rows_are_drawn_equally_often(label: Labels) -> None:
    """Over many resamples, each row is drawn once per resample on average."""
    mean = np.mean(list(draw_weights(label, draws=5_000, seed=1)), axis=0)
    assert mean == pytest.approx(np.ones(len(label)), abs=0.08)


def test_same_seed_same_draws(label: Labels) -> None:
    """A seed gives the same resamples each time, and another seed gives others."""
    first, again, other = (np.array(list(draw_weights(label, draws=10, seed=seed))) for seed in (7, 7, 8))
    assert (first == again).all()
    assert (first != other).any()


def test_more_draws_begin_alike(label: Labels) -> None:
    """With the same seed, more resamples continue the sequence of fewer."""
    few, many = (np.array(list(draw_weights(label, draws=draws, seed=7))) for draws in (5, 10))
    assert (many[:5] == few).all()


def test_statistic_of_each_draw(label: Labels) -> None:
    """The bootstrap returns one line per resample, with the statistic under that resample's weights."""
    drawn = bootstrap(lambda weight: np.array([weight.max(), weight @ label]), label, seed=3, draws=12)
    assert drawn.tolist() == [[weight.max(), weight @ label] for weight in draw_weights(label, draws=12, seed=3)]


def test_default_number_of_draws() -> None:
    """The default is a thousand resamples."""
    assert (
        bootstrap(lambda weight: weight[:1], np.array([0, 1], dtype=np.int8), seed=1).shape == (DRAWS, 1) == (1000, 1)
    )


def test_interval_is_the_central_95_percent() -> None:
    """Of 1,001 equal steps, the interval leaves out 25 on either side, in each column."""
    steps = np.arange(1001.0)
    assert interval(np.stack([steps, -2 * steps], axis=1)) == [(25.0, 975.0), (-1950.0, -50.0)]


def test_interval_of_a_mean_is_the_normal_one() -> None:
    """The interval of a mean of many rows is the mean and 1.96 standard errors to either side."""
    rng = np.random.default_rng(4)
    value, label = rng.normal(5, 2, 2_000), (rng.random(2_000) < 0.3).astype(np.int8)
    [(low, high)] = interval(bootstrap(lambda weight: np.array([weight @ value / weight.sum()]), label, seed=5))
    error = value.std() / np.sqrt(len(value))
    assert (low, high) == pytest.approx((value.mean() - 1.96 * error, value.mean() + 1.96 * error), abs=0.2 * error)


def test_interval_reproduces(label: Labels) -> None:
    """The same rows and seed give the same interval to the last bit; another seed gives another one."""
    value = np.random.default_rng(6).normal(size=len(label))
    first, again, other = (
        interval(bootstrap(lambda weight: np.array([weight @ value]), label, seed=seed, draws=200))
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_constant_has_no_width(label: Labels) -> None:
    """A statistic that is the same in every resample has an interval without width."""
    assert interval(bootstrap(lambda _: np.array([0.25]), label, seed=1, draws=50)) == [(0.25, 0.25)]


@pytest.mark.parametrize(
    ("bounds", "share", "total", "expected"),
    [
        ((0.0, 0.0), 0.0, 8, (0.0, 0.3244)),
        ((1.0, 1.0), 1.0, 8, (0.6756, 1.0)),
        ((0.9999, 1.0), 0.9999, 8, (0.6755, 1.0)),
        # The bootstrap's own interval is kept if it is wider.
        ((0.0, 0.5), 0.0, 8, (0.0, 0.5)),
        ((0.25, 0.75), 0.5, 8, (0.25, 0.75)),
        ((0.3, 0.3), 0.3, 10, (0.1078, 0.6032)),
    ],
)
def test_share_without_a_spread_has_a_width(
    bounds: tuple[float, float], share: float, total: float, expected: tuple[float, float]
) -> None:
    """A share of 0 or 1, which is so in every resample, has Wilson's interval (1927)."""
    assert share_of_sample_interval(bounds, share, total) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("differences", "error", "is_within"),
    [
        ([0.0, 0.02], 0.01, True),
        ([0.01, 0.02], 0.005, False),
        ([-0.01, -0.02], 0.005, True),
        ([0.1, 0.1, 0.1], 0.0, False),
        ([0.0, 0.0], 0.0, True),
    ],
)
def test_standard_error_of_folds(differences: list[float], error: float, is_within: bool) -> None:  # noqa: FBT001 - a parameter
    """The mean difference is within chance if its standard error over the folds is at least as large."""
    assert standard_error(np.array(differences)) == pytest.approx(error)
    assert is_within_standard_errors(np.array(differences)) == is_within


@given(count=st.integers(0, 50), more=st.integers(1, 50))
def test_share_interval_is_wilsons(count: int, more: int) -> None:
    """The interval equals scipy's; without any case it is 0 to 1."""
    expected = binomtest(count, count + more).proportion_ci(method="wilson")
    assert share_interval(count, count + more) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert share_interval(0, 0) == (0, 1)


def test_entities_are_numbered() -> None:
    """Rows of the same entity have the same number; each row without an entity gets a number of its own."""
    groups = entity_groups(pd.Series(["b", None, "a", "b", None], dtype=object))
    assert groups.tolist() == [0, 2, 1, 0, 3]
    assert entity_groups(pd.Series([None, None], dtype=object)).tolist() == [0, 1]
    assert count_groups(np.array([True, True, False, True, False]), groups) == 2
    assert count_groups(np.array([True, True, False, True, False]), None) == 3


def test_entities_are_drawn_with_all_their_rows(label: Labels) -> None:
    """All rows of an entity are drawn equally often, and every resample has as many entities as the data."""
    groups = np.arange(40) // 4
    for weight in draw_weights(label, 20, 1, groups):
        by_entity = weight.reshape(10, 4)
        assert (by_entity == by_entity[:, :1]).all()
        assert by_entity[:, 0].sum() == 10
        assert 0 < weight @ label < weight.sum()


def test_every_draw_has_rows_of_the_needed_part() -> None:
    """Resamples without any row of the needed part are replaced; all other resamples stay the same."""
    label, groups = np.array([0, 1, 0, 1], dtype=np.int8), np.array([0, 0, 1, 1])
    free, needing = (np.array([*draw_weights(label, 60, 1, groups, part)]) for part in (slice(None), slice(2, None)))
    kept = free[free[:, 2:].any(axis=1)]
    assert 0 < len(kept) < len(free) == len(needing)
    assert needing[:, 2:].any(axis=1).all()
    assert (needing[: len(kept)] == kept).all()


@pytest.mark.parametrize("times", [1, 5])
def test_repeated_rows_of_an_entity_say_no_more_than_one(times: int) -> None:
    """Repeating each entity's rows does not narrow the interval, drawn or by formula; counting rows would."""
    rng = np.random.default_rng(4)
    value, label = rng.normal(5, 2, 500), (rng.random(500) < 0.3).astype(np.int8)
    groups = np.repeat(np.arange(500), times)
    values, labels = np.repeat(value, times), np.repeat(label, times)

    def intervals(*, by_entity: bool) -> tuple[tuple[float, float], tuple[float, float]]:
        numbers = groups if by_entity else None
        [drawn] = interval(
            bootstrap(lambda weight: np.array([weight @ values / weight.sum()]), labels, seed=5, groups=numbers)
        )
        return drawn, grouped_share_interval(labels == 1, np.ones(len(labels), dtype=bool), numbers)

    [once] = interval(bootstrap(lambda weight: np.array([weight @ value / weight.sum()]), label, seed=5))
    drawn, share = intervals(by_entity=True)
    assert drawn == pytest.approx(once)
    assert share == pytest.approx(share_interval(label.sum(), 500), abs=2e-4)
    for alone, together in zip(intervals(by_entity=False), (drawn, share), strict=True):
        assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(np.sqrt(times), rel=0.1)


def test_entities_of_several_sizes_have_the_drawn_interval() -> None:
    """For entities of different sizes and rates, the formula for shares agrees with drawing entities."""
    rng = np.random.default_rng(8)
    sizes = rng.geometric(0.2, 400)
    groups = np.repeat(np.arange(400), sizes)
    hits = rng.random(len(groups)) < np.repeat(rng.beta(1, 2, 400), sizes)
    is_case = rng.random(len(groups)) < 0.8
    label = is_case.astype(np.int8)
    [drawn] = interval(
        bootstrap(
            lambda weight: np.array([weight @ (hits & is_case) / (weight @ is_case)]), label, seed=1, groups=groups
        )
    )
    assert grouped_share_interval(hits, is_case, groups) == pytest.approx(drawn, abs=0.004)


def test_few_entities_have_a_wider_interval() -> None:
    """With ten entities the interval holds the true share as often as it claims; Wilson's alone only in 91 of 100."""
    rng = np.random.default_rng(2)
    groups, every, held = np.repeat(np.arange(10), 10), np.ones(100, dtype=bool), []
    for _ in range(1_000):
        hits = rng.random(100) < np.repeat(rng.beta(2, 2, 10), 10)
        low, high = grouped_share_interval(hits, every, groups)
        held.append(low <= 0.5 <= high)
    assert 0.94 <= np.mean(held) <= 0.975


def test_entities_of_one_row_have_the_interval_of_t() -> None:
    """It is Wilson's, with t for one degree of freedom fewer than entities, and with the variance of a sample."""
    hits, every = np.arange(8) < 2, np.ones(8, dtype=bool)
    effective = 8 * (7 / 8) * (1.959964 / 2.364624) ** 2
    expected = share_interval(0.25 * effective, effective)
    assert grouped_share_interval(hits, every, np.arange(8)) == pytest.approx(expected, rel=1e-5)


def test_share_of_entities_at_its_end_has_the_width_of_their_number() -> None:
    """If all of three entities were caught, the recall may still be 0.44, however many rows they have."""
    groups, every = np.repeat([0, 1, 2], 20), np.ones(60, dtype=bool)
    assert grouped_share_interval(every, every, groups) == share_interval(3, 3)
    assert grouped_share_interval(~every, every, groups) == share_interval(0, 3)
    assert grouped_share_interval(every, ~every, groups) == (0, 1)
    # Equal rates have no variance, whether of one entity or several, despite rounding in the last bits.
    for n_entities in (1, 3):
        hits = np.tile(np.arange(22) < 15, n_entities)
        entities = np.repeat(np.arange(n_entities), 22)
        expected = pytest.approx(share_interval(15 / 22 * n_entities, n_entities))
        assert grouped_share_interval(hits, np.ones_like(hits), entities) == expected
    # Entities without a case do not count.
    assert grouped_share_interval(every, groups != 1, groups) == share_interval(2, 2)


@settings(max_examples=50)
@given(n_rows=st.integers(1, 400), confidence=st.sampled_from([0.5, 0.9, 0.95]) | st.floats(0.5, 0.999), data=st.data())
def test_lower_bound_is_scipys(n_rows: int, confidence: float, data: st.DataObject) -> None:
    """The bound equals that of scipy's exact one-sided binomial test."""
    successes = data.draw(st.integers(0, n_rows))
    expected = binomtest(successes, n_rows, alternative="greater").proportion_ci(confidence, method="exact").low
    [bound] = lower_bound(np.array([successes]), np.array([n_rows]), confidence)
    assert bound == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_lower_bound_covers_the_true_share(share: float) -> None:
    """In at least 95 of 100 samples the bound is not above the share that the samples were drawn with."""
    samples = 20_000
    successes = np.random.default_rng(9).binomial(120, share, samples)
    covered = (lower_bound(successes, np.full(samples, 120), 0.95) <= share).mean()
    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / samples)
