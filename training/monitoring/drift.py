"""How far a window's counts are from the baseline's, in size (PSI) and beyond chance (Kolmogorov-Smirnov, chi²).

A test alone says "drift" to every large window, a distance alone to every small one; an alarm asks for both.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency, kstwobign

from training.run.matrix import Floats

# The least share that a bin counts as, because one empty bin would make the PSI infinite.
SMALLEST_SHARE = 1e-4
# Categories with fewer expected rows are counted together in the chi² test (Cochran 1954).
FEWEST_EXPECTED = 5


@dataclass(frozen=True)
class Distance:
    """How far a window is from the baseline."""

    psi: float
    """Population stability index, in nats: 0 equal; .1 and .25 are the field's usual marks."""
    statistic: float
    p_value: float
    """Before any correction for the number of features."""


def population_stability_index(expected: Floats, observed: Floats) -> float:
    """The PSI of two distributions over the same bins, given as counts or shares: the sum of (o - e) * ln(o / e).

    It is the symmetric Kullback-Leibler divergence (Jeffreys 1946), under the name of credit scoring (Siddiqi 2006).

    >>> population_stability_index(np.array([50.0, 50.0]), np.array([500.0, 500.0]))
    0.0
    """
    shares = [np.maximum(counts / counts.sum(), SMALLEST_SHARE) for counts in (expected, observed)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def number_distance(expected: Floats, observed: Floats) -> Distance:
    """The distance of a number's counts per bin, bins in the order of the values: Kolmogorov-Smirnov over their edges.

    The baseline counts as known, because it is many times as large as a window; on bins the test is conservative.
    """
    total = float(observed.sum())
    gaps = np.cumsum(expected) / expected.sum() - np.cumsum(observed) / total
    largest = float(np.abs(gaps).max())
    n_effective = total * expected.sum() / (total + expected.sum())
    p_value = float(kstwobign.sf(np.sqrt(n_effective) * largest))
    return Distance(population_stability_index(expected, observed), largest, p_value)


def category_distance(expected: Floats, observed: Floats) -> Distance:
    """The distance of counts per category: chi² of homogeneity, rare categories counted together."""
    psi = population_stability_index(expected, observed)
    total, shares = observed.sum(), expected / expected.sum()
    # Two samples, of which the baseline is the larger: what the window expects of each.
    is_rare = shares * total < FEWEST_EXPECTED
    first, second = (np.append(counts[~is_rare], counts[is_rare].sum()) for counts in (expected, observed))
    kept = first + second > 0
    first, second = first[kept], second[kept]
    if len(first) < 2:  # noqa: PLR2004 - one bin holds everything in both
        return Distance(psi, 0.0, 1.0)
    test = chi2_contingency([first, second], correction=False)
    return Distance(psi, float(test.statistic), float(test.pvalue))


def holm(p_values: Floats) -> Floats:
    """The p-values corrected for being several, in their own order (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    in_order = np.empty_like(p_values)
    in_order[order] = np.minimum(corrected, 1.0)
    return in_order
