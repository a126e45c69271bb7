"""Drift: the distance is 0 for equal data and grows with a shift, and chance alone rarely looks like drift."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, ks_2samp, norm

from training.monitoring.drift import Distance, category_distance, holm, number_distance, population_stability_index

Floats = npt.NDArray[np.float64]
N_RESAMPLES = 300
N_BASELINE = 50_000
WINDOW = 700
N_BINS = 20
EDGES = norm.ppf(np.linspace(0, 1, N_BINS + 1)[1:-1])

counts = st.lists(st.integers(1, 100_000), min_size=2, max_size=30).map(lambda numbers: np.array(numbers, dtype=float))
pairs_of_counts = st.integers(2, 30).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 10_000), min_size=size, max_size=size).filter(any)] * 2)
)


def binned(values: Floats) -> Floats:
    """The number of values in each twentieth of the standard normal distribution."""
    return np.bincount(np.searchsorted(EDGES, values), minlength=N_BINS).astype(float)


def p_values(measure: Callable[[Floats, Floats], Distance], *, scale: float) -> Floats:
    """The p-values of windows drawn from the baseline's distribution, at this scale."""
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(N_RESAMPLES):
        baseline, window = rng.normal(size=N_BASELINE), scale * rng.normal(size=WINDOW)
        drawn.append(measure(binned(baseline), binned(window)).p_value)
    return np.array(drawn)


@given(counts, st.floats(1e-3, 1e3))
def test_equal_shares_have_no_distance(expected: Floats, scale: float) -> None:
    """The PSI of counts and the same counts multiplied by a factor is 0."""
    assert population_stability_index(expected, expected * scale) == pytest.approx(0, abs=1e-12)


@given(pairs_of_counts)
def test_psi_is_symmetric_and_finite(pair: tuple[list[int], list[int]]) -> None:
    """The PSI is symmetric, at least 0, and finite for any counts, including empty bins."""
    left, right = (np.array(side, dtype=float) for side in pair)
    psi = population_stability_index(left, right)
    assert psi == pytest.approx(population_stability_index(right, left), abs=1e-12)
    assert np.isfinite(psi)
    assert psi >= 0


def test_psi_equals_its_formula() -> None:
    """The PSI of two bins is the sum that credit scoring computes."""
    index = population_stability_index(np.array([50.0, 50.0]), np.array([30.0, 70.0]))
    assert index == pytest.approx(-0.2 * np.log(0.6) + 0.2 * np.log(1.4))


def test_psi_grows_with_the_shift() -> None:
    """The farther a normal distribution moves, the larger the PSI."""
    shares = [np.diff(norm.cdf([-np.inf, *EDGES, np.inf], loc=shift)) for shift in (0, 0.1, 0.2, 0.5, 1, 2)]
    indices = [population_stability_index(shares[0], moved) for moved in shares]
    assert indices == sorted(set(indices))


def test_empty_bin_stays_finite() -> None:
    """A bin that is empty on one side gives a large but finite distance."""
    sides = [np.array([0.0, 100.0]), np.array([50.0, 50.0])]
    assert 1 < population_stability_index(*sides) < 10
    assert 1 < population_stability_index(*sides[::-1]) < 10


@pytest.mark.parametrize("mean", [4.2, 4.4])
def test_distance_of_numbers_is_kolmogorov_and_smirnov(mean: float) -> None:
    """With a bin for each value, the statistic equals scipy's, and the p-value is close to its asymptotic one."""
    rng = np.random.default_rng(8)
    baseline, window = rng.poisson(4, 3_000), rng.poisson(mean, 400)
    size = max(baseline.max(), window.max()) + 1
    distance = number_distance(*(np.bincount(side, minlength=size).astype(float) for side in (baseline, window)))
    expected = ks_2samp(baseline, window, method="asymp")
    assert distance.statistic == pytest.approx(expected.statistic)
    assert distance.p_value == pytest.approx(expected.pvalue, rel=0.2)


@pytest.mark.parametrize(
    ("measure", "scale", "lowest", "highest"),
    [
        (number_distance, 1.0, 0.001, 0.08),
        (category_distance, 1.0, 0.02, 0.09),
        (number_distance, 1.3, 0.9, 1),
        (category_distance, 1.3, 0.9, 1),
    ],
)
def test_p_values_separate_chance_from_drift(
    measure: Callable[[Floats, Floats], Distance], scale: float, lowest: float, highest: float
) -> None:
    """Without drift about one window in twenty has a p-value below .05; with a wider spread, nearly all have."""
    assert lowest <= np.mean(p_values(measure, scale=scale) < 0.05) <= highest


def test_small_window_of_categories_has_no_small_p_values() -> None:
    """With forty levels, most of them too rare to be expected in the window, chance is still told from drift."""
    rng = np.random.default_rng(6)
    shares = np.array([0.5, 0.3, *[0.2 / 38] * 38])
    distances = [
        category_distance(rng.multinomial(N_BASELINE, shares), rng.multinomial(200, shares)) for _ in range(300)
    ]
    assert 0.01 <= np.mean([distance.p_value < 0.05 for distance in distances]) <= 0.09


def test_rare_labels_are_counted_together() -> None:
    """Levels of which the window should have fewer than five rows are tested as a single bin."""
    expected = np.array([6_000.0, 3_900.0, *[10.0] * 10])
    observed = np.array([590.0, 370.0, *[4.0] * 10])
    pooled = chi2_contingency([[6_000, 3_900, 100], [590, 370, 40]], correction=False)
    distance = category_distance(expected, observed)
    assert (distance.statistic, distance.p_value) == pytest.approx((pooled.statistic, pooled.pvalue))


def test_new_label_drifts_and_a_single_one_never_does() -> None:
    """A level that the baseline lacks is not chance; if one level holds all rows, the p-value is 1."""
    assert category_distance(np.array([900.0, 100.0, 0.0]), np.array([400.0, 50.0, 50.0])).p_value < 1e-6
    assert category_distance(np.array([0.0, 900.0]), np.array([0.0, 80.0])) == Distance(0.0, 0.0, 1.0)


def test_holm_equals_its_definition() -> None:
    """Each p-value is multiplied by how many are not smaller, and never falls below the one before it."""
    assert holm(np.array([0.04, 0.005, 0.03, 0.01, 0.5])) == pytest.approx([0.09, 0.025, 0.09, 0.04, 0.5])


@given(st.lists(st.floats(0, 1), max_size=30).map(np.array))
def test_holm_raises_and_keeps_the_order(raw: Floats) -> None:
    """Corrected p-values are not below the raw ones, not above 1 or Bonferroni's, and in the same order."""
    corrected = holm(raw)
    assert len(corrected) == len(raw)
    assert (corrected >= raw).all()
    assert (corrected <= np.minimum(raw * len(raw), 1)).all()
    assert (np.diff(corrected[np.argsort(raw, kind="stable")]) >= 0).all()
