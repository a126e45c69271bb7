"""Combinations: training rows -> which features depend on each other, and how likely their values are together.

What `handler.scoring.combinations` reads. Source: Chow and Liu, "Approximating discrete probability distributions with
dependence trees" (1968).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.scoring.combinations import binner
from training.run.matrix import FeatureMatrix, Matrix, by_chunk

# Few bins: a pair's table has their square, and each cell should be filled.
N_BINS = 8
MOST_LABELS = 24
# Dependence is learned from so many rows, evenly spread; more only take time, and hundreds of features have many pairs.
ROWS = 20_000
# One row in a thousand is unlikely.
UNLIKELY = 0.001
# What an empty cell counts (Jeffreys' prior).
PRIOR = 0.5
DIGITS = 4

Bins = npt.NDArray[np.intp]


def learn_combinations(matrix: Matrix | FeatureMatrix, labels: Sequence[Sequence[str] | None]) -> dict[str, Any]:
    """What the training matrix, (n_rows, n_features), NaN = missing, teaches; `labels` as `Features` has them."""
    described = [_bins(matrix[:, index], names) for index, names in enumerate(labels)]
    sizes = [int(bins["size"]) for bins in described]
    parents = _tree(_all_coded(described, matrix[:: max(matrix.shape[0] // ROWS, 1)]), sizes)
    counted = by_chunk(matrix, partial(_counted, described, parents))
    counts = [sum(of_feature) for of_feature in zip(*counted, strict=True)]
    learned: dict[str, Any] = {
        "bins": [{key: value for key, value in bins.items() if key != "size"} for bins in described],
        "parents": parents,
        "tables": [_logs(of_feature) for of_feature in counts],
        "marginals": [_logs(of_feature.sum(axis=0, keepdims=True))[0] for of_feature in counts],
        "limit": -np.inf,
    }
    scores = np.concatenate(by_chunk(matrix, partial(_scores, described, parents, learned["tables"])))
    # Scores are sums of rounded numbers, so they are exact to a fraction of a digit; halfway between two of them.
    learned["limit"] = round(float(np.quantile(scores, UNLIKELY, method="lower")), DIGITS) - 10.0**-DIGITS / 2
    return learned


def _all_coded(described: Sequence[dict[str, Any]], rows: Matrix) -> Bins:
    """Each row's bin of each feature."""
    return np.stack([_coded(column, bins) for column, bins in zip(rows.T, described, strict=True)], axis=1)


def _counted(
    described: Sequence[dict[str, Any]], parents: Sequence[int], rows: Matrix
) -> list[npt.NDArray[np.float64]]:
    """Per feature how many rows have each bin, a row for each bin of its parent."""
    coded, sizes = _all_coded(described, rows), [int(bins["size"]) for bins in described]
    return [
        _counts(coded, parent, index, sizes)
        if parent >= 0
        else np.bincount(coded[:, index], minlength=sizes[index]).astype(float)[None, :]
        for index, parent in enumerate(parents)
    ]


def _scores(
    described: Sequence[dict[str, Any]], parents: Sequence[int], tables: Sequence[Any], rows: Matrix
) -> npt.NDArray[np.float64]:
    """How likely each row is, as a log-probability."""
    coded, scores = _all_coded(described, rows), np.zeros(len(rows))
    for index, (parent, table) in enumerate(zip(parents, tables, strict=True)):
        scores += np.array(table)[coded[:, parent] if parent >= 0 else 0, coded[:, index]]
    return scores


def just_above(values: npt.NDArray[np.float32]) -> list[float]:
    """Halfway from each number to the next that float32 has: what a request writes as 9.99 or 1/3 lies below it too.

    The matrix holds 9.989999771118164, above which 9.99 lies, and 0.3333333432674408, below which 1/3 does.
    """
    nearest = values.astype(np.float32)
    halfway: list[float] = ((nearest.astype(np.float64) + np.nextafter(nearest, np.float32(np.inf))) / 2).tolist()
    return halfway


def _bins(column: npt.NDArray[np.float32], names: Sequence[str] | None) -> dict[str, Any]:
    """How a feature is cut: a number at quantiles, a category into its most frequent labels and the rest."""
    known = column[~np.isnan(column)]
    if names is None:
        shares = np.linspace(0, 1, N_BINS + 1)[1:-1]
        edges = just_above(np.unique(np.quantile(known, shares, method="lower"))) if len(known) else []
        return {"edges": edges, "size": len(edges) + 2}
    counts = np.bincount(known.astype(int), minlength=len(names))
    frequent = sorted(np.argsort(-counts, kind="stable")[:MOST_LABELS].tolist())
    codes = [frequent.index(code) if code in frequent else len(frequent) for code in range(len(names))]
    return {"codes": codes, "size": max(codes) + 2}


def _coded(column: npt.NDArray[np.float32], bins: dict[str, Any]) -> Bins:
    """Each row's bin: a category's by the function's own code, a number's by the same rule for all at once."""
    if "edges" in bins:
        edges = np.array(bins["edges"], dtype=np.float64)
        places: Bins = np.where(np.isnan(column), 0, 1 + np.searchsorted(edges, column.astype(np.float64), side="left"))
        return places
    values = np.where(np.isnan(column), -1, column).astype(int)
    of_code = np.array([0, *(binner(bins)(float(code)) for code in range(len(bins["codes"])))])
    found: Bins = of_code[values + 1]
    return found


def _tree(coded: Bins, sizes: Sequence[int]) -> list[int]:
    """Each feature's parent, -1 for the first: the spanning tree whose pairs tell most about each other (Prim 1957)."""
    n_features = coded.shape[1]
    parents = [-1] * n_features
    # What each feature that is not in the tree yet shares with its best partner in it.
    best = np.array([_information(coded, 0, index, sizes) for index in range(n_features)])
    partner = np.zeros(n_features, dtype=int)
    is_in = np.zeros(n_features, dtype=bool)
    is_in[0] = True
    for _ in range(n_features - 1):
        chosen = int(np.argmax(np.where(is_in, -1.0, best)))
        is_in[chosen], parents[chosen] = True, int(partner[chosen])
        for index in np.flatnonzero(~is_in):
            shared = _information(coded, chosen, int(index), sizes)
            if shared > best[index]:
                best[index], partner[index] = shared, chosen
    return parents


def _counts(coded: Bins, first: int, second: int, sizes: Sequence[int]) -> npt.NDArray[np.float64]:
    flat = coded[:, first] * sizes[second] + coded[:, second]
    return np.bincount(flat, minlength=sizes[first] * sizes[second]).reshape(sizes[first], sizes[second]).astype(float)


def _information(coded: Bins, first: int, second: int, sizes: Sequence[int]) -> float:
    """The mutual information of two features, in nats, rounded so that processors agree."""
    joint = _counts(coded, first, second, sizes) / len(coded)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    is_there = joint > 0
    return round(float(np.sum(joint[is_there] * np.log(joint[is_there] / apart[is_there]))), 9)


def _logs(counts: npt.NDArray[np.float64]) -> list[list[float]]:
    """The log-probability of each bin, a row for each bin of the parent."""
    shares = (counts + PRIOR) / (counts + PRIOR).sum(axis=1, keepdims=True)
    return [[round(float(share), DIGITS) for share in row] for row in np.log(shares)]
