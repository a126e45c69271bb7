"""Unlikely combinations: values that are usual each for itself, and hardly ever seen together.

A tree of pairs, learned in training: each feature's bin has a log-probability given the bin of one other feature (Chow
and Liu 1968). A row's score is their sum; a score below almost all of training's is unlikely.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Binner = Callable[[float], int]


def binner(bins: Mapping[str, Any]) -> Binner:
    """What gives a feature's value its bin: 0 where it is missing, then the bins of the declared `edges` or `codes`."""
    if "edges" in bins:
        edges: Sequence[float] = bins["edges"]
        return lambda value: 1 + bisect_left(edges, value) if value == value else 0  # noqa: PLR0124 - only NaN differs
    codes: Sequence[int] = bins["codes"]
    return lambda value: 1 + codes[int(value)] if value == value else 0  # noqa: PLR0124 - as above


class Combinations:
    """Knows how likely a vector's values are together."""

    def __init__(self, learned: Mapping[str, Any]) -> None:
        """Prepare what training learned: `bins` per feature, `parents`, `tables` of log-probabilities, `limit`."""
        self._binners = tuple(binner(bins) for bins in learned["bins"])
        self._parents: Sequence[int] = learned["parents"]
        self._tables: Sequence[Sequence[Sequence[float]]] = learned["tables"]
        self._limit: float = learned["limit"]

    def unlikely(self, vector: Sequence[float]) -> tuple[int, int] | None:
        """Which two features of an unlikely vector go together least; None where it is as likely as most."""
        bins = [bin_of(value) for bin_of, value in zip(self._binners, vector, strict=True)]
        total, least, pair = 0.0, 0.0, None
        for index, (parent, table) in enumerate(zip(self._parents, self._tables, strict=True)):
            # A feature without a parent has a table of one row.
            share = table[bins[parent] if parent >= 0 else 0][bins[index]]
            total += share
            if parent >= 0 and share < least:
                least, pair = share, (parent, index)
        return pair if total < self._limit else None
