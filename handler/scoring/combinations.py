"""Unlikely combinations: values that are common individually but rarely occur together.

A dependency tree learned in training: each feature's bin has a log-probability given the bin of one other feature
(Chow and Liu 1968). A row's score is their sum; a score below that of almost all training rows is unlikely.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Nats: two values occur together a tenth as often as if they were independent.
MIN_NEGATIVE_LIFT = 2.3

Binner = Callable[[float], int]


def binner(bins: Mapping[str, Any]) -> Binner:
    """A function from a feature's value to its bin in combinations: 0 if missing, then those of `edges` or `codes`."""
    if "edges" in bins:
        edges: Sequence[float] = bins["edges"]
        return lambda value: 1 + bisect_left(edges, value) if value == value else 0  # noqa: PLR0124 - only NaN differs
    codes: Sequence[int] = bins["codes"]
    return lambda value: 1 + codes[int(value)] if value == value else 0  # noqa: PLR0124 - as above


class Combinations:
    """The learned log-probabilities of values given each other."""

    def __init__(self, learned: Mapping[str, Any]) -> None:
        """Take the learned `bins`, `parents`, `tables` of log-probabilities, `marginals` and `limit`.

        With `places`, they cover only the features at these positions, else all.
        """
        self._places: Sequence[int] | None = learned.get("places")
        self._binners = tuple(binner(bins) for bins in learned["bins"])
        self._parents: Sequence[int] = learned["parents"]
        self._tables: Sequence[Sequence[Sequence[float]]] = learned["tables"]
        self._marginals: Sequence[Sequence[float]] = learned["marginals"]
        self._limit: float = learned["limit"]

    def unlikely_pair(self, vector: Sequence[float]) -> tuple[int, int] | None:
        """The two features of an unlikely vector whose values occur together least.

        None if the vector is not unlikely, or is so because of single rare values rather than a pair.
        """
        if self._places is not None:
            vector = [vector[place] for place in self._places]
        bins = [bin_of(value) for bin_of, value in zip(self._binners, vector, strict=True)]
        total, lowest_lift, pair = 0.0, -MIN_NEGATIVE_LIFT, None
        for index, (parent, table) in enumerate(zip(self._parents, self._tables, strict=True)):
            # A feature without a parent has a table of one row.
            log_probability = table[bins[parent] if parent >= 0 else 0][bins[index]]
            total += log_probability
            # How much less likely the value is given the parent's value than in general.
            if parent >= 0 and (lift := log_probability - self._marginals[index][bins[index]]) < lowest_lift:
                lowest_lift, pair = lift, (parent, index)
        if pair is None or total >= self._limit:
            return None
        return pair if self._places is None else (self._places[pair[0]], self._places[pair[1]])
