"""Which features of the training rows depend on each other, and how likely their values are together.

`handler.scoring.combinations` reads the result. Source: Chow and Liu, "Approximating discrete probability
distributions with dependence trees" (1968).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from handler.scoring.combinations import binner
from training.model.bins import just_above, label_bins, number_bins
from training.run.matrix import FeatureMatrix, Floats, Matrix, Positions, by_chunk

# Few bins, because a pair's table has their square as cells, and each cell should be filled.
N_BINS = 8
MOST_LABELS = 24
# Dependence is learned from at most this many rows, evenly spread; hundreds of features have many pairs.
ROWS = 20_000
# One row in a thousand is unlikely.
UNLIKELY = 0.001
# The count added to each cell (Jeffreys' prior).
PRIOR = 0.5
DIGITS = 4


def learn_combinations(
    matrix: Matrix | FeatureMatrix, labels: Sequence[Sequence[str] | None], places: Sequence[int] | None = None
) -> dict[str, Any]:
    """Bins, tree, tables and limit of a training matrix, (n_rows, n_features), NaN = missing.

    `labels` holds the levels of each category feature and None for a number, as `Features` does; with `places`, only
    the features at these positions are used.
    """
    if places is not None and not places:
        return {"places": [], "bins": [], "parents": [], "tables": [], "marginals": [], "limit": 0.0}
    columns = {place: labels[place] for place in (range(len(labels)) if places is None else places)}
    described = [{"place": place, **_bins(matrix[:, place], names)} for place, names in columns.items()]
    sizes = [int(bins["size"]) for bins in described]
    parents = _tree(_all_coded(described, matrix[:: max(matrix.shape[0] // ROWS, 1)]), sizes)
    by_feature = zip(*by_chunk(matrix, partial(_counted, described, parents)), strict=True)
    counts = [sum(chunks) for chunks in by_feature]
    learned: dict[str, Any] = {} if places is None else {"places": list(places)}
    learned |= {
        "bins": [{key: value for key, value in bins.items() if key in {"edges", "codes"}} for bins in described],
        "parents": parents,
        "tables": [_logs(table) for table in counts],
        "marginals": [_logs(table.sum(axis=0, keepdims=True))[0] for table in counts],
        "limit": -np.inf,
    }
    scores = np.concatenate(by_chunk(matrix, partial(_scores, described, parents, learned["tables"])))
    # Scores are sums of rounded numbers; the limit lies halfway between two possible sums, so that rounding errors do
    # not decide.
    learned["limit"] = round(float(np.quantile(scores, UNLIKELY, method="lower")), DIGITS) - 10.0**-DIGITS / 2
    return learned


def _all_coded(described: Sequence[dict[str, Any]], rows: Matrix) -> Positions:
    """Each row's bin of each feature."""
    return np.stack([_coded(rows[:, bins["place"]], bins) for bins in described], axis=1)


def _counted(described: Sequence[dict[str, Any]], parents: Sequence[int], rows: Matrix) -> list[Floats]:
    """The number of rows in each bin of each feature, as a table with a row for each bin of its parent."""
    coded, sizes = _all_coded(described, rows), [int(bins["size"]) for bins in described]
    return [
        _counts(coded, parent, index, sizes)
        if parent >= 0
        else np.bincount(coded[:, index], minlength=sizes[index]).astype(float)[None, :]
        for index, parent in enumerate(parents)
    ]


def _scores(described: Sequence[dict[str, Any]], parents: Sequence[int], tables: Sequence[Any], rows: Matrix) -> Floats:
    """The log-probability of each row."""
    coded, scores = _all_coded(described, rows), np.zeros(len(rows))
    for index, (parent, table) in enumerate(zip(parents, tables, strict=True)):
        scores += np.array(table)[coded[:, parent] if parent >= 0 else 0, coded[:, index]]
    return scores


def _bins(column: Matrix, names: Sequence[str] | None) -> dict[str, Any]:
    """The bins of a feature: a number is cut at quantiles, a category into its most frequent levels and the rest."""
    present = column[~np.isnan(column)]
    if names is None:
        shares = np.linspace(0, 1, N_BINS + 1)[1:-1]
        edges = just_above(np.unique(np.quantile(present, shares, method="lower"))) if len(present) else []
        return {"edges": edges, "size": len(edges) + 2}
    counts = np.bincount(present.astype(int), minlength=len(names))
    frequent = sorted(np.argsort(-counts, kind="stable")[:MOST_LABELS].tolist())
    codes = [frequent.index(code) if code in frequent else len(frequent) for code in range(len(names))]
    return {"codes": codes, "size": max(codes) + 2}


def _coded(column: Matrix, bins: dict[str, Any]) -> Positions:
    """Each row's bin: for a category by the function's own code, for a number by the same rule, vectorised."""
    if "edges" in bins:
        return number_bins(column, bins["edges"])
    of_code = np.array([0, *(binner(bins)(float(code)) for code in range(len(bins["codes"])))])
    bin_of_row: Positions = of_code[label_bins(column)]
    return bin_of_row


def _tree(coded: Positions, sizes: Sequence[int]) -> list[int]:
    """Each feature's parent, -1 for the first: the maximum spanning tree by mutual information (Prim 1957)."""
    n_features = coded.shape[1]
    # Column-major, because columns are read one by one, and hundreds of features have many pairs.
    coded = np.asfortranarray(coded)
    parents = [-1] * n_features
    # The mutual information of each feature that is not in the tree yet with its best partner in the tree.
    best = np.array([_information(coded, 0, index, sizes) for index in range(n_features)])
    partner = np.zeros(n_features, dtype=int)
    in_tree = np.zeros(n_features, dtype=bool)
    in_tree[0] = True
    for _ in range(n_features - 1):
        chosen = int(np.argmax(np.where(in_tree, -1.0, best)))
        in_tree[chosen], parents[chosen] = True, int(partner[chosen])
        for index in np.flatnonzero(~in_tree):
            shared = _information(coded, chosen, int(index), sizes)
            if shared > best[index]:
                best[index], partner[index] = shared, chosen
    return parents


def _counts(coded: Positions, first: int, second: int, sizes: Sequence[int]) -> Floats:
    flat = coded[:, first] * sizes[second] + coded[:, second]
    return np.bincount(flat, minlength=sizes[first] * sizes[second]).reshape(sizes[first], sizes[second]).astype(float)


def _information(coded: Positions, first: int, second: int, sizes: Sequence[int]) -> float:
    """The mutual information of two features, in nats, rounded so that all processors give the same tree."""
    joint = _counts(coded, first, second, sizes) / len(coded)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    occurs = joint > 0
    return round(float(np.sum(joint[occurs] * np.log(joint[occurs] / independent[occurs]))), 9)


def _logs(counts: Floats) -> list[list[float]]:
    """The log-probability of each bin, a row for each bin of the parent."""
    shares = (counts + PRIOR) / (counts + PRIOR).sum(axis=1, keepdims=True)
    return [[round(float(share), DIGITS) for share in row] for row in np.log(shares)]
