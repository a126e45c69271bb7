"""Unlikely combinations: values that are usual each for itself, and hardly ever seen together.

A tree of pairs, learned in training: each feature's bin has a log-probability given the bin of one other feature (Chow
and Liu 1968). A row's score is their sum; a score below almost all of training's is unlikely.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Nats: two values go together a tenth as often as they would if neither knew of the other.
APART = 2.3

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
        """Prepare what training learned: `bins`, `parents`, `tables` of log-probabilities, `marginals`, `limit`."""
        self._binners = tuple(binner(bins) for bins in learned["bins"])
        self._parents: Sequence[int] = learned["parents"]
        self._tables: Sequence[Sequence[Sequence[float]]] = learned["tables"]
        self._marginals: Sequence[Sequence[float]] = learned["marginals"]
        self._limit: float = learned["limit"]

    def unlikely(self, vector: Sequence[float]) -> tuple[int, int] | None:
        """Which two features of an unlikely vector go together least.

        None where it is as likely as most, or is rare for one value alone and not for two together.
        """
        bins = [bin_of(value) for bin_of, value in zip(self._binners, vector, strict=True)]
        total, least, pair = 0.0, -APART, None
        for index, (parent, table) in enumerate(zip(self._parents, self._tables, strict=True)):
            # A feature without a parent has a table of one row.
            share = table[bins[parent] if parent >= 0 else 0][bins[index]]
            total += share
            # How much less likely the value is beside the other's than it is at all.
            if parent >= 0 and (lift := share - self._marginals[index][bins[index]]) < least:
                least, pair = lift, (parent, index)
        return pair if total < self._limit else None
