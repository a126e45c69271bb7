"""Confidence intervals: the bootstrap (Efron 1979) of any statistic, and intervals and lower bounds of a share."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betaincinv, ndtri, stdtrit  # scipy.stats has them too, and takes a second to import

from training.run.matrix import Floats, Labels, Positions

DRAWS = 1000
PERCENTS = (2.5, 97.5)
# A share nearer to 0 or 1 is printed as 0.000 or 1.000.
EDGE = 0.0005
# A mean that equals its standard error is within it, whatever the last bits of the two are.
ROUNDING = 1e-9


def entity_groups(entity: Any) -> Positions:  # noqa: ANN401 - a column of any type
    """Each row's entity as a number for intervals, from 0 to n_entities - 1; a row without one is an entity of its own.

    Rows of one card or account tend to be fraud, and to be caught, together, so they tell less than independent rows.
    """
    groups = np.asarray(pd.factorize(entity)[0], dtype=np.intp)
    is_alone = groups < 0
    groups[is_alone] = np.arange(is_alone.sum()) + groups.max(initial=-1) + 1
    return groups


def count_groups(is_counted: npt.NDArray[np.bool_], groups: Positions | None) -> int:
    """How many rows are counted or, with `groups`, how many entities these rows belong to."""
    return int(is_counted.sum()) if groups is None else len(np.unique(groups[is_counted]))


def draw_weights(
    label: Labels, draws: int, seed: int, groups: Positions | None = None, needed: slice = slice(None)
) -> Iterator[Floats]:
    """For each draw, how many times each row was drawn, (n_rows,); every draw holds both classes.

    With `groups`, the number of each row's entity, entities are drawn, each with all of its rows. Every draw also holds
    rows of the `needed` part, which a draw of entities could miss.
    """
    rng = np.random.default_rng(seed)
    n_groups = len(label) if groups is None else int(groups.max()) + 1
    for _ in range(draws):
        while True:
            weight = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups).astype(np.float64)
            if groups is not None:
                weight = weight[groups]
            if 0 < weight @ label < weight.sum() and weight[needed].any():
                break
        yield weight


def bootstrap(
    statistic: Callable[[Floats], Floats],
    label: Labels,
    *,
    seed: int,
    draws: int = DRAWS,
    groups: Positions | None = None,
) -> Floats:
    """The statistic under each draw's weights: (draws, n_values)."""
    return np.array([statistic(weight) for weight in draw_weights(label, draws, seed, groups)])


def share_interval(count: float, total: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which has a width even at 0 and 1; 0 to 1 if the total is 0."""
    if not total:
        return 0.0, 1.0
    share, z = count / total, float(ndtri(PERCENTS[1] / 100))
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return (centre - half if share > 0 else 0.0), (centre + half if share < 1 else 1.0)


def lower_bound(successes: Floats, trials: Floats, confidence: float) -> Floats:
    """The one-sided lower confidence bound of each share (Clopper and Pearson 1934)."""
    shifted = np.maximum(successes, 1)
    bound: Floats = np.where(successes > 0, betaincinv(shifted, trials - shifted + 1, 1 - confidence), 0.0)
    return bound


def grouped_share_interval(
    hits: npt.NDArray[np.bool_], cases: npt.NDArray[np.bool_], groups: Positions | None
) -> tuple[float, float]:
    """The 95 % interval of the share of `cases` that are `hits`, by rows, or by the entities that `groups` numbers.

    By entities it is Wilson's interval for an effective number of cases: as many as would vary as much if they were
    independent (Rao and Scott 1992), reduced by how much wider t(entities - 1) is than the normal distribution (Korn
    and Graubard 1998). If nothing varies, as at shares of 0 and 1, it is the number of entities. If a few entities have
    most of the cases, the interval is still too narrow: with 20 entities of heavy-tailed sizes it holds the true share
    three times in four.
    """
    share, effective = effective_share(hits, cases, groups)
    return share_interval(share * effective, effective)


def effective_share(
    hits: npt.NDArray[np.bool_], cases: npt.NDArray[np.bool_], groups: Positions | None
) -> tuple[float, float]:
    """The share of `cases` that are `hits`, and its effective number of independent cases; 0 and 0 without cases."""
    hits = hits & cases
    n_hits, n_cases = int(hits.sum()), int(cases.sum())
    if not n_cases:
        return 0.0, 0.0
    if groups is None:
        return n_hits / n_cases, n_cases
    sizes = np.bincount(groups[cases])
    share, is_there = n_hits / n_cases, sizes > 0
    hits_of = np.bincount(groups[hits], minlength=len(sizes))
    n_entities = int(is_there.sum())
    # Computed in whole numbers, so that equal rates differ by exactly 0.
    deviations = (hits_of * n_cases - n_hits * sizes)[is_there] / n_cases
    if not deviations.any():
        return share, n_entities
    variance = float(deviations @ deviations) / n_cases**2 * n_entities / (n_entities - 1)
    quantile = PERCENTS[1] / 100
    narrower = float(ndtri(quantile) / stdtrit(n_entities - 1, quantile))
    return share, min(share * (1 - share) / variance, n_cases) * narrower**2


def ratio_interval(share: float, n: float, other: float, n_other: float) -> tuple[float, float]:
    """The 95 % interval of the ratio of two shares, of `n` and of `n_other` independent cases (Katz 1978).

    Half a hit and half a miss are added to each (Walter 1975), so that it has a width at shares of 0 and 1 too.
    """
    ratio = (share * n + 0.5) / (n + 1) / ((other * n_other + 0.5) / (n_other + 1))
    variance = sum(1 / (s * m + 0.5) - 1 / (m + 1) for s, m in ((share, n), (other, n_other)))
    wide = float(np.exp(ndtri(PERCENTS[1] / 100) * np.sqrt(variance)))
    return ratio / wide, ratio * wide


def share_of_sample_interval(bounds: tuple[float, float], share: float, total: float) -> tuple[float, float]:
    """The bootstrap interval of a share of `total` cases, joined with Wilson's at 0 and 1 and if it has no width.

    If none of 8 frauds is caught, every draw catches none, although the recall may be 0.32.
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
    """The standard error of the mean of paired differences, (n_pairs,)."""
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences)))


def is_within_standard_errors(differences: Floats, n_errors: float = 1.0) -> bool:
    """Whether the mean of paired differences, (n_pairs,), is at most `n_errors` standard errors."""
    return bool(np.mean(differences) <= n_errors * standard_error(differences) + ROUNDING)
