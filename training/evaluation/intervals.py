"""Confidence intervals: the bootstrap (Efron 1979) of any statistic, and Wilson's interval of a share."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import binomtest

from training.run.matrix import Floats, Labels

DRAWS = 1000
PERCENTS = (2.5, 97.5)
# A share nearer to 0 or 1 is printed as 0.000 or 1.000.
EDGE = 0.0005
# A mean that equals its standard error is within it, whatever the last bits of the two are.
ROUNDING = 1e-9


def draw_weights(label: Labels, draws: int, seed: int) -> Iterator[Floats]:
    """Per draw the number of times that each row was drawn, (n_rows,); every draw holds both classes."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        while True:
            weight = np.bincount(rng.integers(0, len(label), len(label)), minlength=len(label)).astype(np.float64)
            if 0 < weight @ label < len(label):
                break
        yield weight


def bootstrap(statistic: Callable[[Floats], Floats], label: Labels, *, seed: int, draws: int = DRAWS) -> Floats:
    """The statistic under each draw's weights: (draws, n_values)."""
    return np.array([statistic(weight) for weight in draw_weights(label, draws, seed)])


def share_interval(count: float, total: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which has a width even at 0 and 1; 0 to 1 where the total is 0."""
    if not total:
        return 0.0, 1.0
    bounds = binomtest(round(count), round(total)).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


def share_of_sample_interval(bounds: tuple[float, float], share: float, total: float) -> tuple[float, float]:
    """The bootstrap's interval of a share of `total` cases; joined with Wilson's at 0 and 1 and without width.

    Of 8 frauds of which none is caught every draw catches none, although the recall may be .32.
    """
    low, high = bounds
    if low < high and EDGE <= share <= 1 - EDGE:
        return bounds
    lowest, highest = share_interval(share * total, total)
    return min(low, lowest), max(high, highest)


def interval(drawn: Floats) -> list[tuple[float, float]]:
    """The central 95 % of each column of draws: (low, high) per value, by the percentile method."""
    low, high = np.percentile(drawn, PERCENTS, axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def standard_error(differences: Floats) -> float:
    """The standard error of the mean of paired differences over folds, (n_folds,)."""
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences)))


def is_within_standard_errors(differences: Floats, n_errors: float = 1.0) -> bool:
    """Whether paired differences over folds, (n_folds,), have a mean of at most so many standard errors."""
    return bool(np.mean(differences) <= n_errors * standard_error(differences) + ROUNDING)
