"""How far a window's counts are from the baseline's: size (PSI) and significance (Kolmogorov-Smirnov, chi²).

A test alone reports drift in every large window, and a distance alone in every small one, so an alarm requires both.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency, kstwobign

from training.run.matrix import Floats

# Smaller shares of a bin are raised to this one, because a single empty bin would make the PSI infinite.
SMALLEST_SHARE = 1e-4
# Categories with fewer expected rows are counted together in the chi² test (Cochran 1954).
FEWEST_EXPECTED = 5


@dataclass(frozen=True)
class Distance:
    """How far a window is from the baseline."""

    psi: float
    """Population stability index, in nats: 0 if equal; 0.1 and 0.25 are the usual thresholds."""
    statistic: float
    p_value: float
    """Before any correction for the number of features."""


def population_stability_index(expected: Floats, observed: Floats) -> float:
    """The PSI of two distributions over the same bins, given as counts or shares: the sum of (o - e) * ln(o / e).

    It is the symmetric Kullback-Leibler divergence (Jeffreys 1946), which credit scoring calls PSI (Siddiqi 2006).

    >>> population_stability_index(np.array([50.0, 50.0]), np.array([500.0, 500.0]))
    0.0
    """
    shares = [np.maximum(counts / counts.sum(), SMALLEST_SHARE) for counts in (expected, observed)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def number_distance(expected: Floats, observed: Floats) -> Distance:
    """The distance of a number's counts per bin, with bins in ascending order: two-sample Kolmogorov-Smirnov.

    The distributions are compared at the edges of the bins only, which makes the test conservative.
    """
    total = float(observed.sum())
    gaps = np.cumsum(expected) / expected.sum() - np.cumsum(observed) / total
    largest = float(np.abs(gaps).max())
    n_effective = total * expected.sum() / (total + expected.sum())
    p_value = float(kstwobign.sf(np.sqrt(n_effective) * largest))
    return Distance(population_stability_index(expected, observed), largest, p_value)


def category_distance(expected: Floats, observed: Floats) -> Distance:
    """The distance of counts per category: chi² test of homogeneity, with rare categories counted together."""
    psi = population_stability_index(expected, observed)
    total, shares = observed.sum(), expected / expected.sum()
    # The window is the smaller of the two samples, so its expected counts decide which categories are rare.
    is_rare = shares * total < FEWEST_EXPECTED
    first, second = (np.append(counts[~is_rare], counts[is_rare].sum()) for counts in (expected, observed))
    kept = first + second > 0
    first, second = first[kept], second[kept]
    if len(first) < 2:  # noqa: PLR2004 - one bin holds everything in both
        return Distance(psi, 0.0, 1.0)
    test = chi2_contingency([first, second], correction=False)
    return Distance(psi, float(test.statistic), float(test.pvalue))


def holm(p_values: Floats) -> Floats:
    """The p-values corrected for multiple testing, in their original order (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    in_order = np.empty_like(p_values)
    in_order[order] = np.minimum(corrected, 1.0)
    return in_order
